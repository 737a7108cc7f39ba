"""The GPUs and cores of this machine, in equal parts for jobs that run at the same time."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["COUNT", "GPUS", "OTHERS", "Slot", "divided", "slots_of_machine"]

GPUS = "CUDA_VISIBLE_DEVICES"
# Variables that JAX or HIP apply besides GPUS or instead, so that a job would have other GPUs than those of its slot. GPUS
# selects among the GPUs that ROCR_VISIBLE_DEVICES leaves, as it should; SLURM may set that one for NVIDIA GPUs, too.
OTHERS = ("HIP_VISIBLE_DEVICES", "JAX_CUDA_VISIBLE_DEVICES", "JAX_ROCM_VISIBLE_DEVICES")
# A program that prints the platform and the number of the devices of JAX.
COUNT = "import jax; found = jax.local_devices(); print(found[0].platform, len(found))"


@dataclass(frozen=True)
class Slot:
    """The part of a machine for one job. gpus: the value of CUDA_VISIBLE_DEVICES; None for no such variable. cores: their
    numbers; () where the platform cannot restrict a process to some."""

    gpus: str | None = None
    cores: tuple[int, ...] = ()

    def take(self) -> None:
        """Restricts this process, and those that it starts, to the slot."""
        os.environ.pop(GPUS, None)
        if self.gpus is not None:
            os.environ[GPUS] = self.gpus
        if self.cores:
            os.sched_setaffinity(0, self.cores)


def slots_of_machine(count: int) -> list[Slot]:
    """`count` equal slots of the GPUs and cores that this process may use.

    ValueError as of `divided`, for TPUs, without devices, and if GPUs are restricted by another variable than
    CUDA_VISIBLE_DEVICES.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    gpus = _number_of_gpus() if count > 1 else 0
    restricting = [name for name in OTHERS if os.environ.get(name, "") not in ("", "all")]
    if gpus and restricting:
        raise ValueError(f"--at-once is {count}, but {restricting[0]} is set; name the GPUs to divide by {GPUS} alone")
    return divided(count, os.environ.get(GPUS), gpus, cores)


def divided(count: int, visible: str | None, gpus: int, cores: Sequence[int]) -> list[Slot]:
    """`count` equal slots; GPUs and cores that are left over are in none. If there are fewer cores than slots, all share them.

    visible: the value of CUDA_VISIBLE_DEVICES, None if it is not set. gpus: the number that JAX uses. ValueError if there are
    GPUs, but fewer than slots.
    """
    if 0 < gpus < count:
        raise ValueError(f"--at-once is {count}, but JAX finds {gpus} GPU{'s' * (gpus > 1)}; it can be at most {gpus}")
    names = visible.split(",")[:gpus] if visible else [str(number) for number in range(gpus)]
    of_gpus = [",".join(part) for part in _parts(names, count)] if gpus else [visible] * count
    of_cores = _parts(cores, count) if len(cores) >= count else [cores] * count
    return [Slot(own, tuple(numbers)) for own, numbers in zip(of_gpus, of_cores)]


def _parts(entries: Sequence, count: int) -> list[Sequence]:
    """`count` parts of equal length."""
    size = len(entries) // count
    return [entries[start : start + size] for start in range(0, count * size, size)]


def _number_of_gpus() -> int:
    """The number of GPUs that JAX uses, counted in another process, since one that asks JAX keeps memory of each of them.
    ValueError for TPUs, and if JAX finds no device."""
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run([sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"JAX finds no devices: {(done.stderr.strip() or 'its process was killed').splitlines()[-1]}")
    platform, number = done.stdout.split()[-2:]
    if platform == "tpu":  # the chips of a process must form a box, and each process needs ports of its own
        raise ValueError("--executor local cannot divide the chips of a TPU among jobs; --at-once must be 1")
    return int(number) if platform == "gpu" else 0
