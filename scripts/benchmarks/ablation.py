"""An ablation, trained to the end: six fusions of a small trimodal model, each with ten seeds.

The data are drawn from a NumPy seed: images of 16 px, 12 words and 20 frames for each of 8 classes. The noise is such that the
fusions classify 66 to 81 % of the test rows correctly: far from chance (12.5 %), where any two sides would agree, and from
perfect. The data are on the device in both libraries, and both start from the same weights and see the same batches, so the
final accuracies agree up to rounding. Training amplifies it (the measured difference is 0.003); one differing answer of 5,120
is 0.0002. mmjax trains the ten seeds of a fusion together, torch one after another.
"""

from functools import partial

import numpy as np

from benchmarks.case import Case, Weights, Workload
from benchmarks.fusion_specs import Spec, as_torch, mmjax_module

CLASSES, SIDE, VOCABULARY, WORDS, FRAMES, BANDS = 8, 16, 64, 12, 20, 16
CHANNELS, WIDTH, RATE, DECAY = (8, 16), 32, 4e-3, 1e-2
TRAIN, TEST, BATCH = 1024, 512, 32
NOISE, OWN_WORDS = 3, 0.4  # deviation of the noise, relative to the classes; fraction of words that are typical of the class
FUSIONS = {
    "concat": Spec("Concat", {"width": WIDTH}),
    "gated": Spec("Gated", {"width": WIDTH}),
    "gmu": Spec("GMU", {"width": WIDTH}),
    "tensor": Spec("TensorFusion", {"width": WIDTH, "inner": 8}),
    "low rank": Spec("LowRank", {"width": WIDTH, "rank": 4}),
    "transformer": Spec("EarlyTransformer", {"width": WIDTH, "hidden": 64}),
}


def cases(quick: bool, device: str) -> list[Case]:
    fusions, seeds, steps = (("concat", "gmu"), 2, 3) if quick else (tuple(FUSIONS), 10, 60)
    sizes = fusions, seeds, steps
    sides = {"mmjax": partial(mmjax_workload, *sizes), "torch": partial(torch_workload, *sizes, device, False)}
    if device == "gpu":
        sides["torch compiled"] = partial(torch_workload, *sizes, device, True)
    goals = {side: {"cpu": 1.0, "gpu": 20.0}[device] for side in sides if side != "mmjax"}
    note = (
        f"{steps} steps of {BATCH} rows for each seed, then the accuracy on {TEST} test rows; outputs are each fusion's mean "
        "accuracy over seeds. Only the first run compiles; a new process would compile again, or read the compilation cache."
    )
    return [Case(f"{len(fusions)} fusions x {seeds} seeds", sides, goals, tolerance=0.02, note=note)]


def rows() -> dict[str, np.ndarray]:
    """Training rows, then test rows."""
    rng, count = np.random.default_rng(0), TRAIN + TEST
    label = rng.integers(0, CLASSES, count)
    noisy = lambda *shape: rng.standard_normal((CLASSES, *shape))[label] + NOISE * rng.standard_normal((count, *shape))
    own = rng.integers(0, VOCABULARY, (CLASSES, WORDS))[label]
    words = np.where(rng.random(own.shape) < OWN_WORDS, own, rng.integers(0, VOCABULARY, own.shape))
    image, audio = noisy(SIDE, SIDE, 3), noisy(FRAMES, BANDS)
    return {"image": np.float32(image), "text": words, "audio": np.float32(audio), "label": label}


def mmjax_workload(fusions: tuple[str, ...], seeds: int, steps: int, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks.mmjax_side import flatten, parameter_count, take_seed
    from mmjax.data.dataset import Rows
    from mmjax.data.feed import DeviceFeed
    from mmjax.encoders import CNN, FrameRNN, TextRNN
    from mmjax.evaluate.predict import predict_split
    from mmjax.heads import Classifier
    from mmjax.losses import cross_entropy
    from mmjax.model import Multimodal
    from mmjax.nn import LSTM
    from mmjax.train.seeds import orders
    from mmjax.train.training import Schedule, Training
    from mmjax.types import Padded

    data = rows()
    label = data.pop("label")
    full = lambda x: Padded(jnp.asarray(x), jnp.full(len(x), x.shape[1]))
    columns = {"image": jnp.asarray(data["image"]), "text": full(data["text"]), "audio": full(data["audio"])}

    def feed(first, last):
        here = np.arange(first, last)
        return DeviceFeed(columns, Rows(dict.fromkeys(columns, here), {"label": label[here]}, np.ones(len(here), np.float32)))

    train, test, order = feed(0, TRAIN), feed(TRAIN, TRAIN + TEST), orders(range(seeds), TRAIN, BATCH)
    encoders = {
        "image": CNN(CHANNELS),
        "text": TextRNN(VOCABULARY, WIDTH, LSTM(WIDTH)),
        "audio": FrameRNN(WIDTH, LSTM(WIDTH)),
    }
    cells, parameters, copied = {}, 0, {}
    for name in fusions:
        model = Multimodal(encoders, mmjax_module(FUSIONS[name]), {"label": Classifier(CLASSES)})
        optim = lambda steps: optax.adamw(RATE, weight_decay=DECAY)
        training = Training(model, cross_entropy, optim, Schedule(steps, steps, steps))
        state, frozen = training.init(range(seeds), train(order(0)[0]))
        per_call = training.automatic_steps_per_call(state, frozen, train(order(0)[0]))
        chunks = Schedule(steps, steps, steps, per_call).chunks(0, [])
        logits = training.plan.evaluate(lambda variables, batch, model=model: model.apply(variables, batch)["label"])
        cells[name] = (state, training.plan.train(training.step(0)), chunks, logits)
        parameters += parameter_count(take_seed(state.params))
        for seed in range(seeds):
            copied |= {f"{name}/{seed}/{path}": x for path, x in as_torch(flatten(take_seed(state.params, seed))).items()}
    accuracy = np.zeros(len(fusions))

    def run():
        for place, (state, step, chunks, logits) in enumerate(cells.values()):
            state, metrics = jax.tree.map(jnp.copy, state), None  # a step overwrites its state
            for batches in train.chunks(order, chunks):
                jax.block_until_ready(metrics)  # one call ahead of the device, as in `train.loop.fit`
                state, metrics = step(state, {}, batches)
            of_batch = lambda batch, state=state, logits=logits: logits(state.variables, {}, batch)
            scores = predict_split(of_batch, test, TEST, axis=1, size=TEST)
            accuracy[place] = (scores.argmax(-1) == label[TRAIN:]).mean()

    return Workload(run, {"accuracy": accuracy}, parameters, copied)  # the worker reads it after the first run


def torch_workload(
    fusions: tuple[str, ...], seeds: int, steps: int, device: str, compiled: bool, weights: Weights
) -> Workload:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import cross_entropy

    from benchmarks.torch_side import adamw, count_flops, parameter_count, synchronized, to_device, with_weights
    from benchmarks.torch_trimodal import Trimodal
    from mmjax.data.order import shuffled

    data = {name: to_device(x, device) for name, x in rows().items()}
    label = data.pop("label")
    data["image"] = data["image"].permute(0, 3, 1, 2)  # the memory layout is channels_last
    tensors = [data[name] for name in ("image", "text", "audio")]
    sizes = (CHANNELS, WIDTH, SIDE, VOCABULARY, BANDS, CLASSES)
    models = {name: Trimodal(FUSIONS[name], *sizes) for name in fusions}
    accuracy, flops = np.zeros(len(fusions)), 0.0

    def initialised(name, seed):
        prefix = f"{name}/{seed}/"
        state = {path.removeprefix(prefix): x for path, x in weights.items() if path.startswith(prefix)}
        return with_weights(models[name], state, device).to(memory_format=torch.channels_last)

    def train(name, seed):
        model = initialised(name, seed)
        forward = runs[name]
        optimizer = adamw([p for p in model.parameters() if p.requires_grad], RATE, DECAY)
        order = to_device(np.stack([shuffled(seed, step, TRAIN, BATCH) for step in range(steps)]), device)
        for index in order:
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(forward(*(x[index] for x in tensors)), label[index]).backward()
            optimizer.step()
        with torch.inference_mode():
            return (model(*(x[TRAIN:] for x in tensors)).argmax(-1) == label[TRAIN:]).float().mean()

    for name in fusions:
        model = initialised(name, 0)
        with sdpa_kernel(SDPBackend.MATH):  # its matmuls are counted on every device
            one = count_flops(lambda model=model: model(*(x[:BATCH] for x in tensors)).sum().backward())
        recurrent = 3 * 2 * BATCH * (WORDS + FRAMES) * 4 * WIDTH * 2 * WIDTH  # forward, and twice that backward
        flops += steps * seeds * (one + recurrent)
    runs = {name: torch.compile(model) if compiled else model for name, model in models.items()}

    def run():
        for place, name in enumerate(fusions):
            found = [train(name, seed) for seed in range(seeds)]
            accuracy[place] = np.mean([float(one) for one in synchronized(found, device)])

    return Workload(run, {"accuracy": accuracy}, sum(map(parameter_count, models.values())), flops=flops)
