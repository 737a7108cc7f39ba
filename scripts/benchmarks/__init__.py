"""The rows of `scripts/bench.py`: one file each, whose `cases(quick, device)` returns its cases.

    bench.py -> driver -> a worker process for each side of a case: sides[name](weights) -> Workload -> rounds -> table

The files of rows import jax and torch inside functions only, so that a side's process imports no other library than its own.
"""

from importlib import import_module

from benchmarks.case import Case

DEVICES = ("cpu", "gpu")
ROWS = {
    "trimodal": "a training step of CNN + LSTM + LSTM",
    "dual": "a training step of a CLIP-like dual encoder",
    "dual-bf16": "the same in bfloat16",
    "clip-b16": "a training step of CLIP ViT-B/16 in bfloat16, on an accelerator",
    "resnet": "ResNet-50 and VGG-16 at 224 px, inference and training",
    "ablation": "six fusions x ten seeds, trained to the end",
    "subsets": "evaluation on all seven subsets of three modalities",
    "fusion": "each fusion, forward and backward, with growing numbers of tokens and modalities",
    "steps": "a training step of a small model, one or several per compiled call",
    "stream": "training from files, read while training or before",
    "losses": "contrastive losses at a large batch, value and gradient",
    "decode": "captions, token by token with a cache",
    "llm": "SmolLM2: reading prompts, and adding tokens with a cache",
    "large": "a training step of low-rank additions to SmolLM2",
    "search": "exact search in a gallery of embeddings",
    "input": "images and speech -> batches",
    "start": "import, --help, the first step without and with the compilation cache",
}
READS_WEIGHTS = {"llm"}  # rows that are also relative to the memory bandwidth, the row "memory"


def cases_of(row: str, quick: bool, device: str) -> list[Case]:
    """The cases of a row. quick: tiny ones."""
    return import_module(f"benchmarks.{row.replace('-', '_')}").cases(quick, device)
