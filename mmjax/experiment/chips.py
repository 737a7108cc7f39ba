"""What a training step would need on named chips, by published peak figures: bounds, not measurements."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mmjax.train.program import Program

__all__ = ["CHIPS", "Bound", "Chip", "bound", "chips_table", "collectives_table"]


class Chip(NamedTuple):
    """tflops: peak of dense bfloat16 products, in 10^12 per second. memory: in GB. link: GB/s that a chip sends to others of
    its node (GPU) or pod (TPU), half of the published figure of both directions. source: of the figures."""

    tflops: float
    memory: float
    link: float
    source: str


_NVIDIA, _GOOGLE = "https://www.nvidia.com/en-us/data-center", "https://cloud.google.com/tpu/docs"
CHIPS = {
    "A100 80 GB": Chip(312, 80, 300, f"{_NVIDIA}/a100"),
    "H100 SXM": Chip(989, 80, 450, f"{_NVIDIA}/h100"),
    "H200 SXM": Chip(989, 141, 450, f"{_NVIDIA}/h200"),
    "B200": Chip(2250, 180, 900, f"{_NVIDIA}/dgx-b200"),
    "TPU v5e": Chip(197, 16, 200, f"{_GOOGLE}/v5e"),
    "TPU v5p": Chip(459, 95, 600, f"{_GOOGLE}/v5p"),
    "TPU v6e": Chip(918, 32, 400, f"{_GOOGLE}/v6e"),
}
"""Peak figures of data sheets, read in November 2026. Sparse products and 8-bit ones are left out."""


class Bound(NamedTuple):
    """fits: whether the memory of the program is at most that of the chip. compute, sending: seconds at the peak figures. mfu:
    the largest model FLOPs utilisation if products and collectives overlap completely."""

    fits: bool
    compute: float
    sending: float
    mfu: float


def bound(chip: Chip, program: Program, memory: int, model_flops: float | None = None) -> Bound:
    """The best that a chip can do. memory: bytes of the program. model_flops: of the step on one device; None for all products
    of the program, which are more where activations are computed again."""
    compute, sending = program.flops / chip.tflops / 1e12, program.sent / chip.link / 1e9
    useful = (program.flops if model_flops is None else model_flops) / chip.tflops / 1e12
    longest = max(compute, sending)
    return Bound(memory <= chip.memory * 1e9, compute, sending, useful / longest if longest else 0.0)


def chips_table(rows: Sequence[tuple[str, Program, int, float | None]]) -> Table:
    """rows: (name, program, memory, model_flops) as of `bound`."""
    table = Table(title="bounds of a step on named chips, from their published peak figures (estimates)", box=SIMPLE_HEAD)
    for name in ("program", "chip", "memory", "products, s", "collectives, s", "utilisation at most"):
        table.add_column(name, justify="left" if name in ("program", "chip") else "right", no_wrap=name == "chip")
    for name, program, memory, model_flops in rows:
        for chip, figures in CHIPS.items():
            found = bound(figures, program, memory, model_flops)
            used = f"{memory / 1e9:.3g} of {figures.memory:g} GB" if found.fits else f"more than {figures.memory:g} GB"
            table.add_row(name, chip, used, f"{found.compute:.3g}", f"{found.sending:.3g}", f"{found.mfu:.0%}")
    return table


def collectives_table(rows: Sequence[tuple[str, Program]]) -> Table:
    """How often each collective runs in a step, and what a device sends in all of them. rows: (name, program)."""
    table = Table(title="collectives of one training step on each device", box=SIMPLE_HEAD)
    for name in ("program", "kind", "calls", "sent, GB"):
        table.add_column(name, justify="left" if name in ("program", "kind") else "right")
    for name, program in rows:
        for kind, found in program.collectives.items():
            table.add_row(name, kind, f"{found.calls:,}", f"{found.sent / 1e9:.3g}")
    return table

