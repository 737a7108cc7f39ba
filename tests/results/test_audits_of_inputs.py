"""Robustness curves and explanations of the cells of a real run, against saved outcomes and answers to changed inputs."""

import json
from dataclasses import replace

import numpy as np
import pytest

import mmjax.audit
from mmjax.audit.explain_pictures import over, shown_maps
from mmjax.audit.robustness import effective
from mmjax.audit.translation import with_texts_of
from mmjax.data.inputs import ImageInput
from mmjax.metrics.robustness import relative_robustness
from mmjax.report.page import write_report
from mmjax.robust.corruptions import Contrast, DroppedEntries, Typos

NONE = ((1.0,),) * 5


@pytest.fixture(scope="module")
def audited(results):
    return mmjax.audit.load_audited(results.run.folder, "all")


@pytest.fixture(scope="module")
def corrupted(audited):
    vector = {"dropped_entries": DroppedEntries(), "nothing": DroppedEntries(NONE)}
    suites = {"image": {"contrast": Contrast()}, "vector": vector}
    return mmjax.audit.corruptions(audited, suites, reference=audited)


def test_corrupted_inputs_have_the_scores_of_the_answers_to_them(audited, corrupted, results, inputs):
    headline = audited.estimates(audited.outcomes["image+text+vector"])["accuracy"]
    assert corrupted.estimates["clean"].per_seed == pytest.approx(headline.per_seed)
    images = np.stack([ImageInput(8)(image) for image in inputs["image"]]).astype(np.float32)
    mean = images[..., :3].mean(axis=(1, 2), keepdims=True)
    images[..., :3] = np.round((images[..., :3] - mean) * 0.05 + mean)
    answers = results["all"].predict({**inputs, "image": list(images.astype(np.uint8))}, each_seed=True)["kind"]
    truth = audited.units.target["name"]
    wanted = [np.mean(of["predicted"] == truth) for of in answers]
    assert corrupted.estimates["image, severity 5"].per_seed == pytest.approx(wanted)


def test_summaries_are_those_of_the_curves(corrupted):
    of, curves = corrupted.estimates, {}
    for name, curve in corrupted.values["curves"].items():
        curves[name] = [one["mean"] for one in curve]
        assert curve[0] == of["clean"].to_json()
    assert corrupted.values["curves"]["image: contrast"][1:] == [of[f"image, severity {s}"].to_json() for s in range(1, 6)]
    vector = np.mean([curves["vector: dropped_entries"], curves["vector: nothing"]], axis=0)
    assert of["vector, relative robustness"].mean == pytest.approx(relative_robustness(vector), abs=1e-6)
    assert of["vector, severity 3"].mean == pytest.approx(vector[3], abs=1e-6)
    assert of["vector, accumulated change"].mean == pytest.approx(np.sum(vector - vector[0]), abs=1e-6)
    assert "all modalities, severity 5" in of and corrupted.panels[0]["names"] == ["image", "vector", "all modalities"]
    assert all(text.endswith(".") for text in corrupted.conclusions)
    json.dumps(corrupted.to_json(), allow_nan=False)


def test_each_corruption_has_a_band(corrupted):
    drawn = {panel["title"]: panel for panel in corrupted.panels}
    panel = drawn["accuracy by corruption: vector"]
    assert panel["names"] == ["dropped entries", "nothing"] and panel["x"] == [0, 1, 2, 3, 4, 5]
    for name, *ends in zip(("dropped_entries", "nothing"), panel["mean"], panel["low"], panel["high"]):
        curve = corrupted.values["curves"][f"vector: {name}"]
        for key, values in zip(("mean", "low", "high"), ends):
            assert values == pytest.approx([one[key] for one in curve], abs=1e-5)
        assert all(low < high for low, high in zip(*ends[1:]))
    assert drawn["accuracy: vector"]["columns"] == list("012345")


def test_all_inputs_missing_is_the_subset_without_them(audited):
    found = mmjax.audit.missing_rates(audited, rates=(0.0, 0.5, 1.0))
    score = lambda outcomes: pytest.approx(audited.estimates(outcomes)["accuracy"].per_seed)
    for name, others in (("image", "text+vector"), ("vector", "image+text")):
        assert found.estimates[f"{name}, missing rate 1"].per_seed == score(audited.outcomes[others])
    assert found.estimates["all modalities, missing rate 1"].per_seed == score(audited.predict_subsets([()])[""])
    with pytest.raises(ValueError, match=r"rates are \[0.5, 1.0\]; they must ascend from 0"):
        mmjax.audit.missing_rates(audited, rates=(0.5, 1.0))


def test_effective_robustness_is_a_paired_difference(corrupted):
    levels = ["clean", *(f"image, severity {s}" for s in range(1, 6))]
    curve = [corrupted.estimates[name] for name in levels]
    assert effective(curve, curve).verdict == "identical"
    other = [curve[0]] * 6
    wanted = np.sum([one.mean - curve[0].mean for one in curve])
    assert effective(curve, other).mean == pytest.approx(wanted, abs=1e-6)


def test_effective_robustness_against_another_cell(audited, results):
    """By MultiBench's sum over the severities, of the curves of both cells."""
    text, typos = mmjax.audit.load_audited(results.run.folder, "text"), {"text": {"typos": Typos()}}
    found, other = mmjax.audit.corruptions(audited, typos, reference=text), mmjax.audit.corruptions(text, typos)
    mine, reference = (np.array([one["mean"] for one in of.values["curves"]["text: typos"]]) for of in (found, other))
    wanted = np.sum((mine - mine[0]) - (reference - reference[0]))
    assert abs(wanted) > 0.01
    assert found.values["effective"]["text"]["mean"] == pytest.approx(wanted, abs=1e-6)
    (panel,) = [panel for panel in found.panels if panel["title"] == "Effective robustness against text"]
    assert panel["names"] == ["text"] and panel["mean"] == pytest.approx([wanted], abs=1e-5)
    assert f"effective robustness against text is {wanted:+.3f} [" in found.conclusions[-1]


def test_effective_robustness_is_in_the_panel(audited, corrupted, results):
    """A cell against itself has 0; against one without the modality, there is none."""
    names = ["image", "vector", "all modalities"]
    (panel,) = [panel for panel in corrupted.panels if panel["title"] == "Effective robustness against all"]
    assert panel["names"] == names and panel["mean"] == panel["low"] == panel["high"] == [0, 0, 0]
    assert {name: of["verdict"] for name, of in corrupted.values["effective"].items()} == dict.fromkeys(names, "identical")
    assert corrupted.conclusions[-1].startswith("With all modalities corrupted, effective robustness against all is +0.000 [")
    text = mmjax.audit.load_audited(results.run.folder, "text")
    with pytest.raises(mmjax.audit.NotApplicable, match="the reference, cell text, lacks image"):
        mmjax.audit.corruptions(audited, {"image": {"contrast": Contrast()}}, reference=text)


@pytest.mark.slow
def test_explanations_are_measured_and_shown(results):
    text = mmjax.audit.load_audited(results.run.folder, "text")
    found = mmjax.audit.explanations(text, examples=8, shown=2)
    names = {f"{kind}|{method}|text" for kind in ("order", "sanity") for method in ("gradient", "SmoothGrad", "occlusion")}
    assert names <= found.estimates.keys() and "order|Grad-CAM|text" not in found.estimates
    assert found.values["completeness_gap"] <= 1e-3
    checks = [one for name, one in found.estimates.items() if name.startswith("sanity|")]
    assert len(found.values["failed"]) == sum(not -0.2 < one.low <= one.high < 0.2 for one in checks) > 0
    assert any("Shuffled weights" in warning for warning in found.warnings)
    maps = [panel for panel in found.panels if panel["panel"] == "maps"]
    assert maps[0]["title"] == "gradient" and len(maps[0]["examples"]) == 2
    shown = maps[0]["examples"][0]["maps"][0]
    assert shown["words"][0] == "a" and max(map(abs, shown["weights"])) == 1
    text.write(found)
    page = write_report([results.run.folder], results.run.folder / "maps.html").read_text()
    assert 'class="attributions"' in page and 'class="for"' in page and "✗ sanity check not passed" in page
    assert "Insertion of text" in page and "Deletion of text" in page
    with pytest.raises(mmjax.audit.NotApplicable, match="no method `evidence`"):
        object.__setattr__(text.parts[0], "task", object())
        mmjax.audit.explanations(text)


def test_pictures_of_images_are_blue_for_and_orange_against(audited):
    part = audited.parts[0]
    units = part.units()
    values = np.zeros((2, 8, 8), np.float32)
    values[:, 0, 0], values[:, 7, 7] = 2, -1
    panels, files = shown_maps(part, units, [0, 1], {"occlusion": {"image": values}})
    assert [one["maps"][0]["picture"] for one in panels[0]["examples"]] == ["occlusion-image-0.png", "occlusion-image-1.png"]
    assert files["occlusion-image-0.png"].startswith(b"\x89PNG")
    pixels = over(np.ones((8, 8)), values[0])
    assert tuple(pixels[0, 0]) == (0, 114, 178) and tuple(pixels[3, 3]) == (255, 255, 255)
    assert tuple(pixels[7, 7]) == tuple(np.round((np.array([213, 94, 0]) + 255) / 2).astype(int))


def test_texts_come_from_the_data_in_another_language(audited):
    """Pets have one language; exchanged texts leave the other modalities and rows as they are."""
    with pytest.raises(mmjax.audit.NotApplicable, match=r"no texts in other languages \(a field test_text_language\)"):
        mmjax.audit.translations(audited)
    data = audited.parts[0].dataset
    text = replace(data.columns["text"], read=lambda number: number)
    rows = data.splits["test"]
    other = replace(
        data,
        columns={**data.columns, "text": text, "image": text},
        splits={"test": rows.replace(pointer={name: of[::-1] for name, of in rows.pointer.items()})},
    )
    found = with_texts_of(data, other)
    assert found.columns["text"] is text and found.columns["image"] is data.columns["image"]
    np.testing.assert_array_equal(found.splits["test"].pointer["text"], rows.pointer["text"][::-1])
    np.testing.assert_array_equal(found.splits["test"].pointer["image"], rows.pointer["image"])
