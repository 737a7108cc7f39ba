"""The most hostile settings that correct code survives: four CPU devices, rank promotion raises, warnings are errors.

Compiled programs are tiny here and run once, so what makes compiling slow is off (QUICK): LLVM's optimisations, fusion emitters
and the split of a program into modules. Some processes that tests start run as users run them. What JAX caches makes full
collections of garbage slow (a second each), so they are rare. JAX keeps its own frames in tracebacks: to filter them, it looks
up the file of every frame of every error that a test expects.
"""

import functools
import gc
import itertools
import os
from importlib.metadata import version

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):  # JAX 0.12 ends a process with a flag that it does not know
    QUICK += " --xla_cpu_use_fusion_emitters=false"
USERS_XLA_FLAGS = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = f"{USERS_XLA_FLAGS} --xla_force_host_platform_device_count=4 {QUICK}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_traceback_in_locations_limit", 0)  # programs that run once need no lines of source
jax.config.update("jax_traceback_filtering", "off")
jax.devices()  # starts JAX, before a test sets other flags for its processes
gc.set_threshold(10_000, 20, 50)


def shared(make, times):
    """`make`, whose results serve so many calls each."""
    count, made = itertools.count(), functools.lru_cache(1)(lambda number: make())
    return lambda: made(next(count) // times)


mlir.make_ir_context = shared(mlir.make_ir_context, 100)  # making one takes a tenth of the time of a tiny program


def pytest_collection_modifyitems(items):
    """The longest first, so that no process ends with one while the others wait; and a run that several of them share is made
    by the process that has them, while another, which takes tests from the end, does not wait for it."""
    items.sort(key=lambda item: item.get_closest_marker("end_to_end") is None)  # otherwise in the order that they have


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless chromium; the test fails where there is none."""
    from tests.report.chromium import Browser

    try:
        browser = Browser(tmp_path_factory.mktemp("chromium"))
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)
    yield browser
    browser.close()
