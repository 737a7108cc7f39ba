"""Helpers of the torch sides."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

DEVICES = {"cpu": "cpu", "gpu": "cuda"}
torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as is JAX's default


def to_device(x: np.ndarray, device: str, dtype: str | None = None) -> torch.Tensor:
    """A tensor on the device. dtype: None to keep the array's."""
    return torch.from_numpy(np.ascontiguousarray(x)).to(DEVICES[device], getattr(torch, dtype) if dtype else None)


def synchronized(result: Any, device: str) -> Any:
    """The result, after all work on the device is finished."""
    if device == "gpu":
        torch.cuda.synchronize()
    return result


@contextmanager
def full_precision() -> Iterator[None]:
    """Float32 matmuls on a GPU as well."""
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision("high")


def with_weights(module: torch.nn.Module, weights: dict[str, np.ndarray], device: str) -> torch.nn.Module:
    """The module on the device with exactly these weights."""
    module.load_state_dict({name: torch.from_numpy(np.array(x)) for name, x in weights.items()})
    return module.to(DEVICES[device])


def parameter_count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def adamw(parameters: Iterable[torch.nn.Parameter], lr: float, decay: float) -> torch.optim.Optimizer:
    """The fused implementation, torch's fastest."""
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)


def train_step(loss: Callable[[], torch.Tensor], optimizer: torch.optim.Optimizer, device: str) -> Callable[[], torch.Tensor]:
    """A function that takes one training step and returns its loss."""

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return synchronized(value.detach(), device)

    return step


def count_flops(run: Callable[[], Any]) -> float:
    """FLOPs of matmuls, convolutions and attention in one run, backward passes included; recurrent layers are not counted."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())
