"""Evaluation of one trimodal model on all seven subsets of its modalities: the logits of 512 rows under each.

The model is the trimodal row's, with means concatenated or with a transformer over all tokens as the fusion; its weights are
those that it begins with, which takes the same time. mmjax encodes once and decodes the subsets under `vmap`. The peer does
seven passes: each encodes every modality, and the fusion sees zeros, or no tokens, of those that are not in the subset. "torch
encoded once" does that with one pass of the encoders; its transformer has fewer tokens than mmjax's, which masks them.
"""

from functools import partial
from itertools import combinations

import numpy as np

from benchmarks.fusion import Spec, module, named
from benchmarks.work import TOLERANCE, Case, Weights, Work

CLASSES, SIDE, VOCABULARY, WORDS, FRAMES, BANDS = 12, 64, 1000, 32, 100, 64
CHANNELS, WIDTH = (32, 64, 128), 128
MODALITIES = ("audio", "image", "text")
SUBSETS = [chosen for size in (1, 2, 3) for chosen in combinations(MODALITIES, size)]
FUSIONS = {
    "concat": Spec("Concat", {"width": 64}),
    "transformer": Spec("EarlyTransformer", {"width": WIDTH, "hidden": 2 * WIDTH}),
}


def cases(quick: bool, device: str) -> list[Case]:
    rows, batch = (6, 4) if quick else (512, 256)
    return [
        Case(
            fusion,
            {
                "mmjax": partial(ours, fusion, rows, batch),
                "torch": partial(theirs, fusion, rows, batch, device, False),
                "torch encoded once": partial(theirs, fusion, rows, batch, device, True),
            },
            {"cpu": {"torch": 1.5}, "gpu": {}}[device],
            tolerance=TOLERANCE[device],
            note="torch is seven full passes; torch encoded once is what mmjax's evaluation does, written by hand.",
        )
        for fusion in (["transformer"] if quick else FUSIONS)
    ]


def inputs(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal((rows, SIDE, SIDE, 3), np.float32),
        "text": rng.integers(0, VOCABULARY, (rows, WORDS)),
        "audio": rng.standard_normal((rows, FRAMES, BANDS), np.float32),
    }


def ours(fusion: str, rows: int, batch: int, weights: Weights) -> Work:
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks.ours import flat, numbers, of_seed
    from mmjax.data.dataset import Rows
    from mmjax.data.feed import from_device
    from mmjax.encoders import CNN, FrameRNN, TextRNN
    from mmjax.evaluate.subsets import logits_by_subset, predict
    from mmjax.heads import Classifier
    from mmjax.model import Multimodal
    from mmjax.nn import LSTM
    from mmjax.train.seeds import init_seeds
    from mmjax.types import Padded

    given = inputs(rows)
    full = lambda x: Padded(jnp.asarray(x), jnp.full(rows, x.shape[1]))
    columns = {"image": jnp.asarray(given["image"]), "text": full(given["text"]), "audio": full(given["audio"])}
    feed = from_device(columns, Rows(dict.fromkeys(columns, np.arange(rows)), {}, np.ones(rows, np.float32)))
    encoders = {
        "image": CNN(CHANNELS),
        "text": TextRNN(VOCABULARY, WIDTH, LSTM(WIDTH)),
        "audio": FrameRNN(WIDTH, LSTM(WIDTH)),
    }
    model = Multimodal(encoders, module(FUSIONS[fusion]), {"label": Classifier(CLASSES)})
    state = init_seeds(model, optax.identity(), [0], feed(np.arange(2)))
    logits = logits_by_subset(model, SUBSETS, "label")
    params, outputs = of_seed(jax.device_get(state.params)), {}

    def run():
        outputs["logits"] = predict(logits, state.variables, feed, rows, batch)[0]

    return Work(run, outputs, numbers(params), named(flat(params)))  # outputs are read after the first run


def theirs(fusion: str, rows: int, batch: int, device: str, once: bool, weights: Weights) -> Work:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from benchmarks.peers import count, done, flops_of, load, place
    from benchmarks.trimodal_peer import Trimodal

    given = {name: place(x, device) for name, x in inputs(rows).items()}
    given["image"] = given["image"].permute(0, 3, 1, 2)  # channels_last as it lies in memory
    sizes = (CHANNELS, WIDTH, SIDE, VOCABULARY, BANDS, CLASSES)
    model = load(Trimodal(FUSIONS[fusion], *sizes), weights, device).to(memory_format=torch.channels_last)
    outputs = {}

    @torch.inference_mode()
    def run():
        parts = []
        for start in range(0, rows, batch):
            seen = [given[name][start : start + batch] for name in ("image", "text", "audio")]
            tokens = model.encode(*seen) if once else None
            parts.append(torch.stack([model.decode(tokens or model.encode(*seen), subset) for subset in SUBSETS]))
        outputs["logits"] = done(torch.cat(parts, dim=1).cpu(), device).numpy()

    recurrent = 2 * rows * (WORDS + FRAMES) * 4 * WIDTH * 2 * WIDTH
    with sdpa_kernel(SDPBackend.MATH):  # whose matmuls are counted on every device
        flops = flops_of(run) + recurrent if once else 0.0  # of what has to be done, and not seven times
    return Work(run, outputs, count(model), flops=flops)
