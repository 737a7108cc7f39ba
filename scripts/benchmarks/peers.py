"""What the torch sides share."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

DEVICES = {"cpu": "cpu", "gpu": "cuda"}
torch.set_float32_matmul_precision("high")  # on a GPU TF32, as JAX has it by default


def place(x: np.ndarray, device: str, dtype: str | None = None) -> torch.Tensor:
    """On the device, in another dtype where one is given."""
    return torch.from_numpy(np.ascontiguousarray(x)).to(DEVICES[device], getattr(torch, dtype) if dtype else None)


def done(result: Any, device: str) -> Any:
    """The result, once it is computed."""
    if device == "gpu":
        torch.cuda.synchronize()
    return result


@contextmanager
def full_precision() -> Iterator[None]:
    """Matmuls in float32, on a GPU too."""
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision("high")


def load(module: torch.nn.Module, weights: dict[str, np.ndarray], device: str) -> torch.nn.Module:
    """The module with these weights, all of them and no other, on the device."""
    module.load_state_dict({name: torch.from_numpy(np.array(x)) for name, x in weights.items()})
    return module.to(DEVICES[device])


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def adamw(parameters: Iterable[torch.nn.Parameter], lr: float, decay: float) -> torch.optim.Optimizer:
    """Fused: the fastest that torch has."""
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)


def train_step(loss: Callable[[], torch.Tensor], optimizer: torch.optim.Optimizer, device: str) -> Callable[[], torch.Tensor]:
    """Zero gradients, loss, backward, update."""

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return done(value.detach(), device)

    return step


def flops_of(run: Callable[[], Any]) -> float:
    """Of matmuls, convolutions and attention in one run, forwards and backwards; not of recurrent layers."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())
