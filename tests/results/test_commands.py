"""`python -m mmjax` and the commands that it lists."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmjax import predict
from mmjax.__main__ import COMMANDS
from mmjax.chat import __main__ as chat
from mmjax.data import __main__ as data_command

HELPS = """
import contextlib, io, json, runpy, sys

found, commands = {}, sys.argv[1:]
for command in commands:
    for name in [name for name in sys.modules if name.split(".")[0] == "mmjax"]:
        del sys.modules[name]  # each command imports what it needs
    sys.argv, output, code = [command, "--help"], io.StringIO(), 0
    with contextlib.redirect_stdout(output):
        try:
            runpy.run_module(command, run_name="__main__", alter_sys=True)
        except SystemExit as stopped:
            code = stopped.code or 0
    found[command] = code, output.getvalue()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def helps():
    """{command: (exit code, output)}, of one process, which imports JAX once."""
    done = subprocess.run([sys.executable, "-c", HELPS, *COMMANDS], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(helps, command):
    code, output = helps[command]
    assert code == 0 and f"usage: python -m {command}" in output


def test_the_list_of_commands():
    done = subprocess.run([sys.executable, "-m", "mmjax", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and all(name in done.stdout for name in COMMANDS)


def test_predict_prints_what_the_cell_answers(results, inputs, tmp_path, capsys):
    for name, i in (("a.png", 0), ("b.png", 1)):
        Image.fromarray(inputs["image"][i]).save(tmp_path / name)
    np.save(tmp_path / "v.npy", inputs["vector"][1])
    run, text = str(results.run.folder), inputs["text"][:2]
    files = [str(tmp_path / name) for name in ("a.png", "b.png")]
    predict.main([run, "all", "--image", *files, "--text", *text, "--json"])
    found = json.loads(capsys.readouterr().out)
    expected = results["all"].predict({"image": files, "text": text})
    np.testing.assert_allclose(found["age"]["predicted"], expected["age"]["predicted"], rtol=1e-6)
    assert found["kind"]["predicted"] == expected["kind"]["predicted"].tolist()
    predict.main(["--text", *text, "--image", *files, run, "all", "--json"])  # in any order
    assert json.loads(capsys.readouterr().out) == found
    predict.main([run, "all", "--vector", str(tmp_path / "v.npy"), "--each-seed"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["kind, seed 0[0]", "kind, seed 1[0]"]
    assert "(cat 0." in lines[0] or "(dog 0." in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "--text", "a"], "error: there is no cell 'gone' in"),
        (["all", "--sound", "a.wav"], "error: unknown argument '--sound'; the modalities of the cell are --image, --text"),
        (["all", "--vector", "no.npy"], "error: no.npy: .*; it must be a .npy file of numbers"),
        (["all", "--image", "no.png"], r"error: image\[0\]: no.png: No such file"),
        (["all"], "error: inputs are empty; its modalities are image, text, vector"),
    ],
)
def test_predict_errors_are_one_line(results, arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        predict.main([str(results.run.folder), *arguments])
    line = capsys.readouterr().err.strip() or str(stopped.value)
    assert "\n" not in line
    assert re.match(message, line)


def test_data_describes_a_data_set(capsys):
    data_command.main(["aeon:BasicMotions"])
    shown = capsys.readouterr().out
    assert "train: 32 rows, 32 examples in 32 groups" in shown and "target label: int32, 4: Standing" in shown
    for wrong, message in (("cats", "there is no data set 'cats'; there are stamps"), ("aeon:No", "AeonSeries.name is 'No'")):
        with pytest.raises(SystemExit, match=message):
            data_command.main([wrong])


def test_chat_answers_with_a_trained_cell(results, inputs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmjax.experiment.cli.prepare_jax", lambda: None)
    Image.fromarray(inputs["image"][1]).save(tmp_path / "a.png")
    run, text = str(results.run.folder), inputs["text"][0]
    given = [run, "--cell", "all", "--image", str(tmp_path / "a.png")]
    chat.main([*given, "--prompt", text])
    expected = results["all"].predict({"image": [tmp_path / "a.png"], "text": [text]})["kind"]["predicted"]
    assert capsys.readouterr().out == f"{expected[0]}\n"
    for arguments, message in (
        ([*given, "--temperature", "1"], "error: --temperature is given, but cell all answers as its task kind says"),
        ([run], "error: the cells of .* are all, text; name one with --cell"),
        ([run, "--cell", "text", *given[3:]], "error: cell text takes no image; it takes text"),
    ):
        with pytest.raises(SystemExit, match=message):
            chat.main([*arguments, "--prompt", text])
