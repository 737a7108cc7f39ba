"""Texts while they are generated: pieces of valid Unicode, up to a stop string."""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

import numpy as np
from jaxtyping import Array, Key

from mmjax.decoders.generator import Generator, PromptIds
from mmjax.types import Tokens

__all__ = ["settled", "stream"]

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # in the place of bytes that are no complete character


def settled(text: str, stop: Sequence[str] = (), complete: bool = False) -> tuple[str, bool]:
    """(the part of a text that no further token can change, whether a stop string ended it).

    text: so far; an incomplete character at its end is U+FFFD, as tokenizers write it. stop: the text ends before the first
    occurrence of any of these. A part of one at the end is held back. complete: whether no further token follows.
    """
    found = [text.find(one) for one in stop if one in text]
    if found:
        return text[: min(found)], True
    if complete:
        return text, False
    text = text.rstrip(_INCOMPLETE)
    held = (size for one in stop for size in range(1, len(one)) if text.endswith(one[:size]))
    return text[: len(text) - max(held, default=0)], False


def stream(
    generator: Generator,
    decode: Callable[[Sequence[int]], str],
    prompts: PromptIds,
    max_tokens: int,
    key: Key[Array, ""] | None = None,
    stop: Sequence[str] = (),
    tokens: int = 4,
    memory: Tokens | None = None,
) -> Iterator[list[str]]:
    """Yields the next piece of each text, "" for a text without one, until every text has ended.

    decode: token ids -> text, such as `Tokenizer.text` or `decode` of the library `tokenizers`. prompts, max_tokens, key,
    memory: as of `Generator.start`. stop: as of `settled`; the stop string is not yielded. tokens: of each text between two
    pieces.
    Raises ValueError if a stop string is empty.
    """
    if not all(stop):
        raise ValueError(f"stop is {stop!r}; a stop string must not be empty")
    end, state = generator.model.end, generator.start(prompts, max_tokens, key, memory)
    sent, stopped = [""] * len(state.ended), np.zeros(len(state.ended), bool)
    while True:
        ids, ended = np.array(state.ids[:, : int(state.count)]), np.array(state.ended)
        pieces = [""] * len(sent)
        for row in np.flatnonzero(~stopped):
            text = decode([*takewhile(lambda token: token != end, ids[row].tolist())])
            text, stopped[row] = settled(text, stop, bool(ended[row]))
            pieces[row] = text[len(sent[row]) :]
            sent[row] += pieces[row]
            stopped[row] |= ended[row]
        yield pieces
        if stopped.all():
            return
        state = generator.advance(state, tokens, stopped)
