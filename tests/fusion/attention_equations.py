"""The equations of the attention fusions in NumPy, for one example without batch, padding or masks."""

import numpy as np
from scipy.special import erf

HEADS = 2


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def norm(p, x):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def attention(p, x, context):
    q, k, v = dense(p["query"], x), dense(p["key"], context), dense(p["value"], context)
    attended, size = np.zeros_like(q), q.shape[-1] // HEADS
    for head in range(HEADS if len(context) else 0):
        part = slice(head * size, (head + 1) * size)
        weight = np.exp(q[:, part] @ k[:, part].T / np.sqrt(size))
        attended[:, part] = weight @ v[:, part] / weight.sum(axis=1, keepdims=True)
    return dense(p["out"], attended)


def perceptron(p, x):
    y = dense(p["up"], norm(p["norm2"], x))
    return dense(p["down"], y * (1 + erf(y / np.sqrt(2))) / 2)


def block(p, x):
    y = norm(p["norm1"], x)
    x = x + attention(p["attention"], y, y)
    return x + perceptron(p, x)


def cross(p, x, context):
    x = x + attention(p["attention"], norm(p["norm1"], x), norm(p["norm_context"], context))
    return x + perceptron(p, x)


def blocks(p, x):
    for layer in range(len(p)):
        x = block(p[f"block{layer}"], x)
    return x


def embed(p, x, mask):
    return dense(p["project"]["dense"], x[mask]) + p["position"][mask]


def mean(x):
    return x.mean(axis=0) if len(x) else np.zeros(x.shape[1])


def embedded(p, x, mask):
    return {name: embed(p[f"{name}_embed"], x[name], mask[name]) for name in sorted(x)}


def projected(p, x, mask):
    return {name: dense(p[f"{name}_project"]["dense"], x[name][mask[name]]) for name in sorted(x)}


# The fusions: (parameters, {modality: x [n d]}, {modality: mask [n]}) -> the mean of the output tokens.


def early(p, x, mask):
    tokens = np.concatenate([p["class"][0], *embedded(p, x, mask).values()])
    return norm(p["norm"], blocks(p["transformer"], tokens)[0])


def cross_attention(p, x, mask):
    h = projected(p, x, mask)
    context = np.concatenate([h["one"], h["three"]])
    y = h["two"] if mask["two"].any() else p["stand_in"][0]
    for layer in range(2):
        y = cross(p[f"block{layer}"], y, context)
    return mean(norm(p["norm"], y))


def co_attention(p, x, mask):
    h = projected(p, x, mask)
    context = {name: np.concatenate([h[other] for other in h if other != name]) for name in h}
    h = {name: cross(p[f"{name}_cross0"], h[name], context[name]) for name in h}
    h = {name: block(p[f"{name}_block0"], h[name]) for name in h}
    return np.concatenate([mean(norm(p[f"{name}_norm"], h[name])) for name in h])


def mult(p, x, mask):
    h, means = embedded(p, x, mask), []
    for target in h:
        stacks = []
        for source in h:
            if source != target:
                z = cross(p[f"{source}_to_{target}_block0"], h[target], h[source])
                stacks.append(norm(p[f"{source}_to_{target}_norm"], z))
        z = blocks(p[f"{target}_transformer"], np.concatenate(stacks, axis=1))
        means.append(mean(norm(p[f"{target}_norm"], z)))
    h = np.concatenate(means)
    return h + dense(p["down"], np.maximum(dense(p["up"], h), 0))


def perceiver(p, x, mask):
    z, context = p["latents"][0], np.concatenate(list(embedded(p, x, mask).values()))
    for read in range(2):
        z = blocks(p[f"transformer{read}"], cross(p[f"read{read}"], z, context))
    return norm(p["norm"], z).mean(axis=0)


def bottleneck(p, x, mask):
    h = {name: np.concatenate([p[f"{name}_class"][0], e]) for name, e in embedded(p, x, mask).items() if mask[name].any()}
    h = {name: block(p[f"{name}_block0"], h[name]) for name in h}
    z = p["bottleneck"][0]
    for layer in (1, 2):
        y = {name: block(p[f"{name}_block{layer}"], np.concatenate([h[name], z])) for name in h}
        h, z = {name: y[name][:-2] for name in h}, np.mean([y[name][-2:] for name in h], axis=0)
    return np.mean([norm(p[f"{name}_norm"], h[name][0]) for name in h], axis=0)


EQUATIONS = {
    "early": early,
    "cross": cross_attention,
    "co": co_attention,
    "mult": mult,
    "perceiver": perceiver,
    "bottleneck": bottleneck,
}
