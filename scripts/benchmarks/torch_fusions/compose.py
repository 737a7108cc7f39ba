"""Fusions composed of fusions, and the torch module of each specification."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from benchmarks.fusion_specs import Spec
from benchmarks.torch_fusions import attention, vectors
from benchmarks.torch_fusions.base import Fusion, Sizes


class Only(Fusion):
    def __init__(self, sizes: Sizes, names: Sequence[str], fusion: Spec):
        inner = build(fusion, {name: sizes[name] for name in names})
        super().__init__(sizes, *inner.size)
        self.fusion = inner

    def forward(self, tokens):
        return self.fusion({name: tokens[name] for name in self.fusion.names})


class Serial(Fusion):
    def __init__(self, sizes: Sizes, names: Sequence[str], first: Spec, then: Spec):
        super().__init__(sizes)
        self.joined, self.others = "_".join(sorted(names)), [name for name in self.names if name not in names]
        self.first = build(first, {name: sizes[name] for name in names})
        self.then = build(then, {self.joined: self.first.size} | {name: sizes[name] for name in self.others})
        self.size = self.then.size

    def forward(self, tokens):
        first = self.first({name: tokens[name] for name in self.first.names})
        return self.then({self.joined: first} | {name: tokens[name] for name in self.others})


class Parallel(Fusion):
    def __init__(self, sizes: Sizes, branches: Mapping[str, Spec], then: Spec):
        super().__init__(sizes)
        self.branches = sorted(branches)
        for name in self.branches:
            self.add_module(f"branches_{name}", build(branches[name], sizes))
        self.then = build(then, {name: self.part(f"branches_{name}").size for name in self.branches})
        self.size = self.then.size

    def forward(self, tokens):
        return self.then({name: self.part(f"branches_{name}")(tokens) for name in self.branches})


class Append(Fusion):
    def __init__(self, sizes: Sizes):
        super().__init__(sizes, sum(n for n, _ in sizes.values()), next(iter(sizes.values()))[1])

    def forward(self, tokens):
        return torch.cat([tokens[name] for name in self.names], dim=1)


class SideBySide(Fusion):
    def __init__(self, sizes: Sizes):
        super().__init__(sizes, next(iter(sizes.values()))[0], sum(d for _, d in sizes.values()))

    def forward(self, tokens):
        return torch.cat([tokens[name] for name in self.names], dim=-1)


class EachStep(Fusion):
    def __init__(self, sizes: Sizes, fusion: Spec):
        inner = build(fusion, {name: (1, d) for name, (_, d) in sizes.items()})
        super().__init__(sizes, next(iter(sizes.values()))[0], inner.size[1])
        self.fusion = inner

    def forward(self, tokens):
        fused = self.fusion({name: x.flatten(0, 1)[:, None] for name, x in tokens.items()})
        return fused[:, 0].unflatten(0, (-1, self.size[0]))


class ContextOver(Fusion):
    def __init__(self, sizes: Sizes, fusion: Spec, layer: Spec):
        inner, features = build(fusion, sizes), layer.fields["features"]
        super().__init__(sizes, inner.size[0], features)
        self.fusion, self.layer = inner, lstm(inner.size[1], features)

    def forward(self, tokens):
        return self.layer(self.fusion(tokens))[0]


def lstm(before: int, features: int) -> nn.LSTM:
    """An LSTM with one learned bias per gate; torch's second bias is frozen."""
    layer = nn.LSTM(before, features, batch_first=True)
    layer.bias_hh_l0.requires_grad_(False)
    return layer


def build(spec: Spec, sizes: Sizes) -> Fusion:
    """The torch module for a specification. sizes: {modality: (tokens, width)}."""
    return FUSIONS[spec.kind](sizes, **spec.fields)


FUSIONS = {
    fusion.__name__: fusion
    for fusion in (
        vectors.Concat,
        vectors.WeightedSum,
        vectors.Product,
        vectors.FiLM,
        vectors.GMU,
        vectors.Gated,
        vectors.TensorFusion,
        vectors.LowRank,
        vectors.MultiplicativeInteractions,
        vectors.MFB,
        vectors.MUTAN,
        vectors.MixtureOfExperts,
        vectors.MeanLogits,
        vectors.WeightedLogits,
        vectors.ProductOfExperts,
        vectors.Stacked,
        attention.EarlyTransformer,
        attention.CrossAttention,
        attention.CoAttention,
        attention.MulT,
        attention.Perceiver,
        attention.Bottleneck,
        Only,
        Serial,
        Parallel,
        Append,
        EachStep,
        SideBySide,
        ContextOver,
    )
}
"""The name of mmjax's class -> the torch module."""
