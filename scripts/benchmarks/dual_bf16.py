"""The dual encoder's training step in bfloat16: the field `dtype` of mmjax's encoders, autocast in torch. Parameters are
float32 on both sides."""

from functools import partial

from benchmarks.case import Case
from benchmarks.dual import SMALL, TINY, mmjax_workload, torch_sides
from benchmarks.gemm import multiplies_bfloat16

TOLERANCE = 5e-2  # for numbers of 8 bits; the measured difference is 1e-2


def cases(quick: bool, device: str) -> list[Case]:
    slow = device == "cpu" and not quick and not multiplies_bfloat16()
    return [
        Case(
            f"batch {batch}",
            {
                "mmjax": partial(mmjax_workload, size, batch, "bfloat16"),
                **({} if slow else torch_sides(size, batch, "bfloat16", device, quick)),
                **({} if quick else {"mmjax float32": partial(mmjax_workload, size, batch, "float32")}),
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
