"""Sentence embeddings by modules.json, against the formulas of sentence-transformers' Pooling, Dense and Normalize in NumPy."""

import json

import jax
import numpy as np
import pytest

from mmjax.pretrained import load, load_encoder, save
from mmjax.pretrained.files import WeightsError, write_arrays
from tests.pretrained.tiny import bert_folder

pytest.importorskip("tokenizers")
TEXTS = ["a green frog", "two", "", "two red cars of the"]
KERNEL, BIAS = (np.random.default_rng(3).normal(size=shape).astype(np.float32) for shape in ((5, 8), (5,)))


def normalized(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def pooled(mode, x, mask):
    """x [b n d], mask [b n] of 0 and 1: the formulas of models/Pooling.py."""
    valid = mask[..., None]
    count = np.maximum(valid.sum(axis=1), 1e-9)
    position = np.arange(1, x.shape[1] + 1)[None, :, None] * valid
    return {
        "cls": x[:, 0],
        "max": np.where(valid == 0, -1e9, x).max(axis=1),
        "mean": (x * valid).sum(axis=1) / count,
        "mean_sqrt_len_tokens": (x * valid).sum(axis=1) / np.sqrt(count),
        "weightedmean": (x * position).sum(axis=1) / position.sum(axis=1),
        "lasttoken": x[np.arange(len(x)), mask.sum(axis=1) - 1],
    }[mode]


FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def write(folder, pooling, *further, prefix="sentence_transformers.models."):
    """further: "Dense" or "Normalize"."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{prefix}Transformer"}]
    for number, kind in enumerate(("Pooling", *further), 1):
        modules.append({"idx": number, "name": str(number), "path": f"{number}_{kind}", "type": f"{prefix}{kind}"})
        (folder / f"{number}_{kind}").mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 8} | pooling))
    for number, kind in enumerate(further, 2):
        if kind == "Dense":
            width = {"in_features": 8, "out_features": 5, "bias": True}
            function = {"activation_function": "torch.nn.modules.activation.Tanh"}
            (folder / f"{number}_Dense" / "config.json").write_text(json.dumps(width | function))
            write_arrays(folder / f"{number}_Dense" / "model.safetensors", {"linear.weight": KERNEL, "linear.bias": BIAS})


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(folder, tokens of TEXTS, their mask)."""
    folder = bert_folder(tmp_path_factory.mktemp("sentences") / "bert")
    module, variables, preprocessing = load(folder)
    tokens = jax.jit(module.apply)(variables, preprocessing.batch(TEXTS))
    return folder, np.asarray(tokens.x), np.asarray(tokens.mask).astype(int)


@pytest.fixture
def embed(plain):
    def run(source=None):
        module, variables, preprocessing = load_encoder(f"{source or plain[0]}#sentence")
        tokens = jax.jit(module.apply)(variables, preprocessing.batch(TEXTS))
        assert tokens.x.shape[1] == 1 and tokens.mask.all()
        return np.asarray(tokens.x[:, 0])

    return run


@pytest.mark.parametrize("mode", FLAGS)
def test_each_pooling(mode, plain, embed):
    folder, x, mask = plain
    write(folder, {flag: name == mode for name, flag in FLAGS.items()})
    np.testing.assert_allclose(embed(), pooled(mode, x, mask), rtol=1e-5, atol=1e-6)


def test_all_modules_and_saving(plain, embed, tmp_path):
    folder, x, mask = plain
    write(folder, {"pooling_mode": "mean"}, "Dense", "Normalize", prefix="sentence_transformers.sentence_transformer.modules.")
    expected = normalized(np.tanh(pooled("mean", x, mask) @ KERNEL.T + BIAS))
    np.testing.assert_allclose(embed(), expected, rtol=1e-5, atol=1e-6)
    save(load(folder), tmp_path / "saved")
    np.testing.assert_allclose(embed(tmp_path / "saved"), expected, rtol=1e-5, atol=1e-6)


def test_several_poolings_side_by_side(plain, embed):
    folder, x, mask = plain
    write(folder, {FLAGS["mean"]: True, FLAGS["cls"]: True}, "Normalize")
    expected = np.concatenate([pooled("cls", x, mask), pooled("mean", x, mask)], axis=1)
    np.testing.assert_allclose(embed(), normalized(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", None, "there is no modules.json"),
        ("modules.json", {}, "modules.json: it must hold a JSON list"),
        ("modules.json", [5], "each module must have a type, and a path inside the folder, not 5"),
        ("modules.json", [{"type": "a.Transformer", "path": "../x"}], "each module must have a type"),
        ("modules.json", [{"type": "a.Transformer", "path": ""}, {"type": "a.LSTM", "path": "b"}], "has Transformer, LSTM"),
        (
            "modules.json",
            [{"type": "a.Transformer", "path": "0_Transformer"}, {"type": "a.Pooling", "path": "1_Pooling"}],
            "its Transformer in 0_Transformer; it must be in the folder itself",
        ),
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "1_Pooling/config.json has pooling_mode = 'median'; it"),
        ("1_Pooling/config.json", {FLAGS["mean"]: 1}, "pooling_mode_mean_tokens = 1; it must be true or false"),
        ("1_Pooling/config.json", {}, "1_Pooling/config.json chooses no pooling"),
        ("2_Dense/config.json", {"out_features": 5, "activation_function": "os.system"}, "activation_function = 'os.system'"),
        ("2_Dense/config.json", {"out_features": 6}, r"2_Dense/linear.weight of shape \[5, 8\] gives .* \[8, 6\]"),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "default_prompt_name = 'query'; only None"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(file, content, message, tmp_path):
    folder = bert_folder(tmp_path / "bert")
    write(folder, {"pooling_mode": "mean"}, "Dense")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=message) as error:
        load_encoder(f"{folder}#sentence")
    assert len(str(error.value).splitlines()) == 1
