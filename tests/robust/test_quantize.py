"""Quantisation of weights: packing, error bounds, int8 products equal to those of qwix, and quantisation-aware gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qwix
from flax import linen as nn
from flax.traverse_util import flatten_dict

from mmjax.decoders import Decoder
from mmjax.encoders import ViT
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.model import Multimodal
from mmjax.nn.integer_weights import dequantized, packed, quantized, unpacked
from mmjax.robust.prune import Prune, sparsity_of
from mmjax.robust.prune_criteria import Magnitude
from mmjax.robust.quantize import Chain, Quantize, dequantized_variables
from mmjax.robust.quantize_aware import QuantizationAware, straight_through
from mmjax.robust.quantize_dynamic import DynamicInt8
from mmjax.train.step import SumOfLosses
from mmjax.types import Batch, Padded, Tokens
from tests.train.toy import Toy


def test_a_decoder_has_a_scale_per_token_in_both_of_its_tables():
    ids, memory = Padded(jnp.zeros((1, 2), jnp.int32), jnp.array([2])), Tokens(jnp.ones((1, 1, 4)), jnp.ones((1, 1), bool))
    decoder = Decoder(vocabulary=10, width=4, depth=1, heads=2, hidden=4, tied=False)
    shapes = jax.eval_shape(decoder.init, jax.random.key(0), ids, memory)
    small = jax.eval_shape(Quantize(8).variables, shapes)
    params, scales = small["params"], small["scales"]
    assert params["word"]["embedding"].dtype == params["output"].dtype == jnp.int8 and params["output"].shape == (10, 4)
    assert scales["word"]["embedding"].shape == scales["output"].shape == (10, 1)
    assert params["position"].dtype == jnp.float32


@pytest.fixture(scope="module")
def toy():
    """(model, variables of one seed, batch, logits) with a CNN, an embedding, an LSTM and dense layers."""
    toy = Toy()
    batch = toy.one_seed()
    logits, variables = jax.jit(toy.model.init_with_output)(jax.random.key(0), batch)
    return toy.model, variables, batch, logits["label"]


def test_every_pair_of_int4_survives_packing():
    values = jnp.arange(-8, 8, dtype=jnp.int8)
    pairs = jnp.stack(jnp.meshgrid(values, values), axis=-1).reshape(-1, 2).T  # [2, 256]
    assert packed(pairs).shape == (1, 256) and packed(pairs).dtype == jnp.uint8
    np.testing.assert_array_equal(unpacked(packed(pairs)), pairs)
    kernel = jax.random.randint(jax.random.key(0), (3, 2, 6, 5), -8, 8, jnp.int8)
    np.testing.assert_array_equal(unpacked(packed(kernel)), kernel)


def test_integers_by_hand():
    w = jnp.array([[127.0, 0.0], [-63.6, 0.0], [1.4, 0.0]])
    integers, scale = quantized(w, 8, None)
    np.testing.assert_array_equal(integers, [[127, 0], [-64, 0], [1, 0]])
    np.testing.assert_allclose(scale, [[1.0, 1 / 127]], rtol=1e-6)  # a channel of zeros
    integers, scale = quantized(jnp.array([[7.0], [-3.0], [0.7], [0.1]]), 4, 2)
    np.testing.assert_array_equal(integers, [[7], [-3], [7], [1]])
    np.testing.assert_allclose(scale, [[1.0], [0.1]], rtol=1e-6)
    _, scale = quantized(jnp.array([[127.0, 1.0], [2.0, 254.0]]), 8, 0)
    np.testing.assert_allclose(scale, [[1.0], [2.0]], rtol=1e-6)


@pytest.mark.parametrize(("bits", "group"), [(8, None), (8, 0), (4, None), (4, 4)])
def test_the_error_is_at_most_half_a_step(bits, group):
    w = jax.random.normal(jax.random.key(bits), (3, 8, 5)) * jnp.array([1e-3, 1, 50, 1, 1])[None, None]
    integers, scale = quantized(w, bits, group)
    near = dequantized(integers if bits == 8 else packed(integers), scale)
    step = np.broadcast_to(np.asarray(scale)[..., None, :], (3, scale.shape[-2], 8 // scale.shape[-2], 5)).reshape(w.shape)
    assert (np.abs(near - w) <= step / 2 * 1.0001).all() and near.dtype == jnp.float32
    assert np.abs(integers).max() == (127 if bits == 8 else 7)


@pytest.mark.parametrize(
    "scheme", [Quantize(8), Quantize(4, group=2), DynamicInt8(), Chain((Prune(Magnitude(0.5)), Quantize(8)))]
)
def test_a_quantised_model_is_smaller_and_close(toy, scheme):
    model, variables, batch, logits = toy
    small = jax.jit(jax.vmap(scheme.variables))(jax.tree.map(lambda leaf: leaf[None], variables))
    small = jax.tree.map(lambda leaf: leaf[0], small)
    dtypes = {
        "/".join(k.key for k in path): leaf.dtype.name for path, leaf in jax.tree_util.tree_leaves_with_path(small["params"])
    }
    int4 = "uint8" if scheme == Quantize(4, group=2) else "int8"
    kernels = [path for path in dtypes if path.endswith(("kernel", "recurrent", "embedding"))]
    assert (
        len(kernels) >= 6
        and {dtypes[path] for path in kernels} <= {"int8", int4}
        and int4 in {dtypes[path] for path in kernels}
    )
    assert {dtypes[path] for path in dtypes if path.endswith("bias")} == {"float32"}
    module = scheme.module(model)

    @jax.jit
    def halves(variables):
        tokens = module.apply(variables, batch, method="encode")
        return module.apply(variables, tokens, batch.present, method="decode")["label"]

    error = np.abs(halves(small) - logits).max()
    assert 0 < error < (0.02 if scheme in (Quantize(8), DynamicInt8()) else 1.0)
    if isinstance(scheme, Chain):
        assert sparsity_of(small["params"]) >= 0.5  # zeros stay zero


def test_decoders_are_quantised_too():
    decoder = Decoder(vocabulary=12, width=32, depth=1, heads=2, hidden=64)
    ids = Padded(jnp.arange(8).reshape(2, 4), jnp.array([4, 2]))
    memory = Tokens(jax.random.normal(jax.random.key(0), (2, 3, 32)), jnp.ones((2, 3), bool))
    expected, variables = jax.jit(decoder.init_with_output)(jax.random.key(1), ids, memory)
    module, small = DynamicInt8().module(decoder), jax.jit(DynamicInt8().variables)(variables)
    found = jax.jit(module.apply)(small, ids, memory)
    assert 0 < np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


def test_a_frozen_vision_tower_is_quantised_alone():
    """Its kernels take a quarter of the bytes, the other parameters are float32, and the answers are close."""
    tower = ViT(patch=4, width=32, depth=1, heads=2, hidden=64)
    model = Multimodal({"image": tower}, Concat(width=4, dropout=0.0), {"label": Classifier(3)})
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    batch = Batch({"image": images}, {"image": jnp.ones(2, bool)}, {}, jnp.ones(2))
    scheme, random = Quantize(8, weights=("encoders_image",)), np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    variables = jax.tree.map(lambda leaf: jnp.asarray(0.3 * random.normal(size=leaf.shape), jnp.float32), shapes)

    @jax.jit
    def run(variables):
        small = scheme.variables(variables)
        logits = lambda module, of: module.apply(of, batch)["label"]
        return small, logits(model, variables), logits(scheme.module(model), small)

    small, exact, found = run(variables)
    params, scales = variables["params"], small["scales"]
    assert list(scales) == ["encoders_image"]
    kernels = lambda tree: [leaf for path, leaf in flatten_dict(tree, sep="/").items() if path.endswith("kernel")]
    towers = [kernels(tree["encoders_image"]) for tree in (params, small["params"])]
    assert {leaf.dtype for leaf in towers[1]} == {jnp.dtype("int8")} and len(towers[1]) >= 5
    assert sum(leaf.nbytes for leaf in towers[0]) == 4 * sum(leaf.nbytes for leaf in towers[1])
    for name in set(params) - {"encoders_image"}:
        jax.tree.map(np.testing.assert_array_equal, params[name], small["params"][name])
    assert 0 < np.linalg.norm(exact - found) < 0.05 * np.linalg.norm(exact)


def test_no_compression_is_the_identity(toy):
    model, variables, _, _ = toy
    assert Chain().module(model) is model and Chain().variables(variables) is variables
    assert dequantized_variables(variables)["params"] is not None
    jax.tree.map(np.testing.assert_array_equal, dequantized_variables(variables), variables)


@pytest.mark.filterwarnings("ignore:'VariableState' was removed")  # qwix 0.1.8 with flax 0.12
def test_int8_products_by_hand_and_near_those_of_qwix():
    x = np.array(jax.random.normal(jax.random.key(0), (2, 3, 16)))
    x[0, 1] = 0  # a token of zeros
    w = np.array(jax.random.normal(jax.random.key(1), (16, 4)))
    compress, small = (
        DynamicInt8(),
        DynamicInt8().variables({"params": {"dense": {"kernel": jnp.asarray(w), "bias": jnp.arange(4.0)}}}),
    )
    found = jax.jit(lambda x: compress.module(Root()).apply(small, x))(x)
    w_scale, x_scale = np.abs(w).max(axis=0) / 127, np.maximum(np.abs(x).max(axis=-1, keepdims=True) / 127, 1e-30)
    exact = np.round(x / x_scale).astype(np.int64) @ np.round(w / w_scale).astype(np.int64) * x_scale * w_scale + np.arange(4)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)
    text = str(jax.make_jaxpr(lambda x: compress.module(Root()).apply(small, x))(x))
    assert "preferred_element_type=int32" in text and "i8[2,3,16]" in text
    # qwix divides by 127.5 and clips, so that its integers differ by rounding
    rule = qwix.QuantizationRule(weight_qtype=jnp.int8, act_qtype=jnp.int8)
    theirs = qwix.quantize_model(nn.Dense(4), qwix.QtProvider([rule])).apply(
        {"params": {"kernel": jnp.asarray(w), "bias": jnp.arange(4.0)}}, jnp.asarray(x)
    )
    true = x @ w + np.arange(4)
    assert np.abs(found - theirs).max() < 0.1 and np.linalg.norm(found - true) < 1.2 * np.linalg.norm(theirs - true)


def test_int8_products_have_the_gradient_of_the_float_product():
    x, w = (jax.random.normal(jax.random.key(n), shape) for n, shape in ((0, (2, 3, 16)), (1, (16, 4))))
    small = DynamicInt8().variables({"params": {"dense": {"kernel": w, "bias": jnp.zeros(4)}}})
    model, slope = DynamicInt8().module(Root()), jax.random.normal(jax.random.key(2), (2, 3, 4))
    found = jax.jit(jax.grad(lambda x: (model.apply(small, x) * slope).sum()))(x)
    np.testing.assert_allclose(found, slope @ dequantized_variables(small)["params"]["dense"]["kernel"].T, rtol=1e-5, atol=1e-5)


class Root(nn.Module):
    """A model with one dense layer."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="dense")(x)


def test_straight_through_gradients_are_those_at_the_quantised_weights():
    x = jax.random.normal(jax.random.key(0), (5, 6))
    kernels = jax.random.normal(jax.random.key(1), (2, 6, 6))
    params = {"a": {"kernel": kernels[0], "bias": jnp.ones(6)}, "b": {"kernel": kernels[1]}}

    def objective(params, batch, key, train=True):
        hidden = jnp.tanh(x @ params["a"]["kernel"] + params["a"]["bias"][None])
        return {"loss": jnp.mean(jnp.square(hidden @ params["b"]["kernel"]))}, None

    scheme = Quantize(4)
    near = dequantized_variables(scheme.variables({"params": params}))["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), straight_through(params, scheme), near)
    batch, key = Toy().one_seed(), jax.random.key(0)
    run = jax.jit(lambda gradient_of, params: gradient_of(objective, params, (), batch, key)[:2], static_argnums=0)
    plain, aware = SumOfLosses(), QuantizationAware(scheme)
    at_near, found = run(plain, near), run(aware, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, at_near)
    jax.tree.map(np.testing.assert_array_equal, run(QuantizationAware(None), params), run(plain, params))
    assert float(found[0]) != float(run(plain, params)[0])


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (Quantize(3), r"Quantize\.bits is 3; it must be 4 or 8"),
        (Quantize(4, group=3), r"Quantize\.group is 3; it must be an even number of inputs, or None"),
        (
            Quantize(8, weights=("fusions",)),
            r"weights is \('fusions',\), which matches no kernel; modules with kernels are dense",
        ),
        (Chain((Quantize(8), Quantize(4))), "these variables have scales: they are quantised already"),
        (Chain((Prune(Magnitude(1.5)),)), r"Magnitude\.sparsity is 1\.5"),
    ],
)
def test_wrong_fields_are_named(scheme, message):
    with pytest.raises(ValueError, match=message):
        scheme.variables({"params": {"dense": {"kernel": jnp.ones((4, 2))}}})
