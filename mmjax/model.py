"""The whole forward pass: inputs -> encoders -> fusion -> heads and decoders."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.nn.factored_logits import FactoredLogits
from mmjax.nn.presence import encode
from mmjax.types import Batch, Padded, Tokens

__all__ = ["Multimodal", "TwoTowers", "mask_inputs", "teacher_ids"]


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
    """Batch -> {name: outputs}, by an encoder for each modality, a fusion of their tokens, heads and decoders.

    encoders: {modality: Encoder}. fusion: Fusion, or None if nothing needs fused tokens. heads: {target: Head} over
    the fused tokens. unimodal_heads: {modality: {target: Head}} over the tokens of one modality; their outputs are named
    "modality.target". loss_parameters: {name: module without inputs}, scalars that a loss learns, such as
    `heads.Temperature`; they are outputs of that name without a batch dimension. decoders: {target: Decoder} over the fused
    tokens. frozen: modalities whose encoders always run in inference mode, without dropout and with running batch statistics.

    `encode` and `decode` are its two halves. `decode` takes the presence of modalities as a separate argument, so that tokens
    are encoded once and decoded for many subsets of modalities.

    The output of a decoder are the next-token logits [b m vocabulary] of its target, token ids Int[b m], by teacher forcing:
    the logits at i follow the decoder's `prompt` and the i ids before. `init_cache` and `step` are those of one decoder; with
    them, a search generates text.
    """

    encoders: Mapping[str, nn.Module]
    fusion: nn.Module | None = None
    heads: Mapping[str, nn.Module] = field(default_factory=dict)
    unimodal_heads: Mapping[str, Mapping[str, nn.Module]] = field(default_factory=dict)
    loss_parameters: Mapping[str, nn.Module] = field(default_factory=dict)
    decoders: Mapping[str, nn.Module] = field(default_factory=dict)
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

    def decode(
        self,
        tokens: Mapping[str, Tokens],
        present: Mapping[str, Any],
        targets: Mapping[str, Any] | None = None,
        *,
        train: bool = False,
    ) -> dict[str, Any]:
        """{name: outputs}. present: {modality: Bool[b]}; tokens of absent modalities are masked. targets: as in `Batch`, for
        the decoders; without them, decoders have no outputs.

        ValueError if there are heads or decoders over fused tokens but no fusion, or if `targets` lack that of a decoder.
        """
        masked = _masked(tokens, present)
        outputs = {name: parameter() for name, parameter in self.loss_parameters.items()}
        if self.heads or (self.decoders and targets is not None):
            fused = self._fused(masked, train)
            outputs |= {target: head(fused, train=train) for target, head in self.heads.items()}
            if targets is not None:
                outputs |= {name: _next_logits(name, decoder, targets, fused, train) for name, decoder in self.decoders.items()}
        for name, heads in self.unimodal_heads.items():
            outputs |= {f"{name}.{target}": head(masked[name], train=train) for target, head in heads.items()}
        return outputs

    def _fused(self, masked: Mapping[str, Tokens], train: bool) -> Tokens:
        if self.fusion is None:
            needed = sorted([*self.heads, *self.decoders])
            raise ValueError(f"fusion is None, but the heads and decoders {needed} need fused tokens; give a fusion")
        return self.fusion(masked, train=train)

    def memory(self, batch: Batch) -> Tokens:
        """The fused tokens, which decoders take, without training."""
        return self._fused(_masked(self.encode(batch), batch.present), False)

    def init_cache(
        self, output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any], max_tokens: int, beams: int = 1
    ) -> Any:
        """The empty cache of a decoder for `max_tokens` tokens, prompt included. beams: sequences per example."""
        return self.decoders[output].init_cache(self._fused(_masked(tokens, present), False), max_tokens, beams)

    def prompt_and_end(self, output: str) -> tuple[tuple[int, ...], int]:
        """The token ids before every text of a decoder, and its end token."""
        return self.decoders[output].prompt, self.decoders[output].end

    def step(self, output: str, ids: Int[Array, "c n"], cache: Any) -> tuple[Float[Array, "c n vocabulary"], Any]:
        """The next-token logits of a decoder after each of n more tokens, and the new cache."""
        return self.decoders[output].step(ids, cache)

    def memory_weights(
        self, output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any], ids: Int[Array, "b m"]
    ) -> Float[Array, "b m n"]:
        """The attention of a decoder to its n fused tokens at the choice of each id. ids: as a target, -1 beyond the end."""
        decoder = self.decoders[output]
        weights = decoder.memory_weights(teacher_ids(ids, decoder.prompt), self._fused(_masked(tokens, present), False))
        return weights[:, len(decoder.prompt) - 1 :]

    def __call__(self, batch: Batch, *, train: bool = False) -> dict[str, Any]:
        return self.decode(self.encode(batch, train=train), batch.present, batch.targets, train=train)


def _masked(tokens: Mapping[str, Tokens], present: Mapping[str, Any]) -> dict[str, Tokens]:
    """The tokens, masked in examples without the modality."""
    return {name: Tokens(t.x, t.mask & present[name][:, None]) for name, t in tokens.items()}


def teacher_ids(target: Int[Array, "b m"], prompt: tuple[int, ...]) -> Padded:
    """The input of a decoder in teacher forcing: the prompt and all ids of the target but the last. Missing ids enter as 0."""
    start = jnp.broadcast_to(jnp.asarray(prompt, jnp.int32)[None], (target.shape[0], len(prompt)))
    ids = jnp.concatenate([start, jnp.maximum(target[:, :-1], 0).astype(jnp.int32)], axis=1)
    return Padded(ids, jnp.full(ids.shape[0], ids.shape[1]))


def _next_logits(
    name: str, decoder: nn.Module, targets: Mapping[str, Any], memory: Tokens, train: bool
) -> FactoredLogits | Float[Array, "b m vocabulary"]:
    """The logits of each id of the target, after the prompt and the ids before it."""
    if name not in targets:
        raise ValueError(f"Batch.targets lacks {name!r}, which the decoder of this name learns; it has {sorted(targets)}")
    logits = decoder(teacher_ids(targets[name], decoder.prompt), memory, train=train)
    return logits[:, len(decoder.prompt) - 1 :]
