"""Tokens of up to three modalities with every pattern of presence, and checks of fusions against NumPy formulas."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.types import Tokens

NAMES, COUNT, WIDTH = ("text", "image", "audio"), (1, 3, 2), (5, 4, 3)  # not sorted by name, to test sorting


def tokens_of(modalities: int, seed: int = 0, garbage: float = 1e6) -> dict[str, Tokens]:
    """Tokens of the first `modalities` modalities. The examples are all subsets of them, from complete to empty; masked tokens
    have the value `garbage`."""
    rng = np.random.default_rng(seed)
    subsets = np.array(list(product((True, False), repeat=modalities)))
    tokens = {}
    for k, (name, n, d) in enumerate(zip(NAMES[:modalities], COUNT, WIDTH)):
        mask = np.tile(subsets[:, k, None], n)
        mask[::3, 1:] = False
        x = np.where(mask[..., None], rng.normal(size=(len(subsets), n, d)), garbage)
        tokens[name] = Tokens(jnp.asarray(x, jnp.float32), jnp.asarray(mask))
    return tokens


def random_params(fusion, tokens, seed: int = 1):
    """Random NumPy parameters with the shapes of `init`; biases are not zero, so that the tests cover them."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(fusion.init, jax.random.key(0), tokens).get("params", {})
    return jax.tree.map(lambda leaf: rng.normal(scale=0.7, size=leaf.shape).astype(np.float32), shapes)


def apply(fusion, params, tokens) -> Tokens:
    return jax.jit(fusion.apply)({"params": params}, tokens)


def examples(tokens):
    """For each example: {modality: mean token}, zeros if absent, sorted by name; and the names of the present modalities."""
    arrays = {name: (np.float64(tokens[name].x), np.asarray(tokens[name].mask)) for name in sorted(tokens)}
    for b in range(next(iter(tokens.values())).mask.shape[0]):
        x, present = {}, []
        for name, (values, mask) in arrays.items():
            rows = [row for row, valid in zip(values[b], mask[b]) if valid]
            x[name] = sum(rows) / len(rows) if rows else np.zeros(values.shape[-1])
            present += [name] if rows else []
        yield x, present


def dense(params, x):
    """x W + b; the bias is optional."""
    return x @ params["kernel"] + params.get("bias", 0.0)


def check(fusion, modalities: int, formula, atol: float = 1e-4, rtol: float = 1e-4):
    """The single token equals formula(params, {modality: vector}, names of present modalities) in every example."""
    tokens = tokens_of(modalities)
    params = random_params(fusion, tokens)
    fused = jax.tree.map(np.asarray, apply(fusion, params, tokens))
    assert fused.x.dtype == np.float32
    for b, (x, present) in enumerate(examples(tokens)):
        np.testing.assert_allclose(fused.x[b, 0], formula(params, x, present), atol=atol, rtol=rtol, err_msg=f"{present}")
        assert fused.mask[b].tolist() == [bool(present)]


def check_finite(fusion, modalities: int = 2):
    """Outputs and gradients are finite for zero inputs and without any modality."""
    tokens = {name: t.replace(x=jnp.zeros_like(t.x)) for name, t in tokens_of(modalities).items()}
    params = random_params(fusion, tokens)
    params = jax.tree.map(lambda leaf: leaf * (leaf.ndim > 1), params)  # zero biases

    def total(params, values):
        fused = fusion.apply({"params": params}, {name: t.replace(x=values[name]) for name, t in tokens.items()})
        return (fused.x * jnp.arange(1.0, fused.x.shape[-1] + 1)[None, None]).sum()

    values = {name: t.x for name, t in tokens.items()}
    results = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(params, values)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))
