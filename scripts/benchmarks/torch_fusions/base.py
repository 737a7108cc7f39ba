"""The base class of the torch fusions: layers and parameters with mmjax's names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-6
Sizes = Mapping[str, tuple[int, int]]


class Fusion(nn.Module):
    """{modality: [b n d]} -> [b m e]. sizes: {modality: (n, d)}; size: (m, e)."""

    def __init__(self, sizes: Sizes, *size: int):
        super().__init__()
        self.sizes, self.names, self.size = sizes, sorted(sizes), size

    def add_parameter(self, name: str, *shape: int) -> None:
        self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    def add_dense(self, name: str, before: int, after: int, bias: bool = True) -> None:
        self.add_module(name, nn.Linear(before, after, bias))

    def add_norm(self, name: str, width: int) -> None:
        self.add_module(name, nn.LayerNorm(width, EPSILON))

    def add_dense_per_modality(self, width: int, bias: bool = True) -> None:
        """Adds a dense layer for each modality's mean token."""
        for name in self.names:
            self.add_dense(name, self.sizes[name][1], width, bias)

    def part(self, name: str) -> Any:
        return getattr(self, name)

    def pooled(self, tokens: Mapping[str, Tensor]) -> list[Tensor]:
        return [tokens[name].mean(dim=1) for name in self.names]

    def projected(self, tokens: Mapping[str, Tensor]) -> list[Tensor]:
        return [self.part(name)(x) for name, x in zip(self.names, self.pooled(tokens))]

    @property
    def total(self) -> int:
        """The sum of the widths of all modalities."""
        return sum(d for _, d in self.sizes.values())
