"""A training step of a CLIP-like dual encoder: a ViT on images of 64 px and a causal Transformer on up to 32 tokens, both 256
wide; a contrastive loss over the batch; AdamW. Both sides compute GELU by the error function, since OpenAI's "quick GELU" takes
three kernels in torch without compilation. Texts differ in length, and each ends with the highest id. Another side of mmjax
takes several steps in one compiled call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.case import SEVERAL_STEPS, STEPS_PER_CALL, TOLERANCE, Case, Weights, Workload

RATE, DECAY = 1e-3, 1e-2
COMPARED = 3  # losses


@dataclass(frozen=True)
class Sizes:
    """side, patch: of the square images, in pixels. image, text: width, depth, heads and hidden units of the encoders.
    max_tokens: of a text. vocabulary: number of token ids. embedding: width of the compared embeddings."""

    side: int
    patch: int
    image: tuple[int, int, int, int]
    text: tuple[int, int, int, int]
    max_tokens: int
    vocabulary: int
    embedding: int


SMALL = Sizes(64, 8, (256, 6, 4, 1024), (256, 4, 4, 1024), 32, 8192, 256)
TINY = Sizes(16, 8, (32, 1, 2, 64), (32, 1, 2, 64), 8, 100, 16)


def cases(quick: bool, device: str) -> list[Case]:
    return [
        Case(
            f"batch {batch}",
            {
                "mmjax": partial(mmjax_workload, size, batch, "float32"),
                **torch_sides(size, batch, "float32", device, quick),
                SEVERAL_STEPS: partial(mmjax_workload, size, batch, "float32", several=True),
            },
            {"torch": 1.0, "torch compiled": 1.0} if device == "cpu" else {},
            tolerance=TOLERANCE[device],
        )
        for size, batch in ([(TINY, 4)] if quick else [(SMALL, 64), (SMALL, 256)])
    ]


def torch_sides(size: Sizes, batch: int, dtype: str, device: str, quick: bool) -> dict[str, Callable[[Weights], Workload]]:
    """torch, and compiled torch where its minute of compilation is affordable."""
    with_compiled = not quick and (batch == 64 or device == "gpu")
    sides = {"torch": False, "torch compiled": True} if with_compiled else {"torch": False}
    return {name: partial(torch_workload, size, batch, dtype, device, compiled) for name, compiled in sides.items()}


def inputs(size: Sizes, batch: int) -> dict[str, np.ndarray]:
    """Images, token ids (0 after the end), and the lengths of the texts."""
    rng = np.random.default_rng(0)
    length = rng.integers(size.max_tokens // 4, size.max_tokens, batch, endpoint=True)
    step, last = np.arange(size.max_tokens)[None], length[:, None] - 1
    ids = rng.integers(1, size.vocabulary - 1, (batch, size.max_tokens))
    return {
        "image": rng.standard_normal((batch, size.side, size.side, 3), np.float32),
        "text": np.where(step < last, ids, np.where(step == last, size.vocabulary - 1, 0)),
        "length": length,
    }


def flops(size: Sizes, batch: int) -> float:
    """The FLOPs of a step's matmuls: forward, and twice that backward, without a gradient of the images. Causal attention
    counts in full. Computed by hand, since torch's counter does not count attention on a CPU."""
    patches = (size.side // size.patch) ** 2

    def encoder(tokens: int, width: int, depth: int, heads: int, hidden: int) -> int:
        return tokens * depth * (8 * width**2 + 4 * width * hidden + 4 * tokens * width)

    embedded = 2 * patches * size.patch**2 * 3 * size.image[0]
    compared = 2 * size.embedding * (size.image[0] + size.text[0] + batch)
    total = encoder(patches + 1, *size.image) + encoder(size.max_tokens, *size.text) + compared
    return float(batch * (3 * total + 2 * embedded))


def mmjax_workload(size: Sizes, batch: int, dtype: str, weights: Weights, several: bool = False) -> Workload:
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks.mmjax_side import parameter_count, training_run
    from mmjax.encoders import Pooled, TextTransformer, ViT
    from mmjax.heads import Projection, Temperature
    from mmjax.losses import InfoNCE
    from mmjax.model import Multimodal
    from mmjax.nn import first_token, last_token
    from mmjax.types import Batch, Padded

    arrays = jax.tree.map(jnp.asarray, inputs(size, batch))
    modalities = {"image": arrays["image"], "text": Padded(arrays["text"], arrays["length"])}
    data = Batch(modalities, dict.fromkeys(modalities, jnp.ones(batch, bool)), {}, jnp.ones(batch))
    image = ViT(size.patch, *size.image, epsilon=1e-5, first_norm=True, dtype=jnp.dtype(dtype))
    text = TextTransformer(size.vocabulary, *size.text, size.max_tokens, dtype=jnp.dtype(dtype))
    model = Multimodal(
        {"image": Pooled(image, first_token), "text": Pooled(text, last_token)},
        unimodal_heads={name: {"embedding": Projection(size.embedding)} for name in ("image", "text")},
        loss_parameters={"temperature": Temperature()},
    )
    loss = InfoNCE("image.embedding", "text.embedding", "temperature")
    steps = STEPS_PER_CALL if several else 1
    variables, run = training_run(model, data, loss, optax.adamw(RATE, weight_decay=DECAY), steps)
    outputs = jax.jit(model.apply)(variables, data)
    return Workload(
        run,
        {name: np.asarray(outputs[f"{name}.embedding"]) for name in modalities},
        parameter_count(variables["params"]),
        as_clip(image, text, variables),
        flops(size, batch),
        compared_losses=COMPARED,
        repeats=steps,
    )


def as_clip(image: Any, text: Any, variables: dict) -> dict[str, np.ndarray]:
    """The variables as tensors of transformers' CLIPModel."""
    from mmjax.pretrained.convert import to_tensors
    from mmjax.pretrained.dual_encoders import SCALAR, image_names, text_names
    from mmjax.pretrained.layout import dense

    names = image_names("params/encoders_image/encoder", image) | text_names("params/encoders_text/encoder", text)
    names |= dense("params/unimodal_heads_image_embedding/dense", "visual_projection", bias=False)
    names |= dense("params/unimodal_heads_text_embedding/dense", "text_projection", bias=False)
    return to_tensors(names | {"params/loss_parameters_temperature/log_scale": ("logit_scale", SCALAR)}, variables)


def torch_workload(size: Sizes, batch: int, dtype: str, device: str, compiled: bool, weights: Weights) -> Workload:
    import torch
    from transformers import CLIPConfig, CLIPModel

    from benchmarks.torch_side import DEVICES, adamw, parameter_count, to_device, train_step, with_weights

    fields = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    text = dict(zip(fields, size.text)) | {"vocab_size": size.vocabulary, "max_position_embeddings": size.max_tokens}
    text |= {"eos_token_id": size.vocabulary - 1, "bos_token_id": None, "pad_token_id": 0}
    image = dict(zip(fields, size.image)) | {"image_size": size.side, "patch_size": size.patch}
    parts = {"text_config": text | {"hidden_act": "gelu"}, "vision_config": image | {"hidden_act": "gelu"}}
    config = CLIPConfig(**parts, projection_dim=size.embedding, attn_implementation="sdpa")
    model = with_weights(CLIPModel(config), weights, device)
    run_model = torch.compile(model) if compiled else model
    arrays = inputs(size, batch)
    images = to_device(arrays["image"].transpose(0, 3, 1, 2), device)
    ids = to_device(arrays["text"], device)  # no mask: only the end token counts, and attention is causal

    def forward(model):
        with torch.autocast(DEVICES[device], torch.bfloat16, enabled=dtype == "bfloat16"):
            return model(input_ids=ids, pixel_values=images, return_loss=True)

    with torch.no_grad():
        outputs = forward(model)
    found = {"image": outputs.image_embeds.float().cpu().numpy(), "text": outputs.text_embeds.float().cpu().numpy()}
    step = train_step(lambda: forward(run_model).loss, adamw(model.parameters(), RATE, DECAY), device)
    return Workload(step, found, parameter_count(model), flops=flops(size, batch), compared_losses=COMPARED)
