"""Each attention fusion against the same equations in NumPy, written example by example over the tokens that are there, without
a mask anywhere; then what gradients tell."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from mmjax.fusion.attention import CoAttention, CrossAttention, MulT
from mmjax.fusion.bottleneck import Bottleneck
from mmjax.fusion.early import EarlyTransformer
from mmjax.fusion.perceiver import Perceiver
from mmjax.types import Tokens

SIZE = {"width": 4, "heads": 2, "hidden": 6}
FUSIONS = {
    "early": EarlyTransformer(depth=2, **SIZE),
    "cross": CrossAttention("two", depth=2, **SIZE),
    "co": CoAttention(depth=2, **SIZE),
    "mult": MulT(depth=2, **SIZE),
    "perceiver": Perceiver(latents=3, reads=2, depth=1, **SIZE),
    "bottleneck": Bottleneck(tokens=2, fusion_layer=1, depth=3, **SIZE),
}
# Examples: all there; holes; "one" alone; "two" and "three" alone; nothing.
MASKS = {
    "one": [[1, 1, 1], [0, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0]],
    "two": [[1, 1], [1, 0], [0, 0], [0, 1], [0, 0]],
    "three": [[1], [1], [0], [1], [0]],
}


def inputs(names=("one", "two", "three")):
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
    for layer in range(2):
        context = {name: np.concatenate([h[other] for other in h if other != name]) for name in h}
        h = {name: cross(p[f"{name}_cross{layer}"], h[name], context[name]) for name in h}
        h = {name: block(p[f"{name}_block{layer}"], h[name]) for name in h}
    return np.concatenate([mean(norm(p[f"{name}_norm"], h[name])) for name in h])


def mult(p, x, there):
    h, pooled = embedded(p, x, there), []
    for target in h:
        stacks = []
        for source in h:
            if source != target:
                z = h[target]
                for layer in range(2):
                    z = cross(p[f"{source}_to_{target}_block{layer}"], z, h[source])
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


@pytest.mark.parametrize("name", FUSIONS)
def test_equals_the_equations_in_numpy(name):
    tokens, fusion = inputs(), FUSIONS[name]
    params = parameters(fusion, tokens)
    fused = jax.jit(fusion.apply)({"params": params}, tokens)
    chex.assert_tree_all_finite(fused.x)  # example 4, which has nothing, too
    np.testing.assert_array_equal(fused.mask.any(axis=1), [True, True, True, True, False])
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for b in range(4):
        x = {k: np.asarray(t.x[b], np.float64) for k, t in tokens.items()}
        there = {k: np.asarray(t.mask[b]) for k, t in tokens.items()}
        got = np.asarray(fused.x[b])[np.asarray(fused.mask[b])].mean(axis=0)
        np.testing.assert_allclose(got, EQUATIONS[name](p, x, there), atol=2e-5)


@pytest.mark.parametrize("name", FUSIONS)
def test_what_is_masked_has_no_influence_and_what_is_there_has(name):
    tokens, fusion = inputs(), FUSIONS[name]
    params = parameters(fusion, tokens)
    weight = jnp.asarray(np.random.default_rng(4).normal(size=64), jnp.float32)

    def value(params, x):
        fused = fusion.apply({"params": params}, {k: Tokens(x[k], t.mask) for k, t in tokens.items()})
        return (jnp.where(fused.mask[..., None], fused.x, 0) * weight[None, None, : fused.x.shape[-1]]).sum()

    run = jax.jit(jax.value_and_grad(value, (0, 1)))
    x = {k: t.x for k, t in tokens.items()}
    garbage = {k: jnp.where(t.mask[..., None], t.x, jnp.nan) for k, t in tokens.items()}
    plain, spoiled = run(params, x), run(params, garbage)
    chex.assert_trees_all_equal(plain, spoiled)
    for k, gradient in plain[1][1].items():
        size, mask = np.abs(gradient).max(axis=-1), np.asarray(tokens[k].mask)
        assert not size[~mask].any()
        assert (size[mask] > 0).all()


@pytest.mark.parametrize("name", FUSIONS)
def test_any_number_of_modalities_in_any_order(name):
    tokens, fusion = inputs(), FUSIONS[name]
    params = {"params": parameters(fusion, tokens)}
    chex.assert_trees_all_equal(fusion.apply(params, tokens), fusion.apply(params, dict(reversed(tokens.items()))))
    alone = inputs(("two",))
    fused = fusion.apply({"params": parameters(fusion, alone)}, alone)
    chex.assert_tree_all_finite(fused.x)
    np.testing.assert_array_equal(fused.mask.any(axis=1), np.any(MASKS["two"], axis=1))


@pytest.mark.parametrize("name", ["cross", "co"])
def test_tokens_without_positions_have_no_order(name):
    tokens, fusion = inputs(), FUSIONS[name]
    params = {"params": parameters(fusion, tokens)}
    turned = tokens | {"one": jax.tree.map(lambda leaf: leaf[:, ::-1], tokens["one"])}
    chex.assert_trees_all_close(fusion.apply(params, tokens), fusion.apply(params, turned), atol=1e-5)


@pytest.mark.parametrize("name", ["early", "mult", "perceiver", "bottleneck"])
def test_learned_positions_give_tokens_an_order(name):
    tokens, fusion = inputs(), FUSIONS[name]
    params = parameters(fusion, tokens)
    turned = tokens | {"one": jax.tree.map(lambda leaf: leaf[:, ::-1], tokens["one"])}
    run = jax.jit(lambda params, tokens: fusion.apply({"params": params}, tokens).x[:3])  # "one" is there in these
    assert (np.abs(run(params, tokens) - run(params, turned)).max(axis=(1, 2)) > 1e-4).all()
    params["one_embed"]["position"] = jnp.zeros((3, 4))
    chex.assert_trees_all_close(run(params, tokens), run(params, turned), atol=1e-5)


def influence(fusion):
    """Largest gradient of each modality's class token by each modality's tokens: {(of, by): float}, all being there."""
    tokens = {name: Tokens(t.x, jnp.ones_like(t.mask)) for name, t in inputs(("one", "two")).items()}
    params = {"params": parameters(fusion, tokens)}

    @jax.jit
    def gradient(x):
        def streams(x):
            out = fusion.apply(params, {k: Tokens(x[k], t.mask) for k, t in tokens.items()}, method="streams")
            return {name: value[:, 0].sum() for name, value in out.items()}

        return jax.jacrev(streams)(x)

    jacobian = gradient({k: t.x for k, t in tokens.items()})
    return {(of, by): float(jnp.abs(jacobian[of][by]).max()) for of in tokens for by in tokens}


@pytest.mark.parametrize(("layer", "exchange"), [(0, True), (1, True), (2, False), (3, False)])
def test_the_fusion_layer_decides_whether_modalities_meet(layer, exchange):
    # What is written into the bottleneck in one layer is read in the next: of three layers, the last can only write.
    moves = influence(Bottleneck(tokens=2, fusion_layer=layer, depth=3, **SIZE))
    assert min(moves["one", "one"], moves["two", "two"]) > 1e-3
    for pair in (("one", "two"), ("two", "one")):
        assert (moves[pair] > 1e-5) if exchange else (moves[pair] == 0)


def test_modalities_meet_in_the_bottleneck_alone():
    moves = influence(Bottleneck(tokens=0, fusion_layer=0, depth=3, **SIZE))
    assert moves["one", "two"] == moves["two", "one"] == 0


def test_absent_modalities_do_not_write_into_the_bottleneck():
    tokens = inputs(("one", "two"))
    fusion = Bottleneck(tokens=2, fusion_layer=0, depth=2, **SIZE)
    params = parameters(fusion, tokens)
    altered = params | {name: jax.tree.map(lambda x: x + 1, params[name]) for name in params if name.startswith("two")}
    run = jax.jit(lambda params: fusion.apply({"params": params}, tokens).x)
    changed = np.abs(run(params) - run(altered)).max(axis=(1, 2))
    assert changed[2] == 0 and (changed[:2] > 0).all()  # example 2 has "one" alone


def test_the_stand_in_asks_only_where_the_query_is_absent():
    tokens = inputs()
    fusion = CrossAttention("two", **SIZE)
    params = parameters(fusion, tokens)
    fused = jax.jit(fusion.apply)({"params": params}, tokens)
    expected = [[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]]  # the tokens of "two", then the stand-in
    np.testing.assert_array_equal(fused.mask, np.array(expected, bool))


def test_dropout_is_on_in_training_alone():
    tokens = inputs(("one", "two"))
    for fusion in (kind(dropout=0.5, **SIZE) for kind in (EarlyTransformer, CoAttention, MulT, Perceiver)):
        params = {"params": parameters(fusion, tokens)}
        plain, first, second = (
            jax.jit(lambda key, train=train: fusion.apply(params, tokens, train=train, rngs={"dropout": key}).x)(key)
            for train, key in ((False, jax.random.key(0)), (True, jax.random.key(0)), (True, jax.random.key(1)))
        )
        assert not np.allclose(plain, first) and not np.allclose(first, second)


def test_bfloat16_stays_near_and_gives_float32():
    tokens = inputs(("one", "two"))
    for fusion in FUSIONS.values():
        params = {"params": jax.tree.map(lambda x: x * 0.5, parameters(fusion, tokens))}
        exact, rough = (jax.jit(f.apply)(params, tokens).x for f in (fusion, fusion.clone(dtype=jnp.bfloat16)))
        chex.assert_type(rough, jnp.float32)
        chex.assert_trees_all_close(exact, rough, atol=0.1)
        assert not np.array_equal(exact, rough)


def test_errors_name_the_field():
    tokens = inputs()
    with pytest.raises(ValueError, match=r"CrossAttention.query is 'smell', .*\['one', 'three', 'two'\]"):
        CrossAttention("smell", **SIZE).init(jax.random.key(0), tokens)
    with pytest.raises(ValueError, match=r"Bottleneck.fusion_layer is 5; it must be from 0 to the depth, 4"):
        Bottleneck(fusion_layer=5, depth=4, **SIZE).init(jax.random.key(0), tokens)
