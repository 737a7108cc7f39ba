"""Every encoder x every fusion keeps the contract of missing modalities, and every way of compiling gives the same."""

from functools import cache, partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.evaluate.subsets import logits_by_subset, subsets_of
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.train.ablate import init_seeds
from mmjax.train.parallel import pmapped, single
from mmjax.train.step import make_step
from mmjax.types import Batch, Sequence, Tokens
from tests.contracts.cases import BATCH, CLASSES, ENCODERS, FUSIONS, is_float

OTHER = {"cnn": "text_lstm", "text_lstm": "frame_lstm", "frame_lstm": "cnn"}


@cache
def build(encoder: str, fusion: str) -> tuple[Multimodal, Batch, Any]:
    """The encoder as modality "one", fused with another as "two"; in a third of the examples each is absent, in one both."""
    names = {"one": encoder, "two": OTHER.get(encoder, "text_lstm")}
    keys = dict(zip(names, jax.random.split(jax.random.key(3))))
    inputs = {name: ENCODERS[case][1](keys[name]) for name, case in names.items()}
    present = {"one": jnp.arange(BATCH) % 3 != 0, "two": jnp.array([i % 3 != 1 and i != 3 for i in range(BATCH)])}
    targets = {"label": jnp.arange(BATCH) % CLASSES}
    module, head = FUSIONS[fusion]
    model = Multimodal({name: ENCODERS[case][0] for name, case in names.items()}, module, {"label": head})
    batch = Batch(inputs, present, targets, jnp.ones(BATCH))
    return model, batch, jax.jit(model.init)(jax.random.key(0), batch)["params"]


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


def loss(model, batch, params, train=False):
    rngs = {"dropout": jax.random.key(7)} if train else None
    return cross_entropy(model.apply({"params": params}, batch, train=train, rngs=rngs), batch).sum()


pairs = pytest.mark.parametrize(("encoder", "fusion"), [(e, f) for e in ENCODERS for f in FUSIONS])


@pairs
def test_missing_modalities(encoder, fusion):
    model, batch, params = build(encoder, fusion)
    outputs = lambda batch: model.apply({"params": params}, batch)["label"]
    run = jax.jit(lambda batch: (outputs(batch), jax.grad(partial(loss, model, batch, train=True))(params)))
    output, gradient = run(batch)
    chex.assert_shape(output, (BATCH, CLASSES))
    chex.assert_type(output, jnp.float32)
    chex.assert_tree_all_finite((output, gradient))  # example 0 or 3 has neither modality

    spoiled_output, spoiled_gradient = run(spoil(batch))
    chex.assert_trees_all_equal(output, spoiled_output)
    chex.assert_trees_all_equal(gradient, spoiled_gradient)

    # The suite can fail: where a modality is present, its values do matter.
    changed = jax.tree.map(lambda x: x + 1 if is_float(x) else x[::-1], batch.inputs["one"])
    other, _ = run(batch.replace(inputs={**batch.inputs, "one": changed}))
    moved = np.abs(np.asarray(other - output)).max(axis=1) > 1e-7
    present = np.asarray(batch.present["one"])
    assert not moved[~present].any()
    assert moved[present].mean() > 0.5


@pairs
def test_input_gradient_is_zero_where_absent(encoder, fusion):
    model, batch, params = build(encoder, fusion)
    floats = {n: x for n, x in batch.inputs.items() if is_float(jax.tree.leaves(x)[0])}
    assert floats  # words have no gradient, and so are paired with something that has

    def of_inputs(values):
        inputs = {n: Sequence(values[n], x.length) if isinstance(x, Sequence) else values[n] for n, x in floats.items()}
        return loss(model, batch.replace(inputs={**batch.inputs, **inputs}), params)

    values = {n: x.x if isinstance(x, Sequence) else x for n, x in floats.items()}
    for name, gradient in jax.jit(jax.grad(of_inputs))(values).items():
        there = batch.present[name]
        if isinstance(floats[name], Sequence):
            there = there[:, None] & floats[name].mask
        size = jnp.abs(gradient).reshape(*there.shape, -1).max(axis=-1)
        assert not size[~there].any()
        assert (size[there] > 0).mean() > 0.5


@pairs
def test_nothing_present_is_finite_and_nothing_leaks(encoder, fusion):
    model, batch, params = build(encoder, fusion)
    nothing = batch.replace(present={name: jnp.zeros(BATCH, bool) for name in batch.present})
    output, gradient = jax.jit(jax.value_and_grad(partial(loss, model, spoil(nothing))))(params)
    chex.assert_tree_all_finite((output, gradient))
    logits = jax.jit(model.apply)({"params": params}, nothing)["label"]
    chex.assert_trees_all_close(logits, jnp.broadcast_to(logits[:1], logits.shape))  # nobody is told apart


@pairs
def test_examples_do_not_see_each_other(encoder, fusion):
    model, batch, params = build(encoder, fusion)
    run = jax.jit(lambda batch: model.apply({"params": params}, batch)["label"])
    others = jax.tree.map(lambda x: jnp.concatenate([x[::-1][: BATCH // 2], x[BATCH // 2 :]]), batch)
    chex.assert_trees_all_close(run(batch)[BATCH // 2 :], run(others)[BATCH // 2 :], atol=1e-6)


@pairs
def test_subsets_in_one_call_equal_masked_batches(encoder, fusion):
    model, batch, params = build(encoder, fusion)
    subsets = subsets_of(("one", "two"))
    assert subsets == (("one",), ("two",), ("one", "two"))
    twice = jax.tree.map(lambda x: jnp.stack([x, x * 0.5]), params)  # two seeds
    logits = logits_by_subset(model, subsets, "label")(twice, batch)
    chex.assert_shape(logits, (2, 3, BATCH, CLASSES))
    run = jax.jit(lambda batch: model.apply({"params": params}, batch)["label"])
    for k, subset in enumerate(subsets):
        masked = batch.replace(present={n: p & (n in subset) for n, p in batch.present.items()})
        chex.assert_trees_all_close(logits[0, k], run(spoil(masked)), atol=1e-5)


# Every encoder and every fusion once: what splits a batch does not care which of them meet.
each = pytest.mark.parametrize(
    ("encoder", "fusion"), [(e, "concat") for e in ENCODERS] + [("text_lstm", f) for f in FUSIONS if f != "concat"]
)


@each
def test_single_and_pmap_steps_are_equal(encoder, fusion):
    model, batch, _ = build(encoder, fusion)
    tx = optax.adam(1e-2)
    step = make_step(model, cross_entropy, tx)
    state = init_seeds(model, tx, [0, 1], batch)
    both = jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), batch)
    assert jax.local_device_count() == 4
    results = []
    for plan in (single(step), pmapped(step)):
        placed, losses = plan.place(jax.tree.map(jnp.copy, state)), []
        for _ in range(3):
            placed, value = plan.run(placed, both)
            losses.append(value)
        fetched = plan.fetch(placed)
        results.append((fetched.params, fetched.opt_state, jnp.stack(losses)))
    chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-5)


def on_device(tree):
    """chex's variant without a device hands over NumPy arrays."""
    return jax.tree.map(jnp.asarray, tree)


class EncoderVariants(chex.TestCase):
    """Shapes, dtypes and finiteness of each encoder: as it is, jitted, on a device, and under pmap."""

    @chex.all_variants
    def test_encoders(self):
        for module, make in ENCODERS.values():
            x = make(jax.random.key(1))
            params = jax.jit(module.init)(jax.random.key(0), x)
            tokens = self.variant(lambda params, x, m=module: m.apply(on_device(params), on_device(x)))(params, x)
            chex.assert_shape(tokens.x, (BATCH, None, None))
            chex.assert_equal_shape_prefix((tokens.x, tokens.mask), 2)
            chex.assert_rank(tokens.mask, 2)
            chex.assert_type(tokens.mask, bool)
            chex.assert_tree_all_finite(tokens.x)

    @chex.all_variants
    def test_fusions_and_heads(self):
        for fusion, head in FUSIONS.values():
            keys = jax.random.split(jax.random.key(2))
            tokens = {
                name: Tokens(jax.random.normal(key, (BATCH, n, d)), jax.random.bernoulli(key, 0.5, (BATCH, n)))
                for name, key, n, d in zip(("one", "two"), keys, (3, 1), (4, 7))
            }
            params = fusion.init(jax.random.key(0), tokens)
            fused = self.variant(lambda params, tokens, m=fusion: m.apply(on_device(params), on_device(tokens)))(params, tokens)
            chex.assert_shape(fused.x, (BATCH, None, None))
            chex.assert_shape(fused.mask, fused.x.shape[:2])
            head_params = head.init(jax.random.key(0), fused)
            run = self.variant(lambda params, tokens, m=head: m.apply(on_device(params), on_device(tokens)))
            outputs = run(head_params, fused)
            chex.assert_shape(outputs, (BATCH, CLASSES))
            chex.assert_type(outputs, jnp.float32)
            chex.assert_tree_all_finite(outputs)
