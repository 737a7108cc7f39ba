"""LoRA over integer weights: the function of the dequantised model, gradients of A and B alone, and the memory of arguments."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from mmjax.decoders import Factored, LanguageModel, empty_prefix
from mmjax.encoders import LoRA, QLoRA
from mmjax.losses import CrossEntropy
from mmjax.model import teacher_ids
from mmjax.nn.integer_weights import fitted, restored, stored
from mmjax.pretrained.init import read_weights

MODEL = LanguageModel(40, width=32, depth=1, heads=4, kv_heads=2, hidden=64, positions=16)
TARGET = jnp.array([[5, 6, 7, 0], [8, 9, 0, -1]])
NAMES = r"(.*/)?(kernel|embedding|output)"


def test_integers_by_hand():
    """Kernel columns (127, -64) and (7, 1) with the largest 127 and 7: scales 1 and 7 / 127; rows of an embedding likewise."""
    kernel = jnp.array([[127.0, 7.0], [-64.0, 1.0]])
    found = stored({"a/kernel": kernel, "word/embedding": kernel, "norm/scale": jnp.ones(2)}, NAMES, 8, None)
    assert found["a/kernel"].tolist() == [[127, 127], [-64, 18]] and found["a/kernel"].dtype == jnp.int8
    np.testing.assert_allclose(found["a/kernel_scale"], [[1, 7 / 127]], rtol=1e-6)
    assert found["word/embedding"].tolist() == [[127, 7], [-127, 2]]
    assert found["word/embedding_scale"].shape == (2, 1) and set(restored(found)) == {
        "a/kernel",
        "word/embedding",
        "norm/scale",
    }
    np.testing.assert_allclose(restored(found)["a/kernel"], [[127, 7], [-64, 18 * 7 / 127]], rtol=1e-6)
    four = stored({"a/kernel": kernel}, NAMES, 4, 2)
    assert four["a/kernel"].shape == (1, 2) and four["a/kernel"].dtype == jnp.uint8
    chex.assert_trees_all_equal(fitted({"a/kernel": kernel}, four), four)


@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, 8)])
def test_qlora_is_lora_of_the_dequantised_model(bits, group):
    ids = teacher_ids(TARGET, MODEL.prompt)
    module, plain = QLoRA(MODEL, rank=2, bits=bits, group=group), LoRA(MODEL, rank=2)
    params = dict(jax.jit(module.init)(jax.random.key(0), ids)["params"])
    params["lora"] = jax.tree.map(lambda x: x + 0.1, params["lora"])
    as_float = {"base": module.restored(params["base"]), "lora": params["lora"]}
    chex.assert_trees_all_equal_shapes(as_float, jax.eval_shape(plain.init, jax.random.key(0), ids)["params"])

    def loss(module):
        def run(params):
            values = CrossEntropy()(module.apply({"params": params}, ids), TARGET)
            return jnp.sum(values)

        return jax.jit(jax.value_and_grad(run, allow_int=True))

    value, gradient = loss(module)(params)
    expected, of_float = loss(plain)(as_float)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    chex.assert_trees_all_close(gradient["lora"], of_float["lora"], rtol=1e-4, atol=1e-6)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["lora"]))
    base = flatten_dict(gradient["base"], sep="/")
    assert not any(np.asarray(leaf).any() for leaf in base.values() if leaf.dtype == jnp.float32)
    # Cached steps equal teacher forcing.
    run = lambda *given, method=None: module.apply({"params": params}, *given, method=method)
    both = jax.jit(lambda: (run(ids.x, run(empty_prefix(2), 4, method="init_cache"), method="step")[0], run(ids)))
    np.testing.assert_allclose(*both(), atol=1e-5)


def test_arguments_take_a_quarter_of_the_memory():
    """A training step over int8 weights has arguments of little more than a byte a number; int4 weights take half as much."""
    model = LanguageModel(64, width=256, depth=2, heads=4, kv_heads=4, hidden=640, positions=16)
    ids = teacher_ids(TARGET, model.prompt)
    shapes = lambda module: jax.eval_shape(module.init, jax.random.key(0), ids)["params"]
    size = lambda tree: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
    module = QLoRA(Factored(model, chunk=2), rank=2)

    def step(lora, base):
        loss = lambda lora: jnp.sum(CrossEntropy()(module.apply({"params": {"base": base, "lora": lora}}, ids), TARGET))
        return jax.grad(loss)(lora)

    found = shapes(module)
    stats = jax.jit(step).lower(found["lora"], found["base"]).compile().memory_analysis()
    assert stats.argument_size_in_bytes < 1.1 * size(shapes(model)) / 4
    assert size(shapes(QLoRA(model, rank=2, bits=4, group=32))) < 1.5 * size(shapes(model)) / 8


def test_published_weights_are_quantised_when_they_are_read(monkeypatch):
    ids = teacher_ids(TARGET, MODEL.prompt)
    variables = jax.tree.map(np.asarray, jax.jit(MODEL.init)(jax.random.key(3), ids))
    from mmjax import pretrained

    class Weights:
        module = MODEL

    Weights.variables = variables
    monkeypatch.setattr(pretrained, "load_encoder", lambda source: Weights)
    module = QLoRA(MODEL, rank=2, bits=4, group=16)
    shapes = {"params": {"decoders_text": jax.eval_shape(module.init, jax.random.key(0), ids)["params"]}}
    found = read_weights(shapes, {"decoders_text/base": "any"})
    expected = flatten_dict(module.stored(variables["params"]), sep="/")
    chex.assert_trees_all_equal(
        found, {f"params/decoders_text/base/{path}": np.asarray(leaf) for path, leaf in expected.items()}
    )


def test_bits_are_8_or_4():
    with pytest.raises(ValueError, match=r"QLoRA\.bits is 5; it must be 4 or 8"):
        jax.eval_shape(QLoRA(MODEL, bits=5).init, jax.random.key(0), teacher_ids(TARGET, (0,)))
