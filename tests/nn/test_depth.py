"""Deep modules: equal outputs, gradients and parameters, what is kept for the gradient, and what cannot be wrapped."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import GPT2, Decoder, Factored, LanguageModel
from mmjax.decoders.generator import Generator
from mmjax.decoders.language_block import PRE_NORMS, QK_NORMS
from mmjax.encoders import Features, ViT
from mmjax.nn import Deep, Remat, Scan, Transformer
from mmjax.nn.rotary import Rope
from mmjax.robust.quantize import Quantize
from mmjax.robust.quantize_dynamic import DynamicInt8
from mmjax.types import Padded, Tokens

DEPTH = 2
HOW = {"remat": Remat(), "scan": Scan(), "scan and remat": Scan(jax.checkpoint_policies.dots_saveable)}


def encoder(dropout: float = 0.0) -> ViT:
    return ViT(patch=4, width=8, depth=DEPTH, heads=2, hidden=16, dropout=dropout)


@pytest.fixture(scope="module")
def problem():
    """(images, variables, the value and the gradient of an encoder without dropout)."""
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(encoder().init)(jax.random.key(1), x)
    return x, variables, jax.jit(jax.value_and_grad(loss(encoder(), x)))(variables)


def loss(module, x):
    return lambda variables: jnp.sum(jnp.sin(module.apply(variables, x, train=True, rngs={"dropout": jax.random.key(2)}).x))


@pytest.mark.parametrize("how", [Remat(), Scan(jax.checkpoint_policies.dots_saveable)])
def test_values_and_gradients_are_those_of_the_module(problem, how):
    x, variables, expected = problem
    found = jax.jit(jax.value_and_grad(loss(Deep(encoder(), how), x)))(variables)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


def test_parameters_have_the_same_paths(problem):
    x, variables, _ = problem
    for how in HOW.values():
        chex.assert_trees_all_equal_shapes(jax.eval_shape(Deep(encoder(), how).init, jax.random.key(1), x), variables)


def count(program: str, module, x, variables) -> int:
    return str(jax.make_jaxpr(loss(module, x))(variables)).count(f" {program}[")


def test_each_block_is_computed_again_or_is_one_step_of_a_loop(problem):
    x, variables, _ = problem
    assert count("remat2", Deep(encoder(), Remat()), x, variables) == DEPTH
    assert count("remat2", Deep(encoder(), Remat("block0")), x, variables) == 1
    looped, whole = (count("dot_general", module, x, variables) for module in (Deep(encoder(), Scan()), encoder()))
    of_block = 5 + 1  # queries, keys and values together, scores, attended, out, up; and down
    assert whole - looped == (DEPTH - 1) * of_block
    assert count("remat2", encoder(), x, variables) == 0


def test_dropout_draws_the_same_numbers_with_remat(problem):
    x, variables, _ = problem
    deep = Deep(encoder(0.5), Remat())
    whole, again = jax.jit(lambda variables: (loss(encoder(0.5), x)(variables), loss(deep, x)(variables)))(variables)
    chex.assert_trees_all_close(again, whole, rtol=1e-5)


def test_dropout_draws_own_numbers_in_each_step_of_a_loop():
    """Both blocks have the same parameters and add 1 to each number, which dropout makes 0 or 2."""
    layers = Deep(Transformer(depth=2, heads=1, hidden=4, dropout=0.5), Scan())
    x, mask = jnp.zeros((1, 64, 4)), jnp.ones((1, 64), bool)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(layers.init, jax.random.key(0), x, mask))["params"]
    for block in params.values():
        block["down"]["bias"] += 1
    found = layers.apply({"params": params}, x, mask, train=True, rngs={"dropout": jax.random.key(1)})
    assert set(found.ravel().tolist()) == {0, 2, 4}  # without 2, both would drop the same numbers


def test_int8_products_are_those_of_the_module(problem):
    """They are another interceptor, which finds layers by their paths."""
    x, variables, _ = problem
    small = DynamicInt8().variables(variables)
    run = lambda module: DynamicInt8().module(module).apply(small, x).x
    weights_only = lambda: Quantize(8).module(encoder()).apply(small, x).x
    modules = Deep(encoder(), Remat()), Deep(encoder(), Scan()), encoder()
    *found, expected, exact = jax.jit(lambda: (*map(run, modules), weights_only()))()
    for outputs in found:
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    assert jnp.abs(expected - exact).max() > 1e-4


def test_a_decoder_generates_as_without_it():
    decoder = Decoder(vocabulary=7, width=8, depth=2, heads=2, hidden=16, positions=4, prompt=(3,), end=5)
    memory, ids = Tokens(jnp.ones((1, 2, 8)), jnp.ones((1, 2), bool)), Padded(jnp.asarray([[0, 3, 2]]), jnp.asarray([3]))
    deep = Deep(decoder, Remat())
    assert (deep.prompt, deep.end, deep.vocabulary) == ((3,), 5, 7)
    variables = jax.jit(decoder.init)(jax.random.key(0), ids, memory)

    @jax.jit
    def found(variables):
        outputs = []
        for module in (deep, decoder):
            cache = module.apply(variables, memory, 3, method="init_cache")
            step, _ = module.apply(variables, ids.x, cache, method="step")
            weights = module.apply(variables, ids, memory, method="memory_weights")
            outputs.append((module.apply(variables, ids, memory), step, weights))
        return outputs

    chex.assert_trees_all_close(*found(variables), rtol=1e-5)


def test_an_encoder_has_no_weights_of_a_memory():
    deep = Deep(encoder())
    assert deep.vocabulary is None and not hasattr(deep, "memory_weights")


def test_a_language_model_is_unwrapped_for_generation():
    model = LanguageModel(vocabulary=7, width=8, depth=1, heads=2, hidden=8, positions=8)
    assert Generator.of(Deep(model), {"params": {}}).model is model


LANGUAGE = LanguageModel(
    11, width=8, depth=3, heads=2, kv_heads=1, hidden=8, windows=(2, None), rope=Rope(50.0), local_rope=Rope(7.0),
    norms=PRE_NORMS + QK_NORMS, tied=False, positions=12,
)  # fmt: skip
SMALL_GPT2 = GPT2(11, width=8, depth=2, heads=2, hidden=8, positions=12)


@pytest.mark.parametrize(("model", "dense"), [(LANGUAGE, 7), (SMALL_GPT2, 4)])
def test_a_language_model_in_a_loop(model, dense):
    """Values and gradients are those of the blocks in turn, with a masked prefix and padded texts; the first model has two
    kinds of blocks. dense: the layers of a block."""
    random = np.random.default_rng(0)
    ids = Padded(jnp.asarray(random.integers(0, 11, (2, 5)), jnp.int32), jnp.array([5, 3]))
    mask = jnp.array([[True, False], [False, True]])
    memory = Tokens(jnp.where(mask[..., None], 1.0, jnp.nan) * jnp.asarray(random.normal(size=(2, 2, 8)), jnp.float32), mask)
    shapes = jax.eval_shape(model.init, jax.random.key(0), ids, memory)
    variables = jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.5, leaf.shape), jnp.float32), shapes)
    deep = Deep(Factored(model), Scan(jax.checkpoint_policies.nothing_saveable))
    valid = ids.mask[..., None]
    chex.assert_trees_all_equal_shapes(jax.eval_shape(deep.init, jax.random.key(0), ids, memory), variables)

    def value(logits):
        return jnp.sum(jnp.where(valid, jnp.sin(logits), 0))

    alone = lambda variables: value(model.apply(variables, ids, memory))
    loop = lambda variables: value(deep.apply(variables, ids, memory).computed())
    found, expected = jax.jit(lambda variables: [jax.value_and_grad(f)(variables) for f in (loop, alone)])(variables)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)
    of = lambda function: str(jax.make_jaxpr(function)(variables)).count(" dot_general[")
    assert of(alone) - of(loop) == (model.depth - 1) * (dense + 2)  # dense layers, scores, and attended values


@pytest.mark.parametrize("how", [Remat(), Remat("layer"), Scan()])
def test_a_module_without_blocks_is_refused(how):
    with pytest.raises(ValueError, match=r"Deep.module is Features, which has no part for (Remat|Scan)\("):
        Deep(Features(4), how).init(jax.random.key(0), jnp.ones((2, 3)))
