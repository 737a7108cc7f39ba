"""Every encoder and every fusion keeps the contract of missing modalities, and every way of compiling it gives the same."""

from functools import cache
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.evaluate.subsets import logits_by_subset, subsets_of
from mmjax.losses import cross_entropy
from mmjax.train.ablate import init_seeds
from mmjax.train.parallel import pmapped, single
from mmjax.train.step import make_step
from mmjax.types import Batch, Sequence
from tests.contracts.cases import PARTS, case, in_bfloat16, is_float
from tests.contracts.inputs import BATCH, CLASSES

each = pytest.mark.parametrize("part", PARTS)


class Seen(NamedTuple):
    """What a model says of a batch, and the gradients of its loss: by its parameters in training, by its inputs otherwise."""

    output: Any
    by_params: Any
    by_inputs: Any


@cache
def build(part: str):
    """(model, batch, variables, compiled: variables, batch -> Seen)."""
    model, batch = case(part)
    variables = jax.jit(model.init)(jax.random.key(0), batch)

    def run(variables, batch):
        def loss(params, floats, train):
            inputs = {name: put(batch.inputs[name], value) for name, value in floats.items()}
            given = batch.replace(inputs={**batch.inputs, **inputs})
            rngs = {"dropout": jax.random.key(7)} if train else None
            mutable = list(variables) if train else False
            outputs = model.apply({**variables, "params": params}, given, train=train, rngs=rngs, mutable=mutable)
            outputs = outputs[0] if train else outputs
            return cross_entropy(outputs, batch).sum(), outputs["label"]

        floats = {n: jax.tree.leaves(x)[0] for n, x in batch.inputs.items() if is_float(jax.tree.leaves(x)[0])}
        by_params, _ = jax.grad(lambda p: loss(p, {}, True), has_aux=True)(variables["params"])
        by_inputs, output = jax.grad(lambda x: loss(variables["params"], x, False), has_aux=True)(floats)
        return Seen(output, by_params, by_inputs)

    return model, batch, variables, jax.jit(run)


def put(x, values):
    return Sequence(values, x.length) if isinstance(x, Sequence) else values


def spoil(batch: Batch) -> Batch:
    """Other numbers, NaN where there is such a thing, wherever the contract says that nobody looks."""

    def spoiled(x, there):
        bad = jnp.full_like(x, jnp.nan) if is_float(x) else x + 1
        return jnp.where(there.reshape(there.shape + (1,) * (x.ndim - there.ndim)), x, bad)

    def one(x, present):
        if not isinstance(x, Sequence):
            return spoiled(x, present)
        return Sequence(spoiled(x.x, x.mask & present[:, None]), jnp.where(present, x.length, 3))

    return batch.replace(inputs={name: one(x, batch.present[name]) for name, x in batch.inputs.items()})


@each
def test_missing_modalities(part):
    _, batch, variables, run = build(part)
    seen = run(variables, batch)
    chex.assert_shape(seen.output, (BATCH, CLASSES))
    chex.assert_type(seen.output, jnp.float32)
    chex.assert_tree_all_finite(seen)  # example 3 has no modality at all
    chex.assert_trees_all_equal(seen, run(variables, spoil(batch)))

    # The suite can fail: where a modality is present, its values do matter, in the output and by the gradient.
    changed = jax.tree.map(lambda x: x + 1 if is_float(x) else x[::-1], batch.inputs["one"])
    other = run(variables, batch.replace(inputs={**batch.inputs, "one": changed}))
    moved = np.abs(np.asarray(other.output - seen.output)).max(axis=1) > 1e-7
    present = np.asarray(batch.present["one"])
    assert not moved[~present].any()
    assert moved[present].mean() > 0.5

    for name, gradient in seen.by_inputs.items():
        there, x = batch.present[name], batch.inputs[name]
        if isinstance(x, Sequence):
            there = there[:, None] & x.mask
        size = jnp.abs(gradient).reshape(*there.shape, -1).max(axis=-1)
        assert not size[~there].any(), name
        assert (size[there] > 0).mean() > 0.3, name

    nothing = batch.replace(present={name: jnp.zeros(BATCH, bool) for name in batch.present})
    blank = run(variables, spoil(nothing))
    chex.assert_tree_all_finite(blank)
    chex.assert_trees_all_close(blank.output, jnp.broadcast_to(blank.output[:1], blank.output.shape))  # nobody is told apart

    others = jax.tree.map(lambda x: jnp.concatenate([x[::-1][: BATCH // 2], x[BATCH // 2 :]]), batch)
    chex.assert_trees_all_close(seen.output[BATCH // 2 :], run(variables, others).output[BATCH // 2 :], atol=1e-5)


@each
def test_subsets_and_seeds_in_one_call_equal_masked_batches(part):
    model, batch, variables, run = build(part)
    names = tuple(batch.present)
    subsets = subsets_of(names)
    assert len(subsets) == 2 ** len(names) - 1
    seeds = [variables, jax.tree.map(lambda x: x * 0.5, variables)]
    logits = logits_by_subset(model, subsets, "label")(jax.tree.map(lambda *x: jnp.stack(x), *seeds), batch)
    chex.assert_shape(logits, (2, len(subsets), BATCH, CLASSES))
    for k, subset in enumerate(subsets):
        masked = batch.replace(present={n: p & (n in subset) for n, p in batch.present.items()})
        seed = k % 2
        chex.assert_trees_all_close(logits[seed, k], run(seeds[seed], spoil(masked)).output, atol=1e-4, rtol=1e-4)


@each
def test_single_and_pmap_steps_are_equal(part):
    model, batch, _, _ = build(part)
    tx = optax.sgd(0.1)
    step = make_step(model, cross_entropy, tx)
    state = init_seeds(model, tx, [0, 1], batch)
    both = jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), batch)
    assert jax.local_device_count() == 4
    results = []
    for plan in (single(step), pmapped(step)):
        placed, losses = plan.place(jax.tree.map(jnp.copy, state)), []
        for _ in range(2):
            placed, value = plan.run(placed, both)
            losses.append(value)
        fetched = plan.fetch(placed)
        results.append((fetched.params, fetched.stats, jnp.stack(losses)))
    chex.assert_tree_all_finite(results)
    chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-5)
    moved = jax.tree.map(lambda new, old: float(jnp.abs(new - old).max()), results[0][0], state.params)
    assert max(jax.tree.leaves(moved)) > 1e-3


@each
def test_bfloat16_is_near_float32(part):
    model, batch, variables, run = build(part)
    half = in_bfloat16(model)
    tokens = jax.jit(lambda v: half.apply(v, batch, method="encode"))(variables)
    output = jax.jit(lambda v: half.apply(v, batch)["label"])(variables)
    chex.assert_type(output, jnp.float32)
    expected = run(variables, batch).output
    scale = float(jnp.abs(expected).max())
    assert float(jnp.abs(output - expected).max()) < 0.1 * max(scale, 0.1)
    assert not np.array_equal(output, expected)  # something was computed in bfloat16 indeed
    for name, token in tokens.items():
        chex.assert_shape(token.x, (BATCH, None, None))
        chex.assert_shape(token.mask, token.x.shape[:2])
        chex.assert_type(token.mask, bool)
        assert not token.mask[~batch.present[name]].any() or not isinstance(batch.inputs[name], Sequence)
