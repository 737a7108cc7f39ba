"""Explanations of two linear models, whose attributions and curves follow from their weights, and of what fails a check."""

import itertools

import numpy as np
import pytest

import mmjax.audit.explain
from mmjax.audit.explain import SHARES, explanations
from mmjax.audit.explain_measures import STEPS, estimate, sanity
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.inputs import ImageInput, SeriesInput
from mmjax.report.examples import Medium
from mmjax.report.maps import draw_maps
from mmjax.report.panels import draw_panel
from mmjax.types import Padded
from tests.audit.tiny import Linear, audited_cell

SEEDS, ROWS, CLASSES = 2, 6, 3
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(ROWS, 4, 4, 3)).astype(np.float32)
SERIES = RANDOM.normal(size=(ROWS, 8, 2)).astype(np.float32)
HAS_SERIES, LENGTH = np.arange(ROWS) != 2, np.array([8, 6, 8, 4, 8, 8])
SERIES[np.arange(8)[None] >= LENGTH[:, None]] = 0  # padding
WEIGHTS = {"image": RANDOM.normal(size=(SEEDS, 4 * 4 * 3, CLASSES)), "series": RANDOM.normal(size=(SEEDS, 8 * 2, CLASSES))}
WEIGHTS = {name: of.astype(np.float32) for name, of in WEIGHTS.items()}
WEIGHTS["series"].reshape(SEEDS, 8, 2, CLASSES)[:, :, 1] = 0  # no model uses the second channel


@pytest.fixture(scope="module")
def found():
    """(the audit, its attributions {method: {modality: [s b ...]}} with their rows)."""
    series = lambda number: Padded(SERIES[number], np.int32(LENGTH[number]))
    columns = {
        "image": Column(ROWS, IMAGES.__getitem__, identity, parse=ImageInput(4)),
        "series": Column(ROWS, series, identity, parse=SeriesInput(8, 2)),
    }
    pointer = {"image": np.arange(ROWS), "series": np.where(HAS_SERIES, np.arange(ROWS), -1)}
    rows = Rows(pointer, {"label": np.arange(ROWS) % CLASSES}, np.ones(ROWS, np.float32))
    metadata = {"id": np.array([f"row {row}" for row in range(ROWS)]), "group": np.arange(ROWS)}
    data = Dataset(columns, {"test": rows}, {"test": metadata}, "", classes={"label": ("a", "b", "c")})
    kernels = {f"encoders_{name}": {"Dense_0": {"kernel": of}} for name, of in WEIGHTS.items()}
    audited = audited_cell(data, {name: Linear(CLASSES) for name in WEIGHTS}, {"params": kernels}, SEEDS)
    recorded, measured = [], mmjax.audit.explain.measured

    def record(part, batch, seed):
        result = measured(part, batch, seed)
        recorded.append(result[0])
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmjax.audit.explain, "measured", record)
        audit = explanations(audited, examples=ROWS, shown=2)
    (maps,) = recorded
    return audit, {method: {name: x[:, :ROWS] for name, x in of.items()} for method, of in maps.items()}


def by_hand():
    """{modality: weights for the predicted class [s b ...]}, {modality: inputs [b ...]}, logits [s b c], in NumPy."""
    inputs = {"image": IMAGES, "series": np.where(HAS_SERIES[:, None, None], SERIES, 0)}
    logits = sum(np.einsum("bi,sic->sbc", x.reshape(ROWS, -1), WEIGHTS[name]) for name, x in inputs.items())
    chosen = logits.argmax(axis=-1)
    weights = {name: np.stack([WEIGHTS[name][s][:, chosen[s]].T for s in range(SEEDS)]) for name in inputs}
    return {name: of.reshape(SEEDS, *inputs[name].shape) for name, of in weights.items()}, inputs, logits


def test_maps_have_the_features_of_each_input(found):
    shapes = {"image": (SEEDS, ROWS, 4, 4), "series": (SEEDS, ROWS, 8, 2)}
    for method in ("gradient", "SmoothGrad", "integrated gradients", "occlusion"):
        assert {name: of.shape for name, of in found[1][method].items()} == shapes, method


def test_attributions_of_a_linear_model_are_its_weights_times_the_inputs(found):
    weights, inputs, _ = by_hand()
    colours = (weights["image"] * inputs["image"][None]).sum(axis=-1)  # of a pixel
    np.testing.assert_allclose(found[1]["integrated gradients"]["image"], colours, atol=1e-4)
    np.testing.assert_allclose(found[1]["occlusion"]["image"], colours, atol=1e-4)
    np.testing.assert_allclose(found[1]["gradient"]["image"], np.linalg.norm(weights["image"], axis=-1), rtol=1e-4)
    np.testing.assert_allclose(found[1]["occlusion"]["series"], weights["series"] * inputs["series"][None], atol=1e-4)


def test_a_channel_that_no_model_uses_padding_and_a_missing_series_have_exactly_nothing(found):
    for method in ("gradient", "SmoothGrad", "integrated gradients", "occlusion"):
        of = found[1][method]["series"]
        assert np.all(of[..., 1] == 0) and np.all(of[:, 2] == 0) and np.all(of[:, 3, 4:] == 0), method
        assert np.all(of[:, HAS_SERIES, 0, 0] != 0), method


def test_curves_run_from_the_score_without_the_input_to_that_with_all_of_it(found):
    """And by the order of the contributions between them, which is the best one for a linear model."""
    weights, inputs, logits = by_hand()
    own, score = {name: weights[name] * inputs[name][None] for name in weights}, logits.max(axis=-1)
    for name, known in (("image", np.ones(ROWS, bool)), ("series", HAS_SERIES)):
        without = score - own[name].reshape(SEEDS, ROWS, -1).sum(axis=-1)
        ends = [of[:, known].mean() for of in (without, score)]
        curves = found[0].values["curves"][name]
        assert curves.keys() == {"gradient", "SmoothGrad", "integrated gradients", "occlusion"}
        for method, of in curves.items():
            inserted, deleted = ([one["mean"] for one in of[kind]] for kind in ("insertion", "deletion"))
            assert len(inserted) == len(deleted) == STEPS + 1 == len(SHARES)
            np.testing.assert_allclose([inserted[0], inserted[-1]], ends, atol=1e-4, err_msg=method)
            np.testing.assert_allclose([deleted[-1], deleted[0]], ends, atol=1e-4, err_msg=method)
            assert all(one["low"] < one["mean"] < one["high"] for one in of["insertion"])
    pixels = np.sort(own["image"].sum(axis=-1).reshape(SEEDS, ROWS, -1), axis=-1)[..., ::-1]
    half = score - pixels.sum(axis=-1) + pixels[..., :8].sum(axis=-1)
    best = found[0].values["curves"]["image"]["integrated gradients"]["insertion"]
    assert best[STEPS // 2]["mean"] == pytest.approx(half.mean(), abs=1e-4)


def test_areas_are_those_of_the_curves(found):
    audit = found[0]
    for name, of in audit.values["curves"].items():
        for method, drawn in of.items():
            areas = {kind: integral([one["mean"] for one in drawn[kind]]) for kind in ("insertion", "deletion")}
            for kind, area in areas.items():
                one = audit.estimates[f"{kind} area|{method}|{name}"]
                assert one.mean == pytest.approx(area, abs=1e-4) and one.low < one.mean < one.high
            order = audit.estimates[f"order|{method}|{name}"]
            assert order.mean == pytest.approx(areas["insertion"] - areas["deletion"], abs=1e-4)


def integral(values):
    """Over shares from 0 to 1, by trapezoids."""
    return sum((a + b) / 2 for a, b in itertools.pairwise(values)) / STEPS


def test_panels_show_the_curves_and_mark_what_does_not_pass(found):
    audit = found[0]
    checks = {name.removeprefix("sanity|"): one for name, one in audit.estimates.items() if name.startswith("sanity|")}
    failed = [name for name, one in checks.items() if not -0.2 < one.low <= one.high < 0.2]
    assert failed and audit.values["failed"] == ["{} of {}".format(*name.split("|")) for name in failed]
    assert f"{len(checks) - len(failed)} of {len(checks)} explanations pass" in audit.conclusions[-1]
    titles = [panel["title"] for panel in audit.panels]
    assert {"Insertion of image", "Deletion of image", "Insertion of series", "Deletion of series"} <= set(titles)
    drawn = draw_panel(audit.panels[titles.index("Insertion of image")], "")
    assert drawn.count(">✗ ") == sum(name.endswith("|image") for name in failed) and drawn.count(">gradient: ") <= 1
    medium = lambda name: Medium("data:", "m", True, name, 1, "")
    for panel in audit.panels:
        if panel["panel"] == "maps":
            own = {name for name in ("image", "series") if f"{panel['title']}|{name}" in failed}
            maps = [one for example in panel["examples"] for one in example["maps"]]
            assert set(panel.get("failed", {})) == own and {one["modality"] for one in maps} == {"image", "series"}
            assert all(one.get("failed", False) == (one["modality"] in own) for one in maps)
            page = draw_maps(panel, "", medium)
            assert page.count('<p class="failed">✗ ') == len(own)
            assert page.count("✗ sanity check not passed") == sum(one["modality"] in own for one in maps)
        elif not panel["title"].startswith(("Insertion of", "Deletion of")):
            names = {f"✗ {name}" if name in failed else name for name in checks}
            assert {name.replace(", ", "|") for name in panel["names"]} == names


def test_an_explanation_passes_if_its_interval_does():
    """Of 30 groups, means 0.1 and 0.3, with deviations of 0.05 and 1."""
    noise = np.tile([-1, 1], 15)
    of = lambda mean, deviation: sanity(estimate(mean + deviation * noise[None], np.ones(30), np.arange(30), (-1.0, 1.0)))
    assert of(0.1, 0.05).passed and of(-0.1, 0.05).passed
    assert of(0.1, 1).passed is False and "is not shown to pass the sanity check" in of(0.1, 1).text
    assert of(0.3, 0.05).passed is False and of(0.3, 0.05).text.startswith("fails the sanity check: its rank correlation")
    assert of(-0.3, 0.05).passed is False
    assert of(np.nan, 1).passed is None
    one = lambda mean: sanity(estimate(np.full((2, 1), mean), np.ones(1), np.zeros(1, int)))  # without an interval
    assert one(0.1).passed and one(0.3).passed is False
