"""Deep modules: equal outputs, gradients and parameters, what is kept for the gradient, and what cannot be wrapped."""

import chex
import jax
import jax.numpy as jnp
import pytest

from mmjax.decoders import Decoder
from mmjax.encoders import Features, ViT
from mmjax.nn import Deep, Remat, Scan
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


def test_dropout_draws_the_same_numbers_with_remat_and_own_ones_in_each_step_of_a_loop(problem):
    x, variables, _ = problem
    deep = Deep(encoder(0.5), Remat())
    whole, again = jax.jit(lambda variables: (loss(encoder(0.5), x)(variables), loss(deep, x)(variables)))(variables)
    chex.assert_trees_all_close(again, whole, rtol=1e-5)
    program = jax.make_jaxpr(loss(Deep(encoder(0.5), Scan()), x))(variables)
    (loop,) = (equation for equation in program.eqns if equation.primitive.name == "scan")
    assert "random_fold_in" in str(loop.params["jaxpr"])


def test_a_decoder_generates_as_without_it():
    decoder = Decoder(vocabulary=7, width=8, depth=2, heads=2, hidden=16, positions=4, prompt=(3,), end=5)
    memory, ids = Tokens(jnp.ones((1, 2, 8)), jnp.ones((1, 2), bool)), Padded(jnp.asarray([[0, 3, 2]]), jnp.asarray([3]))
    deep = Deep(decoder, Remat())
    assert (deep.prompt, deep.end) == ((3,), 5)

    def steps(module):
        variables = module.init(jax.random.key(0), ids, memory)
        cache = module.apply(variables, memory, 3, method="init_cache")
        return module.apply(variables, ids.x, cache, method="step")

    chex.assert_trees_all_equal_shapes(*(jax.eval_shape(lambda: steps(module)) for module in (deep, decoder)))


@pytest.mark.parametrize("how", [Remat(), Remat("layer"), Scan()])
def test_a_module_without_blocks_is_refused(how):
    with pytest.raises(ValueError, match=r"Deep.module is Features, which has no part for (Remat|Scan)\("):
        Deep(Features(4), how).init(jax.random.key(0), jnp.ones((2, 3)))
