"""A training step of a CLIP-like dual encoder: a ViT on pictures of 64 px and a causal Transformer on up to 32 words, both 256
wide; the contrastive loss over the batch; AdamW. GELU by the error function on both sides: OpenAI's "quick GELU" is three
kernels in torch without compilation. TextPreprocessing differ in length; each ends with its highest number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.work import TOLERANCE, Case, Weights, Work

RATE, DECAY = 1e-3, 1e-2


@dataclass(frozen=True)
class Sizes:
    """side, patch: of the square pictures, in pixels. image, text: each tower's width, depth, heads, and hidden units. words:
    the longest text's; vocabulary: how many token numbers there are; embedding: how wide what is compared is."""

    side: int
    patch: int
    image: tuple[int, int, int, int]
    text: tuple[int, int, int, int]
    words: int
    vocabulary: int
    embedding: int


SMALL = Sizes(64, 8, (256, 6, 4, 1024), (256, 4, 4, 1024), 32, 8192, 256)
TINY = Sizes(16, 8, (32, 1, 2, 64), (32, 1, 2, 64), 8, 100, 16)


def cases(quick: bool, device: str) -> list[Case]:
    return [
        Case(
            f"batch {batch}",
            {"mmjax": partial(ours, size, batch, "float32"), **peers(size, batch, "float32", device, quick)},
            {"torch": 1.0, "torch compiled": 1.0} if device == "cpu" else {},
            tolerance=TOLERANCE[device],
        )
        for size, batch in ([(TINY, 4)] if quick else [(SMALL, 64), (SMALL, 256)])
    ]


def peers(size: Sizes, batch: int, dtype: str, device: str, quick: bool) -> dict[str, Callable[[Weights], Work]]:
    """torch, and compiled where that is worth its minute."""
    worth = not quick and (batch == 64 or device == "gpu")
    sides = {"torch": False, "torch compiled": True} if worth else {"torch": False}
    return {name: partial(theirs, size, batch, dtype, device, compiled) for name, compiled in sides.items()}


def inputs(size: Sizes, batch: int) -> dict[str, np.ndarray]:
    """ImagePreprocessing, words (0 after the end), and how many words there are."""
    rng = np.random.default_rng(0)
    length = rng.integers(size.words // 4, size.words, batch, endpoint=True)
    step, last = np.arange(size.words)[None], length[:, None] - 1
    words = rng.integers(1, size.vocabulary - 1, (batch, size.words))
    return {
        "image": rng.standard_normal((batch, size.side, size.side, 3), np.float32),
        "text": np.where(step < last, words, np.where(step == last, size.vocabulary - 1, 0)),
        "length": length,
    }


def flops(size: Sizes, batch: int) -> float:
    """Of a step's matmuls: forwards, and twice that backwards, but for the pictures no gradient. Attention counts whole where
    it is causal too. By hand, since torch's counter does not know attention on a CPU."""
    patches = (size.side // size.patch) ** 2

    def tower(tokens: int, width: int, depth: int, heads: int, hidden: int) -> int:
        return tokens * depth * (8 * width**2 + 4 * width * hidden + 4 * tokens * width)

    embedded = 2 * patches * size.patch**2 * 3 * size.image[0]
    compared = 2 * size.embedding * (size.image[0] + size.text[0] + batch)
    whole = tower(patches + 1, *size.image) + tower(size.words, *size.text) + compared
    return float(batch * (3 * whole + 2 * embedded))


def ours(size: Sizes, batch: int, dtype: str, weights: Weights) -> Work:
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks.ours import numbers, training
    from mmjax.encoders import Pooled, TextTransformer, ViT
    from mmjax.heads import Projection, Temperature
    from mmjax.losses import InfoNCE
    from mmjax.model import Multimodal
    from mmjax.nn import first_token, last_token
    from mmjax.types import Batch, Padded

    given = jax.tree.map(jnp.asarray, inputs(size, batch))
    there = jnp.ones(batch, bool)
    seen = {"image": given["image"], "text": Padded(given["text"], given["length"])}
    data = Batch(seen, dict.fromkeys(seen, there), {}, jnp.ones(batch))
    image = ViT(size.patch, *size.image, epsilon=1e-5, first_norm=True, dtype=jnp.dtype(dtype))
    text = TextTransformer(size.vocabulary, *size.text, size.words, dtype=jnp.dtype(dtype))
    model = Multimodal(
        {"image": Pooled(image, first_token), "text": Pooled(text, last_token)},
        unimodal_heads={name: {"embedding": Projection(size.embedding)} for name in ("image", "text")},
        loss_parameters={"temperature": Temperature()},
    )
    loss = InfoNCE("image.embedding", "text.embedding", "temperature")
    before, run = training(model, data, loss, optax.adamw(RATE, weight_decay=DECAY))
    outputs = jax.jit(model.apply)(before.variables, data)
    found = {name: np.asarray(outputs[f"{name}.embedding"]) for name in seen}
    return Work(run, found, numbers(before.params), named(image, text, before.variables), flops(size, batch), 3)


def named(image: Any, text: Any, variables: dict) -> dict[str, np.ndarray]:
    """As transformers' CLIPModel has them."""
    from mmjax.pretrained.layout import dense, theirs
    from mmjax.pretrained.dual_encoders import ONE, image_names, text_names

    names = image_names("params/encoders_image/encoder", image) | text_names("params/encoders_text/encoder", text)
    names |= dense("params/unimodal_heads_image_embedding/dense", "visual_projection", bias=False)
    names |= dense("params/unimodal_heads_text_embedding/dense", "text_projection", bias=False)
    return theirs(names | {"params/loss_parameters_temperature/log_scale": ("logit_scale", ONE)}, variables)


def theirs(size: Sizes, batch: int, dtype: str, device: str, compiled: bool, weights: Weights) -> Work:
    import torch
    from transformers import CLIPConfig, CLIPModel

    from benchmarks.peers import DEVICES, adamw, count, load, place, train_step

    fields = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    text = dict(zip(fields, size.text)) | {"vocab_size": size.vocabulary, "max_position_embeddings": size.words}
    text |= {"eos_token_id": size.vocabulary - 1, "bos_token_id": None, "pad_token_id": 0}
    image = dict(zip(fields, size.image)) | {"image_size": size.side, "patch_size": size.patch}
    parts = {"text_config": text | {"hidden_act": "gelu"}, "vision_config": image | {"hidden_act": "gelu"}}
    config = CLIPConfig(**parts, projection_dim=size.embedding, attn_implementation="sdpa")
    model = load(CLIPModel(config), weights, device)
    run_model = torch.compile(model) if compiled else model
    given = inputs(size, batch)
    pictures = place(given["image"].transpose(0, 3, 1, 2), device)
    words = place(given["text"], device)  # the end is what counts, and sees no padding after it: no mask is needed

    def forward(model):
        with torch.autocast(DEVICES[device], torch.bfloat16, enabled=dtype == "bfloat16"):
            return model(input_ids=words, pixel_values=pictures, return_loss=True)

    with torch.no_grad():
        outputs = forward(model)
    found = {"image": outputs.image_embeds.float().cpu().numpy(), "text": outputs.text_embeds.float().cpu().numpy()}
    step = train_step(lambda: forward(run_model).loss, adamw(model.parameters(), RATE, DECAY), device)
    return Work(step, found, count(model), flops=flops(size, batch), compared_runs=3)
