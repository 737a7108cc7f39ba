"""Published weights as initial values: their paths are those of the model, and errors name what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from mmjax import pretrained
from mmjax.encoders import BERT, LoRA
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.model import Multimodal
from mmjax.pretrained import load
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.init import digest, read_weights
from mmjax.types import Batch, Padded
from tests.pretrained.tiny import bert_folder

SMALL = BERT(vocabulary=12, width=8, depth=2, heads=2, hidden=12, positions=10)
TEXT = Padded(jnp.zeros((2, 4), int), jnp.array([4, 2]))


def shapes(encoder, modalities=("text",)):
    encoders = {name: encoder.clone() for name in modalities}  # one instance would share its parameters
    model = Multimodal(encoders, Concat(width=4), {"label": Classifier(3)})
    present = dict.fromkeys(modalities, jnp.ones(2, bool))
    batch = Batch(dict.fromkeys(modalities, TEXT), present, {"label": jnp.zeros(2, int)}, jnp.ones(2))
    return jax.eval_shape(model.init, jax.random.key(0), batch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(bert_folder(tmp_path_factory.mktemp("weights") / "bert"))


@pytest.mark.parametrize(("encoder", "path"), [(SMALL, "encoders_text"), (LoRA(SMALL, rank=2), "encoders_text/base")])
def test_arrays_have_the_paths_of_the_model(folder, encoder, path):
    expected = {f"params/{path}/{name}": leaf for name, leaf in flatten_dict(load(folder).variables["params"], sep="/").items()}
    arrays = read_weights(shapes(encoder), {path: folder})
    assert arrays.keys() == expected.keys() and arrays.keys() <= flatten_dict(shapes(encoder), sep="/").keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])


def test_each_source_is_read_once(folder, monkeypatch):
    read, load_encoder = [], pretrained.load_encoder
    monkeypatch.setattr(pretrained, "load_encoder", lambda source: (read.append(source), load_encoder(source))[1])
    arrays = read_weights(shapes(SMALL, ("name", "text")), {"encoders_name": folder, "encoders_text": folder})
    assert read == [folder]
    parts = [{name: x for name, x in arrays.items() if f"encoders_{modality}" in name} for modality in ("name", "text")]
    for one, other in zip(*(part.values() for part in parts), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("encoder", "path", "message"),
    [
        (SMALL, "encoders_words", r"weights\.encoders_words: the model has no parameters at this path; it has encoders_"),
        (SMALL, "fusion", r"weights\.fusion: .* and the encoder are different modules: they differ in"),
        (LoRA(SMALL), "encoders_text", r"are different modules: they differ in encoders_text/base"),
        (SMALL.clone(vocabulary=13), "encoders_text", r"word/embedding is \[12, 8\] in .*, but \[13, 8\] in the encoder"),
    ],
)
def test_weights_that_do_not_fit(folder, encoder, path, message):
    with pytest.raises(WeightsError, match=message):
        read_weights(shapes(encoder), {path: folder})


def test_the_digest_depends_on_names_dtypes_shapes_and_values():
    x = np.arange(6, dtype=np.float32)
    trees = [{"a": x}, {"b": x}, {"a": x.astype(np.float64)}, {"a": x.reshape(2, 3)}, {"a": x + 1}]
    assert len({digest(tree) for tree in trees}) == len(trees)
    assert digest({"a": x}) == digest({"a": x.copy()})
