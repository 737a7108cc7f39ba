"""Attention fusions against their equations in NumPy, by example and without masks; masks and exchange by gradients."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError

from mmjax.fusion.attention import CoAttention, CrossAttention, MulT
from mmjax.fusion.bottleneck import Bottleneck
from mmjax.fusion.early import EarlyTransformer
from mmjax.fusion.perceiver import Perceiver
from mmjax.types import Tokens
from tests.fusion.attention_equations import EQUATIONS, HEADS

SIZE = {"width": 4, "heads": HEADS, "hidden": 6, "dropout": 0.5}
FUSIONS = {
    "early": EarlyTransformer(depth=1, **SIZE),
    "cross": CrossAttention("two", depth=2, **SIZE),
    "co": CoAttention(depth=1, **SIZE),
    "mult": MulT(depth=1, **SIZE),
    "perceiver": Perceiver(latents=3, reads=2, depth=1, **SIZE),
    "bottleneck": Bottleneck(tokens=2, fusion_layer=1, depth=3, **SIZE),
}
TWO = ("co", "mult", "bottleneck")  # tested with two modalities, since they have layers per modality or pair
# Examples: all tokens; some tokens; only "one"; only "two" and "three"; no token.
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
    """Random parameters, including biases and norms."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(fusion.init, jax.random.key(0), tokens)["params"])
    random = np.random.default_rng(2)
    return jax.tree.unflatten(tree, [jnp.asarray(random.normal(size=leaf.shape) * 0.6, jnp.float32) for leaf in leaves])


each = pytest.mark.parametrize("name", FUSIONS)


@cache
def compiled(name):
    """(params, run) with run: (params, {modality: x}) -> Tokens and the gradient of a weighted sum of the valid ones."""
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
    chex.assert_tree_all_finite(fused.x)  # including example 4, which has no token
    np.testing.assert_array_equal(fused.mask.any(axis=1), [True, True, True, True, False])
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for b in range(4):
        x = {k: np.asarray(t.x[b], np.float64) for k, t in tokens.items()}
        mask = {k: np.asarray(t.mask[b]) for k, t in tokens.items()}
        output = np.asarray(fused.x[b])[np.asarray(fused.mask[b])].mean(axis=0)
        np.testing.assert_allclose(output, EQUATIONS[name](p, x, mask), atol=2e-5)


@each
def test_valid_tokens_have_influence_and_masked_ones_have_none(name):
    tokens, (params, run) = inputs(name), compiled(name)
    plain = run(params, {k: t.x for k, t in tokens.items()})
    spoiled = run(params, {k: jnp.where(t.mask[..., None], t.x, jnp.nan) for k, t in tokens.items()})
    chex.assert_trees_all_equal(plain, spoiled)
    for k, gradient in plain[1].items():
        size, mask = np.abs(gradient).max(axis=-1), np.asarray(tokens[k].mask)
        assert not size[~mask].any()
        assert (size[mask] > 0).all()


@each
def test_only_learned_positions_distinguish_the_order_of_tokens(name):
    """Reverses the tokens of "one"; they are all valid in example 0 only."""
    x, (params, run) = {k: t.x for k, t in inputs(name).items()}, compiled(name)
    reversed_x = x | {"one": x["one"][:, ::-1]}
    if name not in ("cross", "co"):  # these two have no positions
        assert np.abs(run(params, x)[0].x - run(params, reversed_x)[0].x)[0].max() > 1e-4
        params = params | {"one_embed": params["one_embed"] | {"position": jnp.zeros((3, 4))}}
    chex.assert_trees_all_close(run(params, x)[0].x[0], run(params, reversed_x)[0].x[0], atol=1e-5)


@each
@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_modalities(name, count):
    tokens = {k: inputs()[k] for k in ("two", "one", "three")[:count]}
    fused, _ = jax.eval_shape(FUSIONS[name].init_with_output, jax.random.key(0), tokens)
    wide = {"co": count, "mult": count * max(count - 1, 1)}
    chex.assert_shape(fused.x, (*fused.mask.shape, 4 * wide.get(name, 1)))
    assert len(fused.mask) == 5


@each
def test_dropout_is_on_in_training(name):
    tokens, (params, _) = inputs(name), compiled(name)
    with pytest.raises(InvalidRngError):  # training needs random numbers
        jax.eval_shape(lambda: FUSIONS[name].apply({"params": params}, tokens, train=True))


def influence(fusion):
    """{modality: largest gradient of the class token of "one" with respect to its tokens}."""
    tokens = inputs("bottleneck")
    params = {"params": parameters(fusion, tokens)}

    @jax.jit
    @jax.grad
    def gradient(x):
        streams = fusion.apply(params, {k: Tokens(x[k], t.mask) for k, t in tokens.items()}, method="streams")
        return streams["one"][:2, 0].sum()  # both modalities are present in these examples

    return {k: float(jnp.abs(g).max()) for k, g in gradient({k: t.x for k, t in tokens.items()}).items()}


@pytest.mark.parametrize(
    ("layer", "count", "exchange"),
    [
        (0, 2, True),
        (1, 2, False),  # no layer follows to read the bottleneck tokens
    ],
)
def test_modalities_exchange_through_the_bottleneck_from_the_fusion_layer_on(layer, count, exchange):
    gradient = influence(Bottleneck(tokens=count, fusion_layer=layer, depth=2, **SIZE))
    assert gradient["one"] > 1e-3
    assert (gradient["two"] > 1e-5) if exchange else (gradient["two"] == 0)


def test_the_learned_query_is_valid_only_if_the_query_is_absent():
    params, run = compiled("cross")
    fused, _ = run(params, {k: t.x for k, t in inputs().items()})
    expected = [[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]]  # the tokens of "two", then the learned query
    np.testing.assert_array_equal(fused.mask, np.array(expected, bool))


def test_errors_name_the_field():
    tokens = inputs()
    with pytest.raises(ValueError, match=r"CrossAttention.query is 'smell'; .*\['one', 'three', 'two'\]"):
        jax.eval_shape(CrossAttention("smell", **SIZE).init, jax.random.key(0), tokens)
    with pytest.raises(ValueError, match=r"Bottleneck.fusion_layer is 5; it must be from 0 to Bottleneck.depth, which is 4"):
        jax.eval_shape(Bottleneck(fusion_layer=5, depth=4, **SIZE).init, jax.random.key(0), tokens)
