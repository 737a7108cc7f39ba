"""Whole runs on streamed data: the example of docs/scaling_out.md, with threads, with workers, and with orders of its own."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mmjax
from mmjax.data.order import Epochs

PAGE = Path(__file__).parents[2] / "docs" / "scaling_out.md"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """(the cell of the example, the run folder that it has written)."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    folder = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, PAGE.name, "exec"), found := {})
    return found["cell"], folder / "runs" / "streamed"


def probabilities(out):
    """Float[seeds units 2]."""
    with np.load(out / "cells" / "streamed" / "all" / "outcomes.npz") as found:
        return found["label/sensors/probability"]


def test_workers_give_the_same_run(example, tmp_path):
    cell, by_threads = example
    mmjax.run({"streamed": cell}, seeds=3, device_memory=0.0, workers=1, out=tmp_path / "workers", quiet=True)
    np.testing.assert_array_equal(probabilities(tmp_path / "workers"), probabilities(by_threads))


def test_a_shared_order_is_that_of_seed_0_and_seeds_still_differ(example, tmp_path):
    """On the device, with an order for each seed: only seed 0 gives what it gave. Seeds of a shared order differ as well."""
    cell, out = example
    mmjax.run({"streamed": replace(cell, sampling=Epochs())}, seeds=3, out=tmp_path / "own", quiet=True)
    own, shared = probabilities(tmp_path / "own"), probabilities(out)
    np.testing.assert_allclose(own[0], shared[0], atol=1e-5)
    for other in (own[1], shared[2]):
        assert np.abs(shared[1] - other).max() > 1e-3
