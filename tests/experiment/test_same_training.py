"""Cells that differ in their compression and attack alone are trained once, and scored with them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax.experiment import part
from mmjax.experiment.check import check
from mmjax.experiment.value import ExperimentError
from mmjax.losses import On
from mmjax.robust.wrong_pairs import WrongPairs
from mmjax.types import Attack, Compression
from tests.results.pets import EXPERIMENT

TINY = dataclasses.replace(
    EXPERIMENT,
    encoders={name: EXPERIMENT.encoders[name] for name in ("text", "vector")},
    heads={"kind": EXPERIMENT.heads["kind"]},
    loss=On("kind"),
    tasks={"kind": EXPERIMENT.tasks["kind"]},
)


CHANGED = ["same", "attacked", "halved", "other", "wrong"]


@dataclasses.dataclass(frozen=True)
class Raise:
    """Moves the vectors along the gradient of the loss."""

    budget: float

    def __call__(self, values: Any, batch: Any, key: Any) -> Any:
        changed = lambda vector: batch.replace(inputs={**batch.inputs, "vector": vector})
        slope = jax.grad(lambda vector: values(changed(vector)).sum())(batch.inputs["vector"])
        return changed(batch.inputs["vector"] + self.budget * jnp.sign(slope))


@dataclasses.dataclass(frozen=True)
class Times:
    """Variables times a factor."""

    factor: float

    def module(self, model: Any) -> Any:
        return model

    def variables(self, variables: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf * self.factor, variables)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(results, number of trainings)."""
    base, trained = TINY, []
    cells = {
        "base": base,
        "same": dataclasses.replace(base, attack=Raise(0.0), compress=Times(1.0)),
        "attacked": dataclasses.replace(base, attack=Raise(9.0)),
        "halved": dataclasses.replace(base, compress=Times(0.5)),
        "other": dataclasses.replace(base, steps=base.steps + 1, attack=Raise(0.0)),
        "wrong": dataclasses.replace(base, attack=WrongPairs(("vector",))),
    }
    train = part._train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part, "_train", lambda run, *others: trained.append(run.cell) or train(run, *others))
        out = tmp_path_factory.mktemp("run")
        return mmjax.run(cells, seeds=2, out=out, quiet=True, keep_predictions=True, against="base"), trained


def predictions(results, cell):
    """Float[s k n 2], the logits of the kind."""
    with np.load(results.run.folder / "cells" / cell / "all" / "predictions.npz") as arrays:
        return arrays["kind"]


def test_they_are_of_the_contracts():
    assert isinstance(Raise(0.0), Attack) and isinstance(Times(1.0), Compression)


def test_equal_training_happens_once(run):
    results, trained = run
    assert trained == ["base", "other"]
    facts = [results.run.results["cells"][name] for name in ("base", "attacked")]
    for name in ("parameters", "best_step", "validation"):
        assert facts[0][name] == facts[1][name]


def test_the_identity_changes_no_bit(run):
    np.testing.assert_array_equal(predictions(run[0], "base"), predictions(run[0], "same"))


def test_an_attack_raises_the_loss_of_the_subsets_with_its_modality(run):
    results, _ = run
    before, after = predictions(results, "base"), predictions(results, "attacked")
    subsets = list(results.run.results["cells"]["base"]["tasks"]["kind"]["subsets"])
    for k, name in enumerate(subsets):
        if "vector" in name.split("+"):
            assert np.abs(before[:, k] - after[:, k]).max() > 0.1
        else:
            np.testing.assert_array_equal(before[:, k], after[:, k])
    score = lambda cell: results.run.results["cells"][cell]["tasks"]["kind"]["subsets"]["vector"]["accuracy"]["mean"]
    assert score("attacked") < score("base")


def test_a_compressed_model_is_what_is_saved(run):
    base, halved = (run[0][name] for name in ("base", "halved"))
    for whole, half in zip(jax.tree.leaves(base.variables(1)), jax.tree.leaves(halved.variables(1))):
        np.testing.assert_array_equal(half, whole / 2)
    vector = [np.ones(3, np.float32)]
    a, b = (cell.predict({"vector": vector})["kind"]["probability"] for cell in (base, halved))
    assert np.abs(a - b).max() > 1e-4


def test_changed_cells_are_compared_with_baselines_and_the_named_cell_alone(run):
    cells, task = run[0].run.results["cells"], run[0].run.results["tasks"]["kind"]
    kinds = {name: {v["kind"] for v in cell["tasks"]["kind"]["verdicts"]} for name, cell in cells.items()}
    assert kinds == {"base": {"baseline"}, "same": {"baseline", "cell"}, "attacked": {"baseline", "cell"},
                     "halved": {"baseline", "cell"}, "other": {"baseline", "cell"},
                     "wrong": {"baseline", "cell"}}  # fmt: skip
    assert task["best_cell"] == "base"
    assert [row["cell"] for row in run[0].table("kind") if row["kind"] == "changed"] == CHANGED


def test_answers_that_stay_the_same_without_a_vector_or_with_another_one(run):
    """From the saved logits. An example without a vector has none that could be ignored."""
    results, _ = run
    base, wrong = (predictions(results, cell).argmax(axis=-1) for cell in ("base", "wrong"))
    record = results.run.results["cells"]["base"]["tasks"]["kind"]
    without, complete = (list(record["subsets"]).index(name) for name in ("text", "text+vector"))
    has = np.array([int(name.removeprefix("pet")) % 5 > 0 for name in results.run.units("kind")[0].metadata["id"]])
    same = results.run.same_answers("base", "kind")
    expected = {
        "removed": np.where(has, base[:, without] == base[:, complete], -1),
        "replaced": np.where(has, wrong[:, complete] == base[:, complete], -1),
    }
    assert {name: list(ways) for name, ways in same.items()} == {"text": ["removed"], "vector": ["removed", "replaced"]}
    for way, of in expected.items():
        np.testing.assert_array_equal(same["vector"][way], of)
        np.testing.assert_allclose(record["same"]["vector"][way]["per_seed"], of[:, has].mean(axis=1))
    assert ((same["text"]["removed"] >= 0) == has).all() and not has.all()
    assert {cell for cell in ("attacked", "wrong") if results.run.same_answers(cell, "kind")} == set()


def test_errors_name_the_field():
    @dataclasses.dataclass(frozen=True)
    class Wrong:
        def __call__(self, values, batch, key):
            raise ValueError("budget is -1")

    data = TINY.data.load()
    with pytest.raises(ExperimentError, match=r"^attack: budget is -1$"):
        check(dataclasses.replace(TINY, attack=Wrong()), data)
    with pytest.raises(ExperimentError, match=r"^compress: .*module"):
        check(dataclasses.replace(TINY, compress=3), data)
