"""Parity with the original models; constraints/parity.txt lists the required packages.

`--table FILE` writes the measured errors as Markdown tables.
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
largest absolute value; the tests require at most 1e-4. With some test files alone, their lines are replaced. Language models
and vision-language models must also write the same tokens: ours with a cache, for one padded batch of prompts, of which some
have several images or none; the original for each prompt alone, without padding.

| test | configurations | outputs | input gradients |
|---|---:|---:|---:|
"""
FUSIONS = """
## Published fusions

Each fusion of [`fusion.published`](api/fusion.md), and each whose class is as published, against its authors' definition,
rewritten in torch after the paper or the code (`tests/parity/fusion_definitions`), with the same random weights. All tokens
are valid, except for the resampler and `PublishedPerceiver`, which have absent ones, and `ContextOver`, whose videos differ in
length. The tests require at most 1e-5 for outputs. Gradients are with respect to inputs, for OGM-GE to parameters.

| fusion | source | outputs | gradients |
|---|---|---:|---:|
"""
VARIANTS = """
These variants differ from the definitions, as their docstrings state. Each has a constructor in the table that does not:

| variant | as published |
|---|---|
| `Bottleneck` | `published.mbt`, in training within `StochasticDepth` |
| `CoAttention` | `ViLBERT` |
| `FiLM` over several modalities | `FiLM of two`, `FiLMBlocks` |
| `Gated` | `MixtureOfExperts` with all experts |
| `LowRank` | `published.lmf` |
| `losses.NormalMMD` | `losses.PublishedNormalMMD` |
| `MFB` | `published.mfb` |
| `MMVAE` | `fusion.published_mmvae.PublishedMMVAE`, for its distributions and its objective |
| `MulT` | `published.mult` |
| `MultiplicativeInteractions` of three | `published.multiplicative_interactions` |
| `Perceiver` | `fusion.published_perceiver.PublishedPerceiver` |
| `Resampler` | `flamingo_resampler` |
| `TensorFusion`, `OuterProduct` | `published.tfn` |

Connectors of language models (`GridMean`, `LineBreak`, `MLPConnector`, `Normalised`, `PixelShuffle`, `gemma3_connector`,
`idefics3_connector`, `llava_linear`, `llava_mlp`, `blip2_qformer`) are in the lines "vision language" and `QFormer`. These
follow no paper's fusion: `Append`, `Concat`, `CrossAttention`, `EachStep`, `EarlyTransformer`, `JoinTokens`, `MeanLogits`,
`Only`, `Parallel`, `Product`, `Serial`, `SideBySide`, `Stacked` (trained at once, unlike Wolpert's), `SumLogits` (of OGM-GE),
`WeightedLogits`, `WeightedSum`, and the imputers.
"""
FUSION_TESTS = "test_fusions", "test_fusions_random", "test_fusions_training"


def pytest_addoption(parser):
    parser.addoption("--table", type=Path, help="write the errors to this file; needs -n 0, so that one process runs all tests")


def columns(errors: dict[str, float]) -> str:
    return " | ".join(f"{errors[name]:.1e}" if name in errors else "-" for name in ("outputs", "gradients"))


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def kept(file: Path, heading: str, measured: set[str]) -> dict[str, str]:
    """The lines under a heading of the last table, without those of measured files and of files that no longer exist."""
    table = read(file).partition(heading)[2].split("\n\n")[0]
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()}
    files = {path.stem.removeprefix("test_").replace("_", " ") for path in Path(__file__).parent.rglob("test_*.py")}
    return {name: line for name, line in lines.items() if name.partition(":")[0] in files - measured}


def pytest_sessionfinish(session, exitstatus):
    file = session.config.getoption("--table")
    if file is None or exitstatus:
        return
    from tests.parity.originals import CHECKED

    if not CHECKED:
        raise pytest.UsageError("--table: this process has compared nothing; use -n 0")
    tests, fusions, measured = {}, {}, set()
    for test, array, error in CHECKED:
        place, _, name = test.removesuffix(" (call)").partition("::")
        name, _, configuration = name.partition("[")
        stem = Path(place).stem
        measured.add(stem.removeprefix("test_").replace("_", " "))
        if stem in FUSION_TESTS:
            row = fusions.setdefault(configuration.removesuffix("]") if name == "test_published" else name, {})
        else:
            line = f"{stem.removeprefix('test_')}: {name.removeprefix('test_')}".replace("_", " ")
            configurations, row = tests.setdefault(line, (set(), {}))
            configurations.add(configuration)
        column = "gradients" if re.search("gradient", array) else "outputs"
        row[column] = max(error, row.get(column, 0.0))
    lines = kept(file, HEAD.partition("\n\n|")[2], measured)
    lines |= {name: f"| {name} | {len(names)} | {columns(row)} |" for name, (names, row) in tests.items()}
    page = HEAD + "".join(f"{lines[name]}\n" for name in sorted(lines))
    section = "".join(read(file).partition(FUSIONS.partition("\n\n")[0])[1:])
    if fusions:
        from tests.parity import test_fusions, test_fusions_random, test_fusions_training

        known = {line.split(" | ")[0]: line for line in section.splitlines() if line.startswith("| ")}
        section = FUSIONS
        modules = test_fusions, test_fusions_random, test_fusions_training
        for name, (fusion, source) in (pair for module in modules for pair in module.SOURCES.items()):
            new = f"| {fusion} | {source} | {columns(fusions[name])} |" if name in fusions else known.get(f"| {fusion}")
            section += f"{new}\n" if new else ""
        section += VARIANTS
    file.write_text(page + section)
