"""A trained cell answers new inputs as the run answered its test split, without the data."""

import io
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from PIL import Image

import mmjax
from mmjax.data.dataset import stack
from mmjax.data.decode import DataError
from mmjax.results import load_cell
from mmjax.runs.schema import RunError
from mmjax.types import Batch
from tests.results.pets import KINDS, TAGS

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def cell(results):
    return mmjax.load_run(results.run.folder)["all"]


@pytest.fixture(scope="module")
def kept(results):
    """{task: predictions [s n ...] of the complete input} of the test split, which the run saved."""
    with np.load(results.run.folder / "cells" / "all" / "all" / "predictions.npz") as arrays:
        return {task.rstrip("/"): arrays[task][:, -1] for task in arrays.files}


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def answers(cell, inputs):
    return cell.predict(inputs)


def test_new_inputs_get_the_answers_of_the_test_split(answers, kept):
    probability = softmax(kept["kind"]).mean(axis=0)
    np.testing.assert_allclose(answers["kind"]["probability"], probability, **CLOSE)
    assert answers["kind"]["predicted"].tolist() == [KINDS[k] for k in probability.argmax(axis=1)]
    np.testing.assert_allclose(answers["age"]["predicted"], kept["age"].mean(axis=0), **CLOSE)
    logits = kept["tags"].mean(axis=0)
    np.testing.assert_allclose(answers["tags"]["probability"], 1 / (1 + np.exp(-logits)), **CLOSE)
    expected = [", ".join(tag for tag, logit in zip(TAGS, row) if logit > 0) for row in logits]
    assert answers["tags"]["predicted"].tolist() == expected


def test_each_seed_and_small_batches(cell, inputs, kept):
    found = cell.predict(inputs, each_seed=True, batch=5)
    assert len(found["kind"]) == 2
    for seed in (0, 1):
        np.testing.assert_allclose(found["kind"][seed]["probability"], softmax(kept["kind"][seed]), **CLOSE)
        np.testing.assert_allclose(found["age"][seed]["predicted"], kept["age"][seed], **CLOSE)


def test_any_modality_may_be_missing(results, inputs):
    """Without an input, the answers are those of the subset that remains."""
    with np.load(results.run.folder / "cells" / "all" / "all" / "predictions.npz") as arrays:
        ages = {name: arrays["age"] for name in ("age",)}["age"]  # [s k n]
    subsets = [("image",), ("text",), ("vector",), ("image", "text"), ("image", "vector"), ("text", "vector")]
    for k, subset in ((1, ("text",)), (3, ("image", "text"))):
        assert subsets[k] == subset
        found = results["all"].predict({name: inputs[name] for name in subset})["age"]["predicted"]
        np.testing.assert_allclose(found, ages[:, k].mean(axis=0), **CLOSE)


def test_inputs_are_taken_by_position(cell, inputs, answers):
    """A pandas.Series has labels of its own."""
    count = len(inputs["text"])
    series = pandas.Series(inputs["text"], index=range(count)[::-1])
    found = cell.predict(inputs | {"text": series, "vector": tuple(inputs["vector"])})
    np.testing.assert_array_equal(found["age"]["predicted"], answers["age"]["predicted"])


def test_images_as_files_bytes_and_arrays_are_equal(cell, inputs, answers, tmp_path):
    raw = []
    for i, image in enumerate(inputs["image"]):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        (tmp_path / f"{i}.png").write_bytes(buffer.getvalue())
        raw.append([tmp_path / f"{i}.png", str(tmp_path / f"{i}.png"), buffer.getvalue(), Image.fromarray(image)][i % 4])
    found = cell.predict(inputs | {"image": raw})
    np.testing.assert_array_equal(found["kind"]["probability"], answers["kind"]["probability"])


def test_one_input_needs_no_list(cell, inputs, tmp_path):
    file = tmp_path / "one.png"
    Image.fromarray(inputs["image"][0]).save(file)
    text, several = inputs["text"][0], {"image": [file], "text": [inputs["text"][0]], "vector": [None]}
    expected = cell.predict(several)["age"]["predicted"]
    assert expected.shape == (1,)
    for image in (file, str(file), file.read_bytes()):
        found = cell.predict({"image": image, "text": text, "vector": None})
        np.testing.assert_array_equal(found["age"]["predicted"], expected)


def test_variables_and_module_are_plain_flax(cell, inputs, kept):
    readers = cell.models[0].readers
    one = {name: reader.preprocess(stack([reader.parse(inputs[name][0])])) for name, reader in readers.items()}
    batch = Batch(one, {name: np.ones(1, bool) for name in readers}, {}, np.ones(1))
    outputs = cell.module.apply(cell.variables(seed=1), jax.tree.map(jnp.asarray, batch))
    np.testing.assert_allclose(outputs["kind"][0], kept["kind"][1, 0], **CLOSE)
    with pytest.raises(ValueError, match=r"seed is 7; the seeds of all are \[0, 1\]"):
        cell.variables(seed=7)


def test_a_saved_cell_gives_the_same_answers(cell, inputs, answers, tmp_path):
    loaded = load_cell(cell.save(tmp_path / "mine"))
    assert sorted(file.name for file in (tmp_path / "mine" / "all").iterdir()) == ["model.json", "variables.safetensors"]
    np.testing.assert_array_equal(loaded.predict(inputs)["age"]["predicted"], answers["age"]["predicted"])
    assert loaded.name == "all"
    with pytest.raises(RunError, match="has no saved model"):
        load_cell(tmp_path)
    with pytest.raises(RunError, match="is not empty; name a new folder"):
        cell.save(tmp_path / "mine")
    with pytest.raises(RunError, match=r"model\.json is a file; name a new folder"):
        cell.save(next((tmp_path / "mine").rglob("model.json")))


ALONE = """
import json, sys
sys.modules["mmjax"] = None  # importing it is an error
import jax, numpy as np
from jax import export
function = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
given = dict(np.load(sys.argv[2]))
present = {name: given.pop(f"present/{name}") for name in ("image", "text", "vector")}
inputs = {"image": given["image"], "text": {"x": given["text/x"], "length": given["text/length"]}, "vector": given["vector"]}
for n in (2, len(given["image"])):
    found = function.call(*jax.tree.map(lambda leaf: leaf[:n], (inputs, present)))
np.savez(sys.argv[3], **{name: np.asarray(x) for name, x in found.items()})
"""


def test_exported_bytes_run_without_mmjax(cell, inputs, kept, tmp_path):
    path = cell.export(tmp_path / "model.jax")
    description = json.loads((tmp_path / "model.jax.json").read_text())
    assert description["inputs"]["image"] == {"shape": ["b", "8", "8", "4"], "dtype": "uint8"}
    assert description["outputs"]["kind"] == {"shape": ["2", "b", "2"], "dtype": "float32"}
    assert description["classes"]["kind"] == list(KINDS)
    readers = cell.models[0].readers
    texts = [readers["text"].parse(text) for text in inputs["text"]]
    vectors = [np.zeros(3, np.float32) if vector is None else vector for vector in inputs["vector"]]
    given = {
        "image": np.stack([readers["image"].parse(image) for image in inputs["image"]]),
        "text/x": np.stack([text.x for text in texts]),
        "text/length": np.stack([text.length for text in texts]),
        "vector": np.stack(vectors),
    }
    given |= {f"present/{name}": np.array([value is not None for value in inputs[name]]) for name in readers}
    np.savez(tmp_path / "inputs.npz", **given)
    arguments = [path, tmp_path / "inputs.npz", tmp_path / "outputs.npz"]
    subprocess.run([sys.executable, "-c", ALONE, *map(str, arguments)], check=True, cwd=tmp_path)
    with np.load(tmp_path / "outputs.npz") as found:
        for task, predicted in kept.items():
            np.testing.assert_allclose(found[task], predicted, **CLOSE)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, r"inputs are empty; its modalities are image, text, vector"),
        ({"sound": ["a.wav"]}, r"'sound' is not a modality of cell all; its modalities are image, text, vector"),
        ({"text": 3}, r"text: a list of inputs is expected, not int; write \[input\]"),
        ({"text": ["a", "b"], "image": [None]}, r"inputs have different lengths or none: \{'text': 2, 'image': 1\}"),
        ({"text": [3]}, r"text\[0\]: a text is int; it must be a str"),
        ({"text": ["ok"], "image": ["no.png"]}, r"image\[0\]: no.png: No such file"),
        ({"image": [np.zeros((4, 4, 3))]}, r"image\[0\]: an image is float64\[4, 4, 3\]; it must be a path"),
        ({"vector": [[1, 2, 3], [1, 2]]}, r"vector\[1\]: a vector has 2 numbers; it must have 3"),
        ({"vector": [[1, np.nan, 3]]}, r"vector\[0\]: a vector must have 3 numbers of finite numbers"),
    ],
)
def test_wrong_inputs_are_named(cell, wrong, message):
    with pytest.raises(DataError, match=message):
        cell.predict(wrong)


def test_damaged_files_are_named(results, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(results.run.folder, copy)
    file = copy / "cells" / "all" / "all" / "variables.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(RunError, match=r"variables\.safetensors is damaged or missing .*--resume"):
        mmjax.load_run(copy)
    saved = results["all"].save(tmp_path / "saved")
    (saved / "all" / "variables.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"variables\.safetensors is missing or damaged"):
        load_cell(saved).predict({"text": ["a"]})
    model = json.loads((saved / "all" / "model.json").read_text())
    model["module"]["class"] = "their_module:Model"
    (saved / "all" / "model.json").write_text(json.dumps(model))
    with pytest.raises(RunError, match=r"their_module cannot be imported; add the folder of their_module\.py to PYTHONPATH"):
        load_cell(saved).predict({"text": ["a"]})
