"""Audits on the page: their sentences and drawings, markup in names, stale and damaged records."""

import json

import pytest

from mmjax.report.audits import audit_sections
from mmjax.report.examples import Embedded
from mmjax.report.page import write_report
from mmjax.runs.audits import write_audit
from mmjax.runs.folder import write_record
from mmjax.runs.read import read_run
from mmjax.runs.schema import RunError
from mmjax.tasks import panels
from tests.report.run_folders import SCRIPT

ESTIMATE = {"mean": 0.25, "low": 0.125, "high": 0.5, "per_seed": [0.25, 0.25, 0.25]}
AUDIT = {
    "name": "shapley",
    "title": f"Contribution {SCRIPT}",
    "conclusions": [f"image has 0.25 {SCRIPT}."],
    "warnings": ["it failed its check."],
    "estimates": {"image <b>": ESTIMATE},
    "panels": [panels.intervals("Values of <i>", ["image"], [0.25], [0.125], [0.5])],
    "note": "how it was computed",
    "values": {},
}


def test_audits_are_on_the_page(make_run, tmp_path, text):
    folder = make_run(tmp_path / "run")
    file = write_audit(folder, "gated", "label", AUDIT, {})
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert page.count("Audits of gated") == 2 and "Audits of" not in text  # in the contents too; the page of the same run
    assert "0.250 [0.125, 0.500]" in page and "it failed its check." in page and "Values of &lt;i&gt;" in page
    assert SCRIPT not in page and "image &lt;b&gt;" in page and "how it was computed" in page
    assert page.count("<svg") == text.count("<svg") + 1

    section = lambda: audit_sections(read_run(folder), Embedded())[0]["audits"][0]
    assert section()["stale"] is False
    record = json.loads(file.read_text())
    write_record(file, {name: of for name, of in record.items() if name != "record_sha256"} | {"audited": "another training"})
    assert section()["stale"] is True
    file.write_text(file.read_text().replace("0.125", "0.126", 1))
    with pytest.raises(RunError, match=r"shapley.json is damaged"):
        section()


def test_audits_under_older_names_are_shown_until_they_are_repeated(make_run, tmp_path):
    folder = make_run(tmp_path / "run")
    shown = lambda: audit_sections(read_run(folder), Embedded())[0]["audits"]
    write_audit(folder, "gated", "label", AUDIT | {"name": "strange_inputs"}, {})
    write_audit(folder, "gated", "label", AUDIT | {"name": "explanations"}, {})
    old, other = shown()
    assert (old["name"], other["name"]) == ("out_of_distribution", "explanations")  # in the order of the audits
    said = "An older version of mmjax wrote this audit as strange_inputs; it is now called out_of_distribution."
    assert ("warning", said) in old["sentences"] and ("warning", said) not in other["sentences"]
    write_audit(folder, "gated", "label", AUDIT | {"name": "out_of_distribution", "title": "new"}, {})
    new, _ = shown()
    assert new["title"] == "new" and new["sentences"] == other["sentences"]
