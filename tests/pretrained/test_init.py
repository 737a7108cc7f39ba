"""Training that begins with published weights: they lie in their place in every seed, and what does not fit is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders import BERT, LoRA
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.model import Multimodal
from mmjax.pretrained import load
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.init import init_from_pretrained
from mmjax.types import Batch, Padded
from tests.pretrained.tiny import bert_folder

SMALL = BERT(vocabulary=12, width=8, depth=2, heads=2, hidden=12, positions=10)
GIVEN = Batch(
    {"text": Padded(jnp.zeros((2, 4), int), jnp.array([4, 2]))},
    {"text": jnp.ones(2, bool)},
    {"label": jnp.zeros(2, int)},
    jnp.ones(2),
)


def shapes(encoder):
    model = Multimodal({"text": encoder}, Concat(width=4), {"label": Classifier(3)})
    return jax.eval_shape(model.init, jax.random.key(0), GIVEN)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(bert_folder(tmp_path_factory.mktemp("weights") / "bert"))


@pytest.mark.parametrize(("encoder", "path"), [(SMALL, "encoders_text"), (LoRA(SMALL, rank=2), "encoders_text/base")])
def test_the_weights_take_their_place_in_every_seed(folder, encoder, path):
    zeros = jax.tree.map(lambda leaf: np.zeros((3, *leaf.shape), leaf.dtype), shapes(encoder))
    params = init_from_pretrained(zeros, {path: folder}, (3,))["params"]
    place = params["encoders_text"]["base"] if path.endswith("base") else params["encoders_text"]
    for seed in range(3):
        jax.tree.map(
            lambda ours, theirs: np.testing.assert_array_equal(ours[seed], theirs), place, load(folder).variables["params"]
        )
    jax.tree.map(
        lambda leaf: np.testing.assert_array_equal(leaf, 0), {name: params[name] for name in ("fusion", "heads_label")}
    )
    jax.tree.map(lambda ours, theirs: None, init_from_pretrained(zeros, {path: folder}, (3,)), zeros)  # of the same structure


@pytest.mark.parametrize(
    ("encoder", "path", "message"),
    [
        (SMALL, "encoders_words", r"weights\.encoders_words: the model has no such part; it has encoders_text, fusion"),
        (SMALL, "fusion", r"weights\.fusion: .* is another module than the encoder: they differ in"),
        (LoRA(SMALL), "encoders_text", r"is another module than the encoder: they differ in encoders_text/base"),
        (SMALL.clone(vocabulary=13), "encoders_text", r"word/embedding is \[12, 8\] in .*, and \[13, 8\] in the encoder"),
    ],
)
def test_what_does_not_fit(folder, encoder, path, message):
    with pytest.raises(WeightsError, match=message):
        init_from_pretrained(shapes(encoder), {path: folder})
