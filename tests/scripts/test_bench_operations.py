"""Where the time of a benchmark's case goes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.operations import KINDS, kind_of, origins, self_seconds

ROOT = Path(__file__).resolve().parents[2]


def test_the_time_of_operations_inside_is_not_counted_again():
    """A loop of 10 ns with two operations, of which the second has one of 1 ns inside; then one of 2 ns."""
    events = [("inner", 16, 1), ("loop", 10, 10), ("b", 15, 4), ("a", 11, 3), ("b", 20, 2)]
    found = self_seconds(events)
    assert {name: round(1e9 * seconds, 6) for name, seconds in found.items()} == {"loop": 3, "a": 3, "b": 5, "inner": 1}


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("dot jit(step)/jvp(Multimodal)/encoders_text/block_0/mlp/dot_general", "matrix products"),
        ("fusion jit(step)/jvp(Multimodal)/encoders_text/block_0/attention/exp", "attention, in mmjax without its products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention, in mmjax without its products"),
        ("dot", "matrix products"),
        ("aten::addmm", "matrix products"),
        ("add_divide_fusion jit(run)/vmap()/div", "optimiser, norms of the step"),
        ("transpose_copy_fusion state.params['kernel']", "copies and transpositions"),
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::native_layer_norm", "norms of layers"),
        ("aten::_fused_adamw_", "optimiser, norms of the step"),
        ("aten::copy_", "copies and transpositions"),
        ("call", "the rest"),
    ],
)
def test_kinds(operation, kind):
    assert kind_of(operation) == kind


def test_operations_of_xla_have_names_of_jax(tmp_path):
    (tmp_path / "module_0001.jit_f.cpu_after_optimizations.txt").write_text(
        "HloModule jit_f, is_scheduled=true\n\n%inner (a: f32[2]) -> f32[2] {\n  ROOT %dot.4 = f32[2] dot(%a, %a)\n}\n\n"
        "ENTRY %main {\n  %ynn.5 = f32[2] fusion(%a), kind=kCustom, calls=%inner, backend_config={}\n"
        '  %dot.3 = f32[2] dot(%a, %b), metadata={op_name="jit(f)/dot_general"}\n'
        '  ROOT %fusion = f32[2] fusion(%dot.3), kind=kLoop, metadata={op_name="jit(f)/exp" source_line=3}\n}\n'
    )
    assert origins(tmp_path) == {
        ("jit_f", "ynn.5"): "dot_general",
        ("jit_f", "dot.3"): "jit(f)/dot_general",
        ("jit_f", "fusion"): "jit(f)/exp",
    }


def script(*args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "scripts" / "bench_operations.py", *args]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "160"})


def test_one_side_in_its_smallest_size():
    done = script("dual", "batch 4", "--sides", "mmjax", "--steps", "2", "--longest", "3", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("│ ").split("│") for line in done.stdout.splitlines() if line.startswith("│") and line.count("│") == 3]
    times = {name.strip(): float(ms) for name, ms in rows}
    assert times.pop("all, by the clock") > 0
    assert times.pop("their sum, with the profiler") == pytest.approx(sum(times.values()), abs=0.1 * len(times))
    assert times["matrix products"] > 0 and times["optimiser, norms of the step"] > 0 and set(times) <= set(KINDS)
    assert "mmjax: operation" in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("clip-b16", "batch 128"), "is not compared on a CPU: needs an accelerator"),
        (("dual", "batch 64", "--steps", "0"), "--steps is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(args, message):
    done = script(*args)
    assert done.returncode == 2 and message in done.stderr


def test_an_unknown_case_is_named():
    done = script("dual", "batch 5")
    assert done.returncode == 2 and "row dual has no case 'batch 5'; its cases are batch 64, batch 256" in done.stderr
