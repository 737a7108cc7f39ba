"""Memory fusion networks: an LSTM per modality, and a gated memory of what their states have in common.

At each of the aligned steps, the LSTMs are updated, `seen` summarises their states before and after the step, and

    u <- g_1 * u + g_2 * tanh(P(seen)),   g_i = sigmoid(G_i [seen; u]),   with perceptrons P and G_i of one hidden layer.

The output is one token, [h_1; ...; h_K; u] after the last step. A modality that is absent at a step keeps its state; a step
without any modality keeps u. The initial states are zeros.
"""

from collections.abc import Callable, Mapping
from itertools import chain, combinations, pairwise
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from mmjax.fusion.joint import one_token, project
from mmjax.fusion.steps import aligned
from mmjax.nn import Dropout, any_token
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = ["MFN", "DenseFunction", "GraphMFN"]


class DenseFunction(nn.Module):
    """The layer from `before` to `width` units as a function, x -> x W + b in float32, which can run inside a scan."""

    before: int
    width: int
    bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self) -> Callable:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.before, self.width)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,)) if self.bias else jnp.zeros(self.width)
        product = lambda x: jnp.matmul(x.astype(self.dtype), kernel, preferred_element_type=jnp.float32)
        return lambda x: product(x) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def _perceptron(module: Any, before: int, width: int, name: str) -> Callable:
    """(x, {name: factors of dropout}) -> W relu(V x + a) + b; a hidden unit's factor is 0 or 1 / (1 - rate)."""
    up = DenseFunction(before, module.hidden, dtype=module.dtype, name=f"{name}_up")()
    down = DenseFunction(module.hidden, width, dtype=module.dtype, name=f"{name}_down")()
    return lambda x, drop: down(nn.relu(up(x)) * drop.get(name, 1.0))


def _run(
    module: Any, tokens: Mapping[str, Tokens], summary: Callable, width: int, names: tuple[str, ...], train: bool
) -> Tokens:
    """The network with seen = summary(h before, c before, h after, c after, dropout) of this width. names: of the perceptrons
    with dropout."""
    rate(module, "dropout")
    (b, n), f, size = aligned(tokens, module), module.features, module.memory
    keys, z, recur, valid = sorted(tokens), {}, {}, {}
    for key in keys:
        x = jnp.where(tokens[key].mask[..., None], tokens[key].x, 0)
        z[key] = project(x, 4 * f, f"{key}_input", module.dtype).swapaxes(0, 1)
        recur[key] = DenseFunction(f, 4 * f, bias=False, dtype=module.dtype, name=f"{key}_recurrent")()
        valid[key] = tokens[key].mask.T[..., None]
    candidate = _perceptron(module, width, size, "candidate")
    retain, update = (_perceptron(module, width + size, size, name) for name in ("retain", "update"))
    drop = {}
    if train and module.dropout:
        for name in ("candidate", "retain", "update", *names):
            factors = Dropout(module.dropout, name=f"{name}_dropout")(jnp.ones((b, n, module.hidden)), train=True)
            drop[name] = factors.swapaxes(0, 1)

    def step(carry, inputs):
        (h, c, memory), (z, valid, drop) = carry, inputs
        new_h, new_c = {}, {}
        for key in keys:
            i, forget, g, o = jnp.split(z[key] + recur[key](h[key]), 4, axis=-1)
            cell = nn.sigmoid(forget) * c[key] + nn.sigmoid(i) * jnp.tanh(g)
            new_c[key] = jnp.where(valid[key], cell, c[key])
            new_h[key] = jnp.where(valid[key], nn.sigmoid(o) * jnp.tanh(cell), h[key])
        seen = summary(h, c, new_h, new_c, drop)
        both = jnp.concatenate([seen, memory], axis=-1)
        new = nn.sigmoid(retain(both, drop)) * memory + nn.sigmoid(update(both, drop)) * jnp.tanh(candidate(seen, drop))
        some = jnp.stack(list(valid.values())).any(axis=0)
        return (new_h, new_c, jnp.where(some, new, memory)), None

    zeros = {key: jnp.zeros((b, f)) for key in keys}
    (h, _, memory), _ = lax.scan(step, (zeros, zeros, jnp.zeros((b, size))), (z, valid, drop))
    x = jnp.concatenate([*(h[key] for key in keys), memory], axis=-1)
    return one_token(x, jnp.stack([any_token(tokens[key]) for key in keys], axis=1))


class MFN(nn.Module):
    """Memory fusion network (Zadeh et al., 2018, "Memory fusion network for multi-view sequential learning"): seen = a * c,

        c = [c_1; ...; c_K before the step; c_1; ...; c_K after it],   a = softmax(A c),

    with c_k the cells of the LSTMs and A a perceptron (the delta-memory attention network). All perceptrons have the same
    number of hidden units, and all LSTMs the same number of units; the authors choose them one by one.

    features: units of each LSTM. memory: width of u. hidden: units of the perceptrons. dropout: rate on the hidden units, drawn
    at each step. dtype: of the matmuls. ValueError if the modalities have different numbers of steps.
    """

    features: int = 32
    memory: int = 64
    hidden: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "features", "memory", "hidden")
        width = 2 * len(tokens) * self.features
        attention = _perceptron(self, width, width, "attention")

        def summary(h, c, new_h, new_c, drop):
            cells = jnp.concatenate([cell[key] for cell in (c, new_c) for key in sorted(tokens)], axis=-1)
            return nn.softmax(attention(cells, drop)) * cells

        return _run(self, tokens, summary, width, ("attention",), train)


class GraphMFN(nn.Module):
    """`MFN` with a dynamic fusion graph (Zadeh et al., 2018, "Multimodal language analysis in the wild", section 4). Each
    nonempty subset S of the modalities is a vertex v_S:

        v_k = relu(T_k [h_k before the step; h_k after it]),   v_S = N_S [e_SR v_R for each R within S, R != S],
        seen = N [e_R v_R for each R],   e = E [v_1; ...; v_K]

    with efficacies e, one for each edge. As in the authors' code with its default networks, N_S, N and E are linear: two
    layers, for E three, without activations. Vertices are ordered by size, then by name. The number of vertices is 2^K - 1.

    vertex: width of v_S and of `seen`. inner: width between the linear layers, 100 in the code. features, memory, hidden,
    dropout, dtype: as in `MFN`.
    """

    features: int = 32
    memory: int = 64
    vertex: int = 32
    inner: int = 100
    hidden: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "features", "memory", "vertex", "inner", "hidden")
        names = sorted(tokens)
        subsets = list(chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1)))
        parents = {s: [r for r in subsets if set(r) < set(s)] for s in subsets if len(s) > 1}
        width = lambda vertices: sum(self.features if len(s) == 1 else self.vertex for s in vertices)

        def linear(name, *widths):
            layers = [
                DenseFunction(before, after, dtype=self.dtype, name=f"{name}_layer{number}")()
                for number, (before, after) in enumerate(pairwise(widths))
            ]

            def run(x):
                for layer in layers:
                    x = layer(x)
                return x

            return run

        single = lambda name: DenseFunction(2 * self.features, self.features, dtype=self.dtype, name=f"{name}_vertex")()
        singles = {name: single(name) for name in names}
        nets = {s: linear("_".join(s), width(rs), self.inner, self.vertex) for s, rs in parents.items()}
        top = linear("top", width(subsets), self.inner, self.vertex)
        edges = sum(map(len, parents.values())) + len(subsets)
        efficacies = linear("efficacies", len(names) * self.features, self.inner, self.vertex, edges)

        def summary(h, c, new_h, new_c, drop):
            v = {(name,): nn.relu(singles[name](jnp.concatenate([h[name], new_h[name]], axis=-1))) for name in names}
            e = iter(jnp.split(efficacies(jnp.concatenate(list(v.values()), axis=-1)), edges, axis=-1))
            weighted = lambda vertices: jnp.concatenate([v[r] * next(e) for r in vertices], axis=-1)
            for s, rs in parents.items():
                v[s] = nets[s](weighted(rs))
            return top(weighted(subsets))

        return _run(self, tokens, summary, self.vertex, (), train)
