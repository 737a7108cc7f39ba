"""The dual encoder's training step in bfloat16: `dtype` of mmjax's towers, autocast in torch; parameters float32 in both."""

from functools import partial

from benchmarks.dual import SMALL, TINY, ours, peers
from benchmarks.gemm import multiplies_bfloat16
from benchmarks.work import Case

TOLERANCE = 5e-2  # of numbers with 8 bits: 1e-2 was measured


def cases(quick: bool, device: str) -> list[Case]:
    slow = device == "cpu" and not quick and not multiplies_bfloat16()
    return [
        Case(
            f"batch {batch}",
            {
                "mmjax": partial(ours, size, batch, "bfloat16"),
                **({} if slow else peers(size, batch, "bfloat16", device, quick)),
                **({} if quick else {"mmjax float32": partial(ours, size, batch, "float32")}),
            },
            {"torch": 1.0, "torch compiled": 1.0, "mmjax float32": 2.0} if device == "cpu" else {},
            "bfloat16",
            TOLERANCE,
            "this CPU has no bfloat16 instructions: no batch 256, and no torch, whose emulation is slow (see the row gemm)"
            if slow
            else "",
        )
        for size, batch in ([(TINY, 4)] if quick else [(SMALL, 64)] if slow else [(SMALL, 64), (SMALL, 256)])
    ]
