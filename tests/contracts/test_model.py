"""Every encoder and fusion satisfies the contract of missing modalities and is equal under every way of compiling it."""

from functools import cache, partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders import ImagePatches, PlacedCells, Recordings
from mmjax.losses import cross_entropy
from mmjax.shards import SHARD, sum_over_shards
from mmjax.tasks.subsets import subsets_of
from mmjax.types import Batch, Padded
from tests.contracts.cases import PARTS, SLOW, case, in_bfloat16, is_float
from tests.contracts.inputs import BATCH, CLASSES
from tests.contracts.subsets import labels_by_subset

each = pytest.mark.parametrize("part", PARTS)


class Results(NamedTuple):
    """The output for a batch in evaluation; in training, the gradients of the loss with respect to parameters and inputs, and
    the updated batch statistics."""

    output: Any
    by_params: Any
    by_inputs: Any
    stats: Any


def drawn(random: np.random.Generator, path: Any, leaf: Any) -> np.ndarray:
    """Random parameters: normal, with scales and variances around 1."""
    values = random.normal(size=leaf.shape).astype(leaf.dtype) / np.sqrt(np.prod(leaf.shape[:-1]).clip(1, 20))
    if path[-1].key in ("scale", "var"):
        return np.abs(1 + 0.1 * values)
    return 0.1 * values if path[-1].key == "bias" else values  # large biases would leave narrow ReLUs dead


@cache
def build(part: str):
    """(model, batch, variables, run) with run: (variables, batch) -> Results."""
    model, batch = case(part)
    batch = jax.tree.map(np.asarray, batch)  # NumPy arrays need no compilation
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    variables = jax.tree_util.tree_map_with_path(partial(drawn, np.random.default_rng(0)), shapes)

    def run(variables, batch):
        def loss(params, floats):
            inputs = {name: put(batch.inputs[name], value) for name, value in floats.items()}
            replaced = batch.replace(inputs={**batch.inputs, **inputs})
            rngs = {"dropout": jax.random.key(7)}
            mutable = [name for name in variables if name != "params"]
            outputs, stats = model.apply({**variables, "params": params}, replaced, train=True, rngs=rngs, mutable=mutable)
            return cross_entropy(outputs, batch).sum(), dict(stats)

        floats = {n: jax.tree.leaves(x)[0] for n, x in batch.inputs.items() if is_float(jax.tree.leaves(x)[0])}
        (by_params, by_inputs), stats = jax.grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], floats)
        return Results(model.apply(variables, batch)["label"], sum_over_shards(by_params), by_inputs, stats)

    return model, batch, variables, run


@cache
def compiled(part: str):
    return jax.jit(build(part)[-1])


def put(x, values):
    return x.replace(x=values) if has_steps(x) else values


def spoil(batch: Batch) -> Batch:
    """Replaces all masked values: floats by NaN, integers by other integers."""

    def spoiled(x, valid):
        bad = np.full_like(x, np.nan) if is_float(x) else x + 1
        return np.where(valid.reshape(valid.shape + (1,) * (x.ndim - valid.ndim)), x, bad)

    def one(x, present):
        if not has_steps(x):
            return spoiled(x, present)
        sizes = jax.tree.map(lambda leaf: np.where(present.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, 3).astype(leaf.dtype), x)
        return sizes.replace(x=spoiled(x.x, valid_steps(x) & present[:, None]))

    return batch.replace(inputs={name: one(x, batch.present[name]) for name, x in batch.inputs.items()})


def has_steps(x) -> bool:
    return isinstance(x, (Padded, ImagePatches, PlacedCells, Recordings))


def valid_steps(x: Padded | ImagePatches | PlacedCells | Recordings) -> np.ndarray:
    if isinstance(x, Recordings):
        return x.length > 0
    if isinstance(x, PlacedCells):
        return x.place[..., 2] > 0
    size = x.length if isinstance(x, Padded) else x.grid.prod(axis=1)
    return np.arange(x.x.shape[1])[None] < size[:, None]


@pytest.mark.parametrize("part", [pytest.param(part, marks=pytest.mark.slow) if part in SLOW else part for part in PARTS])
def test_missing_modalities(part):
    _, batch, variables, _ = build(part)
    run = compiled(part)
    results = jax.tree.map(np.asarray, run(variables, batch))
    chex.assert_shape(results.output, (BATCH, CLASSES))
    chex.assert_type(results.output, jnp.float32)
    chex.assert_tree_all_finite(results)  # example 3 has no modality at all
    chex.assert_trees_all_equal(results, jax.tree.map(np.asarray, run(variables, spoil(batch))))

    # Values of present modalities do have influence, on the output and by the gradient.
    changed = jax.tree.map(lambda x: x + 1 if is_float(x) else x[::-1], batch.inputs["one"])
    other = run(variables, batch.replace(inputs={**batch.inputs, "one": changed}))
    moved = np.abs(np.asarray(other.output - results.output)).max(axis=1) > 1e-7
    present = np.asarray(batch.present["one"])
    assert not moved[~present].any()
    assert moved[present].mean() > 0.5

    for name, gradient in results.by_inputs.items():
        valid, x = batch.present[name], batch.inputs[name]
        if has_steps(x):
            valid = valid[:, None] & valid_steps(x)
        size = np.abs(gradient).reshape(*valid.shape, -1).max(axis=-1)
        assert not size[~valid].any(), name
        assert (size[valid] > 0).mean() > 0.2, name

    absent = batch.replace(present={name: np.zeros(BATCH, bool) for name in batch.present})
    without = jax.tree.map(np.asarray, run(variables, spoil(absent)))
    chex.assert_tree_all_finite(without)
    chex.assert_trees_all_close(without.output, np.broadcast_to(without.output[:1], without.output.shape))  # all are equal

    # The second half of the batch does not depend on the first.
    others = jax.tree.map(lambda x: np.concatenate([x[::-1][: BATCH // 2], x[BATCH // 2 :]]), batch)
    other = np.asarray(run(variables, others).output)
    chex.assert_trees_all_close(results.output[BATCH // 2 :], other[BATCH // 2 :], atol=1e-5)


@pytest.mark.slow
@each
def test_subsets_and_seeds_in_one_call_equal_masked_batches(part):
    model, batch, variables, _ = build(part)
    run = compiled(part)
    names = tuple(batch.present)
    subsets = subsets_of(names)
    assert len(subsets) == 2 ** len(names) - 1
    seeds = [variables, jax.tree.map(lambda x: x * 0.5, variables)]
    over_seeds = jax.jit(jax.vmap(labels_by_subset(model, subsets), in_axes=(0, None)))
    logits = np.asarray(over_seeds(jax.tree.map(lambda *x: np.stack(x), *seeds), batch))
    chex.assert_shape(logits, (2, len(subsets), BATCH, CLASSES))
    for k, subset in enumerate(subsets):
        masked = batch.replace(present={n: p & (n in subset) for n, p in batch.present.items()})
        seed = k % 2
        expected = np.asarray(run(seeds[seed], spoil(masked)).output)
        chex.assert_trees_all_close(logits[seed, k], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@each
def test_one_device_and_four_are_equal(part):
    """With dropout and batch statistics, forward and backward."""
    _, batch, variables, run = build(part)
    assert jax.local_device_count() == 4
    shards = jax.tree.map(lambda x: x.reshape(4, BATCH // 4, *x.shape[1:]), batch)
    sharded = jax.tree.map(np.asarray, jax.pmap(run, axis_name=SHARD, in_axes=(None, 0))(variables, shards))
    one = jax.tree.map(np.asarray, compiled(part)(variables, batch))
    whole = lambda tree: jax.tree.map(lambda x: x.reshape(BATCH, *x.shape[2:]), tree)
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)
    joined = Results(whole(sharded.output), first(sharded.by_params), whole(sharded.by_inputs), first(sharded.stats))
    chex.assert_trees_all_close(one, joined, rtol=1e-3, atol=1e-5)


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
    assert not np.array_equal(output, expected)  # bfloat16 was used
    for token in tokens.values():
        chex.assert_shape(token.x, (BATCH, None, None))
        chex.assert_shape(token.mask, token.x.shape[:2])
        chex.assert_type(token.mask, bool)
