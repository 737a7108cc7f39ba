"""LoRA: the encoder itself at first, its folded kernels afterwards, and gradients in A and B alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders import BERT, CNN, LoRA, ResNet
from mmjax.train.stages import split
from mmjax.types import Padded

BASE = BERT(vocabulary=20, width=8, depth=2, heads=2, hidden=12, positions=6, dropout=0.0)
WORDS = Padded(jnp.array([[3, 4, 5, 0], [7, 8, 0, 0]]), jnp.array([3, 2]))


@pytest.fixture(scope="module")
def adapted():
    module = LoRA(BASE, rank=2, alpha=3.0)
    return module, jax.jit(module.init)(jax.random.key(0), WORDS)


def test_at_first_it_is_the_encoder(adapted):
    module, variables = adapted
    assert set(variables["params"]["lora"]["transformer"]["block1"]["attention"]) == {"query", "value"}
    inside = jax.jit(BASE.apply)({"params": variables["params"]["base"]}, WORDS)
    chex.assert_trees_all_close(jax.jit(module.apply)(variables, WORDS), inside, rtol=1e-6)


def test_afterwards_it_is_the_encoder_with_the_products_added(adapted):
    module, variables = adapted
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape), jnp.float32), variables["params"])
    folded = module.folded(params)
    at = lambda tree: tree["transformer"]["block0"]["attention"]["value"]
    product = np.asarray(at(params["lora"])["a"]) @ np.asarray(at(params["lora"])["b"])
    np.testing.assert_allclose(at(folded)["kernel"], at(params["base"])["kernel"] + 1.5 * product, rtol=1e-5)
    chex.assert_trees_all_equal(folded["word"], params["base"]["word"])
    inside = jax.jit(BASE.apply)({"params": folded}, WORDS)
    chex.assert_trees_all_close(jax.jit(module.apply)({"params": params}, WORDS), inside, rtol=1e-5)


def test_what_learns_is_small(adapted):
    _, variables = adapted
    learning, still = split({"encoders_text": variables["params"]}, ("encoders_text/lora",))
    assert set(learning["encoders_text"]) == {"lora"} and set(still["encoders_text"]) == {"base"}
    # 2 blocks x (query, value) x (8 x 2 + 2 x 8)
    assert sum(leaf.size for leaf in jax.tree.leaves(learning)) == 2 * 2 * 32


@pytest.mark.parametrize(
    ("module", "given", "message"),
    [
        (LoRA(BASE, kernels="nothing"), WORDS, r"LoRA\.kernels is 'nothing'.*transformer/block0/attention/query"),
        (LoRA(BASE, rank=0), WORDS, r"\.rank 0"),
        (LoRA(CNN((4,)), kernels=".*"), jnp.zeros((1, 4, 4, 3)), r"a kernel of shape \[3, 3, 3, 4\]: no dense layer"),
        (LoRA(ResNet(((1, 4),), stem=3), kernels=".*"), jnp.zeros((1, 8, 8, 3)), r"ResNet has \['batch_stats'\]"),
    ],
)
def test_what_cannot_be_adapted_is_named(module, given, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), given)
