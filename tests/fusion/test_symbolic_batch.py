"""Every fusion can be traced for any batch size, which `Cell.export` needs."""

import jax
import jax.numpy as jnp
import pytest
from jax import export

from mmjax.types import Tokens
from tests.contracts.cases import FUSIONS


@pytest.mark.parametrize("name", FUSIONS)
def test_a_symbolic_batch_is_traced(name):
    fusion, tokens = FUSIONS[name][0], {
        key: Tokens(jnp.zeros((2, n, 8)), jnp.ones((2, n), bool)) for key, n in (("one", 3), ("two", 2), ("three", 1))
    }
    variables = jax.eval_shape(lambda: fusion.init({"params": jax.random.key(0)}, tokens))
    (b,) = export.symbolic_shape("b")
    symbolic = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((b, *leaf.shape[1:]), leaf.dtype), tokens)
    out = jax.eval_shape(fusion.apply, variables, symbolic)
    assert out.x.shape[0] == b and out.mask.shape[0] == b
