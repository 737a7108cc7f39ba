"""A training step of CLIP ViT-B/16 (Radford et al., 2021, table 20) in bfloat16: 12 layers of width 768 and 12 of width 512,
224 px, 77 tokens. On a GPU, the share of a GEMM is the model FLOP/s utilisation. On a CPU only the tiny size runs.
"""

from functools import partial

from benchmarks.case import Case
from benchmarks.dual import TINY, Sizes, mmjax_workload, torch_workload
from benchmarks.dual_bf16 import TOLERANCE

B16 = Sizes(224, 16, (768, 12, 12, 3072), (512, 12, 8, 2048), 77, 49_408, 512)
BATCH = 128  # both sides are in the memory of one GPU of 80 GB at the same time


def cases(quick: bool, device: str) -> list[Case]:
    if device == "cpu" and not quick:
        return [Case(f"batch {BATCH}", {}, dtype="bfloat16", note="needs an accelerator")]
    size, batch = (TINY, 4) if quick else (B16, BATCH)
    peer = "torch" if quick else "torch compiled"
    sides = {
        "mmjax": partial(mmjax_workload, size, batch, "bfloat16"),
        peer: partial(torch_workload, size, batch, "bfloat16", device, not quick),
    }
    note = f"batch {batch}: both sides are in the memory of one GPU of 80 GB at the same time"
    return [Case(f"batch {batch}", sides, {peer: 1.1}, "bfloat16", TOLERANCE, note)]
