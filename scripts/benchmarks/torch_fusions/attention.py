"""Fusions of tokens by attention."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.torch_fusions.base import EPSILON, Fusion, Sizes


class Project(Fusion):
    """Projects one modality's tokens to the common width."""

    def __init__(self, before: int, width: int):
        super().__init__({})
        self.add_dense("dense", before, width)

    def forward(self, x):
        return self.part("dense")(x)


class Embed(Fusion):
    """Projects tokens and adds a position embedding."""

    def __init__(self, size: tuple[int, int], width: int):
        super().__init__({})
        self.add_module("project", Project(size[1], width))
        self.add_parameter("position", size[0], width)

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
    """A pre-norm Transformer block; without a context, self-attention."""

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
        self.add_parameter("class", 1, 1, width)
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
        self.add_parameter("stand_in", 1, 1, width)  # for an absent query; unused
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
        self.add_parameter("latents", 1, latents, width)
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
        self.add_parameter("bottleneck", 1, tokens, width)
        for name in self.names:
            self.add_parameter(f"{name}_class", 1, 1, width)
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
