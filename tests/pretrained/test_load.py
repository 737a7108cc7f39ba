"""Loading and saving weights: values survive, and errors name what does not fit before anything runs."""

import json
import pickle
import shutil
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders import BERT
from mmjax.pretrained import load, load_encoder, save
from mmjax.pretrained.files import WeightsError, read_arrays, write_arrays
from mmjax.pretrained.layout import CONV, DENSE, patches
from tests.pretrained.tiny import CONFIG, bert_folder, random_tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bert_folder(tmp_path_factory.mktemp("weights") / "bert")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "bert")


def test_module_variables_and_preprocessing(folder):
    module, variables, preprocessing = load(folder)
    assert module == BERT(vocabulary=12, width=8, depth=2, heads=2, hidden=12, positions=10)
    tensors = random_tensors()
    params = variables["params"]
    np.testing.assert_array_equal(params["word"]["embedding"], tensors["embeddings.word_embeddings.weight"])
    up = params["transformer"]["block1"]["up"]
    np.testing.assert_array_equal(up["kernel"], tensors["encoder.layer.1.intermediate.dense.weight"].T)
    tokens = preprocessing.batch(["a green frog", "two"])
    np.testing.assert_array_equal(tokens.x, [[2, 4, 5, 6, 3], [2, 7, 3, 0, 0]])
    np.testing.assert_array_equal(tokens.length, [5, 3])
    outputs = jax.jit(module.apply)(variables, tokens)
    assert outputs.x.shape == (2, 5, 8) and bool(jnp.isfinite(outputs.x).all())


def test_saving_and_loading(folder, tmp_path):
    weights = load(folder)
    save(weights, tmp_path)
    again = load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, again.variables, weights.variables)
    assert again.module == weights.module
    np.testing.assert_array_equal(again.preprocessing.batch(["red cars"]).x, weights.preprocessing.batch(["red cars"]).x)


def test_shards(copy):
    tensors = read_arrays(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = sorted(tensors)
    where = {name: f"model-0000{1 + (k % 2)}-of-00002.safetensors" for k, name in enumerate(names)}
    for shard in set(where.values()):
        write_arrays(copy / shard, {name: tensors[name] for name in names if where[name] == shard})
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    jax.tree.map(np.testing.assert_array_equal, load(copy).variables["params"]["word"]["embedding"], random_tensors()[
        "embeddings.word_embeddings.weight"])  # fmt: skip
    (copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"the shard model-00002-of-00002\.safetensors is missing"):
        load(copy)
    index.write_text(json.dumps({"weight_map": where | {names[0]: "../other.safetensors"}}))
    with pytest.raises(WeightsError, match="must be in the folder of the index"):
        load(copy)
    index.write_text("{}")
    with pytest.raises(WeightsError, match="must be JSON with a weight_map"):
        load(copy)


def test_half_precision_becomes_float32(copy):
    tensors = {name: x.astype(np.float16) for name, x in random_tensors().items()}
    write_arrays(copy / "model.safetensors", tensors)
    params = load(copy).variables["params"]
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    np.testing.assert_array_equal(params["position"], tensors["embeddings.position_embeddings.weight"])


WORD = "embeddings.word_embeddings.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("encoder.layer.0.output.dense.bias"), r"bert: missing encoder\.layer\.0\.output\.dense\.bias"),
        (lambda t: t.update(extra=np.zeros(2, np.float32)), r"BERT has no parameters for extra"),
        (lambda t: t.update({WORD: np.zeros((12, 9), np.float32)}), rf"{WORD} of shape \[12, 9\] gives .*must be \[12, 8\]"),
        (lambda t: t.update({WORD: np.zeros((12, 8), np.int32)}), rf"{WORD} is int32; it must be floating point"),
        (
            lambda t: t.update({"encoder.layer.0.output.dense.weight": np.zeros(3, np.float32)}),
            r"encoder\.layer\.0\.output\.dense\.weight of shape \[3\] gives",
        ),
    ],
    ids=["missing", "surplus", "shape", "dtype", "rank"],
)
def test_tensors_that_do_not_fit(copy, change, message):
    tensors = random_tensors()
    change(tensors)
    write_arrays(copy / "model.safetensors", tensors)
    with pytest.raises(WeightsError, match=message):
        load(copy)


def test_invalid_files(copy, tmp_path):
    content = (copy / "model.safetensors").read_bytes()
    for damaged in (content[:1000], content[:-7], b"", b"\xff" * 64):
        (copy / "model.safetensors").write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"model\.safetensors: not a complete \.safetensors file"):
            load(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"bert: the folder has no model\.safetensors"):
        load(copy)
    with pytest.raises(WeightsError, match="no such file or folder; names that can be fetched are"):
        load(tmp_path / "nothing")
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], object))
    with pytest.raises(WeightsError, match=r"pickled\.npz: not a readable \.npz"):
        load(tmp_path / "pickled.npz", CONFIG)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth"])
def test_a_pickle_is_never_opened(copy, name):
    (copy / "model.safetensors").unlink()
    (copy / name).write_bytes(pickle.dumps(Bomb()))
    for source in (copy, copy / name):
        with pytest.raises(WeightsError, match=rf"{name}: this is a pickle.*safetensors\.torch\.save_file"):
            load(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt5"}, r"model_type = 'gpt5'; supported are .*bert"),
        ({"model_type": None}, r"no config\.json with a model_type"),
        ({"hidden_act": "mish"}, r"hidden_act = 'mish'"),
        ({"hidden_size": None}, "hidden_size"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'; only 'absolute' is supported"),
    ],
)
def test_unsupported_configs(copy, change, message):
    config = {name: value for name, value in (CONFIG | change).items() if value is not None}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        load(copy)


def test_names_and_revisions_of_a_hub(folder, monkeypatch):
    requests = []

    def snapshot_download(name, revision, allow_patterns):
        requests.append((name, revision))
        if revision == "gone":
            raise OSError("404")
        return str(folder)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    for source in ("owner/a-model.v1", "owner/a-model.v1@c9745ed", "owner/a-model.v1@refs/pr/3"):
        assert load(source).folder == folder
    assert load_encoder("owner/a-model.v1@c9745ed").module == load(folder).module
    revisions = (None, "c9745ed", "refs/pr/3", "c9745ed")
    assert requests == [("owner/a-model.v1", revision) for revision in revisions]
    with pytest.raises(WeightsError, match="owner/a-model@gone: no such folder, and the download from the hub failed: 404"):
        load("owner/a-model@gone")
    for source in ("./owner/model", "~/model", "/owner/model", "a/b/c", "owner/model@", "owner@rev"):
        with pytest.raises(WeightsError, match=r"no such file or folder; .* owner/model@revision"):
            load(source)


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match="owner/model: no such folder, and models of a hub need huggingface_hub"):
        load("owner/model@main")


def test_a_missing_part(folder):
    assert load_encoder(str(folder)).module == load(folder).module
    with pytest.raises(WeightsError, match="BERT has no part 'text'"):
        load_encoder(f"{folder}#text")


def test_layouts_are_inverses_and_right():
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 8, 6, 3))
    weight = random.normal(size=(5, 3, 4, 2)).astype(np.float32)  # [out in h w], stride (4, 2)
    layout = patches(4, 2)
    kernel = layout.to_ours(weight)
    blocks = x.reshape(2, 2, 4, 3, 2, 3).swapaxes(2, 3).reshape(2, 2, 3, 4 * 2 * 3)
    expected = np.einsum("bihjwc,ochw->bijo", x.reshape(2, 2, 4, 3, 2, 3), weight)
    np.testing.assert_allclose(blocks @ kernel, expected, rtol=1e-5, atol=1e-6)
    for layout in (patches(4, 2), CONV):
        np.testing.assert_array_equal(layout.to_theirs(layout.to_ours(weight)), weight)
    np.testing.assert_array_equal(DENSE.to_theirs(DENSE.to_ours(weight[..., 0, 0])), weight[..., 0, 0])
