"""Predictions for changed inputs, and data sets whose test rows stand side by side."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.audit.audited import Audited
from mmjax.audit.changed import Changed, needed, side_by_side, unchanged
from mmjax.audit.part import AuditedPart
from mmjax.audit.robustness import without
from mmjax.audit.swaps import swapped
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.feed import CHUNK
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.model import Multimodal
from mmjax.runs.model import SavedModel
from mmjax.tasks import Classify
from mmjax.types import Batch, Tokens

ITEMS = {"a": np.arange(10.0), "b": np.arange(20.0, 25)}
POINTER = {"a": np.array([7, 2, -1, 7]), "b": np.array([-1, 4, 0, 1])}


def dataset():
    columns = {name: Column(len(of), of.__getitem__, identity) for name, of in ITEMS.items()}
    rows = Rows(POINTER, {"label": np.array([3, 1, 4, 1])}, np.array([1, 0, 2, 1], np.float32))
    return Dataset(columns, {"test": rows}, {"test": {}}, "")


def inputs(dataset, name):
    """The input of each test row, NaN if it is absent."""
    column = dataset.columns[name]
    return [float(column.read(int(p))) if p >= 0 else np.nan for p in dataset.splits["test"].pointer[name]]


def test_rows_keep_their_inputs_and_targets():
    one = needed(dataset(), ("a", "b"))
    other = replace(one, columns={**one.columns, "a": Column(3, lambda number: 100.0 + number, identity)})
    both = side_by_side([one, other, one])
    np.testing.assert_array_equal(inputs(one, "a"), [7, 2, np.nan, 7])
    np.testing.assert_array_equal(inputs(both, "a"), [7, 2, np.nan, 7, 101, 100, np.nan, 101, 7, 2, np.nan, 7])
    np.testing.assert_array_equal(inputs(both, "b"), [np.nan, 24, 20, 21] * 3)
    rows = both.splits["test"]
    assert rows.targets["label"].tolist() == [3, 1, 4, 1] * 3 and rows.weight.tolist() == [1, 0, 2, 1] * 3
    assert both.columns["b"] is one.columns["b"] and both.columns["a"].count == 2 * CHUNK and one.columns["a"].count == CHUNK
    assert [both.columns["a"].read(number) for number in (CHUNK + 2, CHUNK + 3, 2 * CHUNK - 1)] == [102, 102, 102]


COUNTS = {"a": 0, "b": 0}


class Counted(nn.Module):
    """An encoder that counts the rows that it encodes."""

    modality: str

    @nn.compact
    def __call__(self, x, *, train=False):
        nothing = np.zeros((len(x), 1), np.float32)

        def count(x):
            del x  # to read it could wait for this program
            COUNTS[self.modality] += len(nothing)
            return nothing

        x = x[:, None] + jax.pure_callback(count, jax.ShapeDtypeStruct(nothing.shape, nothing.dtype), x[:, None])
        return Tokens(nn.Dense(3)(x)[:, None], jnp.ones((len(x), 1), bool))


@pytest.fixture(scope="module")
def audited():
    """A cell of two trainings with a seed each."""
    data = dataset()
    small = lambda column: replace(column, read=lambda number: np.float32(column.read(number) / 10))
    columns = {name: small(column) for name, column in data.columns.items()}
    data = replace(data, columns=columns, metadata={"test": {"id": np.array(list("wxyz")), "group": np.arange(4)}})
    data = replace(data, classes={"label": ("no", "yes", "so", "more", "all")})
    model = Multimodal({name: Counted(name) for name in "ab"}, Concat(width=4, dropout=0.0), {"label": Classifier(5)})
    batch = Batch(dict.fromkeys("ab", jnp.zeros(2)), dict.fromkeys("ab", jnp.ones(2, bool)), {}, jnp.ones(2))
    init, task, parts = jax.jit(model.init), Classify("label"), []
    for seed in (0, 1):
        variables = jax.tree.map(lambda leaf: np.asarray(leaf)[None], init(jax.random.key(seed), batch))
        saved = SavedModel(model, {"label": task}, {}, {}, {}, (seed,), variables, {})
        parts.append(AuditedPart(f"seed{seed}", None, saved, data, task))
    found = object.__new__(Audited)
    cell = {"modalities": ["a", "b"], "tasks": {"label": {"complete": "a+b"}}}
    run = SimpleNamespace(results={"cells": {"made": cell}})
    found.__dict__.update(run=run, cell="made", task_name="label", task=task, parts=tuple(parts))
    return found


def test_only_changed_modalities_are_encoded_again(audited):
    """Predictions equal those of models that encode everything, bit by bit."""
    test = Changed(audited, rows=4)
    other = Column(CHUNK, lambda number: np.float32(9 - number), identity)
    changes = [
        unchanged,
        lambda of: replace(of, columns={**of.columns, "a": other}),
        partial(without, modalities="b", rate=1.0),
        lambda of: swapped(of, "b", np.array([-1, 2, 3, 1])),
    ]
    whole = [audited.predictions(change=lambda _, of=change: of(test.data[None]))[None] for change in changes]
    COUNTS.update(a=0, b=0)
    for change, wanted, rows in zip(changes, whole, ((4, 4), (4, 0), (0, 0), (0, 4))):  # each training encodes four rows
        (found,) = test._predictions({None: [change(test.data[None])]})
        np.testing.assert_array_equal(found[None], wanted)
        assert (COUNTS["a"], COUNTS["b"]) == (2 * rows[0], 2 * rows[1])
        COUNTS.update(a=0, b=0)
    together = [one.per_seed for one in test.estimates(changes)]
    assert together == [test.estimates([change])[0].per_seed for change in changes]
