"""The history of a conversation that fits the context, and the answer to it, piece by piece."""

from collections.abc import Iterator, Mapping, Sequence

from jaxtyping import Array, Key

from mmjax.chat.model import ChatModel
from mmjax.decoders.text_stream import stream

__all__ = ["answer", "fitted"]


def fitted(
    model: ChatModel, messages: Sequence[Mapping[str, str]], max_tokens: int
) -> tuple[list[Mapping[str, str]], list[int]]:
    """(the messages that fit the context before an answer of `max_tokens` tokens, their token ids).

    messages: {"role": "user", "content": "..."} each; a system message, then questions and answers in turn, the last one a
    question. The oldest questions are dropped, with their answers; the system message stays.
    Raises ValueError if the last message alone does not fit.
    """
    positions = model.generator.model.positions
    system = [one for one in messages[:1] if one["role"] == "system"]
    turns = list(messages[len(system) :])
    while len(ids := model.prompt([*system, *turns])) + max_tokens > positions:
        if len(turns) < 3:
            given = f"the message has {len(ids)} tokens with its frame, and the answer may have {max_tokens}"
            raise ValueError(f"{given}; together they may have {positions}")
        turns = turns[2:]
    return [*system, *turns], ids


def answer(
    model: ChatModel, ids: Sequence[int], max_tokens: int, key: Key[Array, ""] | None = None, stop: Sequence[str] = ()
) -> Iterator[str]:
    """Yields the pieces of the answer to a prompt. ids, max_tokens: as of `fitted`. key, stop: as of `stream`."""
    for (piece,) in stream(model.generator, model.decode, [ids], max_tokens, key, stop):
        if piece:
            yield piece
