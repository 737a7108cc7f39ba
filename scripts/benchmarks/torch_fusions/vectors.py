"""Joint and late fusions of one vector per modality."""

from functools import reduce
from operator import mul

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.torch_fusions.base import EPSILON, Fusion, Sizes


def with_one(x: Tensor) -> Tensor:
    return F.pad(x, (0, 1), value=1.0)


class Concat(Fusion):
    def __init__(self, sizes: Sizes, width: int):
        super().__init__(sizes, 1, width)
        self.add_dense("dense", self.total, width)

    def forward(self, tokens):
        return F.relu(self.part("dense")(torch.cat(self.pooled(tokens), dim=-1)))[:, None]


class WeightedSum(Fusion):
    def __init__(self, sizes: Sizes, width: int):
        super().__init__(sizes, 1, width)
        self.add_dense_per_modality(width)
        self.add_parameter("alpha", len(sizes))

    def forward(self, tokens):
        return torch.einsum("k,kbd->bd", self.alpha, torch.stack(self.projected(tokens)))[:, None]


class Product(Fusion):
    def __init__(self, sizes: Sizes, width: int):
        super().__init__(sizes, 1, width)
        self.add_dense_per_modality(width)

    def forward(self, tokens):
        return F.relu(reduce(mul, self.projected(tokens)))[:, None]


class FiLM(Fusion):
    def __init__(self, sizes: Sizes, target: str, width: int):
        super().__init__(sizes, sizes[target][0], width)
        self.target, self.conditions = target, [name for name in self.names if name != target]
        self.add_dense(target, sizes[target][1], width)
        for name in self.conditions:
            self.add_dense(f"{name}_film", sizes[name][1], 2 * width)

    def forward(self, tokens):
        h = self.part(self.target)(tokens[self.target])
        for name in self.conditions:
            gamma, beta = self.part(f"{name}_film")(tokens[name].mean(dim=1))[:, None].chunk(2, dim=-1)
            h = (1 + gamma) * h + beta
        return F.relu(h)


class GMU(Fusion):
    def __init__(self, sizes: Sizes, width: int):
        super().__init__(sizes, 1, width)
        self.gates = 1 if len(sizes) == 2 else len(sizes)
        self.add_dense_per_modality(width, bias=False)
        self.add_dense("gate", self.total, self.gates * width, bias=False)

    def forward(self, tokens):
        vectors = self.pooled(tokens)
        h = [torch.tanh(self.part(name)(x)) for name, x in zip(self.names, vectors)]
        z = torch.sigmoid(self.part("gate")(torch.cat(vectors, dim=-1)))
        z = [z, 1 - z] if self.gates == 1 else z.chunk(self.gates, dim=-1)
        return sum(a * b for a, b in zip(z, h))[:, None]


class Gated(Fusion):
    def __init__(self, sizes: Sizes, width: int):
        super().__init__(sizes, 1, width)
        self.add_dense_per_modality(width)
        self.add_dense("gate", len(sizes) * width, len(sizes))

    def forward(self, tokens):
        h = torch.stack([F.relu(x) for x in self.projected(tokens)], dim=1)
        gates = self.part("gate")(h.flatten(1)).softmax(dim=-1)
        return torch.einsum("bk,bkd->bd", gates, h)[:, None]


class TensorFusion(Fusion):
    def __init__(self, sizes: Sizes, width: int, inner: int):
        super().__init__(sizes, 1, width)
        self.add_dense_per_modality(inner)
        self.add_dense("dense", (inner + 1) ** len(sizes), width)

    def forward(self, tokens):
        factors = [with_one(F.relu(x)) for x in self.projected(tokens)]
        outer = reduce(lambda a, b: torch.einsum("bi,bj->bij", a, b).flatten(1), factors)
        return F.relu(self.part("dense")(outer))[:, None]


class LowRank(Fusion):
    def __init__(self, sizes: Sizes, width: int, rank: int):
        super().__init__(sizes, 1, width)
        for name in self.names:
            self.add_parameter(f"{name}_factor", rank, sizes[name][1] + 1, width)

    def forward(self, tokens):
        factors = [
            torch.einsum("bd,rdw->brw", with_one(x), self.part(f"{name}_factor"))
            for name, x in zip(self.names, self.pooled(tokens))
        ]
        return reduce(mul, factors).sum(dim=1)[:, None]


class MultiplicativeInteractions(Fusion):
    def __init__(self, sizes: Sizes, width: int):
        super().__init__(sizes, 1, width)
        before = sizes[self.names[0]][1]
        for name in self.names[1:]:
            self.add_parameter(f"{name}_tensor", before, sizes[name][1], width)
            self.add_dense(f"{name}_before", before, width, bias=False)
            self.add_dense(name, sizes[name][1], width)
            before = width

    def forward(self, tokens):
        z, *others = self.pooled(tokens)
        for name, x in zip(self.names[1:], others):
            products = torch.einsum("bi,bj->bij", z, x).flatten(1)
            bilinear = products @ self.part(f"{name}_tensor").flatten(0, 1)
            z = bilinear + self.part(f"{name}_before")(z) + self.part(name)(x)
        return z[:, None]


class MFB(Fusion):
    def __init__(self, sizes: Sizes, width: int, factors: int):
        super().__init__(sizes, 1, width)
        self.factors = factors
        self.add_dense_per_modality(width * factors, bias=False)

    def forward(self, tokens):
        z = reduce(mul, self.projected(tokens)).unflatten(-1, (-1, self.factors)).sum(dim=-1)
        z = z * torch.rsqrt(z.abs() + EPSILON)
        return (z * torch.rsqrt((z * z).sum(dim=-1, keepdim=True) + EPSILON))[:, None]


class MUTAN(Fusion):
    def __init__(self, sizes: Sizes, width: int, inner: int, rank: int):
        super().__init__(sizes, 1, width)
        self.rank = rank
        self.add_dense_per_modality(inner, bias=False)
        for name in self.names:
            self.add_dense(f"{name}_core", inner, rank * width, bias=False)

    def forward(self, tokens):
        cores = [self.part(f"{name}_core")(torch.tanh(q)) for name, q in zip(self.names, self.projected(tokens))]
        return reduce(mul, cores).unflatten(-1, (self.rank, -1)).sum(dim=1)[:, None]


class MixtureOfExperts(Fusion):
    def __init__(self, sizes: Sizes, width: int, experts: int, k: int, hidden: int):
        super().__init__(sizes, 1, width)
        self.experts, self.k = experts, k
        self.add_dense("gate", self.total, experts, bias=False)
        self.add_dense("noise", self.total, experts, bias=False)  # for training only; unused
        self.add_dense("hidden", self.total, experts * hidden)
        self.add_parameter("kernel", experts, hidden, width)
        self.add_parameter("bias", experts, width)

    def forward(self, tokens):
        x = torch.cat(self.pooled(tokens), dim=-1)
        scores, chosen = self.part("gate")(x).topk(self.k)
        gates = torch.zeros(len(x), self.experts, device=x.device).scatter(1, chosen, scores.softmax(dim=-1))
        h = F.relu(self.part("hidden")(x)).unflatten(-1, (self.experts, -1))
        outputs = torch.einsum("beh,ehw->bew", h, self.kernel) + self.bias
        return torch.einsum("be,bew->bw", gates, outputs)[:, None]


class Late(Fusion):
    """The base class of the late fusions: a classifier per modality."""

    def __init__(self, sizes: Sizes, classes: int, width: int):
        super().__init__(sizes, 1, classes)
        for name in self.names:
            self.add_dense(f"{name}_hidden", sizes[name][1], width)
            self.add_dense(f"{name}_logits", width, classes)

    def logits(self, tokens) -> Tensor:
        """The logits of all modalities, [b k c]."""
        pairs = zip(self.names, self.pooled(tokens))
        return torch.stack([self.part(f"{name}_logits")(F.relu(self.part(f"{name}_hidden")(x))) for name, x in pairs], dim=1)


class MeanLogits(Late):
    def forward(self, tokens):
        return self.logits(tokens).mean(dim=1, keepdim=True)


class WeightedLogits(Late):
    def __init__(self, sizes: Sizes, classes: int, width: int):
        super().__init__(sizes, classes, width)
        self.add_parameter("weight", len(sizes))

    def forward(self, tokens):
        return torch.einsum("k,bkc->bc", self.weight.softmax(dim=-1), self.logits(tokens))[:, None]


class ProductOfExperts(Late):
    def forward(self, tokens):
        return self.logits(tokens).log_softmax(dim=-1).sum(dim=1, keepdim=True).log_softmax(dim=-1)


class Stacked(Late):
    def __init__(self, sizes: Sizes, classes: int, width: int):
        super().__init__(sizes, classes, width)
        self.add_dense("stack", len(sizes) * classes, classes)

    def forward(self, tokens):
        return self.part("stack")(self.logits(tokens).softmax(dim=-1).flatten(1))[:, None]
