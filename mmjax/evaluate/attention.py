"""Attention of a decoder: the tokens of each modality that it looks at when it chooses each word of a text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int

from mmjax.types import Batch, Padded, Tokens

__all__ = ["MAX_BINS", "AttentiveDecoder", "KeepsTokens", "Writes", "binned", "has_weights", "modality_weights", "words_of"]

MAX_BINS = 256  # the weights of more tokens, such as audio frames, are added up in this many bins


@runtime_checkable
class AttentiveDecoder(Protocol):
    """A decoder that gives the weights of its memory."""

    def memory_weights(self, ids: Padded, memory: Tokens) -> Float[Array, "b n m"]:
        """The weight of each memory token at each input token; see `Decoder.memory_weights`."""
        ...


@runtime_checkable
class KeepsTokens(Protocol):
    """A fusion whose output has the tokens of each modality at positions of their own, such as `JoinTokens`."""

    def spans(self, counts: Mapping[str, int]) -> dict[str, range]:
        """The positions of each modality's tokens. counts: {modality: number of its tokens}."""
        ...


@runtime_checkable
class Writes(Protocol):
    """A task whose predictions are texts of a decoder. output: the name of the decoder."""

    output: str

    def written(self, predicted: np.ndarray, units: Any, chosen: Sequence[int]) -> tuple[Int[np.ndarray, "k m"], np.ndarray]:
        """(token ids of the shown texts of k units, -1 beyond the end; Bool[s k], True for the seeds that wrote them)."""
        ...


def has_weights(model: Any, task: Any) -> bool:
    """Whether the words of the task's texts have weights of each modality's tokens."""
    if not isinstance(task, Writes):
        return False
    return isinstance(model.decoders.get(task.output), AttentiveDecoder) and isinstance(model.fusion, KeepsTokens)


def modality_weights(model: Any, output: str) -> Callable[[Any, Batch], dict[str, dict[str, Array]]]:
    """Returns (variables of one seed, batch) -> {modality: {"weights": Float[b m n], "mask": Bool[b n]}}.

    weights: the attention of the decoder `output` to the n tokens of the modality at the choice of each of m ids, which are
    `batch.targets[output]`. Those of all modalities sum to 1. mask: True for valid tokens.
    """

    def run(variables: Any, batch: Batch) -> dict[str, dict[str, Array]]:
        tokens = model.apply(variables, batch, method="encode")
        arguments = output, tokens, batch.present, batch.targets[output]
        weights = model.apply(variables, *arguments, method="memory_weights")
        spans = model.fusion.spans({name: of.x.shape[1] for name, of in tokens.items()})
        mask = lambda name: tokens[name].mask & batch.present[name][:, None]
        return {name: {"weights": weights[:, :, span.start : span.stop], "mask": mask(name)} for name, span in spans.items()}

    return run


def words_of(tokenizer: Any, ids: Sequence[int]) -> tuple[list[str], list[list[int]]]:
    """(the words of a text, the positions of each word's ids). Ids that change nothing, such as unknown ones, have no word."""
    words, before, positions = tokenizer.text(ids).split(), "", []
    for k in range(len(ids)):
        text = tokenizer.text(ids[: k + 1])
        if ids[k] >= 0 and text != before and words:
            number = min(len(text.split()), len(words)) - 1
            positions += [[] for _ in range(number + 1 - len(positions))]
            positions[number].append(k)
        before = text
    return words, positions + [[] for _ in range(len(words) - len(positions))]


def binned(weights: Float[np.ndarray, "w n"], bins: int = MAX_BINS) -> Float[np.ndarray, "w k"]:
    """The weights of n tokens, added up in at most `bins` bins of adjacent tokens."""
    count = weights.shape[1]
    if count <= bins:
        return weights
    return np.add.reduceat(weights, np.arange(bins) * count // bins, axis=1)
