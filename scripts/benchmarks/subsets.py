"""Evaluation of one trimodal model on all seven subsets of its modalities: the logits of 512 rows for each.

The model is the trimodal row's, with concatenated means or a Transformer over all tokens as the fusion. It has its initial
weights, which take the same time. mmjax encodes once and decodes the subsets under `vmap`. The torch side makes seven passes:
each encodes every modality, and the fusion gets zeros, or no tokens, for those outside the subset. "torch encoded once" encodes
once; its Transformer has fewer tokens than mmjax's, which masks them.
"""

from functools import partial
from itertools import combinations

import numpy as np

from benchmarks.case import TOLERANCE, Case, Weights, Workload
from benchmarks.fusion_specs import Spec, as_torch, mmjax_module

CLASSES, SIDE, VOCABULARY, WORDS, FRAMES, BANDS = 12, 64, 1000, 32, 100, 64
CHANNELS, WIDTH = (32, 64, 128), 128
MODALITIES = ("audio", "image", "text")
SUBSETS = tuple(chosen for size in (1, 2, 3) for chosen in combinations(MODALITIES, size))
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
                "mmjax": partial(mmjax_workload, fusion, rows, batch),
                "torch": partial(torch_workload, fusion, rows, batch, device, False),
                "torch encoded once": partial(torch_workload, fusion, rows, batch, device, True),
            },
            {"cpu": {"torch": 1.5}, "gpu": {}}[device],
            tolerance=TOLERANCE[device],
            note="torch makes seven full passes; torch encoded once is the method of mmjax's evaluation, written by hand.",
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


def mmjax_workload(fusion: str, rows: int, batch: int, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks.mmjax_side import flatten, parameter_count, take_seed
    from mmjax.data.dataset import Rows
    from mmjax.data.feed import DeviceFeed
    from mmjax.encoders import CNN, FrameRNN, TextRNN
    from mmjax.evaluate.predict import predict_split, predict_subsets
    from mmjax.heads import Classifier
    from mmjax.model import Multimodal
    from mmjax.nn import LSTM
    from mmjax.tasks import Classify
    from mmjax.train.parallel import single
    from mmjax.train.seeds import init_seeds
    from mmjax.types import Padded

    arrays = inputs(rows)
    full = lambda x: Padded(jnp.asarray(x), jnp.full(rows, x.shape[1]))
    columns = {"image": jnp.asarray(arrays["image"]), "text": full(arrays["text"]), "audio": full(arrays["audio"])}
    feed = DeviceFeed(columns, Rows(dict.fromkeys(columns, np.arange(rows)), {}, np.ones(rows, np.float32)))
    encoders = {
        "image": CNN(CHANNELS),
        "text": TextRNN(VOCABULARY, WIDTH, LSTM(WIDTH)),
        "audio": FrameRNN(WIDTH, LSTM(WIDTH)),
    }
    model = Multimodal(encoders, mmjax_module(FUSIONS[fusion]), {"label": Classifier(CLASSES)})
    state = init_seeds(model, optax.identity(), [0], feed(np.arange(2)))
    predict = single().evaluate(predict_subsets(model, {"label": Classify("label")}, {"label": SUBSETS}), axis=1)
    params, outputs = take_seed(jax.device_get(state.params)), {}

    def run():
        predicted = predict_split(lambda rows: predict(state.variables, {}, rows), feed, rows, axis=2, size=batch)
        outputs["logits"] = predicted["label"][0]

    return Workload(run, outputs, parameter_count(params), as_torch(flatten(params)))  # outputs are read after the first run


def torch_workload(fusion: str, rows: int, batch: int, device: str, once: bool, weights: Weights) -> Workload:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from benchmarks.torch_side import count_flops, parameter_count, synchronized, to_device, with_weights
    from benchmarks.torch_trimodal import Trimodal

    tensors = {name: to_device(x, device) for name, x in inputs(rows).items()}
    tensors["image"] = tensors["image"].permute(0, 3, 1, 2)  # the memory layout is channels_last
    sizes = (CHANNELS, WIDTH, SIDE, VOCABULARY, BANDS, CLASSES)
    model = with_weights(Trimodal(FUSIONS[fusion], *sizes), weights, device).to(memory_format=torch.channels_last)
    outputs = {}

    @torch.inference_mode()
    def run():
        parts = []
        for start in range(0, rows, batch):
            given = [tensors[name][start : start + batch] for name in ("image", "text", "audio")]
            tokens = model.encode(*given) if once else None
            parts.append(torch.stack([model.decode(tokens or model.encode(*given), subset) for subset in SUBSETS]))
        outputs["logits"] = synchronized(torch.cat(parts, dim=1).cpu(), device).numpy()

    recurrent = 2 * rows * (WORDS + FRAMES) * 4 * WIDTH * 2 * WIDTH
    with sdpa_kernel(SDPBackend.MATH):  # its matmuls are counted on every device
        flops = count_flops(run) + recurrent if once else 0.0  # of the necessary work, not of seven passes
    return Workload(run, outputs, parameter_count(model), flops=flops)
