"""What runs in the processes that are killed. They are forked from one process that has imported this module, to save time."""

import os
import sys
import warnings
from multiprocessing.synchronize import Event
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint  # noqa: F401

import mmjax.experiment.run
import mmjax.report.page
import mmjax.report.tables  # noqa: F401
from mmjax.experiment import cli, main
from mmjax.pretrained.feature_cache import load_features, save_features
from tests.end_to_end.two_processes import CELL

__all__ = ["FLAGS", "experiment", "features"]

FLAGS = "--seeds 2 --steps 40 --evaluate-every 8 --checkpoint-every 1 --steps-per-call 1".split()
XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiling is most of the time


def experiment(args: list[str], log: Path, begun: Event) -> None:
    """The experiment of `tests/end_to_end/two_processes.py` with these arguments; its output goes to `log`."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ["XLA_FLAGS"] = XLA_FLAGS
    jax.config.update("jax_compilation_cache_dir", str(log.parents[1] / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    cli.prepare_jax = lambda: None  # its cache has only what takes longer to compile
    sys.argv = ["two_processes.py", *FLAGS, *args]
    begun.set()
    main({"both": CELL})


def features(file: Path, times: int) -> None:
    """Writes and reads the same features again and again; an error if they are ever damaged."""
    warnings.simplefilter("error")
    wanted = {"x": np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)}
    for _ in range(times):
        save_features(file, wanted)
        found = load_features(file)
        assert found is not None and found["x"].tobytes() == wanted["x"].tobytes()
