"""The history of a conversation that fits the context, and the answer to it, piece by piece."""

from collections.abc import Iterator, Sequence

from jaxtyping import Array, Key

from mmjax.chat.cell import ChatCell
from mmjax.chat.messages import Message
from mmjax.chat.model import ChatModel, ChatPrompt
from mmjax.decoders.text_stream import stream

__all__ = ["answer", "fitted", "reply"]


def fitted(model: ChatModel, messages: Sequence[Message], max_tokens: int) -> tuple[list[Message], ChatPrompt]:
    """(the messages that fit the context before an answer of `max_tokens` tokens, their prompt).

    messages: as in `chat.messages`; a system message, then questions and answers in turn, the last one a question. The oldest
    questions are dropped, with their answers and images; the system message stays.
    Raises ValueError if the last message alone does not fit.
    """
    positions = model.generator.positions
    system = [one for one in messages[:1] if one["role"] == "system"]
    turns = list(messages[len(system) :])
    while len((prompt := model.prompt([*system, *turns])).ids) + max_tokens > positions:
        if len(turns) < 3:
            given = f"the message has {len(prompt.ids)} tokens with its frame, and the answer may have {max_tokens}"
            raise ValueError(f"{given}; together they may have {positions}")
        turns = turns[2:]
    return [*system, *turns], prompt


def answer(
    model: ChatModel, prompt: ChatPrompt, max_tokens: int, key: Key[Array, ""] | None = None, stop: Sequence[str] = ()
) -> Iterator[str]:
    """Yields the pieces of the answer to a prompt. prompt, max_tokens: as of `fitted`. key, stop: as of `stream`."""
    memory = model.memory(prompt)
    for (piece,) in stream(model.generator, model.decode, [prompt.ids], max_tokens, key, stop, memory=memory):
        if piece:
            yield piece


def reply(
    model: ChatModel | ChatCell,
    messages: Sequence[Message],
    max_tokens: int,
    key: Key[Array, ""] | None = None,
    stop: Sequence[str] = (),
) -> tuple[list[Message], Iterator[str]]:
    """(the messages that the model reads, the pieces of its answer). Arguments and errors as of `fitted` and `answer`; a cell
    answers at once, with the search of its task."""
    if isinstance(model, ChatCell):
        return list(messages), iter([model.answer(messages)])
    kept, prompt = fitted(model, messages, max_tokens)
    return kept, answer(model, prompt, max_tokens, key, stop)
