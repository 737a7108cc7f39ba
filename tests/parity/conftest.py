"""Parity with the original models: see constraints/parity.txt for what these tests need.

With `--table FILE` the errors that were found are written as a Markdown table, architecture by architecture.
"""

import os
import re
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's idle threads would spin, and starve JAX's

HEAD = """# Architectures whose weights can be loaded, and how far our numbers are from the originals'

`scripts/parity -n 0 --table docs/architectures.md` writes this page. Every line is a test in `tests/parity/`: the original in
torch or transformers with random weights, saved as its authors save it, loaded by `mmjax.pretrained.load`, the same inputs with
padding, float32, on a CPU; torchvision's models and EfficientNet-Lite are written out in torch, and the authors' ViT in Flax,
after their definitions. Layers that are no published model (image, recurrent, series) get their weights by the test itself.
The error is the largest difference as a share of the largest number; at most 1e-4 passes.

| test | configurations | outputs | input gradients |
|---|---:|---:|---:|
"""


def pytest_addoption(parser):
    parser.addoption("--table", type=Path, help="write the errors to this file; needs -n 0, where one process sees them all")


def pytest_sessionfinish(session, exitstatus):
    file = session.config.getoption("--table")
    if file is None or exitstatus:
        return
    from tests.parity.originals import CHECKED

    if not CHECKED:
        raise pytest.UsageError("--table: this process has compared nothing; give -n 0")
    lines = {}
    for test, what, error in CHECKED:
        place, _, name = test.removesuffix(" (call)").partition("::")
        name, _, configuration = name.partition("[")
        row = lines.setdefault(f"{Path(place).stem.removeprefix('test_')}: {name.removeprefix('test_')}".replace("_", " "), {})
        row.setdefault("configurations", set()).add(configuration)
        column = "gradients" if re.search("gradient", what) else "outputs"
        row[column] = max(error, row.get(column, 0.0))
    shown = lambda row, column: f"{row[column]:.1e}" if column in row else "-"
    text = "".join(
        f"| {name} | {len(row['configurations'])} | {shown(row, 'outputs')} | {shown(row, 'gradients')} |\n"
        for name, row in sorted(lines.items())
    )
    file.write_text(HEAD + text)
