"""GradCache gives the gradient of the whole batch, on one device and on four, with less memory."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.encoders import Features
from mmjax.heads import Projection, Temperature
from mmjax.losses import InfoNCE, SigmoidPairs, WeightedLosses
from mmjax.model import Multimodal
from mmjax.robust.adversarial import AdversarialTraining
from mmjax.robust.attacks import FGSM
from mmjax.robust.budgets import Linf
from mmjax.shards import SHARD
from mmjax.train.grad_cache import GradCache
from mmjax.train.step import init_state, make_step
from mmjax.types import Batch, Gradient

NAMES = ("a.embedding", "b.embedding")
LOSS = WeightedLosses({
    "softmax": InfoNCE(*NAMES, temperature="temperature", match="item"),
    "sigmoid": SigmoidPairs(*NAMES, temperature="temperature", bias=-1.0),
})  # fmt: skip


def model(dropout=0.0):
    return Multimodal(
        {name: Features(width=8, dropout=dropout) for name in "ab"},
        unimodal_heads={name: {"embedding": Projection(4)} for name in "ab"},
        loss_parameters={"temperature": Temperature(0.3)},
    )


def batch(rows=16, width=5):
    random = np.random.default_rng(0)
    inputs = {name: jnp.asarray(random.normal(size=(rows, width)), jnp.float32) for name in "ab"}
    present = {"a": jnp.arange(rows) != 3, "b": jnp.arange(rows) != 9}
    weight = jnp.asarray(np.where(np.arange(rows) == 12, 0, 1 + np.arange(rows) % 3), jnp.float32)
    return Batch(inputs, present, {"item": jnp.arange(rows) // 2}, weight)


def stepped(gradient, given, wrap=jax.jit, **options):
    run, tx = model(**options), optax.sgd(1.0)
    state = init_state(run, tx, jax.random.key(0), given)
    return wrap(make_step(run, LOSS, tx, gradient=gradient)), state


def test_is_the_gradient_of_the_whole_batch():
    given = batch()
    (plain, state), (cached, _) = (stepped(gradient, given) for gradient in (None, GradCache(4)))
    (a, of_a), (b, of_b) = plain(state, {}, given), cached(state, {}, given)
    chex.assert_trees_all_close(a.params, b.params, atol=1e-5)
    assert of_a.keys() == of_b.keys()
    for name in ("loss", "loss/softmax", "loss/sigmoid", "gradient_norm"):
        np.testing.assert_allclose(of_a[name], of_b[name], rtol=1e-5)
    chunked = jax.jit(make_step(model(), WeightedLosses(LOSS.losses), optax.sgd(1.0)))
    small = jax.tree.map(lambda leaf: leaf[:4], given)
    assert np.abs(chunked(state, {}, small)[1]["loss"] - of_a["loss"]) > 0.1  # the negatives of other chunks matter


def test_four_shards_give_the_same():
    given = batch()
    plain, state = stepped(None, given)
    parts = jax.tree.map(lambda leaf: leaf.reshape(4, 4, *leaf.shape[1:]), given)
    split = jax.pmap(make_step(model(), LOSS, optax.sgd(1.0), gradient=GradCache(2)), SHARD, in_axes=(None, None, 0))
    expected, found = plain(state, {}, given)[0].params, split(state, {}, parts)[0].params
    for shard in (0, 3):
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, i=shard: leaf[i], found), expected, atol=1e-5)


def test_the_memory_is_that_of_a_chunk():
    """Activations [rows 2048] twice take 8 MB for 512 rows; for 16 rows 0.3 MB."""

    class Wide(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return Features(width=8)(jnp.sin(nn.Dense(2048)(x)), train=train)

    run = model().clone(encoders={name: Wide() for name in "ab"})
    given, tx = batch(512), optax.sgd(1.0)
    state = init_state(run, tx, jax.random.key(0), given)
    steps = [jax.jit(make_step(run, LOSS, tx, gradient=gradient)) for gradient in (None, GradCache(16))]
    plain, cached = (step.lower(state, {}, given).compile().memory_analysis().temp_size_in_bytes for step in steps)
    assert cached < plain / 2


def test_one_chunk_is_the_plain_gradient_and_dropout_is_drawn_by_chunk():
    given = batch()
    (plain, state), (one, _), (four, _) = (stepped(g, given, dropout=0.5) for g in (None, GradCache(16), GradCache(4)))
    chex.assert_trees_all_equal(plain(state, {}, given)[0].params, one(state, {}, given)[0].params)
    assert np.isfinite(four(state, {}, given)[1]["loss"])


def test_what_it_cannot_do_is_refused():
    assert isinstance(GradCache(), Gradient)
    given = batch()
    with pytest.raises(ValueError, match=r"GradCache.chunk is 5; it must divide the 16 rows"):
        jax.eval_shape(*(lambda step, state: (step, state, {}, given))(*stepped(GradCache(5), given)))
    with pytest.raises(ValueError, match=r"GradCache.chunk is 0"):
        GradCache(0)
    inside = AdversarialTraining(FGSM({"a": Linf(0.1)}), clean=0.5, inner=GradCache(4))
    with pytest.raises(ValueError, match=r"GradCache needs the loss by itself"):
        jax.eval_shape(*(lambda step, state: (step, state, {}, given))(*stepped(inside, given)))

    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return Features(width=8)(nn.BatchNorm(use_running_average=not train)(x), train=train)

    run, tx = model().clone(encoders={"a": Normed(), "b": Features(8)}), optax.sgd(1.0)
    state = init_state(run, tx, jax.random.key(0), given)
    with pytest.raises(ValueError, match=r"GradCache: the model has batch statistics"):
        jax.eval_shape(make_step(run, LOSS, tx, gradient=GradCache(4)), state, {}, given)
