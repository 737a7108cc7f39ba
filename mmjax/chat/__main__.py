"""`python -m mmjax.chat WEIGHTS|RUN`: a conversation with a language model in the terminal."""

import argparse
import contextlib
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

__all__ = ["DTYPES", "MAX_TOKENS", "main", "printable"]

DTYPES = ("float32", "bfloat16", "int8")
MAX_TOKENS = 512  # of an answer, or half of the model's positions if these are fewer

EPILOG = "Ctrl-C stops an answer, Ctrl-D ends the program. Without a terminal, each line of the input is a message."


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and answers until the input ends. Exits with one line for an error."""
    given = _parser().parse_args(arguments)
    import jax

    from mmjax.data.decode import DataError
    from mmjax.describe import DescribeError
    from mmjax.experiment.cli import prepare_jax
    from mmjax.pretrained.files import WeightsError
    from mmjax.runs.schema import RunError

    prepare_jax()
    console, notes = Console(highlight=False), Console(stderr=True, highlight=False)
    failures = (DataError, DescribeError, RunError, WeightsError, ImportError, ValueError, OSError)
    try:
        with notes.status("reading the weights") if notes.is_terminal else contextlib.nullcontext():
            model = _model(given)
        positions = model.generator.model.positions
        max_tokens = min(MAX_TOKENS, max(positions // 2, 1)) if given.max_tokens is None else given.max_tokens
        if not 1 <= max_tokens < positions:
            raise ValueError(f"--max-tokens is {max_tokens}; it must be 1 to {positions - 1}, below the positions of the model")
        if given.system and model.template is None:
            raise ValueError(f"--system is given, but {given.source} has no chat template; it continues texts")
        at_terminal = given.prompt is None and sys.stdin.isatty()
        inputs = [given.prompt] if given.prompt is not None else _typed(console) if at_terminal else _lines()
        messages = [{"role": "system", "content": given.system}] if given.system else []
        for number, text in enumerate(inputs):
            key = jax.random.fold_in(jax.random.key(given.seed), number)
            try:
                asked = [*messages, {"role": "user", "content": text}]
                messages = _turn(model, asked, max_tokens, key, given.stop, console, notes)
            except ValueError as error:
                if not at_terminal:
                    raise
                notes.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
    except failures as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:  # while the weights are read
        sys.exit(130)


def _turn(
    model: Any,
    messages: Sequence[Mapping[str, str]],
    max_tokens: int,
    key: Any,
    stop: Sequence[str],
    console: Console,
    notes: Console,
) -> list[Mapping[str, str]]:
    """Prints the answer to the last message. Returns the messages that the model has read, and the answer."""
    from mmjax.chat.conversation import answer, fitted

    kept, ids = fitted(model, messages, max_tokens)
    if dropped := (len(messages) - len(kept)) // 2:
        notes.print(f"(the context is full; oldest turns that are dropped: {dropped})", style="dim")
    pieces = []
    try:
        for piece in answer(model, ids, max_tokens, key, stop):
            pieces.append(piece)
            console.print(printable(piece), end="", markup=False, emoji=False, soft_wrap=True)
    except KeyboardInterrupt:
        notes.print(" (stopped)", style="dim", end="")
    console.print()
    return [*kept, {"role": "assistant", "content": "".join(pieces)}]


def printable(text: str) -> str:
    """The text without control characters, which could command the terminal, but with line breaks and tabs."""
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one) != "Cc")


def _typed(console: Console) -> Iterator[str]:
    """The messages that are typed, until Ctrl-D."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # editing and a history of lines
    while True:
        try:
            text = console.input("[bold]> [/]").strip()
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            console.print("\n(Ctrl-D ends)", style="dim")
            continue
        if text:
            yield text


def _lines() -> Iterator[str]:
    yield from filter(None, map(str.strip, sys.stdin))


def _model(given: argparse.Namespace) -> Any:
    """The `ChatModel` of the command line."""
    from mmjax.chat.model import chat_weights, chat_with_cell
    from mmjax.nn.rules import Chain, NoRepeat, RepetitionPenalty
    from mmjax.nn.sample import NextToken
    from mmjax.nn.search import allow_all

    rules = [RepetitionPenalty(given.repetition_penalty)] if given.repetition_penalty is not None else []
    rules += [NoRepeat(given.no_repeat)] if given.no_repeat is not None else []
    rule = Chain(tuple(rules)) if rules else allow_all
    choice = NextToken(given.temperature, given.top_k, given.top_p, given.min_p, rule)
    if not (Path(given.source) / "run.json").is_file():
        if given.cell is not None:
            raise ValueError(f"--cell is {given.cell}, but {given.source} is no run folder")
        return chat_weights(given.source, choice, given.dtype)
    from mmjax.results import load_run

    results = load_run(given.source)
    if given.cell is None and len(results) > 1:
        raise ValueError(f"the cells of {given.source} are {', '.join(results)}; name one with --cell")
    name = next(iter(results)) if given.cell is None else given.cell
    if name not in results:
        raise ValueError(f"--cell is {name}; the cells of {given.source} are {', '.join(results)}")
    return chat_with_cell(results[name], choice, given.dtype)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mmjax.chat", description="A conversation with a language model.", epilog=EPILOG
    )
    add: Callable[..., Any] = parser.add_argument
    add("source", metavar="WEIGHTS|RUN", help="a name of python -m mmjax.pretrained, a folder, a GGUF file or a run folder")
    add("--cell", help="the cell of a run (default: the only one)")
    add("--prompt", metavar="TEXT", help="answer this message and exit")
    add("--system", metavar="TEXT", help="the system message, before all others")
    add("--max-tokens", type=int, metavar="N", help=f"of an answer (default: {MAX_TOKENS}, or half of the model's positions)")
    add("--temperature", type=float, default=0.0, help="0 chooses the most likely token (default: %(default)s)")
    add("--top-k", type=int, metavar="K", help="draw from the K most likely tokens")
    add("--top-p", type=float, metavar="P", help="draw from the most likely tokens whose probabilities sum to P")
    add("--min-p", type=float, metavar="P", help="draw from tokens at least P times as likely as the most likely one")
    add("--repetition-penalty", type=float, metavar="X", help="divides the logits of tokens of the answer (default: 1)")
    add("--no-repeat", type=int, metavar="N", help="no sequence of N tokens occurs twice in an answer")
    add("--stop", nargs="+", default=(), metavar="TEXT", help="end an answer before any of these texts")
    add("--seed", type=int, default=0, help="of the random numbers (default: %(default)s)")
    add("--dtype", choices=DTYPES, default="float32", help="of the matrices; int8 ones are rounded (default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
