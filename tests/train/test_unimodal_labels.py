"""Generated labels by hand; tests/parity/test_fusions_training.py compares three epochs with the authors' trainer."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.dataset import Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.numbered import Numbered
from mmjax.losses import SelfMMLoss, SignedEntropy
from mmjax.shards import SHARD
from mmjax.train.previous_batch import PreviousBatch
from mmjax.train.step import weighted_mean
from mmjax.train.unimodal_labels import UnimodalLabels
from mmjax.types import Aux, Batch, Gradient

LABELS = UnimodalLabels(5, ("text",), width=1, unimodal_width=1)


def test_labels_move_towards_the_nearer_centre():
    """Rows 0 and 1 were seen once, with labels 1 and -1; row 2 has no text; row 3 is new; the last example is padding."""
    state = {
        "features": {
            "": jnp.array([[2.0], [-2.0], [2.0], [0.0], [0.0]]),
            "text": jnp.array([[1.0], [-3.0], [9.0], [0.0], [0.0]]),
        },
        "labels": {name: jnp.array([1.0, -1.0, 1.0, 0.0, 0.0]) for name in ("", "text")},
        "seen": {"": jnp.array([1, 1, 1, 0, 0]), "text": jnp.array([1, 1, 0, 0, 0])},
    }
    row, y = jnp.array([0, 1, 2, 3, -1]), jnp.array([1.0, -1.0, 1.0, 2.0, 7.0])
    features = {"": jnp.array([[1.0], [-1.0], [5.0], [6.0], [7.0]]), "text": jnp.array([[0.5], [-3.0], [5.0], [6.0], [7.0]])}
    counts = {"": jnp.array([1, 1, 1, 1, 0], bool), "text": jnp.array([1, 1, 0, 1, 0], bool)}
    new = jax.tree.map(np.asarray, jax.jit(LABELS.updated)(state, row, y, features, counts))
    # Row 0: a = (3 - 1) / 1 = 2 and a_text = (3.5 - .5) / .5 = 6: (6 / 2 + 1 + 6 - 2) / 2 = 4, at most 3; (1 + 2 * 3) / 3.
    # Row 1: a = (1 - 3) / 3 and a_text = (0 - 4) / 4 = -1: (-1.5 - 1 - 1 + 2 / 3) / 2 = -17 / 12; (-1 - 2 * 17 / 12) / 3.
    np.testing.assert_allclose(new["labels"]["text"], [7 / 3, -23 / 18, 1, 2, 0], rtol=1e-5)
    np.testing.assert_allclose(new["labels"][""], [1, -1, 1, 2, 0])
    np.testing.assert_array_equal(new["features"]["text"][:, 0], [0.5, -3, 9, 6, 0])
    assert new["seen"]["text"].tolist() == [2, 2, 0, 1, 0] and new["seen"][""].tolist() == [2, 2, 2, 1, 0]


def test_they_are_gradients_and_name_what_they_need():
    memory = PreviousBatch((("text.z", 2),), 3)
    assert isinstance(LABELS, Gradient) and isinstance(memory, Gradient)
    batch = Batch({}, {}, {"score": np.ones(2, np.float32)}, np.ones(2, np.float32))
    with pytest.raises(ValueError, match=r"UnimodalLabels needs the target 'row'; the batch's targets are \['score'\]"):
        LABELS(lambda *given: None, {}, LABELS.init({}), batch, jax.random.key(0))
    assert np.isnan(memory.init({})["previous/score"]).all()
    with pytest.raises(ValueError, match=r"PreviousBatch.target is 'age'; the batch's targets are \['score'\]"):
        PreviousBatch((), 3, "age")(lambda *given: None, {}, {}, batch, jax.random.key(0))
    given = batch.replace(present={"text": np.ones(2, bool)}, targets={**batch.targets, **memory.init({})})
    for entropy, width, message in (
        (SignedEntropy("text.z"), 3, r"PreviousBatch.outputs has the width 2 for 'text.z'; it must be 3"),
        (SignedEntropy("text.z", "age"), 2, r"PreviousBatch.target must be that of the SignedEntropy of 'text.z', 'age'"),
    ):
        also = given.replace(targets={**given.targets, "age": np.ones(2, np.float32)})
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(entropy, {"text.z": jnp.zeros((2, width))}, also)


def test_rows_beyond_the_examples_keep_their_targets():
    """Row 4 was seen, with the label 3; row 5 has no place in the state. Features of another width are named."""
    state = {"seen": {"text": jnp.ones(5, jnp.int32)}, "labels": {"text": jnp.full(5, 3.0)}}
    known = jax.jit(LABELS._known, static_argnums=1)(state, "text", jnp.array([4, 5]), jnp.array([1.0, -1.0]))
    np.testing.assert_array_equal(known, [3, -1])
    batch = Batch({}, {"text": jnp.ones(2, bool)}, {"score": jnp.ones(2), "row": jnp.arange(2)}, jnp.ones(2))
    outputs = {"features": jnp.ones((2, 1)), "text.features": jnp.ones((2, 2))}
    given = partial(LABELS, lambda params, batch, key: ({"loss": params}, Aux(outputs, {}, {}, {})))
    with pytest.raises(ValueError, match=r"UnimodalLabels.unimodal_width is 1; .* 'text.features', \[2, 2\]"):
        jax.eval_shape(given, jnp.zeros(()), LABELS.init({}), batch, jax.random.key(0))


class Given:
    def load(self) -> Dataset:
        rows = {split: Rows({}, {"score": np.zeros(size)}, np.ones(size)) for split, size in (("train", 3), ("test", 2))}
        return Dataset({}, rows, {}, "of the data")


def test_rows_are_numbered():
    data = Numbered(Given()).load()
    assert {split: rows.targets["row"].tolist() for split, rows in data.splits.items()} == {"train": [0, 1, 2], "test": [0, 1]}
    assert data.fingerprint != "of the data"
    with pytest.raises(DataError, match=r"Numbered.target is 'score', a target that the data have"):
        Numbered(Given(), "score").load()


@pytest.mark.slow
def test_four_devices_and_one_keep_the_same_state():
    """Also the gradients, of a loss that sees the labels or the batch before; two steps."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 8, 2)).astype(np.float32), np.float32([1, -1, 2, -2, 1, -1, 2, -2])
    labels, memory = UnimodalLabels(8, ("text",), width=2, unimodal_width=2), PreviousBatch((("text.features", 2),), 8)

    def objective(params, batch, key):
        f = jnp.tanh(batch.inputs["text"] @ params)
        outputs = {"features": f, "text.features": f * f, "text.score": f[:, :1], "score": f[:, 1:]}
        values = SelfMMLoss(("text",))(outputs, batch) | {"entropy": SignedEntropy("text.features", ridge=0.1)(outputs, batch)}
        return {name: weighted_mean(value, batch.weight) for name, value in values.items()}, Aux(outputs, {}, {}, {})

    def two_steps(params, batches):
        def both(states, batch):
            steps = [part(objective, params, state, batch, jax.random.key(0)) for part, state in zip((labels, memory), states)]
            return tuple(state for *_, state in steps), [step[:2] for step in steps]

        return jax.lax.scan(both, (labels.init(params), memory.init(params)), batches)

    def given(*shape):
        stacked = lambda array: np.broadcast_to(array, (2, 8)).reshape(2, *shape)
        targets = {"score": stacked(y), "row": stacked(np.arange(8, dtype=np.int32))}
        present = {"text": stacked(np.arange(8) != 3)}
        return Batch({"text": x.reshape(2, *shape, 2)}, present, targets, stacked(np.ones(8, np.float32)))

    params = np.eye(2, dtype=np.float32)
    one = jax.jit(two_steps)(params, given(8))
    parts = jax.pmap(two_steps, axis_name=SHARD, in_axes=(None, 1))(params, given(4, 2))
    chex.assert_trees_all_close(*(jax.tree.map(lambda x, k=k: x[k], parts) for k in (0, 3)), rtol=1e-6)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[0], parts), one, rtol=1e-4, atol=1e-6)
    assert np.abs(one[0][0]["labels"]["text"] - y).max() > 0.1
