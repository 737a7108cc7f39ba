"""Compressed cells in a run: scored, saved in integers, loaded, predicted and exported as any other cell."""

import dataclasses

import jax
import numpy as np
import pytest
import safetensors.numpy
from compressed_costs import table

import mmjax
from mmjax.experiment import part
from mmjax.experiment.check import check
from mmjax.experiment.value import ExperimentError
from mmjax.losses import On
from mmjax.results import load_cell
from mmjax.robust.attacks import FGSM
from mmjax.robust.budgets import L2
from mmjax.robust.prune import Prune, Pruned, sparsity_of
from mmjax.robust.prune_criteria import Magnitude, NofM
from mmjax.robust.prune_schedules import OneShot
from mmjax.robust.quantize import Chain, Quantize
from mmjax.robust.quantize_aware import QuantizationAware
from mmjax.robust.quantize_dynamic import DynamicInt8
from mmjax.train.optim import Adam
from mmjax.train.stages import Stage
from tests.results.pets import EXPERIMENT

BASE = dataclasses.replace(
    EXPERIMENT,
    encoders={
        "text": dataclasses.replace(EXPERIMENT.encoders["text"], embedding=64),
        "vector": dataclasses.replace(EXPERIMENT.encoders["vector"], width=64),
    },
    fusion=dataclasses.replace(EXPERIMENT.fusion, width=64),
    heads={"kind": EXPERIMENT.heads["kind"]},
    loss=On("kind"),
    tasks={"kind": EXPERIMENT.tasks["kind"]},
    optim=Adam(0.01),
    evaluate_every=2,
)
PRUNED = Pruned(Adam(0.01), Magnitude(0.75), OneShot(0.5))
CELLS = {
    "dynamic": dataclasses.replace(BASE, compress=DynamicInt8()),  # saves no float variables that others could share
    "float": BASE,
    "none": dataclasses.replace(BASE, compress=Chain((Prune(Magnitude(0.0)),))),
    "int8": dataclasses.replace(BASE, compress=Quantize(8)),
    "int4": dataclasses.replace(BASE, gradient=QuantizationAware(Quantize(4)), compress=Quantize(4)),
    "pruned_int8": dataclasses.replace(BASE, optim=PRUNED, compress=Quantize(8)),
}
ATTACK = FGSM({"vector": L2(1.0)})
CELLS |= {f"{name}-vector": dataclasses.replace(CELLS[name], attack=ATTACK) for name in ("float", "int8", "dynamic")}
KERNEL = "params/fusion/dense/kernel"
INPUTS = {"text": ["a quiet animal 1", "a loud animal 2", None], "vector": [[1.0, 2, 3], None, [3.0, 2, 9]]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(results, trained cells)."""
    trained, train = [], part._train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part, "_train", lambda run, *others: trained.append(run.cell) or train(run, *others))
        out = tmp_path_factory.mktemp("run") / "run"
        return mmjax.run(CELLS, seeds=2, out=out, quiet=True, keep_predictions=True), trained


def stored(results, cell):
    return safetensors.numpy.load_file(results.run.folder / "cells" / cell / "all" / "variables.safetensors")


def predictions(results, cell):
    with np.load(results.run.folder / "cells" / cell / "all" / "predictions.npz") as arrays:
        return arrays["kind"]


def loss_of(logits, label):
    """The cross-entropy of each row, [s n]."""
    correct = np.take_along_axis(logits, np.broadcast_to(label[:, None], (*logits.shape[:2], 1)), axis=-1)[..., 0]
    return np.log(np.exp(logits).sum(axis=-1)) - correct


def test_float_variables_are_shared_and_compressed_ones_are_not(run):
    results, trained = run
    assert trained == ["dynamic", "float", "int4", "pruned_int8"]
    np.testing.assert_array_equal(predictions(results, "none"), predictions(results, "float"))
    error = lambda cell: np.abs(predictions(results, cell) - predictions(results, "float")).max()
    assert 0 < error("int8") < 0.05 and 0 < error("dynamic") < 0.1 < error("pruned_int8")


def test_files_hold_integers_and_are_smaller(run):
    results, _ = run
    assert {cell: stored(results, cell)[KERNEL].dtype.name for cell in ("float", "int8", "int4", "dynamic")} == {
        "float": "float32",
        "int8": "int8",
        "int4": "uint8",
        "dynamic": "int8",
    }
    size = lambda cell: sum(array.nbytes for array in stored(results, cell).values())
    assert (
        size("float") / size("int8") > 2.5 and size("float") / size("int4") > 4
    )  # biases and scales count in so small a model


def test_costs_of_cells_are_measured_in_turn(run):
    rows = {row["cell"]: row for row in table({name: run[0][name] for name in ("float", "int8")}, "float", rounds=1)}
    bytes_of = lambda cell: (run[0].run.folder / "cells" / cell / "all" / "variables.safetensors").stat().st_size
    assert rows["float"]["smaller"] == 1 and rows["int8"]["smaller"] == bytes_of("float") / bytes_of("int8") > 1.5
    assert rows["float"]["disk"] == bytes_of("float") / 2  # two seeds
    assert all(row[name] > 0 for row in rows.values() for name in ("zipped", "memory", "ms_1", "ratio_32"))


def test_a_pruned_cell_has_its_sparsity_after_training_and_after_quantisation(run):
    results, _ = run
    assert all(step > 4 for step in results.run.results["cells"]["pruned_int8"]["best_step"][0])  # pruned by update 5 of 8
    for seed in (0, 1):
        assert 0.749 < sparsity_of(results["pruned_int8"].variables(seed)["params"]) < 0.8  # small weights round to zero too
        assert sparsity_of(results["float"].variables(seed)["params"]) == 0


@pytest.mark.parametrize("name", ["int8", "int4", "dynamic", "pruned_int8"])
def test_a_compressed_cell_predicts_and_saves(run, name, tmp_path):
    cell = run[0][name]
    expected = cell.predict(INPUTS)["kind"]["probability"]
    loaded = load_cell(cell.save(tmp_path / "saved"))
    np.testing.assert_array_equal(loaded.predict(INPUTS)["kind"]["probability"], expected)
    assert any(leaf.dtype in (np.int8, np.uint8) for leaf in jax.tree.leaves(loaded.variables(1)["params"]))


@pytest.mark.parametrize("name", ["pruned_int8", "int4", "dynamic"])
def test_a_compressed_cell_exports_and_runs(run, name, tmp_path):
    cell = run[0][name]
    path = cell.export(tmp_path / "model.bin")
    function = jax.export.deserialize(bytearray(path.read_bytes()))
    readers = cell.models[0].readers
    text = readers["text"].parse(INPUTS["text"][0])
    items = {
        "text": {"x": text.x[None], "length": np.array([text.length])},
        "vector": np.array([INPUTS["vector"][0]], np.float32),
    }
    present = {name: np.ones(1, bool) for name in readers}
    logits = np.asarray(function.call(items, present)["kind"])[:, 0]  # [s 2]
    probability = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)).mean(axis=0)
    found = cell.predict({name: values[:1] for name, values in INPUTS.items()})["kind"]["probability"][0]
    np.testing.assert_allclose(probability, found, rtol=1e-4, atol=1e-5)
    if name == "pruned_int8":  # the integers are stored once; the programs of the others are longer than so small a model
        assert path.stat().st_size < 0.6 * run[0]["float"].export(tmp_path / "float.bin").stat().st_size


@pytest.mark.parametrize("name", ["int8", "dynamic"])
def test_a_compressed_cell_can_be_attacked(run, name):
    """The attack reads the gradient of the compressed model: it costs that model about as much as the float model."""
    results, label = run[0], BASE.data.load().splits["test"].targets["kind"]
    loss = lambda cell: loss_of(predictions(results, cell)[:, -1], label)  # of all modalities
    rise = loss(f"{name}-vector") - loss(name)
    expected = loss("float-vector") - loss("float")
    assert expected.mean() > 0.3 and (expected > -1e-5).all()
    np.testing.assert_allclose(rise.mean(), expected.mean(), rtol=0.1)
    assert (rise > -1e-5).all()
    np.testing.assert_array_equal(stored(results, f"{name}-vector")[KERNEL], stored(results, name)[KERNEL])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compress": Quantize(3)}, r"compress: Quantize\.bits is 3; it must be 4 or 8"),
        ({"compress": Prune(weights=("encoder",))}, r"compress: weights is \('encoder',\), which matches no kernel"),
        (
            {"compress": Prune(NofM(2, 4))},
            r"compress: NofM\.m is 4, which does not divide the 3 input channels of encoders_vector",
        ),
        ({"optim": Pruned(select=Magnitude(1.0))}, r"training: Magnitude\.sparsity is 1\.0"),
        ({"optim": Pruned(weights=("encoder",))}, r"training: weights is \('encoder',\), which matches no kernel"),
        ({"optim": PRUNED, "stages": (Stage(), Stage())}, r"training: stages\.0 trains with Pruned, but only the last stage"),
    ],
)
def test_errors_come_before_training_and_name_the_field(changes, message):
    with pytest.raises(ExperimentError, match=message):
        check(dataclasses.replace(BASE, **changes), BASE.data.load())
