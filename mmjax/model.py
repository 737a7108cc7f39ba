"""The whole forward pass: inputs -> encoders -> fusion -> heads."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.nn.presence import encode
from mmjax.types import Batch, Padded, Tokens

__all__ = ["Multimodal", "TwoTowers", "mask_inputs"]


def mask_inputs(x: Any, present: Bool[Array, " b"]) -> Any:
    """Zeros in absent examples and beyond the length of a `Padded`, so that NaN there reaches neither output nor gradient.

    The zeros are not an imputation: `Multimodal` also masks every token of an absent modality.
    """

    def keep(leaf, valid):
        return jnp.where(valid.reshape(valid.shape + (1,) * (leaf.ndim - valid.ndim)), leaf, jnp.zeros((), leaf.dtype))

    if isinstance(x, Padded):
        length = jnp.where(present, x.length, 0)
        return Padded(keep(x.x, Padded(x.x, length).mask), length)
    return jax.tree.map(lambda leaf: keep(leaf, present), x)


class TwoTowers(nn.Module):
    """{"image": images [b ...], "text": texts [c ...]} -> embeddings and pairwise logits, as in CLIP and SigLIP.

    Outputs: "image.embedding" [b w] and "text.embedding" [c w], of unit length; "temperature" [] and, if there is a bias,
    "bias" []; "logits" [b c], the dot products divided by the temperature, plus the bias. The losses `InfoNCE` and
    `SigmoidPairs` take these outputs. A `Multimodal` can have the same modules under `encoders`, `unimodal_heads` and
    `loss_parameters`.

    image, text: encoders with one token each (`encoders.Pooled`). image_head, text_head: `heads.Projection`. temperature:
    `heads.Temperature`. bias: `heads.Bias` or None.
    """

    image: nn.Module
    text: nn.Module
    image_head: nn.Module
    text_head: nn.Module
    temperature: nn.Module
    bias: nn.Module | None = None

    def embed_image(self, x: Any, *, train: bool = False) -> Float[Array, "b w"]:
        """Images [b ...] -> embeddings of unit length."""
        return self.image_head(self.image(x, train=train), train=train)

    def embed_text(self, x: Any, *, train: bool = False) -> Float[Array, "c w"]:
        """Texts [c ...] -> embeddings of unit length."""
        return self.text_head(self.text(x, train=train), train=train)

    def __call__(self, inputs: Mapping[str, Any], *, train: bool = False) -> dict[str, Array]:
        image, text = self.embed_image(inputs["image"], train=train), self.embed_text(inputs["text"], train=train)
        outputs = {"image.embedding": image, "text.embedding": text, "temperature": self.temperature()}
        logits = jnp.matmul(image, text.T, precision="highest") / outputs["temperature"]
        if self.bias is not None:
            outputs["bias"] = self.bias()
            logits = logits + outputs["bias"]
        return outputs | {"logits": logits}


class Multimodal(nn.Module):
    """Batch -> {name: outputs}, by an encoder for each modality, a fusion of their tokens, and heads.

    encoders: {modality: Encoder}. fusion: Fusion, or None if there are no heads over fused tokens. heads: {target: Head} over
    the fused tokens. unimodal_heads: {modality: {target: Head}} over the tokens of one modality; their outputs are named
    "modality.target". loss_parameters: {name: module without inputs}, scalars that a loss learns, such as
    `heads.Temperature`; they are outputs of that name without a batch dimension. frozen: modalities whose encoders always run
    in inference mode, without dropout and with running batch statistics.

    `encode` and `decode` are its two halves. `decode` takes the presence of modalities as a separate argument, so that tokens
    are encoded once and decoded for many subsets of modalities.
    """

    encoders: Mapping[str, nn.Module]
    fusion: nn.Module | None = None
    heads: Mapping[str, nn.Module] = field(default_factory=dict)
    unimodal_heads: Mapping[str, Mapping[str, nn.Module]] = field(default_factory=dict)
    loss_parameters: Mapping[str, nn.Module] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()

    def encode(self, batch: Batch, *, train: bool = False) -> dict[str, Tokens]:
        """{modality: Tokens}; `decode` applies the presence of modalities to their masks.

        ValueError if the batch lacks a modality, or if `unimodal_heads` names a modality without an encoder.
        """
        for part, given in (("inputs", batch.inputs), ("present", batch.present)):
            missing = sorted(set(self.encoders) - set(given))
            if missing:
                raise ValueError(f"Batch.{part} lacks {missing}, which the model encodes; it has {sorted(given)}")
        unknown = sorted(set(self.unimodal_heads) - set(self.encoders))
        if unknown:
            raise ValueError(f"unimodal_heads names {unknown}, which have no encoder; the encoders are {sorted(self.encoders)}")

        def one(name, encoder):
            present = batch.present[name]
            return encode(encoder, mask_inputs(batch.inputs[name], present), present, train=train and name not in self.frozen)

        return {name: one(name, encoder) for name, encoder in self.encoders.items()}

    def decode(self, tokens: Mapping[str, Tokens], present: Mapping[str, Any], *, train: bool = False) -> dict[str, Array]:
        """{name: outputs}. present: {modality: Bool[b]}; tokens of absent modalities are masked.

        ValueError if there are heads over fused tokens but no fusion.
        """
        if self.heads and self.fusion is None:
            raise ValueError(f"fusion is None, but the heads {sorted(self.heads)} need fused tokens; give a fusion")
        masked = {name: Tokens(t.x, t.mask & present[name][:, None]) for name, t in tokens.items()}
        outputs = {name: parameter() for name, parameter in self.loss_parameters.items()}
        if self.heads:
            fused = self.fusion(masked, train=train)
            outputs |= {target: head(fused, train=train) for target, head in self.heads.items()}
        for name, heads in self.unimodal_heads.items():
            outputs |= {f"{name}.{target}": head(masked[name], train=train) for target, head in heads.items()}
        return outputs

    def __call__(self, batch: Batch, *, train: bool = False) -> dict[str, Array]:
        return self.decode(self.encode(batch, train=train), batch.present, train=train)
