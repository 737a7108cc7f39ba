"""How the processes of a run find each other, in flags and in the examples of scripts/launch/, and what they refuse."""

import shlex
from pathlib import Path

import jax
import pytest
import yaml

from mmjax.experiment.cli import parse
from mmjax.experiment.load import check_options
from mmjax.experiment.options import Options
from mmjax.experiment.value import ExperimentError
from mmjax.processes import HEARTBEAT, join
from tests.faults.mistakes import CELLS

LAUNCH = Path(__file__).parents[1] / "scripts" / "launch"


@pytest.fixture
def given(monkeypatch):
    """The arguments with which JAX is initialised, which it is not."""
    calls = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: calls.append(arguments))
    return calls


def test_auto_leaves_addresses_to_the_environment(given):
    """Of SLURM, Open MPI, Kubernetes and Cloud TPU, which JAX reads if it is given none of the three values."""
    join("auto")
    join("host:1234", 3, 2)
    beats = {"heartbeat_timeout_seconds": HEARTBEAT}
    assert given == [beats, {"coordinator_address": "host:1234", "num_processes": 3, "process_id": 2, **beats}]
    assert HEARTBEAT < 20  # the others of a killed process end within 20 seconds


def test_missing_and_wrong_values_are_one_line(given, monkeypatch):
    for values in ((), (2,), (None, 0)):
        with pytest.raises(ValueError, match="--coordinator HOST:PORT also needs --processes and --process"):
            join("host:1234", *values)
    for index in (-1, 2):
        with pytest.raises(ValueError, match=rf"--process is {index}; it must be at least 0 and below --processes, 2"):
            join("host:1234", 2, index)
    assert given == []

    def fail(**arguments):
        raise RuntimeError("no cluster was found\nand more lines")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(ValueError, match=r"^--coordinator auto: no cluster was found$"):
        join("auto")


@pytest.mark.parametrize("plan", ["single", "pmap"])
def test_several_processes_without_a_common_plan_are_refused(monkeypatch, plan):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ExperimentError, match=rf"--plan is '{plan}', but there are 2 processes, .* use --plan sharded"):
        check_options(CELLS, Options(plan=plan))


def test_the_example_of_slurm_has_known_flags():
    line = (LAUNCH / "slurm.sbatch").read_text().splitlines()[-1]
    flags = shlex.split(line.split('"$@"')[1])
    options, _ = parse(CELLS, flags, "file.py")
    assert (options.plan, options.coordinator, options.processes, options.resume) == ("sharded", "auto", None, True)


def test_the_example_of_kubernetes_has_known_flags_and_consistent_names():
    """The first pod of an indexed job JOB with a service NAME is JOB-0.NAME."""
    service, job = yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text())
    pod, name = job["spec"]["template"]["spec"], job["metadata"]["name"]
    (command,) = pod["containers"][0]["args"]
    _, python, file, *flags = shlex.split(command.replace("$JOB_COMPLETION_INDEX", "1"))
    assert python == "python" and (LAUNCH.parents[1] / file).is_file()
    options, _ = parse(CELLS, flags, file)
    assert (options.plan, options.process, options.resume) == ("sharded", 1, True)
    assert options.processes == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert options.coordinator.partition(":")[0] == f"{name}-0.{pod['subdomain']}"
    assert service["metadata"]["name"] == pod["subdomain"] and service["spec"]["selector"] == {"job-name": name}
