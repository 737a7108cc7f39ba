"""The equations of each fusion in plain torch.

Every modality and every token is there, and nothing drops out: so there are no masks. Modules and parameters have mmjax's own
names, by which `fusion.named` carries the weights over; what mmjax has for absent modalities alone stands here unused.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import mul
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.fusion import Spec

EPSILON = 1e-6
Sizes = Mapping[str, tuple[int, int]]


class Fusion(nn.Module):
    """{modality: [b n d]} -> [b m e]. sizes: {modality: (n, d)}; size: (m, e)."""

    def __init__(self, sizes: Sizes, *size: int):
        super().__init__()
        self.sizes, self.names, self.size = sizes, sorted(sizes), size

    def has(self, name: str, *shape: int) -> None:
        self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    def add_dense(self, name: str, before: int, after: int, bias: bool = True) -> None:
        self.add_module(name, nn.Linear(before, after, bias))

    def add_norm(self, name: str, width: int) -> None:
        self.add_module(name, nn.LayerNorm(width, EPSILON))

    def for_each(self, width: int, bias: bool = True) -> None:
        """A dense layer for each modality's mean token."""
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
        """Widths of all modalities together."""
        return sum(d for _, d in self.sizes.values())


class Concat(Fusion):
    def __init__(self, sizes: Sizes, width: int):
        super().__init__(sizes, 1, width)
        self.add_dense("dense", self.total, width)

    def forward(self, tokens):
        return F.relu(self.part("dense")(torch.cat(self.pooled(tokens), dim=-1)))[:, None]


class WeightedSum(Fusion):
    def __init__(self, sizes: Sizes, width: int):
        super().__init__(sizes, 1, width)
        self.for_each(width)
        self.has("alpha", len(sizes))

    def forward(self, tokens):
        return torch.einsum("k,kbd->bd", self.alpha, torch.stack(self.projected(tokens)))[:, None]


class Product(Fusion):
    def __init__(self, sizes: Sizes, width: int):
        super().__init__(sizes, 1, width)
        self.for_each(width)

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
        self.for_each(width, bias=False)
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
        self.for_each(width)
        self.add_dense("gate", len(sizes) * width, len(sizes))

    def forward(self, tokens):
        h = torch.stack([F.relu(x) for x in self.projected(tokens)], dim=1)
        gates = self.part("gate")(h.flatten(1)).softmax(dim=-1)
        return torch.einsum("bk,bkd->bd", gates, h)[:, None]


class TensorFusion(Fusion):
    def __init__(self, sizes: Sizes, width: int, inner: int):
        super().__init__(sizes, 1, width)
        self.for_each(inner)
        self.add_dense("dense", (inner + 1) ** len(sizes), width)

    def forward(self, tokens):
        factors = [with_one(F.relu(x)) for x in self.projected(tokens)]
        outer = reduce(lambda a, b: torch.einsum("bi,bj->bij", a, b).flatten(1), factors)
        return F.relu(self.part("dense")(outer))[:, None]


class LowRank(Fusion):
    def __init__(self, sizes: Sizes, width: int, rank: int):
        super().__init__(sizes, 1, width)
        for name in self.names:
            self.has(f"{name}_factor", rank, sizes[name][1] + 1, width)

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
            self.has(f"{name}_tensor", before, sizes[name][1], width)
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
        self.for_each(width * factors, bias=False)

    def forward(self, tokens):
        z = reduce(mul, self.projected(tokens)).unflatten(-1, (-1, self.factors)).sum(dim=-1)
        z = z * torch.rsqrt(z.abs() + EPSILON)
        return (z * torch.rsqrt((z * z).sum(dim=-1, keepdim=True) + EPSILON))[:, None]


class MUTAN(Fusion):
    def __init__(self, sizes: Sizes, width: int, inner: int, rank: int):
        super().__init__(sizes, 1, width)
        self.rank = rank
        self.for_each(inner, bias=False)
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
        self.add_dense("noise", self.total, experts, bias=False)  # of training alone
        self.add_dense("hidden", self.total, experts * hidden)
        self.has("kernel", experts, hidden, width)
        self.has("bias", experts, width)

    def forward(self, tokens):
        x = torch.cat(self.pooled(tokens), dim=-1)
        scores, chosen = self.part("gate")(x).topk(self.k)
        gates = torch.zeros(len(x), self.experts, device=x.device).scatter(1, chosen, scores.softmax(dim=-1))
        h = F.relu(self.part("hidden")(x)).unflatten(-1, (self.experts, -1))
        outputs = torch.einsum("beh,ehw->bew", h, self.kernel) + self.bias
        return torch.einsum("be,bew->bw", gates, outputs)[:, None]


class Late(Fusion):
    """What the late fusions share: a classifier for each modality."""

    def __init__(self, sizes: Sizes, classes: int, width: int):
        super().__init__(sizes, 1, classes)
        for name in self.names:
            self.add_dense(f"{name}_hidden", sizes[name][1], width)
            self.add_dense(f"{name}_logits", width, classes)

    def logits(self, tokens) -> Tensor:
        """[b k c]."""
        pairs = zip(self.names, self.pooled(tokens))
        return torch.stack([self.part(f"{name}_logits")(F.relu(self.part(f"{name}_hidden")(x))) for name, x in pairs], dim=1)


class MeanLogits(Late):
    def forward(self, tokens):
        return self.logits(tokens).mean(dim=1, keepdim=True)


class WeightedLogits(Late):
    def __init__(self, sizes: Sizes, classes: int, width: int):
        super().__init__(sizes, classes, width)
        self.has("weight", len(sizes))

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


class Project(Fusion):
    """One modality's tokens in the common space."""

    def __init__(self, before: int, width: int):
        super().__init__({})
        self.add_dense("dense", before, width)

    def forward(self, x):
        return self.part("dense")(x)


class Embed(Fusion):
    """The same, with a vector for each place."""

    def __init__(self, size: tuple[int, int], width: int):
        super().__init__({})
        self.add_module("project", Project(size[1], width))
        self.has("position", size[0], width)

    def forward(self, x):
        return self.part("project")(x) + self.position


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, context):
        split = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        seen = F.scaled_dot_product_attention(*map(split, (self.query(x), self.key(context), self.value(context))))
        return self.out(seen.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention to the context, or to itself, and a perceptron, each with a norm ahead and a residual."""

    def __init__(self, width: int, heads: int, hidden: int, crosses: bool = False):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
        if crosses:
            self.norm_context = nn.LayerNorm(width, EPSILON)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x, context=None):
        y = self.norm1(x)
        x = x + self.attention(y, y if context is None else self.norm_context(context))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, depth: int, *block: int):
        super().__init__()
        for layer in range(depth):
            self.add_module(f"block{layer}", Block(*block))

    def forward(self, x):
        for block in self.children():
            x = block(x)
        return x


class EarlyTransformer(Fusion):
    def __init__(self, sizes: Sizes, width: int, hidden: int, depth: int = 2, heads: int = 4):
        super().__init__(sizes, 1, width)
        self.has("class", 1, 1, width)
        for name in self.names:
            self.add_module(f"{name}_embed", Embed(sizes[name], width))
        self.add_module("transformer", Transformer(depth, width, heads, hidden))
        self.add_norm("norm", width)

    def forward(self, tokens):
        embedded = [self.part(f"{name}_embed")(tokens[name]) for name in self.names if name in tokens]
        x = torch.cat([self.part("class").expand(len(embedded[0]), 1, -1), *embedded], dim=1)
        return self.part("norm")(self.part("transformer")(x)[:, :1])


class CrossAttention(Fusion):
    def __init__(self, sizes: Sizes, query: str, width: int, hidden: int, depth: int = 1, heads: int = 4):
        super().__init__(sizes, sizes[query][0], width)
        self.query, self.depth, self.others = query, depth, [name for name in self.names if name != query]
        for name in self.names:
            self.add_module(f"{name}_project", Project(sizes[name][1], width))
        for layer in range(depth):
            self.add_module(f"block{layer}", Block(width, heads, hidden, crosses=True))
        self.has("stand_in", 1, 1, width)  # of an absent query
        self.add_norm("norm", width)

    def forward(self, tokens):
        x = {name: self.part(f"{name}_project")(tokens[name]) for name in self.names}
        y, context = x[self.query], torch.cat([x[name] for name in self.others], dim=1)
        for layer in range(self.depth):
            y = self.part(f"block{layer}")(y, context)
        return self.part("norm")(y)


class CoAttention(Fusion):
    def __init__(self, sizes: Sizes, width: int, hidden: int, depth: int = 1, heads: int = 4):
        super().__init__(sizes, 1, len(sizes) * width)
        self.depth = depth
        for name in self.names:
            self.add_module(f"{name}_project", Project(sizes[name][1], width))
            for layer in range(depth):
                self.add_module(f"{name}_cross{layer}", Block(width, heads, hidden, crosses=True))
                self.add_module(f"{name}_block{layer}", Block(width, heads, hidden))
            self.add_norm(f"{name}_norm", width)

    def forward(self, tokens):
        x = {name: self.part(f"{name}_project")(tokens[name]) for name in self.names}
        for layer in range(self.depth):
            others = {name: torch.cat([x[o] for o in self.names if o != name], dim=1) for name in self.names}
            x = {name: self.part(f"{name}_cross{layer}")(x[name], others[name]) for name in self.names}
            x = {name: self.part(f"{name}_block{layer}")(x[name]) for name in self.names}
        return torch.cat([self.part(f"{name}_norm")(x[name]).mean(dim=1) for name in self.names], dim=-1)[:, None]


class MulT(Fusion):
    def __init__(self, sizes: Sizes, width: int, hidden: int, depth: int = 2, heads: int = 4):
        others = len(sizes) - 1
        super().__init__(sizes, 1, len(sizes) * others * width)
        self.depth, self.pairs = depth, [(a, s) for a in self.names for s in self.names if s != a]
        for name in self.names:
            self.add_module(f"{name}_embed", Embed(sizes[name], width))
            self.add_module(f"{name}_transformer", Transformer(depth, others * width, heads, others * hidden))
            self.add_norm(f"{name}_norm", others * width)
        for target, source in self.pairs:
            for layer in range(depth):
                self.add_module(f"{source}_to_{target}_block{layer}", Block(width, heads, hidden, crosses=True))
            self.add_norm(f"{source}_to_{target}_norm", width)
        self.add_dense("up", self.size[1], self.size[1])
        self.add_dense("down", self.size[1], self.size[1])

    def forward(self, tokens):
        x = {name: self.part(f"{name}_embed")(tokens[name]) for name in self.names}

        def pair(target, source):
            z = x[target]
            for layer in range(self.depth):
                z = self.part(f"{source}_to_{target}_block{layer}")(z, x[source])
            return self.part(f"{source}_to_{target}_norm")(z)

        def stream(target):
            z = torch.cat([pair(a, source) for a, source in self.pairs if a == target], dim=-1)
            return self.part(f"{target}_norm")(self.part(f"{target}_transformer")(z)).mean(dim=1)

        h = torch.cat([stream(name) for name in self.names], dim=-1)
        return (h + self.part("down")(F.relu(self.part("up")(h))))[:, None]


class Perceiver(Fusion):
    def __init__(self, sizes: Sizes, width: int, hidden: int, latents: int, depth: int = 2, heads: int = 4):
        super().__init__(sizes, latents, width)
        self.has("latents", 1, latents, width)
        for name in self.names:
            self.add_module(f"{name}_embed", Embed(sizes[name], width))
        self.add_module("read0", Block(width, heads, hidden, crosses=True))
        self.add_module("transformer0", Transformer(depth, width, heads, hidden))
        self.add_norm("norm", width)

    def forward(self, tokens):
        x = torch.cat([self.part(f"{name}_embed")(tokens[name]) for name in self.names], dim=1)
        z = self.part("read0")(self.latents.expand(len(x), -1, -1), x)
        return self.part("norm")(self.part("transformer0")(z))


class Bottleneck(Fusion):
    def __init__(
        self, sizes: Sizes, width: int, hidden: int, tokens: int, depth: int = 4, fusion_layer: int = 2, heads: int = 4
    ):
        super().__init__(sizes, 1, width)
        self.depth, self.fusion_layer = depth, fusion_layer
        self.has("bottleneck", 1, tokens, width)
        for name in self.names:
            self.has(f"{name}_class", 1, 1, width)
            self.add_module(f"{name}_embed", Embed(sizes[name], width))
            for layer in range(depth):
                self.add_module(f"{name}_block{layer}", Block(width, heads, hidden))
            self.add_norm(f"{name}_norm", width)

    def forward(self, tokens):
        def start(name):
            x = self.part(f"{name}_embed")(tokens[name])
            return torch.cat([self.part(f"{name}_class").expand(len(x), 1, -1), x], dim=1)

        x = {name: start(name) for name in self.names}
        for layer in range(self.fusion_layer):
            x = {name: self.part(f"{name}_block{layer}")(x[name]) for name in self.names}
        z = self.bottleneck.expand(len(x[self.names[0]]), -1, -1)
        for layer in range(self.fusion_layer, self.depth):
            y = {name: self.part(f"{name}_block{layer}")(torch.cat([x[name], z], dim=1)) for name in self.names}
            x = {name: y[name][:, : x[name].shape[1]] for name in self.names}
            z = torch.stack([y[name][:, x[name].shape[1] :] for name in self.names]).mean(dim=0)
        return torch.stack([self.part(f"{name}_norm")(x[name][:, 0]) for name in self.names]).mean(dim=0)[:, None]


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


def with_one(x: Tensor) -> Tensor:
    return F.pad(x, (0, 1), value=1.0)


def lstm(before: int, features: int) -> nn.LSTM:
    """With one bias that learns: a second one of the same gates adds nothing."""
    layer = nn.LSTM(before, features, batch_first=True)
    layer.bias_hh_l0.requires_grad_(False)
    return layer


def build(spec: Spec, sizes: Sizes) -> Fusion:
    """The torch module of mmjax's fusion of that name and those fields."""
    return globals()[spec.kind](sizes, **spec.fields)
