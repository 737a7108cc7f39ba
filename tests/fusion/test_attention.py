"""Each attention fusion against the same equations in NumPy, written example by example over the tokens that are there, without
a mask anywhere; then what gradients tell."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from scipy.special import erf

from mmjax.fusion.attention import CoAttention, CrossAttention, MulT
from mmjax.fusion.bottleneck import Bottleneck
from mmjax.fusion.early import EarlyTransformer
from mmjax.fusion.perceiver import Perceiver
from mmjax.types import Tokens

SIZE = {"width": 4, "heads": 2, "hidden": 6, "dropout": 0.5}
FUSIONS = {
    "early": EarlyTransformer(depth=1, **SIZE),
    "cross": CrossAttention("two", depth=2, **SIZE),
    "co": CoAttention(depth=1, **SIZE),
    "mult": MulT(depth=1, **SIZE),
    "perceiver": Perceiver(latents=3, reads=2, depth=1, **SIZE),
    "bottleneck": Bottleneck(tokens=2, fusion_layer=1, depth=3, **SIZE),
}
TWO = ("co", "mult", "bottleneck")  # on two modalities, to compile sooner: they have layers for each modality or pair
# Examples: all there; holes; "one" alone; "two" and "three" alone; nothing.
MASKS = {
    "one": [[1, 1, 1], [0, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0]],
    "two": [[1, 1], [1, 0], [0, 0], [0, 1], [0, 0]],
    "three": [[1], [1], [0], [1], [0]],
}


def inputs(name=""):
    """{modality: Tokens} for a fusion of that name."""
    names = ("one", "two") if name in TWO else ("one", "two", "three")
    random = np.random.default_rng(1)
    shapes = {"one": (5, 3, 4), "two": (5, 2, 5), "three": (5, 1, 3)}
    values = {name: jnp.asarray(random.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    return {name: Tokens(values[name], jnp.array(MASKS[name], bool)) for name in names}


def parameters(fusion, tokens):
    """Random ones in every place, biases and norms too."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(fusion.init, jax.random.key(0), tokens)["params"])
    random = np.random.default_rng(2)
    return jax.tree.unflatten(tree, [jnp.asarray(random.normal(size=leaf.shape) * 0.6, jnp.float32) for leaf in leaves])


# ---- The equations in NumPy: x [n d], no batch and no mask.


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def norm(p, x):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def attention(p, x, context):
    q, k, v = dense(p["query"], x), dense(p["key"], context), dense(p["value"], context)
    seen, size = np.zeros_like(q), q.shape[-1] // SIZE["heads"]
    for head in range(SIZE["heads"] if len(context) else 0):
        at = slice(head * size, (head + 1) * size)
        weight = np.exp(q[:, at] @ k[:, at].T / np.sqrt(size))
        seen[:, at] = weight @ v[:, at] / weight.sum(axis=1, keepdims=True)
    return dense(p["out"], seen)


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
    for number in range(len(p)):
        x = block(p[f"block{number}"], x)
    return x


def embed(p, x, there):
    return dense(p["project"]["dense"], x[there]) + p["position"][there]


def mean(x):
    return x.mean(axis=0) if len(x) else np.zeros(x.shape[1])


def embedded(p, x, there):
    return {name: embed(p[f"{name}_embed"], x[name], there[name]) for name in sorted(x)}


def projected(p, x, there):
    return {name: dense(p[f"{name}_project"]["dense"], x[name][there[name]]) for name in sorted(x)}


# ---- The fusions: the mean of the tokens that come out, which is what a head pools.


def early(p, x, there):
    tokens = np.concatenate([p["class"][0], *embedded(p, x, there).values()])
    return norm(p["norm"], blocks(p["transformer"], tokens)[0])


def cross_attention(p, x, there):
    h = projected(p, x, there)
    context = np.concatenate([h["one"], h["three"]])
    y = h["two"] if there["two"].any() else p["stand_in"][0]
    for layer in range(2):
        y = cross(p[f"block{layer}"], y, context)
    return mean(norm(p["norm"], y))


def co_attention(p, x, there):
    h = projected(p, x, there)
    context = {name: np.concatenate([h[other] for other in h if other != name]) for name in h}
    h = {name: cross(p[f"{name}_cross0"], h[name], context[name]) for name in h}
    h = {name: block(p[f"{name}_block0"], h[name]) for name in h}
    return np.concatenate([mean(norm(p[f"{name}_norm"], h[name])) for name in h])


def mult(p, x, there):
    h, pooled = embedded(p, x, there), []
    for target in h:
        stacks = []
        for source in h:
            if source != target:
                z = cross(p[f"{source}_to_{target}_block0"], h[target], h[source])
                stacks.append(norm(p[f"{source}_to_{target}_norm"], z))
        z = blocks(p[f"{target}_transformer"], np.concatenate(stacks, axis=1))
        pooled.append(mean(norm(p[f"{target}_norm"], z)))
    pooled = np.concatenate(pooled)
    return pooled + dense(p["down"], np.maximum(dense(p["up"], pooled), 0))


def perceiver(p, x, there):
    z, context = p["latents"][0], np.concatenate(list(embedded(p, x, there).values()))
    for read in range(2):
        z = blocks(p[f"transformer{read}"], cross(p[f"read{read}"], z, context))
    return norm(p["norm"], z).mean(axis=0)


def bottleneck(p, x, there):
    h = {name: np.concatenate([p[f"{name}_class"][0], e]) for name, e in embedded(p, x, there).items() if there[name].any()}
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


each = pytest.mark.parametrize("name", FUSIONS)


@cache
def compiled(name):
    """(params, run), run: (params, {modality: x}) -> Tokens and the gradient of a weighted sum of what is there in them."""
    tokens, fusion = inputs(name), FUSIONS[name]
    weight = jnp.asarray(np.random.default_rng(4).normal(size=64), jnp.float32)

    def value(x, params):
        fused = fusion.apply({"params": params}, {k: Tokens(x[k], t.mask) for k, t in tokens.items()})
        return (jnp.where(fused.mask[..., None], fused.x, 0) * weight[None, None, : fused.x.shape[-1]]).sum(), fused

    gradient = jax.grad(value, has_aux=True)
    return parameters(fusion, tokens), jax.jit(lambda params, x: gradient(x, params)[::-1])


@each
def test_equals_the_equations_in_numpy(name):
    tokens, (params, run) = inputs(name), compiled(name)
    fused, _ = run(params, {k: t.x for k, t in tokens.items()})
    chex.assert_tree_all_finite(fused.x)  # example 4, which has nothing, too
    np.testing.assert_array_equal(fused.mask.any(axis=1), [True, True, True, True, False])
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for b in range(4):
        x = {k: np.asarray(t.x[b], np.float64) for k, t in tokens.items()}
        there = {k: np.asarray(t.mask[b]) for k, t in tokens.items()}
        got = np.asarray(fused.x[b])[np.asarray(fused.mask[b])].mean(axis=0)
        np.testing.assert_allclose(got, EQUATIONS[name](p, x, there), atol=2e-5)


@each
def test_what_is_masked_has_no_influence_and_what_is_there_has(name):
    tokens, (params, run) = inputs(name), compiled(name)
    plain = run(params, {k: t.x for k, t in tokens.items()})
    spoiled = run(params, {k: jnp.where(t.mask[..., None], t.x, jnp.nan) for k, t in tokens.items()})
    chex.assert_trees_all_equal(plain, spoiled)
    for k, gradient in plain[1].items():
        size, mask = np.abs(gradient).max(axis=-1), np.asarray(tokens[k].mask)
        assert not size[~mask].any()
        assert (size[mask] > 0).all()


@each
def test_tokens_have_an_order_by_learned_positions_alone(name):
    # All of "one" is there in example 0 alone.
    x, (params, run) = {k: t.x for k, t in inputs(name).items()}, compiled(name)
    turned = x | {"one": x["one"][:, ::-1]}
    if name not in ("cross", "co"):  # these two leave positions to the encoders
        assert np.abs(run(params, x)[0].x - run(params, turned)[0].x)[0].max() > 1e-4
        params = params | {"one_embed": params["one_embed"] | {"position": jnp.zeros((3, 4))}}
    chex.assert_trees_all_close(run(params, x)[0].x[0], run(params, turned)[0].x[0], atol=1e-5)


@each
@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_modalities(name, count):
    tokens = {k: inputs()[k] for k in ("two", "one", "three")[:count]}
    fused, _ = jax.eval_shape(FUSIONS[name].init_with_output, jax.random.key(0), tokens)
    wide = {"co": count, "mult": count * max(count - 1, 1)}
    chex.assert_shape(fused.x, (*fused.mask.shape, 4 * wide.get(name, 1)))
    assert len(fused.mask) == 5


@each
def test_dropout_is_on_in_training_alone(name):
    tokens, (params, _) = inputs(name), compiled(name)
    with pytest.raises(InvalidRngError):  # it asks for random numbers
        jax.eval_shape(lambda: FUSIONS[name].apply({"params": params}, tokens, train=True))


def influence(fusion):
    """How much each modality's tokens move the class token of "one": {modality: largest gradient}."""
    tokens = inputs("bottleneck")
    params = {"params": parameters(fusion, tokens)}

    @jax.jit
    @jax.grad
    def gradient(x):
        streams = fusion.apply(params, {k: Tokens(x[k], t.mask) for k, t in tokens.items()}, method="streams")
        return streams["one"][:2, 0].sum()  # both are there in these examples

    return {k: float(jnp.abs(g).max()) for k, g in gradient({k: t.x for k, t in tokens.items()}).items()}


@pytest.mark.parametrize(
    ("layer", "count", "meet"),
    [
        (0, 2, True),
        (1, 2, False),  # what is written into the bottleneck in one layer is read in the next, and there is none
        (0, 0, False),  # no bottleneck, no way
    ],
)
def test_modalities_meet_in_the_bottleneck_alone_and_from_the_fusion_layer_on(layer, count, meet):
    moves = influence(Bottleneck(tokens=count, fusion_layer=layer, depth=2, **SIZE))
    assert moves["one"] > 1e-3
    assert (moves["two"] > 1e-5) if meet else (moves["two"] == 0)


def test_the_stand_in_answers_only_where_the_query_is_absent():
    params, run = compiled("cross")
    fused, _ = run(params, {k: t.x for k, t in inputs().items()})
    expected = [[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]]  # the tokens of "two", then the stand-in
    np.testing.assert_array_equal(fused.mask, np.array(expected, bool))


def test_errors_name_the_field():
    tokens = inputs()
    with pytest.raises(ValueError, match=r"CrossAttention.query is 'smell', .*\['one', 'three', 'two'\]"):
        jax.eval_shape(CrossAttention("smell", **SIZE).init, jax.random.key(0), tokens)
    with pytest.raises(ValueError, match=r"Bottleneck.fusion_layer is 5; it must be from 0 to the depth, 4"):
        jax.eval_shape(Bottleneck(fusion_layer=5, depth=4, **SIZE).init, jax.random.key(0), tokens)
