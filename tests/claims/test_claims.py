"""The claims of this project are valid, and docs/claims.md is what `report` writes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mmjax.claims.check import check_claim
from mmjax.claims.claim import FOLDER, ClaimError, read_claims
from mmjax.claims.report import page
from mmjax.claims.verdict import read_verdict, verdict_file

ROOT = Path(__file__).parents[2]
CLAIMS = read_claims(ROOT / FOLDER)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_claim_fits_its_experiment(claim):
    assert bool(check_claim(claim, ROOT)) == bool(claim.command)


def test_the_check_can_fail():
    claim = next(claim for claim in CLAIMS if claim.expectations)
    wrong = replace(claim, expectations=(replace(claim.expectations[0], cell="gone"),))
    with pytest.raises(ClaimError, match=f"{claim.name}.toml: .* names the cell 'gone'"):
        check_claim(wrong, ROOT)


def test_the_sources_are_covered():
    sources = " ".join(claim.source for claim in CLAIMS)
    for number in range(1, 6):
        assert re.search(rf"[Ss]ources? (\d,? ?(and )?)*{number}", sources), number
    assert len(CLAIMS) >= 24


def test_verdicts_belong_to_claims():
    stored = {file.stem for file in (ROOT / FOLDER / "results").glob("*.json")}
    assert stored <= {claim.name for claim in CLAIMS}


def test_the_page_is_what_report_writes():
    """But for what is stale, which depends on code that may change in the same commit."""
    text = (ROOT / "docs" / "claims.md").read_text()
    found = {claim.name: read_verdict(verdict_file(ROOT / FOLDER, claim.name)) for claim in CLAIMS}
    verdicts = {name: verdict for name, verdict in found.items() if verdict}
    changed = {}
    for name, section in re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text, re.M | re.S):
        if stale := re.search(r", stale: (.*) changed since \(", section):
            changed[name] = stale[1].split(" and ")
    assert text == page(CLAIMS, verdicts, changed), "run python -m mmjax.claims report"


def test_an_experiment_that_hides_a_module_of_python(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "statistics.py").write_text("")
    with pytest.raises(ClaimError, match=r"field 'command': .* would hide the module statistics .* rename the file"):
        check_claim(replace(CLAIMS[0], command="python experiments/statistics.py"), tmp_path)
