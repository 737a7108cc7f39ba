"""A training step of a small trimodal classifier: three convolutions on a picture of 64 px, an LSTM over 32 words, a dense
layer and an LSTM over 100 audio frames; pooled, concatenated, 12 classes; AdamW. Texts and clips are full: torch's LSTM knows
no mask.
"""

from collections import OrderedDict
from functools import partial
from typing import Any

import numpy as np

from benchmarks.work import TOLERANCE, Case, Weights, Work

CLASSES, VOCABULARY, WORDS, FRAMES, BANDS = 12, 1000, 32, 100, 64
CHANNELS, WIDTH, FUSED = (32, 64, 128), 128, 64
RATE, DECAY = 1e-3, 1e-2


def cases(quick: bool, device: str) -> list[Case]:
    peers = {"torch": False} if quick else {"torch": False, "torch compiled": True}
    return [
        Case(
            f"batch {batch}",
            {"mmjax": partial(ours, batch)} | {side: partial(theirs, batch, device, how) for side, how in peers.items()},
            dict.fromkeys(peers, {"cpu": 1.1, "gpu": 1.5}[device]),
            tolerance=TOLERANCE[device],
        )
        for batch in ([4] if quick else [32, 128])
    ]


def inputs(batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal((batch, 64, 64, 3), np.float32),
        "text": rng.integers(0, VOCABULARY, (batch, WORDS)),
        "audio": rng.standard_normal((batch, FRAMES, BANDS), np.float32),
        "label": rng.integers(0, CLASSES, batch),
    }


def experiment(batch: int) -> tuple[Any, Any]:
    """The model of mmjax and its Batch."""
    import jax
    import jax.numpy as jnp

    from mmjax.encoders import VGG, FrameRNN, TextRNN
    from mmjax.fusion import Concat
    from mmjax.heads import Classifier
    from mmjax.model import Multimodal
    from mmjax.nn import LSTM
    from mmjax.types import Batch, Padded

    given = jax.tree.map(jnp.asarray, inputs(batch))
    full = lambda x: Padded(x, jnp.full(batch, x.shape[1]))
    seen = {"image": given["image"], "text": full(given["text"]), "audio": full(given["audio"])}
    there = jnp.ones(batch, bool)
    data = Batch(seen, dict.fromkeys(seen, there), {"label": given["label"]}, jnp.ones(batch))
    model = Multimodal(
        {
            "image": VGG(tuple((1, channels) for channels in CHANNELS), hidden=()),
            "text": TextRNN(VOCABULARY, WIDTH, LSTM(WIDTH)),
            "audio": FrameRNN(WIDTH, LSTM(WIDTH)),
        },
        Concat(FUSED),
        {"label": Classifier(CLASSES)},
    )
    return model, data


def ours(batch: int, weights: Weights) -> Work:
    import jax
    import optax

    from benchmarks.ours import flat, numbers, training
    from mmjax.losses import cross_entropy

    model, data = experiment(batch)
    before, run = training(model, data, cross_entropy, optax.adamw(RATE, weight_decay=DECAY))
    logits = jax.jit(model.apply)(before.variables, data)["label"]
    return Work(run, {"logits": np.asarray(logits)}, numbers(before.params), named(flat(before.params)), 0, 3)


def named(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As torch's modules below have them."""
    weights = {"text.weight": params["encoders_text/embed/embedding"]}
    dense = {"frame": "encoders_audio/frame", "fused": "fusion/dense", "label": "heads_label/dense"}
    for theirs, mine in dense.items():
        weights |= {f"{theirs}.weight": params[f"{mine}/kernel"].T, f"{theirs}.bias": params[f"{mine}/bias"]}
    for stage in range(1, len(CHANNELS) + 1):
        mine = f"encoders_image/conv{stage}_1"
        weights[f"image.conv{stage}.weight"] = params[f"{mine}/kernel"].transpose(3, 2, 0, 1)
        weights[f"image.conv{stage}.bias"] = params[f"{mine}/bias"]
    for modality in ("text", "audio"):
        mine, theirs = f"encoders_{modality}/layer", f"{modality}_lstm"
        weights[f"{theirs}.weight_ih_l0"] = params[f"{mine}/input/kernel"].T
        weights[f"{theirs}.bias_ih_l0"] = params[f"{mine}/input/bias"]
        weights[f"{theirs}.weight_hh_l0"] = params[f"{mine}/recurrent"].T
        weights[f"{theirs}.bias_hh_l0"] = np.zeros(4 * WIDTH, np.float32)
    return weights


def network() -> Any:
    """The same in torch."""
    import torch
    from torch import nn
    from torch.nn.functional import relu

    class Trimodal(nn.Module):
        def __init__(self):
            super().__init__()
            layers = []
            for stage, (before, after) in enumerate(zip((3, *CHANNELS), CHANNELS), 1):
                layers += [(f"conv{stage}", nn.Conv2d(before, after, 3, padding=1)), (f"relu{stage}", nn.ReLU())]
                layers += [(f"pool{stage}", nn.MaxPool2d(2))]
            self.image = nn.Sequential(OrderedDict(layers))
            self.text = nn.Embedding(VOCABULARY, WIDTH)
            self.text_lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
            self.frame = nn.Linear(BANDS, WIDTH)
            self.audio_lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
            for lstm in (self.text_lstm, self.audio_lstm):
                lstm.bias_hh_l0.requires_grad_(False)  # a second bias of the same gates
            self.fused = nn.Linear(2 * WIDTH + CHANNELS[-1], FUSED)
            self.label = nn.Linear(FUSED, CLASSES)

        def forward(self, image, text, audio):
            image = self.image(image).mean(dim=(2, 3))
            text = self.text_lstm(self.text(text))[0][:, -1]
            audio = self.audio_lstm(relu(self.frame(audio)))[0][:, -1]
            return self.label(relu(self.fused(torch.cat([audio, image, text], dim=1))))

    return Trimodal()


def theirs(batch: int, device: str, compiled: bool, weights: Weights) -> Work:
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.peers import adamw, count, flops_of, load, place, train_step

    given = {name: place(x, device) for name, x in inputs(batch).items()}
    picture = given["image"].permute(0, 3, 1, 2)  # channels_last as it lies in memory
    model = load(network(), weights, device).to(memory_format=torch.channels_last)
    run_model = torch.compile(model) if compiled else model
    forward = lambda: run_model(picture, given["text"], given["audio"])
    with torch.no_grad():
        logits = model(picture, given["text"], given["audio"]).cpu().numpy()
    optimizer = adamw([p for p in model.parameters() if p.requires_grad], RATE, DECAY)
    loss = lambda: cross_entropy(forward(), given["label"])
    recurrent = 3 * 2 * batch * (WORDS + FRAMES) * 4 * WIDTH * 2 * WIDTH  # forwards and twice backwards
    plain = lambda: cross_entropy(model(picture, given["text"], given["audio"]), given["label"])
    flops = flops_of(lambda: plain().backward()) + recurrent
    return Work(train_step(loss, optimizer, device), {"logits": logits}, count(model), flops=flops, compared_runs=3)
