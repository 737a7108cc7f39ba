"""Kernels of a GGUF file that stay in blocks: the same numbers, and the same texts as those of the dequantised model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders.generator import Generator
from mmjax.decoders.products import IntegerKernel, product
from mmjax.pretrained import WeightsError, load, save
from mmjax.pretrained.ggml import GGML_TYPES, dequantize, kept
from tests.pretrained.gguf_files import SIZES, file_bytes, llama_parts, written

KINDS = {"attn_q": 2, "attn_k": 7, "attn_v": 8, "attn_output": 3, "ffn_gate": 6, "ffn_up": 3}
WIDTH = 64
HALF_AT = {12: (0, 2), 13: (0, 2), 14: (208,), 3: (0, 2), 7: (0, 2)}  # bytes of scales in half precision; others at 0


def random_blocks(random, kind: int, size: int, count: int) -> np.ndarray:
    """Bytes [count size] with random integers and small scales."""
    found = random.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALF_AT.get(kind, (0,)):
        found[:, at : at + 2] = random.uniform(0.001, 0.01, (count, 1)).astype("<f2").view(np.uint8)
    return found


@pytest.mark.parametrize("number", [number for number, kind in GGML_TYPES.items() if kind.count > 1])
def test_blocks_are_the_numbers(number):
    kind = GGML_TYPES[number]
    data, shape = random_blocks(np.random.default_rng(number), number, kind.size, 6).reshape(-1), (3, 2 * kind.count)
    found = kept(kind, data, shape)
    assert found.integers.dtype in (np.int8, np.uint8) and found.integers.shape == shape
    groups = found.scale.shape[1]
    parts = found.integers.reshape(3, groups, -1) * found.scale[..., None].astype(np.float64)
    parts += 0 if found.minimum is None else found.minimum[..., None]
    np.testing.assert_allclose(parts.reshape(shape), dequantize(kind, data, shape), rtol=1e-6, atol=1e-7)
    assert kept(GGML_TYPES[0], np.zeros(8, np.uint8), (2,)) is None


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A Llama with two heads, width 64, and quantised kernels but for one."""
    random = np.random.default_rng(1)
    metadata, tensors = llama_parts()
    metadata |= {"llama.embedding_length": WIDTH, "llama.feed_forward_length": 6, "llama.context_length": 64}
    rows = {"attn_k": 32, "attn_v": 32, "ffn_gate": 6, "ffn_up": 6}
    for name, x in tensors.items():
        shape = tuple({8: WIDTH, 4: 32}.get(size, size) for size in x.shape)
        tensors[name] = random.normal(0, 0.2, shape if "blk" in name or x.ndim == 1 else (8, WIDTH)).astype(np.float32)
    for name, kind in KINDS.items():
        count = rows.get(name, WIDTH)
        blocks = random_blocks(random, kind, SIZES[kind], count * WIDTH // 32)
        tensors[f"blk.0.{name}.weight"] = blocks.reshape(count, -1)
    kinds = {f"blk.0.{name}.weight": kind for name, kind in KINDS.items()}
    return written(tmp_path_factory.mktemp("blocks"), file_bytes(metadata, tensors, kinds))


def test_a_model_in_blocks(file, tmp_path):
    plain, blocks = load(file), load(file, keep_blocks=True)
    flat = lambda variables: jax.tree_util.tree_leaves_with_path(variables, is_leaf=lambda x: isinstance(x, IntegerKernel))
    kernels = {path: x for path, x in flat(blocks.variables) if isinstance(x, IntegerKernel)}
    assert len(kernels) == len(KINDS)
    for path, x in flat(plain.variables):
        if path in kernels:
            np.testing.assert_array_equal(jax.tree.map(jnp.asarray, kernels[path]).floats(), x)
    four = [x for x in kernels.values() if x.values.dtype == np.uint8]
    assert len(four) == 3 and all(len(x.values) == WIDTH // 2 for x in four)  # Q4_0 and Q4_1

    prompts = [[1, 3, 5], [1, 7, 4, 6, 3]]
    of = lambda weights: Generator.of(weights.module, weights.variables)
    for given in (prompts, prompts[:1]):  # many rows, and a single one
        np.testing.assert_array_equal(of(blocks)(given, 6).x, of(plain)(given, 6).x)
    with pytest.raises(WeightsError, match=r"kernel is in blocks, which cannot be saved; load .* with keep_blocks=False"):
        save(blocks, tmp_path)
    save(plain, tmp_path)
    with pytest.raises(WeightsError, match="only kernels of a GGUF file can stay in blocks"):
        load(tmp_path, keep_blocks=True)


@pytest.mark.parametrize("packed", [False, True])
def test_products_of_groups(packed):
    """Against NumPy: two groups of 16 inputs, one row and two."""
    random = np.random.default_rng(0)
    integers, x = random.integers(0, 16, (32, 3)), random.normal(size=(2, 1, 32)).astype(np.float32)
    scale, minimum = random.normal(size=(2, 2, 3)).astype(np.float32)
    expected = x @ (np.repeat(scale, 16, 0) * integers + np.repeat(minimum, 16, 0))
    values = integers[0::2] | integers[1::2] << 4 if packed else integers
    kernel = IntegerKernel(jnp.asarray(values, jnp.uint8 if packed else jnp.int8), jnp.asarray(scale), jnp.asarray(minimum))
    for given, wanted in ((x, expected), (x[:1], expected[:1])):
        np.testing.assert_allclose(jax.jit(product)(jnp.asarray(given), kernel), wanted, rtol=1e-4, atol=1e-5)
