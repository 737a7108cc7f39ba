"""Convolution and pooling against XLA and flax: values and gradients, also under vmap over kernels and inside scan."""

import math
import re
from functools import reduce

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mmjax.nn import Conv, max_pool
from mmjax.nn.conv import adaptive_mean_pool, conv, conv_nhwc, depthwise, pointwise_conv


def xla(x, kernel, strides, padding):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize(
    ("kernel", "strides", "padding"),
    [
        ((3, 3), (1, 1), ((1, 1), (1, 1))),
        ((3, 3), (2, 2), ((0, 1), (0, 1))),
        ((1, 1), (1, 1), ((0, 0), (0, 0))),
        ((1, 1), (2, 2), ((0, 0), (0, 0))),
        ((5, 3), (2, 1), ((2, 2), (0, 0))),
        ((7, 7), (2, 3), ((3, 2), (1, 3))),
    ],
)
@pytest.mark.parametrize("form", [conv, conv_nhwc])
def test_equals_xla_with_gradients(form, kernel, strides, padding):
    kx, kk, kg = jax.random.split(jax.random.key(0), 3)
    x, k = jax.random.normal(kx, (2, 11, 9, 3)), jax.random.normal(kk, (*kernel, 3, 5))
    expected, pull = jax.vjp(lambda x, k: xla(x, k, strides, padding), x, k)
    got, our_pull = jax.vjp(lambda x, k: form(x, k, strides, padding), x, k)
    chex.assert_trees_all_close(got, expected, atol=1e-4)
    cotangent = jax.random.normal(kg, got.shape)
    chex.assert_trees_all_close(our_pull(cotangent), pull(cotangent), atol=1e-3)


@pytest.mark.parametrize(
    ("c", "o", "strided", "first"), [(3, 5, False, 3), (5, 3, False, 3), (4, 4, False, 4), (3, 5, True, 5)]
)
def test_the_operand_order_of_the_pointwise_gradient(c, o, strided, first):
    """`first` is the number of channels of the first operand in the matmul of the kernel's gradient."""
    kx, kk, kg = jax.random.split(jax.random.key(0), 3)
    x, k, dy = jax.random.normal(kx, (2, 4, 3, c)), jax.random.normal(kk, (2, c, o)), jax.random.normal(kg, (2, 2, 4, 3, o))

    def gradients(product):
        return jax.vmap(lambda k, dy: jax.vjp(product, x, k)[1](dy))(k, dy)  # as with seeds: many kernels, one batch of images

    product = lambda x, k: pointwise_conv(x, k, strided)
    chex.assert_trees_all_close(gradients(product), gradients(lambda x, k: x @ k), rtol=1e-5, atol=1e-5)
    program = jax.make_jaxpr(lambda x, k, dy: jax.vjp(product, x, k)[1](dy)[1])(x, k[0], dy[0])
    shapes = [[v.aval.shape for v in one.invars] for one in program.jaxpr.eqns if one.primitive.name == "dot_general"]
    assert [(left[-1], right[-1]) for left, right in shapes if len(left) == len(right) == 4] == [(first, c + o - first)]


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 0), (0, 1))])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_layer_equals_flax(padding, strides):
    x = jax.random.normal(jax.random.key(1), (2, 10, 7, 3))
    ours, theirs = Conv(4, strides=strides, padding=padding), nn.Conv(4, (3, 3), strides=strides, padding=padding)
    params = ours.init(jax.random.key(0), x)
    chex.assert_trees_all_equal_shapes_and_dtypes(params, theirs.init(jax.random.key(0), x))
    chex.assert_trees_all_close(ours.apply(params, x), theirs.apply(params, x), atol=1e-5)


def test_bfloat16_output_and_float32_parameters():
    x = jax.random.normal(jax.random.key(1), (2, 6, 6, 3))
    layer = Conv(4, dtype=jnp.bfloat16)
    params = layer.init(jax.random.key(0), x)
    chex.assert_type(jax.tree.leaves(params), jnp.float32)
    y = layer.apply(params, x)
    chex.assert_type(y, jnp.bfloat16)
    chex.assert_trees_all_close(y.astype(jnp.float32), Conv(4).apply(params, x), atol=0.05)


@pytest.mark.parametrize("size", [(1, 1), (3, 3)])
def test_vmap_over_kernels_and_scan_equal_single_calls(size):
    x = jax.random.normal(jax.random.key(1), (3, 2, 6, 6, 3))
    layer = Conv(4, size)
    params = jax.vmap(lambda key: layer.init(key, x[0]))(jax.random.split(jax.random.key(0), 3))
    gradient = jax.grad(lambda params, x: (layer.apply(params, x) ** 2).sum(), argnums=(0, 1))
    one_by_one = [gradient(jax.tree.map(lambda p, i=i: p[i], params), x[i]) for i in range(3)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one)
    chex.assert_trees_all_close(jax.jit(jax.vmap(gradient))(params, x), expected, atol=1e-3)
    scanned = lax.scan(lambda _, now: (None, gradient(*now)), None, (params, x))[1]
    chex.assert_trees_all_close(scanned, expected, atol=1e-3)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_convolutions_inside_scan_have_the_fast_axis_order(strides):
    x, kernel = jnp.ones((2, 8, 8, 16)), jnp.ones((3, 3, 16, 4))

    def orders(form):
        gradient = jax.grad(lambda k, x: (form(x, k, strides, ((1, 1), (1, 1))) ** 2).sum(), argnums=(0, 1))
        scanned = jax.jit(
            lambda k, x: lax.scan(lambda k, _: (k - gradient(k, x)[0] + gradient(k, x)[1].sum(), None), k, None, 2)[0]
        )
        return re.findall(r" convolution\(.*dim_labels=(\S+?)[, ]", scanned.lower(kernel, x).compile().as_text() + " ")

    assert set(orders(conv_nhwc)) == {"b01f_01io->b01f"}
    assert set(orders(xla)) != {"b01f_01io->b01f"}


@pytest.mark.parametrize(("shape", "size"), [((2, 8, 6, 3), 2), ((1, 7, 9, 2), 2), ((1, 9, 9, 2), 3)])
def test_max_pool_equals_flax(shape, size):
    x = jax.random.normal(jax.random.key(0), shape)
    expected = nn.max_pool(x, (size, size), (size, size))
    chex.assert_trees_all_equal(max_pool(x, size), expected)
    chex.assert_trees_all_equal(jax.vjp(lambda x: max_pool(x, size), x)[0], expected)  # with a gradient, another form
    ours, theirs = (
        jax.grad(lambda x, f=f: (f(x) ** 2).sum())(x)
        for f in (lambda x: max_pool(x, size), lambda x: nn.max_pool(x, (size, size), (size, size)))
    )
    chex.assert_trees_all_close(ours, theirs)


def test_max_pool_splits_the_gradient_between_equal_values():
    """The maximum of four slices is a chain of three pairwise maxima; each splits the gradient of a tie in halves."""
    gradient = jax.grad(lambda x: max_pool(x).sum())
    ties = jnp.ones((1, 2, 2, 1))
    np.testing.assert_array_equal(gradient(ties).ravel(), [0.125, 0.125, 0.25, 0.5])
    chain = lambda x: reduce(jnp.maximum, (x[:, i::2, j::2] for i in range(2) for j in range(2))).sum()
    few = jnp.round(jax.random.normal(jax.random.key(0), (2, 3, 8, 6, 5)))  # many ties
    expected = jax.vmap(jax.grad(chain))(few)
    chex.assert_trees_all_equal(jax.jit(jax.vmap(gradient))(few), expected)
    chex.assert_trees_all_equal(lax.scan(lambda _, x: (None, gradient(x)), None, few)[1], expected)
    chex.assert_trees_all_equal(jax.grad(lambda x: max_pool(x, 1).sum())(few[0]), jnp.ones(few.shape[1:]))


@pytest.mark.parametrize("pool", [max_pool, lambda x: jax.vjp(max_pool, x)[0]], ids=["evaluation", "training"])
def test_max_pool_keeps_the_dtype_and_non_finite_values_within_their_cell(pool):
    x = jnp.arange(2 * 5 * 4 * 3, dtype=jnp.bfloat16).reshape(2, 5, 4, 3)
    y = pool(x)
    chex.assert_type(y, jnp.bfloat16)
    np.testing.assert_array_equal(y, x[:, 1:4:2, 1::2])  # the last pixel of each cell; the fifth row is dropped
    spoiled = pool(x.at[0, 0, 0, 0].set(jnp.nan).at[1, :2, :2, 1].set(-jnp.inf))
    assert jnp.isnan(spoiled).sum() == 1 and jnp.isneginf(spoiled[1, 0, 0, 1])


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize(
    ("pool", "dtype", "use_bias"), [(2, jnp.float32, True), (3, jnp.bfloat16, True), (2, jnp.float32, False)]
)
def test_the_pool_field_equals_pooling_after_the_layer(strides, pool, dtype, use_bias):
    x, plain = jax.random.normal(jax.random.key(1), (2, 7, 9, 3)), Conv(4, strides=strides, use_bias=use_bias, dtype=dtype)
    pooling = plain.clone(pool=pool)
    params = jax.tree.map(lambda p: jax.random.normal(jax.random.key(2), p.shape), plain.init(jax.random.key(0), x))
    chex.assert_trees_all_equal_shapes(params, pooling.init(jax.random.key(0), x))

    def gradients(layer):
        y, pull = jax.vjp(layer, params, x)
        return (y, *pull(jax.random.normal(jax.random.key(3), y.shape, dtype))) if dtype == jnp.float32 else y

    expected = gradients(lambda params, x: max_pool(plain.apply(params, x), pool))
    chex.assert_trees_all_close(gradients(pooling.apply), expected, rtol=1e-5, atol=1e-5)


def test_pool_zero_raises():
    with pytest.raises(ValueError, match=r"Conv\.pool is 0"):
        Conv(4, pool=0).init(jax.random.key(0), jnp.ones((1, 4, 4, 3)))


def test_max_pool_of_too_few_pixels_raises():
    with pytest.raises(ValueError, match=r"\(1, 4\) pixels, fewer than one cell of 2 x 2"):
        max_pool(jnp.ones((1, 1, 4, 2)))


def test_hand_derived():
    # A 2x2 kernel of ones over the image [[1 2] [3 4]], padded by one row above: sums [[1+2], [1+2+3+4]].
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None]
    y = conv(x, jnp.ones((2, 2, 1, 1)), (1, 1), ((1, 0), (0, 0)))
    np.testing.assert_allclose(np.asarray(y)[0, :, :, 0], [[3.0], [10.0]])


@pytest.mark.parametrize(
    ("shape", "size", "stride", "padding"), [((2, 8, 7, 3), 3, 2, 1), ((1, 1, 1, 2), 3, 2, 1), ((1, 7, 6, 2), 3, 1, 0)]
)
def test_overlapping_max_pool_equals_flax(shape, size, stride, padding):
    x = jax.random.normal(jax.random.key(0), shape) - 3  # mostly negative: padding must never win
    ours = lambda x: max_pool(x, size, stride, padding)
    theirs = lambda x: nn.max_pool(x, (size, size), (stride, stride), ((padding, padding),) * 2)
    chex.assert_trees_all_close(ours(x), theirs(x))
    chex.assert_trees_all_close(*(jax.grad(lambda x, f=f: (f(x) ** 2).sum())(x) for f in (ours, theirs)), rtol=1e-6)


@pytest.mark.parametrize(("height", "width", "cells"), [(4, 6, 2), (5, 1, 3), (7, 7, 7), (10, 8, 7)])
def test_adaptive_mean_pool_by_slices(height, width, cells):
    x = np.asarray(jax.random.normal(jax.random.key(0), (2, height, width, 3)))
    expected = np.zeros((2, cells, cells, 3))
    for i in range(cells):
        for j in range(cells):
            top, left = math.floor(i * height / cells), math.floor(j * width / cells)
            bottom, right = math.ceil((i + 1) * height / cells), math.ceil((j + 1) * width / cells)
            expected[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    np.testing.assert_allclose(adaptive_mean_pool(jnp.asarray(x), cells), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2)])
def test_depthwise_equals_xla_with_gradients(side, stride):
    x = jax.random.normal(jax.random.key(0), (2, 9, 6, 4))
    kernel = jax.random.normal(jax.random.key(1), (side, side, 1, 4))
    padding = lax.padtype_to_pads(x.shape[1:3], (side, side), (stride, stride), "SAME")

    def xla(x, kernel):
        names = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=names, feature_group_count=4)

    def ours(x, kernel):
        return depthwise(x, kernel, (stride, stride), padding)

    def with_gradients(convolve):
        loss = lambda x, kernel: (y := convolve(x, kernel), jnp.sin(y).sum())[::-1]
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(x, kernel)

    chex.assert_trees_all_close(with_gradients(ours), with_gradients(xla), rtol=1e-4, atol=1e-4)
    assert " convolution(" not in jax.jit(ours).lower(x, kernel).compile().as_text()
