"""LoRA: it equals the encoder initially and the encoder with folded kernels afterwards; its parameters and its errors."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import Decoder
from mmjax.encoders import BERT, CNN, LoRA, ResNet
from mmjax.types import Padded, Tokens

BASE = BERT(vocabulary=20, width=8, depth=2, heads=2, hidden=12, positions=6, dropout=0.0)
IDS = Padded(jnp.array([[3, 4, 5, 0], [7, 8, 0, 0]]), jnp.array([3, 2]))


@pytest.fixture(scope="module")
def adapted():
    module = LoRA(BASE, rank=2, alpha=3.0)
    return module, jax.jit(module.init)(jax.random.key(0), IDS)


def test_initially_equals_the_encoder(adapted):
    module, variables = adapted
    assert set(variables["params"]["lora"]["transformer"]["block1"]["attention"]) == {"query", "value"}
    expected = jax.jit(BASE.apply)({"params": variables["params"]["base"]}, IDS)
    chex.assert_trees_all_close(jax.jit(module.apply)(variables, IDS), expected, rtol=1e-6)


def test_equals_the_encoder_with_folded_kernels(adapted):
    module, variables = adapted
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape), jnp.float32), variables["params"])
    folded = module.folded(params)
    layer = lambda tree: tree["transformer"]["block0"]["attention"]["value"]
    product = np.asarray(layer(params["lora"])["a"]) @ np.asarray(layer(params["lora"])["b"])
    np.testing.assert_allclose(layer(folded)["kernel"], layer(params["base"])["kernel"] + 1.5 * product, rtol=1e-5)
    chex.assert_trees_all_equal(folded["word"], params["base"]["word"])
    expected = jax.jit(BASE.apply)({"params": folded}, IDS)
    chex.assert_trees_all_close(jax.jit(module.apply)({"params": params}, IDS), expected, rtol=1e-5)


def test_the_number_of_lora_parameters(adapted):
    """2 blocks x (query, value) x (8 x 2 + 2 x 8)."""
    params = adapted[1]["params"]
    assert set(params) == {"base", "lora"}
    assert sum(leaf.size for leaf in jax.tree.leaves(params["lora"])) == 2 * 2 * 32


def test_a_decoder_with_low_rank_kernels():
    """Teacher forcing and cached steps equal those of the decoder with folded kernels; so are prompt and end."""
    decoder = Decoder(9, width=8, depth=1, heads=2, hidden=12, positions=5, prompt=(3, 1), end=2)
    module = LoRA(decoder, rank=2)
    random = np.random.default_rng(0)
    valid = jnp.array([[True, True, False], [True, False, False]])
    memory = Tokens(jnp.asarray(random.normal(size=(2, 3, 8)), jnp.float32), valid)
    ids = Padded(jnp.array([[3, 1, 4, 5], [3, 1, 7, 2]]), jnp.array([4, 4]))
    shapes = jax.eval_shape(module.init, jax.random.key(0), ids, memory)
    params = jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape), jnp.float32), shapes["params"])
    assert set(params["lora"]["block0"]["attention"]) == {"query", "value"} and (module.prompt, module.end) == ((3, 1), 2)

    @jax.jit
    def steps(params):
        run = lambda *given, method: module.apply({"params": params}, *given, method=method)
        first, cache = run(ids.x[:, :3], run(memory, 4, method="init_cache"), method="step")
        return jnp.concatenate([first, run(ids.x[:, 3:], cache, method="step")[0]], axis=1)

    expected = decoder.apply({"params": module.folded(params)}, ids, memory)
    assert np.abs(expected - decoder.apply({"params": params["base"]}, ids, memory)).max() > 0.1
    chex.assert_trees_all_close(module.apply({"params": params}, ids, memory), expected, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_close(steps(params), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("module", "x", "message"),
    [
        (LoRA(BASE, kernels="nothing"), IDS, r"LoRA\.kernels is 'nothing'.*transformer/block0/attention/query"),
        (LoRA(BASE, rank=0), IDS, r"LoRA\.rank is 0; it must be a positive integer"),
        (LoRA(CNN((4,)), kernels=".*"), jnp.zeros((1, 4, 4, 3)), r"shape \[3, 3, 3, 4\]; it must match dense layers"),
        (LoRA(ResNet(((1, 4),), stem=3), kernels=".*"), jnp.zeros((1, 8, 8, 3)), r"ResNet, which has \['batch_stats'\]"),
    ],
)
def test_errors(module, x, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), x)
