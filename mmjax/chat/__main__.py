"""`python -m mmjax.chat WEIGHTS|RUN`: a conversation with a language model, in the terminal or on a page.

A vision-language or audio-language model, or a trained cell with such inputs, takes images or recordings too.
"""

import argparse
import contextlib
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mmjax.web.serve import add_flags

__all__ = ["DTYPES", "MAX_TOKENS", "main", "printable"]

DTYPES = ("float32", "bfloat16", "int8", "blocks")
DTYPE_HELP = "of the matrices; int8 rounds kernels, blocks keeps those of a GGUF file as they are (default: %(default)s)"
MAX_TOKENS = 512  # of an answer, or half of the model's positions if these are fewer

EPILOG = (
    "Ctrl-C stops an answer, Ctrl-D ends the program. A line /image FILE or /audio FILE adds a file to the next message. "
    "Without a terminal, each line of the input is a message."
)


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and answers until the input ends. Exits with one line for an error."""
    given = _parser().parse_args(arguments)
    from mmjax.data.decode import DataError
    from mmjax.describe import DescribeError
    from mmjax.experiment.cli import prepare_jax
    from mmjax.pretrained.files import WeightsError
    from mmjax.runs.schema import RunError

    prepare_jax()
    console, notes = Console(highlight=False), Console(stderr=True, highlight=False)
    failures = (DataError, DescribeError, RunError, WeightsError, ImportError, ValueError, OSError)
    try:
        listening, address = _listen(given) if given.page else (None, "")
        with listening or contextlib.nullcontext():
            with notes.status("reading the weights") if notes.is_terminal else contextlib.nullcontext():
                model = _model(given)
            max_tokens = _max_tokens(model, given.max_tokens)
            _check(model, given)
            if listening is None:
                _converse(model, given, max_tokens, console, notes)
            else:
                _serve(model, given, max_tokens, listening, address, console)
    except failures as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:  # while the weights are read, or of the page
        sys.exit(130)


def _max_tokens(model: Any, given: int | None) -> int:
    """--max-tokens, or its default for this model. ValueError if it is out of range."""
    from mmjax.chat.cell import ChatCell

    positions = 2 * MAX_TOKENS if isinstance(model, ChatCell) else model.generator.positions
    found = min(MAX_TOKENS, max(positions // 2, 1)) if given is None else given
    if not 1 <= found < positions:
        raise ValueError(f"--max-tokens is {found}; it must be 1 to {positions - 1}, below the positions of the model")
    return found


def _check(model: Any, given: argparse.Namespace) -> None:
    """ValueError for flags that the model has no use for."""
    from mmjax.chat.cell import ChatCell

    if isinstance(model, ChatCell):
        default = _parser().parse_args([given.source])
        names = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat", "stop", "dtype")
        for name in ("system", *names):
            if getattr(given, name) != getattr(default, name):
                flag, cell = name.replace("_", "-"), model.cell.name
                raise ValueError(f"--{flag} is given, but cell {cell} answers as its task {model.task} says")
    elif given.system and model.template is None:
        raise ValueError(f"--system is given, but {given.source} has no chat template; it continues texts")


def _converse(model: Any, given: argparse.Namespace, max_tokens: int, console: Console, notes: Console) -> None:
    """Answers the messages of the command line, of a terminal or of lines."""
    import jax

    from mmjax.chat.messages import user_message

    at_terminal = given.prompt is None and sys.stdin.isatty()
    inputs = [given.prompt] if given.prompt is not None else _typed(console) if at_terminal else _lines()
    messages = [{"role": "system", "content": given.system}] if given.system else []
    media = [_opened(kind, file) for kind in ("image", "audio") for file in getattr(given, kind)]
    for number, text in enumerate(inputs):
        key = jax.random.fold_in(jax.random.key(given.seed), number)
        try:
            if attached := re.fullmatch(r"/(image|audio)\s+(.+)", text):
                media.append(_opened(attached[1], Path(attached[2])))
                notes.print(f"({attached[1]} for the next message: {attached[2]})", style="dim", markup=False, soft_wrap=True)
                continue
            messages = _turn(model, [*messages, user_message(text, media)], max_tokens, key, given.stop, console, notes)
            media = []
        except (ValueError, OSError) as error:
            if not at_terminal:
                raise
            notes.print(f"error: {error}", style="red", markup=False, soft_wrap=True)


def _opened(kind: str, file: Path) -> tuple[str, Any]:
    """(kind, the image or recording of a file)."""
    from mmjax.chat.messages import opened

    return kind, opened(kind, file.expanduser().read_bytes(), str(file))


def _turn(
    model: Any,
    messages: Sequence[Mapping[str, Any]],
    max_tokens: int,
    key: Any,
    stop: Sequence[str],
    console: Console,
    notes: Console,
) -> list[Mapping[str, Any]]:
    """Prints the answer to the last message. Returns the messages that the model has read, and the answer."""
    from mmjax.chat.conversation import reply

    kept, pieces = messages, []
    try:
        kept, answer = reply(model, messages, max_tokens, key, stop)  # a cell computes its whole answer here
        if dropped := (len(messages) - len(kept)) // 2:
            notes.print(f"(the context is full; oldest turns that are dropped: {dropped})", style="dim")
        for piece in answer:
            pieces.append(piece)
            console.print(printable(piece), end="", markup=False, emoji=False, soft_wrap=True)
    except KeyboardInterrupt:
        notes.print(" (stopped)", style="dim", end="")
    console.print()
    return [*kept, {"role": "assistant", "content": "".join(pieces)}]


def _listen(given: argparse.Namespace) -> tuple[Any, str]:
    """The port of the page and its address."""
    from mmjax.web.serve import check_flags, listen

    if given.prompt is not None or given.image or given.audio:
        raise ValueError("--prompt, --image and --audio are for the terminal; the page takes files itself")
    check_flags(given)
    return listen(given.host, given.port)


def _serve(model: Any, given: argparse.Namespace, max_tokens: int, listening: Any, address: str, console: Console) -> None:
    """The page, until Ctrl-C."""
    from mmjax.chat.server import application
    from mmjax.web.application import hosts_of
    from mmjax.web.serve import serve

    about = {"model": given.source if given.cell is None else f"{given.source}, {given.cell}", "system": given.system or ""}
    limits = max_tokens, given.seed, given.stop, round(given.upload * 1e6)
    app = application(model, about, *limits, hosts_of(given.host))
    console.print(f"chat page: {address}   (Ctrl-C ends it)", markup=False)
    serve(app, listening)


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
    """The `ChatModel` or `ChatCell` of the command line."""
    from mmjax.chat.cell import chat_cell
    from mmjax.chat.model import BLOCKS, chat_weights, chat_with_cell, inputs_of
    from mmjax.nn.rules import Chain, NoRepeat, RepetitionPenalty
    from mmjax.nn.sample import NextToken
    from mmjax.nn.search import allow_all

    rules = [RepetitionPenalty(given.repetition_penalty)] if given.repetition_penalty is not None else []
    rules += [NoRepeat(given.no_repeat)] if given.no_repeat is not None else []
    rule = Chain(tuple(rules)) if rules else allow_all
    choice = NextToken(given.temperature, given.top_k, given.top_p, given.min_p, prompt_rule=rule)
    if not (Path(given.source) / "run.json").is_file():
        if given.cell is not None:
            raise ValueError(f"--cell is {given.cell}, but {given.source} is no run folder")
        return chat_weights(given.source, choice, given.dtype)
    from mmjax.results import load_run

    if given.dtype == BLOCKS:
        raise ValueError(f"--dtype is {BLOCKS}, which is for GGUF files, but {given.source} is a run folder")
    results = load_run(given.source)
    if given.cell is None and len(results) > 1:
        raise ValueError(f"the cells of {given.source} are {', '.join(results)}; name one with --cell")
    name = next(iter(results)) if given.cell is None else given.cell
    if name not in results:
        raise ValueError(f"--cell is {name}; the cells of {given.source} are {', '.join(results)}")
    cell = results[name]
    return chat_cell(cell) if inputs_of(cell) else chat_with_cell(cell, choice, given.dtype)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mmjax.chat", description="A conversation with a language model.", epilog=EPILOG
    )
    add: Callable[..., Any] = parser.add_argument
    add("source", metavar="WEIGHTS|RUN", help="a name of python -m mmjax.pretrained, a folder, a GGUF file or a run folder")
    add("--cell", help="the cell of a run (default: the only one)")
    add("--prompt", metavar="TEXT", help="answer this message and exit")
    add("--image", type=Path, nargs="+", default=[], metavar="FILE", help="images of the first message")
    add("--audio", type=Path, nargs="+", default=[], metavar="FILE", help="recordings of the first message")
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
    add("--dtype", choices=DTYPES, default="float32", help=DTYPE_HELP)
    page = parser.add_argument_group("page")
    page.add_argument("--page", action="store_true", help="serve a page for the conversation in place of the terminal")
    add_flags(page)
    return parser


if __name__ == "__main__":
    main()
