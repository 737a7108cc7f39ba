"""An ablation, trained to the end: six fusions of a small trimodal model, each with ten seeds.

The data are drawn from a NumPy seed: pictures of 16 px, 12 words and 20 frames for each of 8 classes, with so much noise that
the fusions end with 66 to 81 % of the test rows right: far from chance (12.5 %), where any two sides would agree, and from
perfect. They lie on the device in both libraries, and both begin with the same weights and see the same batches, so that the
final accuracies agree as far as rounding lets them: training amplifies it (0.003 was measured), and one differing answer of
5,120 is 0.0002. mmjax trains the ten seeds of a fusion at once, torch one after another.
"""

from functools import partial

import numpy as np

from benchmarks.fusion import Spec, module, named
from benchmarks.work import Case, Weights, Work

CLASSES, SIDE, VOCABULARY, WORDS, FRAMES, BANDS = 8, 16, 64, 12, 20, 16
CHANNELS, WIDTH, RATE, DECAY = (8, 16), 32, 4e-3, 1e-2
TRAIN, TEST, BATCH = 1024, 512, 32
NOISE, USUAL = 3, 0.4  # the noise's deviation, where classes' is 1; the share of words that are the class's own
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
    sides = {"mmjax": partial(ours, fusions, seeds, steps), "torch": partial(theirs, fusions, seeds, steps, device, False)}
    if device == "gpu":
        sides["torch compiled"] = partial(theirs, fusions, seeds, steps, device, True)
    goals = {side: {"cpu": 1.0, "gpu": 20.0}[device] for side in sides if side != "mmjax"}
    note = (
        f"{steps} steps of {BATCH} rows for each seed, then the accuracy on {TEST} test rows; outputs are each fusion's mean "
        "accuracy over seeds. Compiling is in the first run alone, where a new process would have it again, or most of it from "
        "the compilation cache."
    )
    return [Case(f"{len(fusions)} fusions x {seeds} seeds", sides, goals, tolerance=0.02, note=note)]


def rows() -> dict[str, np.ndarray]:
    """Training rows, then test rows."""
    rng, count = np.random.default_rng(0), TRAIN + TEST
    label = rng.integers(0, CLASSES, count)
    noisy = lambda *shape: rng.standard_normal((CLASSES, *shape))[label] + NOISE * rng.standard_normal((count, *shape))
    usual = rng.integers(0, VOCABULARY, (CLASSES, WORDS))[label]
    words = np.where(rng.random(usual.shape) < USUAL, usual, rng.integers(0, VOCABULARY, usual.shape))
    image, audio = noisy(SIDE, SIDE, 3), noisy(FRAMES, BANDS)
    return {"image": np.float32(image), "text": words, "audio": np.float32(audio), "label": label}


def ours(fusions: tuple[str, ...], seeds: int, steps: int, weights: Weights) -> Work:
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks.ours import flat, numbers, of_seed
    from mmjax.data.dataset import Rows
    from mmjax.data.feed import from_device
    from mmjax.encoders import CNN, FrameRNN, TextRNN
    from mmjax.heads import Classifier
    from mmjax.losses import cross_entropy
    from mmjax.model import Multimodal
    from mmjax.nn import LSTM
    from mmjax.train.parallel import single
    from mmjax.train.seeds import init_seeds, orders
    from mmjax.train.step import make_step
    from mmjax.types import Padded

    data = rows()
    label = data.pop("label")
    full = lambda x: Padded(jnp.asarray(x), jnp.full(len(x), x.shape[1]))
    columns = {"image": jnp.asarray(data["image"]), "text": full(data["text"]), "audio": full(data["audio"])}

    def feed(first, last):
        here = np.arange(first, last)
        return from_device(columns, Rows(dict.fromkeys(columns, here), {"label": label[here]}, np.ones(len(here), np.float32)))

    train, test, order = feed(0, TRAIN), feed(TRAIN, TRAIN + TEST), orders(range(seeds), TRAIN, BATCH)
    encoders = {
        "image": CNN(CHANNELS),
        "text": TextRNN(VOCABULARY, WIDTH, LSTM(WIDTH)),
        "audio": FrameRNN(WIDTH, LSTM(WIDTH)),
    }
    plan, cells, learned, copied = single(), {}, 0, {}
    for name in fusions:
        model = Multimodal(encoders, module(FUSIONS[name]), {"label": Classifier(CLASSES)})
        tx = optax.adamw(RATE, weight_decay=DECAY)
        state = init_seeds(model, tx, range(seeds), train(order(0)[0]))
        logits = plan.evaluate(lambda variables, batch, model=model: model.apply(variables, batch)["label"])
        cells[name] = (state, plan.train(make_step(model, cross_entropy, tx)), logits)
        learned += numbers(of_seed(state.params))
        for seed in range(seeds):
            copied |= {f"{name}/{seed}/{path}": x for path, x in named(flat(of_seed(state.params, seed))).items()}
    accuracy = np.zeros(len(fusions))

    def run():
        for place, (state, step, logits) in enumerate(cells.values()):
            state, metrics = jax.tree.map(jnp.copy, state), None  # a step overwrites its state
            for number in range(steps):
                jax.block_until_ready(metrics)  # one step ahead of the device, as `train.loop.fit`
                state, metrics = step(state, {}, train(order(number)[None]))
            scores = np.asarray(logits(state.variables, {}, test(np.arange(TEST))))
            accuracy[place] = (scores.argmax(-1) == label[TRAIN:]).mean()

    return Work(run, {"accuracy": accuracy}, learned, copied)  # the worker reads it after the first run


def theirs(fusions: tuple[str, ...], seeds: int, steps: int, device: str, compiled: bool, weights: Weights) -> Work:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import cross_entropy

    from benchmarks.peers import adamw, count, done, flops_of, load, place
    from benchmarks.trimodal_peer import Trimodal
    from mmjax.data.order import shuffled

    data = {name: place(x, device) for name, x in rows().items()}
    label = data.pop("label")
    data["image"] = data["image"].permute(0, 3, 1, 2)  # channels_last as it lies in memory
    given = [data[name] for name in ("image", "text", "audio")]
    sizes = (CHANNELS, WIDTH, SIDE, VOCABULARY, BANDS, CLASSES)
    models = {name: Trimodal(FUSIONS[name], *sizes) for name in fusions}
    accuracy, flops = np.zeros(len(fusions)), 0.0

    def begin(name, seed):
        start = f"{name}/{seed}/"
        state = {path.removeprefix(start): x for path, x in weights.items() if path.startswith(start)}
        return load(models[name], state, device).to(memory_format=torch.channels_last)

    def train(name, seed):
        model = begin(name, seed)
        forward = runs[name]
        optimizer = adamw([p for p in model.parameters() if p.requires_grad], RATE, DECAY)
        order = place(np.stack([shuffled(seed, step, TRAIN, BATCH) for step in range(steps)]), device)
        for index in order:
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(forward(*(x[index] for x in given)), label[index]).backward()
            optimizer.step()
        with torch.inference_mode():
            return (model(*(x[TRAIN:] for x in given)).argmax(-1) == label[TRAIN:]).float().mean()

    for name in fusions:
        model = begin(name, 0)
        with sdpa_kernel(SDPBackend.MATH):  # whose matmuls are counted on every device
            one = flops_of(lambda model=model: model(*(x[:BATCH] for x in given)).sum().backward())
        recurrent = 3 * 2 * BATCH * (WORDS + FRAMES) * 4 * WIDTH * 2 * WIDTH  # forwards and twice backwards
        flops += steps * seeds * (one + recurrent)
    runs = {name: torch.compile(model) if compiled else model for name, model in models.items()}

    def run():
        for at, name in enumerate(fusions):
            found = [train(name, seed) for seed in range(seeds)]
            accuracy[at] = np.mean([float(one) for one in done(found, device)])

    return Work(run, {"accuracy": accuracy}, sum(map(count, models.values())), flops=flops)
