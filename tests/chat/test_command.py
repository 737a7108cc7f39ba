"""`python -m mmjax.chat` answers once, by lines and at a terminal; history is dropped, answers stop, errors are short."""

import io
import json
from unittest import mock

import numpy as np
import pytest
from rich.console import Console

from mmjax.chat import ChatCell, chat_weights, fitted
from mmjax.chat import __main__ as command
from mmjax.decoders import generator as programs
from mmjax.pretrained import load, save
from tests.pretrained.gguf_files import WORDS, file_bytes, llama_parts, written

TEMPLATE = "{% for m in messages %}{{ {'system': 'bb', 'user': 'a', 'assistant': 'b'}[m.role] }}{{ m.content }}{% endfor %}"


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    """The command does not change where this process caches programs."""
    monkeypatch.setattr("mmjax.experiment.cli.prepare_jax", lambda: None)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A GGUF file of a model with 16 positions, in which token t is followed by FOLLOWING[t] whatever was before."""
    metadata, tensors = llama_parts()
    metadata["tokenizer.chat_template"] = TEMPLATE
    tensors = {name: np.zeros_like(x) if name.startswith("blk") else x for name, x in tensors.items()}
    tensors["token_embd.weight"] = np.eye(8, dtype=np.float32)
    tensors["output_norm.weight"] = np.ones(8, np.float32)
    tensors["output.weight"] = np.zeros((8, 8), np.float32)
    for token, following in enumerate(FOLLOWING):
        tensors["output.weight"][following, token] = 1
    return written(tmp_path_factory.mktemp("chat"), file_bytes(metadata, tensors))


FOLLOWING = [2, 3, 2, 4, 5, 7, 2, 2]  # after "a" the text "b", "ab", " ab" and the end


def run(capsys, *arguments):
    command.main([str(argument) for argument in arguments])
    return capsys.readouterr()


def test_one_answer(file, capsys):
    assert WORDS[3:] == ["a", "b", "ab", "Ġ", "Ġab"]
    assert run(capsys, file, "--prompt", "a").out == "bab ab\n"
    assert run(capsys, file, "--prompt", "a", "--stop", "b a").out == "ba\n"
    assert run(capsys, file, "--prompt", "a", "--max-tokens", 2).out == "bab\n"
    for dtype in ("int8", "blocks"):
        assert run(capsys, file, "--prompt", "a", "--dtype", dtype).out == "bab ab\n"
    assert run(capsys, file, "--prompt", "a", "--temperature", 0.01, "--top-k", 1).out == "bab ab\n"


def test_lines_share_a_history_that_fits(file, capsys, monkeypatch):
    """A turn has 6 tokens, "aa" and "bbab ab", and the third question 2, which with an answer of 5 exceeds 16."""
    monkeypatch.setattr("sys.stdin", io.StringIO("a\n\na\na\n"))
    found = run(capsys, file, "--max-tokens", 5)
    assert found.out == "bab ab\n" * 3
    assert found.err == "(the context is full; oldest turns that are dropped: 1)\n"


def test_the_history_that_fits(file):
    model = chat_weights(str(file))
    said = lambda *contents: [{"role": "user" if i % 2 == 0 else "assistant", "content": x} for i, x in enumerate(contents)]
    system = [{"role": "system", "content": "b"}]
    messages = [*system, *said("a", "b", "a", "b", "a")]  # bbb aa bb aa bb aa
    ids = lambda text: [WORDS.index(one) for one in text.split()]
    kept, found = fitted(model, messages, 6)
    assert len(kept) == 4 and kept[0] == system[0] and kept[1:] == messages[3:]
    assert found.ids == model.encode("bbbaabbaa") and found.ids[:4] == ids("b b b a") and found.batch is None
    assert fitted(model, messages, 3)[0] == messages
    with pytest.raises(ValueError, match=r"the message has 5 tokens .* and the answer may have 12; together they"):
        fitted(model, messages, 12)


def typed(monkeypatch, *inputs):
    """A terminal at which these lines are typed; an exception is raised."""
    monkeypatch.setattr("sys.stdin", mock.Mock(isatty=lambda: True))
    monkeypatch.setattr(Console, "input", mock.Mock(side_effect=[*inputs, EOFError]))


def test_a_terminal_with_an_interrupt_at_the_prompt_and_in_an_answer(file, capsys, monkeypatch):
    advance, calls = programs.Generator.advance, iter([None, KeyboardInterrupt, *[None] * 9])

    def interrupted(*given):
        if (error := next(calls)) is not None:
            raise error
        return advance(*given)

    typed(monkeypatch, "a", KeyboardInterrupt, "  ", "a", "a" * 20, "a")
    with mock.patch.object(programs.Generator, "advance", interrupted):
        found = run(capsys, file, "--max-tokens", 5)
    assert found.out.splitlines() == ["bab ab", "", "(Ctrl-D ends)", "b", "bab ab", ""]
    assert found.err.split("\n") == [
        " (stopped)error: the message has 21 tokens with its frame, and the answer may have 5; together they may have 16", ""
    ]


def test_an_interrupt_while_a_cell_answers(capsys, monkeypatch):
    """A cell computes its whole answer before the first piece is printed."""
    typed(monkeypatch, "a", "a")
    monkeypatch.setattr(command, "_model", lambda given: object.__new__(ChatCell))
    monkeypatch.setattr(ChatCell, "answer", mock.Mock(side_effect=[KeyboardInterrupt, "yes"]))
    found = run(capsys, "run")
    assert found.out.splitlines() == ["", "yes", ""] and found.err == " (stopped)"


def test_models_without_a_template_continue_texts(file, tmp_path, capsys, monkeypatch):
    """A folder with a further end token, 5: the text ends before "ab"."""
    save(load(file), tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert run(capsys, tmp_path, "--prompt", "a").out == "bab ab\n"
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 5]}))
    assert run(capsys, tmp_path, "--prompt", "a").out == "b\n"
    with pytest.raises(SystemExit, match=r"^error: --system is given, but .* has no chat template; it continues texts$"):
        run(capsys, tmp_path, "--system", "a", "--prompt", "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-tokens", "0"], "--max-tokens is 0; it must be 1 to 15"),
        (["--max-tokens", "16"], "--max-tokens is 16; it must be 1 to 15, below the positions of the model"),
        (["--temperature", "-1"], r"NextToken.temperature is -1\.0; it must be at least 0"),
        (["--repetition-penalty", "0"], r"RepetitionPenalty.penalty is 0\.0; it must be above 0"),
        (["--cell", "a"], "--cell is a, but .* is no run folder"),
        (["--prompt", "a" * 20], "the message has 21 tokens with its frame, and the answer may have 8; together"),
    ],
)
def test_errors_are_one_line(file, capsys, arguments, message):
    with pytest.raises(SystemExit, match=f"^error: {message}[^\n]*$"):
        run(capsys, file, "--prompt", "a", *arguments)


def test_control_characters_do_not_reach_the_terminal():
    assert command.printable("a\x1b[31mé\x07\n\t😀\x9b") == "a[31mé\n\t😀"
