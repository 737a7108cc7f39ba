"""A training step of a small trimodal classifier: three convolutions on images of 64 px, an LSTM over 32 words, a dense layer
and an LSTM over 100 audio frames; pooled, concatenated, 12 classes; AdamW. Texts and clips have the full length, since torch's
LSTM has no mask. Another side of mmjax takes several steps in one compiled call.
"""

from collections import OrderedDict
from functools import partial
from typing import Any

import numpy as np

from benchmarks.case import SEVERAL_STEPS, STEPS_PER_CALL, TOLERANCE, Case, Weights, Workload

CLASSES, VOCABULARY, WORDS, FRAMES, BANDS = 12, 1000, 32, 100, 64
CHANNELS, WIDTH, FUSED = (32, 64, 128), 128, 64
RATE, DECAY = 1e-3, 1e-2
COMPARED = 3  # losses


def cases(quick: bool, device: str) -> list[Case]:
    peers = {"torch": False} if quick else {"torch": False, "torch compiled": True}
    return [
        Case(
            f"batch {batch}",
            {
                "mmjax": partial(mmjax_workload, batch, False),
                **{side: partial(torch_workload, batch, device, compiled) for side, compiled in peers.items()},
                SEVERAL_STEPS: partial(mmjax_workload, batch, True),
            },
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


def mmjax_model(batch: int) -> tuple[Any, Any]:
    """(the model, its Batch)."""
    import jax
    import jax.numpy as jnp

    from mmjax.encoders import VGG, FrameRNN, TextRNN
    from mmjax.fusion import Concat
    from mmjax.heads import Classifier
    from mmjax.model import Multimodal
    from mmjax.nn import LSTM
    from mmjax.types import Batch, Padded

    arrays = jax.tree.map(jnp.asarray, inputs(batch))
    full = lambda x: Padded(x, jnp.full(batch, x.shape[1]))
    modalities = {"image": arrays["image"], "text": full(arrays["text"]), "audio": full(arrays["audio"])}
    present = dict.fromkeys(modalities, jnp.ones(batch, bool))
    data = Batch(modalities, present, {"label": arrays["label"]}, jnp.ones(batch))
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


def mmjax_workload(batch: int, several: bool, weights: Weights) -> Workload:
    import jax
    import optax

    from benchmarks.mmjax_side import flatten, parameter_count, training_run
    from mmjax.losses import cross_entropy

    model, data = mmjax_model(batch)
    steps = STEPS_PER_CALL if several else 1
    variables, run = training_run(model, data, cross_entropy, optax.adamw(RATE, weight_decay=DECAY), steps)
    logits = jax.jit(model.apply)(variables, data)["label"]
    params = variables["params"]
    return Workload(
        run,
        {"logits": np.asarray(logits)},
        parameter_count(params),
        as_torch(flatten(params)),
        compared_losses=COMPARED,
        repeats=steps,
    )


def as_torch(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{path: parameter of mmjax} -> {name: parameter of `torch_model`}."""
    weights = {"text.weight": params["encoders_text/embed/embedding"]}
    dense = {"frame": "encoders_audio/frame", "fused": "fusion/dense", "label": "heads_label/dense"}
    for theirs, ours in dense.items():
        weights |= {f"{theirs}.weight": params[f"{ours}/kernel"].T, f"{theirs}.bias": params[f"{ours}/bias"]}
    for stage in range(1, len(CHANNELS) + 1):
        ours = f"encoders_image/conv{stage}_1"
        weights[f"image.conv{stage}.weight"] = params[f"{ours}/kernel"].transpose(3, 2, 0, 1)
        weights[f"image.conv{stage}.bias"] = params[f"{ours}/bias"]
    for modality in ("text", "audio"):
        ours, theirs = f"encoders_{modality}/layer", f"{modality}_lstm"
        weights[f"{theirs}.weight_ih_l0"] = params[f"{ours}/input/kernel"].T
        weights[f"{theirs}.bias_ih_l0"] = params[f"{ours}/input/bias"]
        weights[f"{theirs}.weight_hh_l0"] = params[f"{ours}/recurrent"].T
        weights[f"{theirs}.bias_hh_l0"] = np.zeros(4 * WIDTH, np.float32)
    return weights


def torch_model() -> Any:
    """The same model in torch."""
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


def torch_workload(batch: int, device: str, compiled: bool, weights: Weights) -> Workload:
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.torch_side import adamw, count_flops, parameter_count, to_device, train_step, with_weights

    tensors = {name: to_device(x, device) for name, x in inputs(batch).items()}
    given = tensors["image"].permute(0, 3, 1, 2), tensors["text"], tensors["audio"]  # the memory layout is channels_last
    model = with_weights(torch_model(), weights, device).to(memory_format=torch.channels_last)
    forward = torch.compile(model) if compiled else model
    with torch.no_grad():
        logits = model(*given).cpu().numpy()
    optimizer = adamw([p for p in model.parameters() if p.requires_grad], RATE, DECAY)
    recurrent = 3 * 2 * batch * (WORDS + FRAMES) * 4 * WIDTH * 2 * WIDTH  # forward, and twice that backward
    flops = count_flops(lambda: cross_entropy(model(*given), tensors["label"]).backward()) + recurrent
    step = train_step(lambda: cross_entropy(forward(*given), tensors["label"]), optimizer, device)
    return Workload(step, {"logits": logits}, parameter_count(model), flops=flops, compared_losses=COMPARED)
