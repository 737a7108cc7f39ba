"""The command line of a sweep, whose jobs are not run: the flags of jobs and table, and one line for each mistake."""

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmjax import sweep
from mmjax.experiment.options import Options
from mmjax.runs.folder import locked
from mmjax.runs.schema import RunError

FILE = """
from mmjax.encoders import Features
from mmjax.experiment import Experiment
from mmjax.fusion import Concat
from mmjax.heads import Classifier
EXPERIMENT = Experiment(None, {"arm": Features(None)}, Concat(4), {"label": Classifier(2)})
ABLATIONS = {"concat": EXPERIMENT, "late": EXPERIMENT}
BY_NAME = {"named": EXPERIMENT}
"""


@pytest.fixture
def swept(tmp_path, monkeypatch, capsys):
    """A function of arguments and of cells that fail -> (exit code, standard error, jobs, commands that score)."""
    jobs, commands = [], []
    monkeypatch.setattr(sweep, "collect", lambda folders, out: None)
    monkeypatch.setattr(sweep.subprocess, "run", lambda command: commands.append(command) or SimpleNamespace(returncode=0))

    def run(*arguments, failing=(), name="swept.py", text=FILE):
        def of_jobs(found, given, out):
            jobs.extend(found)
            return [(job, Path("log")) for job in found if job.cell in failing]

        monkeypatch.setattr(sweep, "_run", of_jobs)
        (tmp_path / name).write_text(text)
        with pytest.raises(SystemExit) as ended:
            sweep.main([str(tmp_path / name), *arguments, "--out", str(tmp_path / "out")])
        return ended.value.code, capsys.readouterr().err, jobs, commands

    return run


def test_the_cell_to_compare_with_is_of_the_table_alone(swept):
    """It may have a share of the data. The table goes without it if it failed."""
    flags = ["--against", "late.0.5", "--shares", "0.5"]
    code, _, jobs, commands = swept(*flags)
    assert code == 0 and [(job.cell, job.flags) for job in jobs] == [(cell, ("--shares", "0.5")) for cell in ("concat", "late")]
    assert commands[0][2:8] == ["concat", "late", *flags]
    code, error, _, commands = swept(*flags, failing=["late"])
    assert code == 1 and "without --against late.0.5" in error
    assert commands[1][2:6] == ["concat", "--shares", "0.5", "--out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--against lat", "--against is 'lat', not a cell of this sweep; the cells are concat, late"),
        ("concat --against late", "the cells are concat\n"),
        ("--costs", "--costs trains nothing"),
        ("--hours inf", "--hours is inf; they must be above 0, and finite"),
        ("--hours 1e308", "--hours is 1e+308"),  # above the largest float in minutes
        ("--full", "swept.py has no FULL, the cells of a sweep with --full"),
    ],
)
def test_mistakes_are_found_before_any_job(swept, arguments, message):
    code, error, jobs, _ = swept(*arguments.split())
    assert (code, jobs) == (2, []) and message in error and len(error.splitlines()) == 1, error


def test_cells_by_name_have_no_full_size(swept):
    """As in the command of the file."""
    assert "no cell 'named'" in swept("named", "--full", text=f"{FILE}FULL = {{'large': EXPERIMENT}}")[1]


@pytest.mark.parametrize(
    ("name", "message"), [("swept.toml", "is not a Python file"), ("statistics.py", "would hide the module statistics")]
)
def test_names_of_files(swept, name, message):
    code, error, *_ = swept(name=name)
    assert code == 2 and message in error and len(error.splitlines()) == 1, error


def test_other_folders_are_refused_before_any_job(tmp_path, swept):
    out = tmp_path / "out"
    out.write_text("")
    assert "out is a file; name a folder" in swept()[1]
    out.unlink()
    out.with_name("out.jobs").write_text("")
    assert "out.jobs is not a folder" in swept()[1]
    out.mkdir()
    (out / "thesis.tex").write_text("")
    code, error, jobs, _ = swept()
    assert (code, jobs) == (2, []) and "is not a run of mmjax" in error and len(error.splitlines()) == 1, error


def test_a_run_continues_with_its_folds_and_groups_of_seeds(tmp_path):
    with locked(tmp_path, "swept", {"--folds": "all", "--seeds-at-once": 2}):
        with pytest.raises(RunError, match="in use by process"):
            sweep._check_out(tmp_path, "swept", Options(folds=1, seeds_at_once=2))
    sweep._check_out(tmp_path, "swept", Options(folds=1, seeds_at_once=2))
    for options, message in ((Options(seeds_at_once=2), "--folds all, not None"), (Options(folds="all"), "--seeds-at-once 2")):
        with pytest.raises(RunError, match=message):
            sweep._check_out(tmp_path, "swept", options)


def test_the_jobs_of_this_folder_are_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sweep._folder(Path()) == sweep._folder(tmp_path) == tmp_path.with_name(f"{tmp_path.name}.jobs").resolve()


def test_jobs_of_slurm_have_its_parameters_and_are_queued_again_if_preempted(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    made, done = [], SimpleNamespace(job_id="1", done=lambda: True, exception=lambda: None)

    class Executor:
        def __init__(self, logs, cluster):
            made.append(cluster)

        def update_parameters(self, **parameters):
            made.append(parameters)

        def submit(self, job):
            made.append(job)
            return done

    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    jobs = [sweep.Job(tmp_path / "swept.py", cell, (), tmp_path / cell) for cell in ("concat", "late")]
    given = Namespace(executor="slurm", at_once=1, hours=1.5, slurm=["partition=gpu", "gpus_per_node=8"])
    assert sweep._run(jobs, given, tmp_path / "out") == []
    assert made == ["slurm", {"timeout_min": 90, "slurm_partition": "gpu", "slurm_gpus_per_node": "8"}, *jobs]  # without slots
    assert jobs[0].checkpoint().function is jobs[0]
