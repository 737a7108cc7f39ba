"""Every encoder and every fusion keeps the contract of missing modalities, and every way of compiling it gives the same."""

from functools import cache, partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.evaluate.subsets import logits_by_subset, subsets_of
from mmjax.losses import cross_entropy
from mmjax.shards import SHARD, sum_over_shards
from mmjax.types import Batch, Padded
from tests.contracts.cases import PARTS, case, in_bfloat16, is_float
from tests.contracts.inputs import BATCH, CLASSES

each = pytest.mark.parametrize("part", PARTS)


class Seen(NamedTuple):
    """What a model says of a batch, the gradients of its loss in training, by its parameters and by its inputs, and the
    batch statistics after it."""

    output: Any
    by_params: Any
    by_inputs: Any
    stats: Any


def drawn(random: np.random.Generator, path: Any, leaf: Any) -> np.ndarray:
    """Any parameters will do, better ones than zero biases: normal, scales and variances around 1."""
    values = random.normal(size=leaf.shape).astype(leaf.dtype) / np.sqrt(np.prod(leaf.shape[:-1]).clip(1, 20))
    if path[-1].key in ("scale", "var"):
        return np.abs(1 + 0.1 * values)
    return 0.1 * values if path[-1].key == "bias" else values  # large ones would leave narrow ReLUs dead


@cache
def build(part: str):
    """(model, batch, variables, variables, batch -> Seen)."""
    model, batch = case(part)
    batch = jax.tree.map(np.asarray, batch)  # NumPy compiles nothing
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    variables = jax.tree_util.tree_map_with_path(partial(drawn, np.random.default_rng(0)), shapes)

    def run(variables, batch):
        def loss(params, floats):
            inputs = {name: put(batch.inputs[name], value) for name, value in floats.items()}
            given = batch.replace(inputs={**batch.inputs, **inputs})
            rngs = {"dropout": jax.random.key(7)}
            mutable = [name for name in variables if name != "params"]
            outputs, stats = model.apply({**variables, "params": params}, given, train=True, rngs=rngs, mutable=mutable)
            return cross_entropy(outputs, batch).sum(), dict(stats)

        floats = {n: jax.tree.leaves(x)[0] for n, x in batch.inputs.items() if is_float(jax.tree.leaves(x)[0])}
        (by_params, by_inputs), stats = jax.grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], floats)
        return Seen(model.apply(variables, batch)["label"], sum_over_shards(by_params), by_inputs, stats)

    return model, batch, variables, run


@cache
def compiled(part: str):
    return jax.jit(build(part)[-1])


def put(x, values):
    return Padded(values, x.length) if isinstance(x, Padded) else values


def spoil(batch: Batch) -> Batch:
    """Other numbers, NaN where there is such a thing, wherever the contract says that nobody looks."""

    def spoiled(x, there):
        bad = np.full_like(x, np.nan) if is_float(x) else x + 1
        return np.where(there.reshape(there.shape + (1,) * (x.ndim - there.ndim)), x, bad)

    def one(x, present):
        if not isinstance(x, Padded):
            return spoiled(x, present)
        return Padded(spoiled(x.x, real(x) & present[:, None]), np.where(present, x.length, 3))

    return batch.replace(inputs={name: one(x, batch.present[name]) for name, x in batch.inputs.items()})


def real(x: Padded) -> np.ndarray:
    return np.arange(x.x.shape[1])[None] < x.length[:, None]


@each
def test_missing_modalities(part):
    _, batch, variables, _ = build(part)
    run = compiled(part)
    seen = jax.tree.map(np.asarray, run(variables, batch))
    chex.assert_shape(seen.output, (BATCH, CLASSES))
    chex.assert_type(seen.output, jnp.float32)
    chex.assert_tree_all_finite(seen)  # example 3 has no modality at all
    chex.assert_trees_all_equal(seen, jax.tree.map(np.asarray, run(variables, spoil(batch))))

    # The suite can fail: where a modality is present, its values do matter, in the output and by the gradient.
    changed = jax.tree.map(lambda x: x + 1 if is_float(x) else x[::-1], batch.inputs["one"])
    other = run(variables, batch.replace(inputs={**batch.inputs, "one": changed}))
    moved = np.abs(np.asarray(other.output - seen.output)).max(axis=1) > 1e-7
    present = np.asarray(batch.present["one"])
    assert not moved[~present].any()
    assert moved[present].mean() > 0.5

    for name, gradient in seen.by_inputs.items():
        there, x = batch.present[name], batch.inputs[name]
        if isinstance(x, Padded):
            there = there[:, None] & real(x)
        size = np.abs(gradient).reshape(*there.shape, -1).max(axis=-1)
        assert not size[~there].any(), name
        assert (size[there] > 0).mean() > 0.2, name

    nothing = batch.replace(present={name: np.zeros(BATCH, bool) for name in batch.present})
    empty = jax.tree.map(np.asarray, run(variables, spoil(nothing)))
    chex.assert_tree_all_finite(empty)
    chex.assert_trees_all_close(empty.output, np.broadcast_to(empty.output[:1], empty.output.shape))  # all examples are equal

    others = jax.tree.map(lambda x: np.concatenate([x[::-1][: BATCH // 2], x[BATCH // 2 :]]), batch)
    other = np.asarray(run(variables, others).output)
    chex.assert_trees_all_close(seen.output[BATCH // 2 :], other[BATCH // 2 :], atol=1e-5)


@pytest.mark.slow
@each
def test_subsets_and_seeds_in_one_call_equal_masked_batches(part):
    model, batch, variables, _ = build(part)
    run = compiled(part)
    names = tuple(batch.present)
    subsets = subsets_of(names)
    assert len(subsets) == 2 ** len(names) - 1
    seeds = [variables, jax.tree.map(lambda x: x * 0.5, variables)]
    logits = logits_by_subset(model, subsets, "label")(jax.tree.map(lambda *x: np.stack(x), *seeds), batch)
    logits = np.asarray(logits)
    chex.assert_shape(logits, (2, len(subsets), BATCH, CLASSES))
    for k, subset in enumerate(subsets):
        masked = batch.replace(present={n: p & (n in subset) for n, p in batch.present.items()})
        seed = k % 2
        expected = np.asarray(run(seeds[seed], spoil(masked)).output)
        chex.assert_trees_all_close(logits[seed, k], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@each
def test_one_device_and_four_are_equal(part):
    """With dropout and batch statistics, forward and backward; `train.step` adds nothing that a part could break."""
    _, batch, variables, run = build(part)
    assert jax.local_device_count() == 4
    shards = jax.tree.map(lambda x: x.reshape(4, BATCH // 4, *x.shape[1:]), batch)
    spread = jax.tree.map(np.asarray, jax.pmap(run, axis_name=SHARD, in_axes=(None, 0))(variables, shards))
    one = jax.tree.map(np.asarray, compiled(part)(variables, batch))
    whole = lambda tree: jax.tree.map(lambda x: x.reshape(BATCH, *x.shape[2:]), tree)
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)
    together = Seen(whole(spread.output), first(spread.by_params), whole(spread.by_inputs), first(spread.stats))
    chex.assert_trees_all_close(one, together, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@each
def test_bfloat16_is_near_float32(part):
    model, batch, variables, _ = build(part)
    half = in_bfloat16(model)

    @jax.jit
    def both(variables, batch):
        tokens = half.apply(variables, batch, method="encode")
        return tokens, half.apply(variables, tokens, batch.present, method="decode")["label"]

    tokens, output = both(variables, batch)
    chex.assert_type(output, jnp.float32)
    expected = np.asarray(compiled(part)(variables, batch).output)
    assert np.abs(output - expected).max() < 0.1 * max(np.abs(expected).max(), 0.1)
    assert not np.array_equal(output, expected)  # something was computed in bfloat16 indeed
    for token in tokens.values():
        chex.assert_shape(token.x, (BATCH, None, None))
        chex.assert_shape(token.mask, token.x.shape[:2])
        chex.assert_type(token.mask, bool)
