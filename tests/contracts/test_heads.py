"""The contract of heads: shape and dtype of the output, finite without any token, no influence of masked tokens; equal under
vmap over seeds, on four devices and for bfloat16 tokens."""

import chex
import jax
import jax.numpy as jnp
import pytest

from mmjax.types import Tokens
from tests.contracts.head_cases import HEADS, WIDTH
from tests.contracts.inputs import BATCH


def values(output):
    """The array of an output, which may be Tokens."""
    return output.x if isinstance(output, Tokens) else output


@pytest.mark.parametrize("name", HEADS)
def test_heads(name):
    head, shape = HEADS[name]
    apply = lambda *args: values(head.apply(*args))
    features, masks = jax.random.split(jax.random.key(0))
    mask = jax.random.bernoulli(masks, 0.6, (BATCH, 3)).at[0].set(False)
    tokens = Tokens(jax.random.normal(features, (BATCH, 3, WIDTH)), mask)
    params = jax.jit(head.init)(jax.random.key(0), tokens)

    @jax.jit
    def run(tokens):
        gradient = jax.grad(lambda p, x: jnp.sum(apply(p, Tokens(x, tokens.mask))[..., 0]), argnums=(0, 1))
        return apply(params, tokens), gradient(params, tokens.x)

    output, gradients = run(tokens)
    chex.assert_shape(output, (BATCH, *shape))
    chex.assert_type(output, jnp.float32)
    chex.assert_tree_all_finite((output, gradients))
    assert not jnp.where(tokens.mask[..., None], 0, gradients[1]).any()
    other = Tokens(jnp.where(tokens.mask[..., None], tokens.x, 9.0), tokens.mask)
    chex.assert_trees_all_equal(output, run(other)[0])
    seeds = jax.tree.map(lambda x: jnp.stack([x * 0.5, x]), params)
    both = jax.jit(jax.vmap(apply, in_axes=(0, None), axis_size=2))(seeds, tokens)
    chex.assert_trees_all_close(both[1], output, atol=1e-6)
    half = jax.jit(apply)(params, Tokens(tokens.x.astype(jnp.bfloat16), tokens.mask))
    chex.assert_type(half, jnp.float32)
    assert jnp.abs(half - output).max() < 0.05 * jnp.maximum(jnp.abs(output).max(), 1)
    shards = jax.tree.map(lambda x: x.reshape(4, -1, *x.shape[1:]), tokens)
    spread = jax.pmap(lambda x, mask: apply(params, Tokens(x, mask)))(shards.x, shards.mask)
    chex.assert_trees_all_close(output, spread.reshape(output.shape), atol=1e-6)
