"""The rows of `scripts/bench.py`: a file each, whose `cases(quick, device)` gives its cases.

    bench.py -> driver -> a worker for each side of a case: row.cases(...)[case].sides[side](weights) -> Work -> rounds -> table

Files of rows import jax and torch inside of their functions alone: a side's process holds no other library than its own.
"""

from importlib import import_module

DEVICES = ("cpu", "gpu")
ROWS = {
    "trimodal": "a training step of CNN + LSTM + LSTM",
    "dual": "a training step of a CLIP-like dual encoder",
    "dual-bf16": "the same in bfloat16",
    "clip-b16": "a training step of CLIP ViT-B/16 in bfloat16, on an accelerator",
    "resnet": "ResNet-50 and VGG-16 at 224 px, inference and training",
    "ablation": "six fusions x ten seeds, trained to the end",
    "subsets": "evaluation on all seven subsets of three modalities",
    "fusion": "each fusion, forwards and backwards, with growing tokens and modalities",
    "decode": "captions, word after word with a cache",
    "input": "pictures and speech -> batches",
    "start": "import, --help, the first step cold and from the compilation cache",
}


def cases_of(row: str, quick: bool, device: str) -> list:
    """The cases of a row: tiny ones where quick."""
    return import_module(f"benchmarks.{row.replace('-', '_')}").cases(quick, device)
