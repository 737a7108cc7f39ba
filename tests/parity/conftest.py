"""Parity with the original models; constraints/parity.txt lists the required packages.

`--table FILE` writes the measured errors as a Markdown table.
"""

import os
import re
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # otherwise torch's idle threads spin and slow JAX down

HEAD = """# Supported architectures and their deviation from the originals

`scripts/parity -n 0 --table docs/architectures.md` writes this page. Each line is a test in `tests/parity/`. It creates the
original model in torch, transformers or open_clip with random weights, saves it in its published format, loads it with
`mmjax.pretrained.load`, and compares both on the same padded inputs, in float32 on a CPU. torchvision's models and
EfficientNet-Lite are reimplemented in torch, the authors' ViT in Flax, after their definitions. Layers that are not published
models (image, recurrent, series) receive the weights from the test. The error is the largest absolute difference divided by the
largest absolute value; the tests require at most 1e-4.

| test | configurations | outputs | input gradients |
|---|---:|---:|---:|
"""


def pytest_addoption(parser):
    parser.addoption("--table", type=Path, help="write the errors to this file; needs -n 0, so that one process runs all tests")


def pytest_sessionfinish(session, exitstatus):
    file = session.config.getoption("--table")
    if file is None or exitstatus:
        return
    from tests.parity.originals import CHECKED

    if not CHECKED:
        raise pytest.UsageError("--table: this process has compared nothing; use -n 0")
    lines = {}
    for test, array, error in CHECKED:
        place, _, name = test.removesuffix(" (call)").partition("::")
        name, _, configuration = name.partition("[")
        row = lines.setdefault(f"{Path(place).stem.removeprefix('test_')}: {name.removeprefix('test_')}".replace("_", " "), {})
        row.setdefault("configurations", set()).add(configuration)
        column = "gradients" if re.search("gradient", array) else "outputs"
        row[column] = max(error, row.get(column, 0.0))
    shown = lambda row, column: f"{row[column]:.1e}" if column in row else "-"
    text = "".join(
        f"| {name} | {len(row['configurations'])} | {shown(row, 'outputs')} | {shown(row, 'gradients')} |\n"
        for name, row in sorted(lines.items())
    )
    file.write_text(HEAD + text)
