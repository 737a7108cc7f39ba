"""Audits of the cells of a real run: against its saved outcomes, and against the model applied by hand."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax.audit
import mmjax.audit.contribution
from mmjax.audit.__main__ import main, run_audits
from mmjax.audit.additive import _encode, additive_projection, mixtures_of
from mmjax.audit.contribution import no_input
from mmjax.report.audits import audit_sections
from mmjax.report.examples import Embedded
from mmjax.runs.audits import read_audits
from mmjax.runs.schema import RunError
from mmjax.tasks.subsets import subset_name

SMALL = ("shapley", "emap", "wrong_pairs", "conflict", "information", "calibration", "temperature", "selective", "conformal",
         "out_of_distribution")  # fmt: skip


@pytest.fixture(scope="module")
def audited(results):
    return mmjax.audit.load_audited(results.run.folder, "all")


@pytest.fixture(scope="module")
def found(audited):
    """{name: audit} of all that need no large groups."""
    return {name: getattr(mmjax.audit, name)(audited) for name in SMALL}


def test_predictions_of_the_reloaded_models_are_the_saved_ones(audited):
    predicted = audited.predict_subsets([("text",), ("image", "text", "vector")])
    for subset, outcomes in predicted.items():
        for name, array in outcomes.items():
            np.testing.assert_allclose(array, audited.outcomes[subset][name], atol=1e-5, err_msg=f"{subset} {name}")


def test_no_input_needs_no_data(audited, monkeypatch):
    expected = audited.predict_subsets([()])[""]
    alone = mmjax.audit.load_audited(audited.run.folder, "all")
    monkeypatch.setattr(type(alone), "parts", property(lambda self: pytest.fail("the data were loaded")))
    for name, array in no_input(alone).items():
        np.testing.assert_allclose(array, expected[name], atol=1e-6)
    assert mmjax.audit.shapley(alone).estimates.keys() == {"image", "text", "vector", "all modalities", "no input"}


def test_shapley_values_add_up(found):
    of = found["shapley"].estimates
    total = sum(of[name].mean for name in ("image", "text", "vector"))
    assert total == pytest.approx(of["all modalities"].mean - of["no input"].mean, abs=1e-6)


def test_sampled_shapley_values_have_the_exact_ones_in_their_intervals(audited, found, monkeypatch):
    """As if three modalities were too many; the subsets are those that were saved."""
    monkeypatch.setattr(mmjax.audit.contribution, "MAX_MODALITIES", 2)
    saved = lambda self, subsets: {subset_name(one): self.outcomes[subset_name(one)] for one in subsets}
    monkeypatch.setattr(type(audited), "predict_subsets", saved)
    exact, sampled = found["shapley"], mmjax.audit.shapley(audited, pairs=4)
    names, of = ("image", "text", "vector"), sampled.estimates
    total = sum(of[name].mean for name in names)
    assert total == pytest.approx(of["all modalities"].mean - of["no input"].mean, abs=1e-6)
    assert all(of[name].low <= exact.estimates[name].mean <= of[name].high for name in names)
    assert "8 random orders" in sampled.note and "all subsets" in exact.note
    with pytest.raises(ValueError, match="pairs is 1; the error of drawn orders needs at least 2"):
        mmjax.audit.shapley(audited, pairs=1)


def test_mixtures_are_those_of_the_model(audited):
    """The projection from 12 x 12 x 12 predictions of `decode`, made at once."""
    part, tokens = audited.parts[0], audited.predict(_encode)[None]
    rows = part.dataset.splits["test"]
    sources = {name: np.asarray(rows.pointer[name]) for name in audited.modalities}
    projected = additive_projection(mixtures_of(audited, part, tokens), sources, np.asarray(rows.weight))
    n = len(rows)
    chosen = dict(zip(audited.modalities, np.array(list(itertools.product(range(n), repeat=3))).T))
    variables = jax.tree.map(lambda leaf: leaf[1], part.model.variables)
    mixed = {name: jax.tree.map(lambda leaf, i=of: jnp.asarray(leaf[1][i]), tokens[name]) for name, of in chosen.items()}
    present = {name: jnp.asarray(sources[name][of] >= 0) for name, of in chosen.items()}
    logits = part.model.module.apply(variables, mixed, present, method="decode")["kind"]
    logits = np.asarray(logits, np.float64).reshape(n, n, n, -1)
    means = [logits.mean(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    np.testing.assert_allclose(projected[1], sum(means) - 2 * logits.mean(axis=(0, 1, 2)), atol=1e-6)
    # A task may use fewer modalities than the cell encodes: the others are absent.
    two = {name: np.arange(n) for name in ("image", "text")}
    own = {name: jax.tree.map(lambda leaf: jnp.asarray(leaf[1]), of) for name, of in tokens.items()}
    present = {name: jnp.asarray((of >= 0) & (name in two)) for name, of in sources.items()}
    expected = part.model.module.apply(variables, own, present, method="decode")["kind"]
    np.testing.assert_allclose(mixtures_of(audited, part, tokens)(two)[1], expected, atol=1e-5)


def test_a_swap_gives_the_input_of_another_example(audited, inputs, results):
    """The answers to the raw inputs, with texts of the partners, are those of the swap."""
    from mmjax.audit.swaps import _change, _groups, _partner

    part = audited.parts[0]
    partner = _partner(part.task, part.dataset, "text", _groups, 0)
    assert (partner >= 0).all() and (partner != np.arange(12)).all()
    swapped = audited.scored(audited.predictions(change=_change(audited, "text", _groups, 0)))
    answers = results["all"].predict({**inputs, "text": [inputs["text"][i] for i in partner]}, each_seed=True)["kind"]
    names = np.array(["cat", "dog"])
    for seed, answer in enumerate(answers):
        assert (names[swapped["predicted"][seed]] == answer["predicted"]).all()


def test_all_combinations_of_few_rows_are_averaged(found):
    assert "drawn" not in found["emap"].note


def test_audits_are_values_that_the_report_shows(audited, found, capsys):
    for audit in found.values():
        json.dumps(audit.to_json(), allow_nan=False)
        audited.write(audit)
        assert all(text.endswith(".") for text in audit.conclusions)
    saved = read_audits(audited.run.folder, "all", "kind")
    assert saved.keys() == set(SMALL) and not any(one["stale"] for one in saved.values())
    run_audits(audited, ["calibration"])
    assert "Calibration (calibration" in capsys.readouterr().out
    (section,) = audit_sections(audited.run, Embedded())
    assert (section["cell"], section["task"]) == ("all", "kind")
    assert [audit["name"] for audit in section["audits"]] == list(SMALL)


def test_an_audit_of_an_earlier_training_is_marked(audited, found):
    file = audited.write(dataclasses.replace(found["calibration"], name="old"))
    record = json.loads(file.read_text())
    from mmjax.runs.folder import write_record

    write_record(file, {key: of for key, of in record.items() if key != "record_sha256"} | {"audited": "other files"})
    assert read_audits(audited.run.folder, "all", "kind")["old"]["stale"]
    file.unlink()


def test_other_tasks_have_what_applies(results):
    age = mmjax.audit.load_audited(results.run.folder, "all", "age")
    few = mmjax.audit.emap(age, limit=8)
    assert few.estimates.keys() == {"model", "additive projection"}
    assert few.note.endswith(" 8 combinations of the others are drawn; the error of drawing is not in the intervals.")
    for name in ("information", "calibration", "temperature", "conformal", "out_of_distribution"):
        with pytest.raises(mmjax.audit.NotApplicable):
            getattr(mmjax.audit, name)(age)
    with pytest.raises(mmjax.audit.NotApplicable, match=r"one set of modalities|single modality"):
        mmjax.audit.shapley(mmjax.audit.load_audited(results.run.folder, "text"))


def test_errors_name_what_is_valid(results, audited):
    with pytest.raises(KeyError, match="the cells are all, text"):
        mmjax.audit.load_audited(results.run.folder, "nothing")
    with pytest.raises(KeyError, match="its tasks are kind, age, tags"):
        mmjax.audit.load_audited(results.run.folder, "all", "nothing")
    with pytest.raises(KeyError, match="its metrics are accuracy"):
        audited.estimate(audited.outcomes["text"], "nothing")
    with pytest.raises(SystemExit, match=r"no cell 'shapley' .* name the cell before its audits"):
        main([str(results.run.folder), "shapley"])
    with pytest.raises(SystemExit, match="there is no audit 'nothing'"):
        main([str(results.run.folder), "all", "nothing"])
    with pytest.raises(SystemExit, match="error: the audit strange_inputs is now called out_of_distribution"):
        main([str(results.run.folder), "all", "strange_inputs"])
    with pytest.raises(SystemExit, match="--reference is for the audit corruptions"):
        main([str(results.run.folder), "all", "shapley", "--reference", "text"])
    with pytest.raises(SystemExit, match=r"audit groups: .* no column"):
        main([str(results.run.folder), "all", "groups"])


def test_other_data_are_refused(results, monkeypatch):
    from tests.results.pets import Pets

    load = Pets.load
    monkeypatch.setattr(Pets, "load", lambda self: dataclasses.replace(load(self), fingerprint="other pets"))
    with pytest.raises(RunError, match="the data differ from those of the training"):
        _ = mmjax.audit.load_audited(results.run.folder, "all").parts
