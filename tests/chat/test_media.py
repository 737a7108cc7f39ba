"""Conversations about images and recordings: answers are those of a search over the prompt written by hand."""

import io
import wave

import numpy as np
import pytest
from PIL import Image

from mmjax.chat import __main__ as command
from mmjax.chat import chat_cell, chat_weights, fitted, reply, user_message
from mmjax.chat.messages import media_of, text_of, without_media
from mmjax.data.decode import DataError
from mmjax.data.inputs import ImageInput, SoundInput, TextInput
from mmjax.pretrained import load
from mmjax.pretrained.answering import answer_ids, answerer
from mmjax.results.cell import Cell
from mmjax.runs.model import Reader
from mmjax.tasks import Generate, Retrieve
from tests.chat.models import hears, sees, tone

TOKENS = 8
RED, BLUE = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (9, 30), "blue")


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    """The command does not change where this process caches programs."""
    monkeypatch.setattr("mmjax.experiment.cli.prepare_jax", lambda: None)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """(the folder of a vision-language model, its `ChatModel`, a function that answers complete prompts)."""
    folder = sees(tmp_path_factory.mktemp("sees"))
    answers = answerer(load(folder), TOKENS)
    return folder, chat_weights(str(folder)), lambda text, *images: answers([{"text": text, "images": images}])[0]


def said(model, *messages) -> str:
    return "".join(reply(model, list(messages), TOKENS)[1])


def test_a_conversation_with_images_in_several_turns(seeing):
    _, model, expected = seeing
    first = user_message("what", [("image", RED)])
    answers = [said(model, first), said(model, user_message("what", [("image", BLUE)])), said(model, user_message("what"))]
    assert answers == [expected("Q<image>what;", RED), expected("Q<image>what;", BLUE), expected("Qwhat;")]
    assert len(set(answers)) == 3 and all(answers)
    turns = [first, {"role": "assistant", "content": "red <image>"}, user_message("and", [("image", BLUE), ("image", RED)])]
    assert said(model, *turns) == expected("Q<image>what;Ared ;Q<image><image>and;", RED, BLUE, RED)
    kept, prompt = fitted(model, turns, 256 - 29)  # the turns have 10, 6 and 13 tokens, of which an image has 4
    assert kept == turns and len(prompt.ids) == 29
    kept, prompt = fitted(model, turns, 256 - 28)
    assert kept == turns[2:] and len(prompt.ids) == 13 and int(prompt.batch.inputs["image"].length[0]) == 2


def test_a_model_without_a_template(seeing, tmp_path):
    folder, _, expected = seeing
    for file in folder.iterdir():
        if file.name != "tokenizer_config.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    model = chat_weights(str(tmp_path))
    assert said(model, user_message("a"), {"role": "assistant", "content": "b"}, user_message("what", [("image", RED)])) == (
        expected("<image>what", RED)
    )
    assert said(model, user_message("what<image>", [("image", RED)])) == expected("what<image>", RED)


def test_what_a_model_does_not_take_is_refused(seeing):
    _, model, _ = seeing
    with pytest.raises(ValueError, match=r"^the model takes no audio; it takes texts and image$"):
        said(model, user_message("what", [("audio", tone(300))]))
    with pytest.raises(ValueError, match=r"'text' has 2 times '<image>', but there are 1 'images'"):
        said(model, user_message("what<image>", [("image", RED)]))


def test_recordings(tmp_path):
    folder = hears(tmp_path)
    weights, model = load(folder), chat_weights(str(folder), dtype="bfloat16")
    assert model.takes == ("audio",) and model.generator.positions == 256
    sound = user_message("what", [("audio", tone(300)), ("audio", tone(900, 0.4))])
    prompts = weights.preprocessing.batch([{"text": "Q<|AUDIO|><|AUDIO|>what;", "audio": [tone(300), tone(900, 0.4)]}])
    found = model.prompt([sound])
    np.testing.assert_array_equal(found.ids, prompts.ids.x[0])
    assert sum(number >= weights.module.decoders["text"].vocabulary for number in found.ids) == 5 + 10
    model = chat_weights(str(folder))
    ids = answer_ids(weights, TOKENS)(prompts)
    assert said(model, sound) == model.decode(ids.x[0, : int(ids.length[0])].tolist())


def test_the_command_and_its_lines(seeing, tmp_path, capsys, monkeypatch):
    folder, _, expected = seeing
    for name, image in (("red.png", RED), ("blue.png", BLUE)):
        image.save(tmp_path / name)
    run = lambda *given: command.main([str(folder), "--max-tokens", str(TOKENS), *map(str, given)])
    run("--image", tmp_path / "red.png", tmp_path / "blue.png", "--prompt", "what")
    assert capsys.readouterr().out == command.printable(expected("Q<image><image>what;", RED, BLUE)) + "\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"/image {tmp_path / 'red.png'}\nwhat\nhm\n"))
    run("--system", "be")
    one = expected("Sbe;Q<image>what;", RED)
    two = expected(f"Sbe;Q<image>what;A{one};Qhm;", RED)
    assert capsys.readouterr().out == "".join(f"{command.printable(text)}\n" for text in (one, two))
    (tmp_path / "no.png").write_bytes(b"no image")
    for given, message in (
        (["--image", tmp_path / "no.png", "--prompt", "a"], "error: .*no.png: the format is not known"),
        (["--image", tmp_path / "missing.png", "--prompt", "a"], "error: .*No such file or directory: .*missing.png"),
        (["--page", "--prompt", "a"], "error: --prompt, --image and --audio are for the terminal"),
    ):
        with pytest.raises(SystemExit, match=message):
            run(*given)


def test_parts_of_messages():
    message = user_message("what", [("image", RED), ("audio", tone(300))])
    assert (text_of(message), media_of([message, message], "image")) == ("what", [RED, RED])
    parts = [{"type": "image", "image": ""}, {"type": "audio", "audio": ""}, {"type": "text", "text": "what"}]
    assert without_media([message, {"role": "assistant", "content": "a <x>"}], "<x>") == [
        {"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "text", "text": "a "}]}
    ]
    assert user_message("what") == {"role": "user", "content": "what"}


class Answers(Cell):
    """A cell that answers with what it is given."""

    def __init__(self, readers, tasks):
        object.__setattr__(self, "name", "tiny")
        model = type("Model", (), {"readers": readers, "tasks": tasks, "module": type("Module", (), {"encoders": readers})})
        self.__dict__.update(models=(model,), seen=[])

    def predict(self, inputs, each_seed=False, batch=32):
        self.seen.append(inputs)
        return {"reply": {"predicted": np.array(["yes"])}}


def reader(parse) -> Reader:
    return Reader(parse, None, {})


READERS = {"picture": reader(ImageInput(8)), "question": reader(TextInput(None, 4)), "series": reader(None)}
TASKS = {"found": Retrieve("a", "b"), "reply": Generate("reply")}


def test_a_trained_cell_sees_the_last_image():
    cell = Answers(READERS, TASKS)
    model = chat_cell(cell)
    assert model.takes == ("image",) and model.inputs == {"image": "picture", "text": "question"}
    first = user_message("what", [("image", RED)])
    kept, pieces = reply(model, [first], 1)
    assert kept == [first] and list(pieces) == ["yes"]
    said(model, first, {"role": "assistant", "content": "yes"}, user_message("and"))
    assert cell.seen == [{"picture": [RED], "question": ["what"]}, {"picture": [RED], "question": ["and"]}]
    with pytest.raises(ValueError, match="the message has 2 image files, and cell tiny takes one"):
        said(model, user_message("what", [("image", RED), ("image", BLUE)]))
    with pytest.raises(ValueError, match="cell tiny takes no audio; it takes image, text"):
        said(model, user_message("what", [("audio", tone(300))]))


@pytest.mark.parametrize(
    ("readers", "tasks", "message"),
    [
        ({"series": READERS["series"]}, TASKS, "no input of it is a text, an image or a recording"),
        (READERS | {"second": READERS["picture"]}, TASKS, "has several inputs for one image, picture and second"),
        (READERS, {"found": TASKS["found"]}, "has no task that answers with a text or a class"),
    ],
)
def test_cells_that_cannot_answer(readers, tasks, message):
    with pytest.raises(ValueError, match=message):
        chat_cell(Answers(readers, tasks))


def test_a_file_with_sound():
    from mmjax.chat.messages import RATE, opened

    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes((np.ones(800) * 3276.7).astype("<i2").tobytes())
    samples, rate = opened("audio", file.getvalue(), "a.wav")
    assert rate == RATE and samples.shape == (1600,) and samples.mean() == pytest.approx(0.1, abs=0.01)
    with pytest.raises(DataError, match=r"a\.wav"):
        opened("audio", b"nothing", "a.wav")


def test_the_command_reads_recordings(tmp_path, capsys, monkeypatch):
    """--audio FILE and a line /audio FILE: the samples of the file at 16 kHz reach the cell with the message."""
    file = tmp_path / "a.wav"
    with wave.open(str(file), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes((np.ones(80) * 3276.7).astype("<i2").tobytes())
    cell = Answers({"voice": reader(SoundInput(16_000, 160)), "question": READERS["question"]}, TASKS)
    monkeypatch.setattr(command, "_model", lambda given: chat_cell(cell))
    command.main(["run", "--audio", str(file), "--prompt", "what"])
    monkeypatch.setattr("sys.stdin", io.StringIO(f"/audio {file}\nand\n"))
    command.main(["run"])
    assert capsys.readouterr().out == "yes\nyes\n"
    for seen, text in zip(cell.seen, ("what", "and"), strict=True):
        ((samples, rate),) = seen["voice"]
        assert seen["question"] == [text] and rate == 16_000 and samples.shape == (160,)
        assert samples[40:120] == pytest.approx(0.1, abs=0.01)
    with pytest.raises(SystemExit, match=r"error: .*No such file or directory: .*b\.wav"):
        command.main(["run", "--audio", str(tmp_path / "b.wav"), "--prompt", "what"])
