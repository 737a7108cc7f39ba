"""Wrappers of a language model: logits that are not computed as an array, and rows of several texts.

    Factored(model)                      # for training and `Likelihood` over a large vocabulary
    PackedDecoder(model)                 # for `data.documents.PackedDocuments`
    LoRA(Factored(PackedDecoder(model)))

The parameters are those of the model, under the same paths. A decoder that is wrapped has the methods `states` and `factored`
of `LanguageModel`.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmjax.decoders.flamingo import Flamingo
from mmjax.decoders.interleaved import Interleaved
from mmjax.nn.checks import positive
from mmjax.nn.factored_logits import FactoredLogits
from mmjax.types import Padded, Tokens

__all__ = ["Factored", "PackedDecoder", "segments_of"]


class Factored(nn.Module):
    """A language model whose output in teacher forcing is `FactoredLogits`; `step` gives real logits.

    `CrossEntropy` and `Likelihood` compute the logits of `chunk` tokens of each example at a time, and again for the gradient,
    so no array of all tokens and the vocabulary exists.

    decoder: `LanguageModel`, `GPT2` or `PackedDecoder`. chunk: tokens per example.
    """

    decoder: nn.Module
    chunk: int = 128

    def setup(self):
        positive(self, "chunk")
        nn.share_scope(self, self.decoder)

    def __call__(self, ids: Padded, memory: Tokens | None = None, *, train: bool = False) -> FactoredLogits:
        """The logits [b n vocabulary] as factors."""
        return self.decoder.factored(self.decoder.states(ids, memory, train=train)).replace(chunk=self.chunk)

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.decoder.prompt

    @property
    def end(self) -> int:
        return self.decoder.end

    @property
    def vocabulary(self) -> int:
        return self.decoder.vocabulary

    def init_cache(self, memory: Tokens, max_tokens: int, beams: int = 1) -> Any:
        """As of the decoder."""
        return self.decoder.init_cache(memory, max_tokens, beams)

    def step(self, ids: Int[Array, "b n"], cache: Any) -> tuple[Float[Array, "b n vocabulary"], Any]:
        """As of the decoder."""
        return self.decoder.step(ids, cache)


def segments_of(ids: Int[Array, "b n"], end: int) -> Int[Array, "b n"]:
    """The number of each token's text: of end tokens before it, its own included, as an end token begins the next text."""
    return jnp.cumsum(ids == end, axis=1, dtype=jnp.int32)


class PackedDecoder(nn.Module):
    """A language model for rows of several texts, each with its end token: no text attends to another, and positions restart.

    In teacher forcing an end token is the last target of its text; in its place the input has the prompt of the next text. So a
    packed row has the logits of its texts one by one. Texts that are generated are not packed.

    model: `LanguageModel` or `GPT2` with a prompt of one token. ValueError for another prompt, a prefix before the text, an
    `Interleaved`, which packs texts by itself, or a `Flamingo`, which does not.
    """

    model: nn.Module  # not "decoder", since modules that share a scope cannot share the names of their fields

    def setup(self):
        if isinstance(self.model, Flamingo | Interleaved):
            kind = type(self.model).__name__
            raise ValueError(f"PackedDecoder.model is {kind}, whose images belong to no text; it must be LanguageModel or GPT2")
        if len(self.model.prompt) != 1:
            raise ValueError(f"PackedDecoder.model has the prompt {self.model.prompt}; it must be one token")
        nn.share_scope(self, self.model)

    def states(self, ids: Padded, memory: Tokens | None = None, *, train: bool = False) -> Float[Array, "b n d"]:
        """The output of the blocks at each token. ids: the prompt, and the ids and end tokens of the texts."""
        after = ids.x.at[:, 0].set(-1)  # a prompt that is the end token ends no text
        x = jnp.where(after == self.model.end, self.model.prompt[0], ids.x)
        return self.model.states(ids.replace(x=x), memory, segments_of(after, self.model.end), train=train)

    def factored(self, x: Float[Array, "b n d"]) -> FactoredLogits:
        """As of the decoder."""
        return self.model.factored(x)

    def __call__(self, ids: Padded, memory: Tokens | None = None, *, train: bool = False) -> Float[Array, "b n vocabulary"]:
        """The next-token logits of each text."""
        return self.model.logits(self.states(ids, memory, train=train))

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.model.prompt

    @property
    def end(self) -> int:
        return self.model.end

    @property
    def vocabulary(self) -> int:
        return self.model.vocabulary

    def init_cache(self, memory: Tokens, max_tokens: int, beams: int = 1) -> Any:
        """As of the decoder."""
        return self.model.init_cache(memory, max_tokens, beams)

    def step(self, ids: Int[Array, "b n"], cache: Any) -> tuple[Float[Array, "b n vocabulary"], Any]:
        """As of the decoder."""
        return self.model.step(ids, cache)
