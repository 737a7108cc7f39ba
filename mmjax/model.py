"""The whole data flow: inputs -> encoders -> fusion -> heads."""

from collections.abc import Mapping
from dataclasses import field
from inspect import signature
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.types import Batch, Padded, Tokens


def blank(x: Any, present: Bool[Array, " b"]) -> Any:
    """Zeros where a modality is absent and beyond a sequence's length, so that NaN there reaches neither output nor gradient.

    This masks and does not impute: `Multimodal` also withdraws every token of an absent modality.
    """

    def keep(leaf, there):
        return jnp.where(there.reshape(there.shape + (1,) * (leaf.ndim - there.ndim)), leaf, jnp.zeros((), leaf.dtype))

    if isinstance(x, Padded):
        length = jnp.where(present, x.length, 0)
        return Padded(keep(x.x, Padded(x.x, length).mask), length)
    return jax.tree.map(lambda leaf: keep(leaf, present), x)


class TwoTowers(nn.Module):
    """{"image": pictures [b ...], "text": texts [c ...]} -> how well each picture fits each text, as CLIP and SigLIP have it.

    "image.embedding" [b w] and "text.embedding" [c w], of length one; "temperature" and, where there is one, "bias" [b 1]; and
    "logits" [b c], the dot products by the temperature, plus the bias. The losses `InfoNCE` and `SigmoidPairs` take these
    outputs, and a `Multimodal` can have the same parts under `encoders`, `unimodal_heads` and `heads`.

    image, text: encoders, with one token each (`encoders.Pooled`); image_head, text_head: `heads.Projection`; temperature:
    `heads.Temperature`; bias: `heads.Bias` or None.
    """

    image: nn.Module
    text: nn.Module
    image_head: nn.Module
    text_head: nn.Module
    temperature: nn.Module
    bias: nn.Module | None = None

    def embed_image(self, x: Any, *, train: bool = False) -> Float[Array, "b w"]:
        return self.image_head(self.image(x, train=train), train=train)

    def embed_text(self, x: Any, *, train: bool = False) -> Float[Array, "c w"]:
        return self.text_head(self.text(x, train=train), train=train)

    def __call__(self, inputs: Mapping[str, Any], *, train: bool = False) -> dict[str, Array]:
        image, text = self.embed_image(inputs["image"], train=train), self.embed_text(inputs["text"], train=train)
        tokens = Tokens(image[:, None], jnp.ones((image.shape[0], 1), bool))
        outputs = {"image.embedding": image, "text.embedding": text, "temperature": self.temperature(tokens, train=train)}
        logits = jnp.matmul(image, text.T, precision="highest") / outputs["temperature"]
        if self.bias is not None:
            outputs["bias"] = self.bias(tokens, train=train)
            logits = logits + outputs["bias"]
        return outputs | {"logits": logits}


class Multimodal(nn.Module):
    """Batch -> {name: outputs}, by an encoder for each modality, a fusion of their tokens, and heads.

    encoders: {modality: Encoder}; fusion: Fusion; heads: {target: Head} over the fused tokens; unimodal_heads: {modality: {target:
    Head}} over one modality's own tokens, whose outputs are named "modality.target". frozen: modalities whose encoders do in
    training what they do in evaluation, without dropout and by their running batch statistics.

    `encode` and `decode` are its two halves: `decode` takes the presence of modalities apart from the tokens, so that many
    subsets of modalities can be decoded from tokens that were encoded once.
    """

    encoders: Mapping[str, nn.Module]
    fusion: nn.Module
    heads: Mapping[str, nn.Module]
    unimodal_heads: Mapping[str, Mapping[str, nn.Module]] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()

    def encode(self, batch: Batch, *, train: bool = False) -> dict[str, Tokens]:
        """Each modality's tokens, their masks as far as the batch has them."""
        for part, there in (("inputs", batch.inputs), ("present", batch.present)):
            missing = sorted(set(self.encoders) - set(there))
            if missing:
                raise ValueError(f"Batch.{part} lacks {missing}, which the model encodes; it has {sorted(there)}")
        unknown = sorted(set(self.unimodal_heads) - set(self.encoders))
        if unknown:
            raise ValueError(f"alone has heads on {unknown}, which no encoder gives; the encoders are {sorted(self.encoders)}")

        def one(name, encoder):
            present = batch.present[name]
            counted = {"present": present} if "present" in signature(encoder.__call__).parameters else {}
            return encoder(blank(batch.inputs[name], present), train=train and name not in self.frozen, **counted)

        return {name: one(name, encoder) for name, encoder in self.encoders.items()}

    def decode(self, tokens: Mapping[str, Tokens], present: Mapping[str, Any], *, train: bool = False) -> dict[str, Array]:
        """{name: outputs} from the tokens of the modalities that are present, {modality: Bool[b]}."""
        seen = {name: Tokens(t.x, t.mask & present[name][:, None]) for name, t in tokens.items()}
        outputs = {}
        if self.heads:
            fused = self.fusion(seen, train=train)
            outputs = {target: head(fused, train=train) for target, head in self.heads.items()}
        for name, heads in self.unimodal_heads.items():
            outputs |= {f"{name}.{target}": head(seen[name], train=train) for target, head in heads.items()}
        return outputs

    def __call__(self, batch: Batch, *, train: bool = False) -> dict[str, Array]:
        return self.decode(self.encode(batch, train=train), batch.present, train=train)
