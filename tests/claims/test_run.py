"""One tiny claim from its file to a verdict and a page, by the command; and what makes a verdict stale."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mmjax.claims.__main__ import main
from mmjax.claims.check import check_claim
from mmjax.claims.claim import read_claim
from mmjax.claims.fingerprints import code_fingerprint, data_fingerprint
from mmjax.claims.measure import measure
from mmjax.claims.verdict import Verdict, read_verdict, stale, verdict_file, write_verdict
from mmjax.runs.schema import RunError
from tests.conftest import QUICK

CLAIM = """
claim = "Two sensors are better than the leg."
source = "A paper, table 1"
data = "400 rows"
contradicted_by = "the leg being better"
command = "python experiments/tiny.py both leg --seeds 5"
minutes = 0.2
[[better]]
cell = "both"
than = "leg"
baselines = "majority"
metric = "accuracy"
[[cheaper]]
cell = "both"
than = "leg"
cost = "parameters"
ratio = 1.9
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "claims").mkdir()
    shutil.copy(Path(__file__).with_name("tiny.py"), tmp_path / "experiments")
    (tmp_path / "claims" / "sensors.toml").write_text(CLAIM)
    monkeypatch.setenv("XLA_FLAGS", QUICK)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    return tmp_path


# One cell and a baseline, so that little is compiled.
SHORT = CLAIM.split("[[cheaper]]")[0].replace("both leg", "both").replace('than = "leg"\n', "")


def command(root, *words):
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--root", str(root)])
    return ended.value.code


@pytest.mark.end_to_end
def test_a_tiny_claim(root, capfd):
    (root / "claims" / "sensors.toml").write_text(SHORT)
    assert command(root, "run") == 0
    output = capfd.readouterr().out
    assert "[1/1] sensors: Two sensors are better than the leg. (about 0.2 CPU minutes)" in output
    assert "reproduced: both - majority, accuracy +0." in output and output.strip().endswith("REPRODUCED")
    verdict = read_verdict(root / "claims" / "results" / "sensors.json")
    assert verdict.verdict == "reproduced" and len(verdict.rulings) == 1
    assert float(verdict.rulings[0].found.split()[0]) > 0.2  # near 1 against .5

    assert command(root, "report") == 0
    page = (root / "docs" / "claims.md").read_text()
    assert "**1 claims: 1 reproduced, 0 contradicted, 0 inconclusive, 0 not run; " in page
    assert command(root, "run") == 0 and "0 claims to run; 1 are left out" in capfd.readouterr().out

    file = root / "experiments" / "tiny.py"
    file.write_text(file.read_text().replace("width=8", "width=9"))
    assert stale(read_claim(root / "claims" / "sensors.toml"), verdict, file) == ["code"]
    assert command(root, "check") == 0 and "sensors is stale: code changed since its verdict" in capfd.readouterr().out
    wrong = root / "claims" / "results" / "sensors.json"
    wrong.write_text(wrong.read_text().replace("reproduced", "contradicted"))
    assert "is damaged" in str(command(root, "report"))


@pytest.mark.slow
def test_measured_costs(root):
    """both has 2 x 4 x 8 + 8 + 2 x 8 + 2 = 90 parameters, leg 4 x 8 + 8 + 2 x 8 + 2 = 58."""
    cells = check_claim(read_claim(root / "claims" / "sensors.toml"), root)
    found = measure(cells, timed=True)
    assert {name: costs["parameters"] for name, costs in found.items()} == {"both": 90, "leg": 58}
    assert found["both"]["flops"] > found["leg"]["flops"] > 0 and all(costs["seconds"] > 0 for costs in found.values())
    assert measure({}, timed=True) == {} and "seconds" not in measure({"leg": cells["leg"]}, timed=False)["leg"]


def verdict_of(claim, file) -> Verdict:
    return Verdict(
        "reproduced", (), "2026-01-01", 1.0, "cpu x 1", {"python": "3.11.9"},
        claim.fingerprint, code_fingerprint(file), data_fingerprint(), "data",
    )  # fmt: skip


def test_what_makes_a_verdict_stale(root):
    file, claim = root / "experiments" / "tiny.py", read_claim(root / "claims" / "sensors.toml")
    verdict = verdict_of(claim, file)
    assert stale(claim, verdict, file) == []
    assert stale(replace(claim, command="python experiments/tiny.py"), verdict, file) == ["claim"]
    assert stale(claim, replace(verdict, code="other", shipped_data="other"), file) == ["code", "data"]
    assert stale(claim, replace(verdict, versions={"python": "3.11.9", "jax": "0.0.1"}), file) == ["versions"]
    assert stale(claim, replace(verdict, versions={"python": "2.7.1", "jax": "0.0.1"}), file) == []  # nothing is pinned


def test_verdicts_are_stored_and_checked(root):
    verdict = verdict_of(read_claim(root / "claims" / "sensors.toml"), root / "experiments" / "tiny.py")
    file = root / "sensors.json"
    write_verdict(file, verdict)
    assert read_verdict(file) == verdict and read_verdict(root / "other.json") is None
    write_verdict(file, replace(verdict, verdict="proven"))
    with pytest.raises(RunError, match=r"sensors.json: key 'verdict' has 'proven'; it must be one of reproduced"):
        read_verdict(file)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tiny.py both", "gone.py both", "field 'command' names experiments/gone.py, which does not exist"),
        ("both leg", "both lge", "field 'command': there is no cell 'lge'; did you mean leg? The cells are both, leg"),
        ("--seeds 5", "--seeds five", "field 'command': "),
        ("--seeds 5", "--sedes 5", "field 'command': cell 'both' has no flag --sedes; did you mean --seeds?"),
        ("both leg", "leg", "better[0] names the cell 'both'; the cells of the command are leg"),
        ('metric = "accuracy"', 'metric = "mae"', "better[0].metric is 'mae'; the metrics of task 'label' are accuracy"),
        ('metric = "accuracy"', 'metric = "accuracy"\ntask = "age"', "better[0].task is 'age'; the tasks of both are label"),
        ('metric = "accuracy"', 'metric = "accuracy"\nsubset = "arm"', "is 'arm'; the subsets of task 'label' of leg are leg"),
        ('than = "leg"\ncost', 'than = "arm"\ncost', "cheaper[0] names the cell 'arm'; the cells of the command are both, leg"),
    ],
)
def test_check_names_file_and_field(root, capsys, old, new, message):
    assert old in CLAIM
    (root / "claims" / "sensors.toml").write_text(CLAIM.replace(old, new, 1))
    assert command(root, "check") == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {root / 'claims' / 'sensors.toml'}: ") and message in line, line


def test_a_verdict_whose_experiment_is_gone_is_stale(root, capsys):
    claim = read_claim(root / "claims" / "sensors.toml")
    write_verdict(verdict_file(root / "claims", claim.name), verdict_of(claim, root / "experiments" / "tiny.py"))
    (root / "experiments" / "tiny.py").unlink()
    assert command(root, "check") == 1
    printed = capsys.readouterr()
    assert "which does not exist" in printed.err and "sensors is stale: code changed" in printed.out
    assert command(root, "run", "sensors") == 1
    assert "which does not exist" in capsys.readouterr().out


def test_names_of_claims(root):
    assert "has no claim 'gone'; the claims are sensors" in command(root, "run", "gone")
    assert "report takes no names" in command(root, "report", "sensors")
