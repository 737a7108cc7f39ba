"""Defences on a model with absent modalities, on shards, and around a balance of modalities."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.encoders import BagOfEmbeddings
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.nn import Dropout
from mmjax.robust.adversarial import TRADES, AdversarialTraining
from mmjax.robust.attacks import FGSM, PGD
from mmjax.robust.budgets import L2, Linf
from mmjax.robust.embeddings import Embeddings, SoftTokens
from mmjax.robust.free import VILLA, FreeAdversarial
from mmjax.shards import SHARD
from mmjax.train.balance import OGMGE
from mmjax.train.seeds import init_seeds
from mmjax.train.step import make_step
from mmjax.types import Batch, Padded, Tokens
from tests.robust.defences import KEY, PARAMS, logistic, objective

CLASSES, VOCABULARY, WIDTH = 3, 9, 4
BUDGETS = {"image": Linf(0.3), "text": Embeddings(0.2, WIDTH)}
DEFENCES = {
    "madry": lambda budgets: AdversarialTraining(PGD(budgets, steps=2), clean=0.25),
    "trades": lambda budgets: TRADES(PGD(budgets, steps=2), beta=2.0),
    "free": lambda budgets: FreeAdversarial(budgets, replays=3),
    "villa": lambda budgets: VILLA(budgets, replays=2),
}


class Dense(nn.Module):
    """The smallest encoder with dropout."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = Dropout(0.3, name="dropout")(nn.Dense(2)(x), train=train)
        return Tokens(x[:, None], jnp.ones((len(x), 1), bool))


MODEL = Multimodal(
    {"image": Dense(), "text": SoftTokens(BagOfEmbeddings(VOCABULARY, WIDTH))}, Concat(width=4), {"label": Classifier(CLASSES)}
)
TX = optax.sgd(0.1)


def two_seeds() -> Batch:
    """Leaves [2 8 ...]; some weights are 0, and some modalities absent and NaN."""
    random = np.random.default_rng(0)
    present = {name: random.random((2, 8)) < 0.8 for name in ("image", "text")}
    image = np.where(present["image"][..., None], random.normal(size=(2, 8, 3)), np.nan).astype(np.float32)
    text = Padded(random.integers(0, VOCABULARY, (2, 8, 3)).astype(np.int32), random.integers(1, 4, (2, 8)).astype(np.int32))
    target = {"label": random.integers(0, CLASSES, (2, 8)).astype(np.int32)}
    weight = np.array([1, 2, 0, 1, 1, 0.5, 0, 1], np.float32)
    return jax.tree.map(jnp.asarray, Batch({"image": image, "text": text}, present, target, np.stack([weight] * 2)))


def state_of(defence):
    return init_seeds(MODEL, TX, [0, 1], jax.tree.map(lambda leaf: leaf[0], two_seeds()), defence)


@pytest.fixture(scope="module")
def initial():
    return state_of(None)


def one_seed(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


@pytest.mark.parametrize("name", ["trades", "villa"])
def test_what_does_not_count_does_not_matter(name, initial):
    """Under vmap over seeds: inputs of weight 0 or of absent modalities change neither loss nor parameters."""
    batch = two_seeds()
    step = jax.jit(jax.vmap(make_step(MODEL, cross_entropy, TX, gradient=DEFENCES[name](BUDGETS)), in_axes=(0, None, 0)))
    counts = batch.present["image"] & (batch.weight > 0)
    other = batch.replace(inputs={**batch.inputs, "image": jnp.where(counts[..., None], batch.inputs["image"], 7.0)})
    assert not counts.all()
    (state, metrics), (same, same_metrics) = step(initial, {}, batch), step(initial, {}, other)
    chex.assert_trees_all_equal(state.params, same.params)
    chex.assert_trees_all_equal(metrics, same_metrics)
    chex.assert_tree_all_finite(metrics)
    assert {"trades": "loss/trades", "villa": "loss/adversarial"}[name] in metrics
    for encoder in ("encoders_image", "encoders_text"):
        moved = jax.tree.map(lambda new, old: jnp.abs(new - old).max(), state.params[encoder], initial.params[encoder])
        assert max(jax.tree.leaves(moved)) > 1e-4


def test_a_split_batch_gives_the_same():
    """On four devices, one example each: random numbers and means are those of the whole batch."""
    whole = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1]]), logistic())
    whole = whole.replace(weight=jnp.array([1.0, 3.0, 0.0, 0.5]))

    def steps(batch):
        defences = [DEFENCES[name]({"x": L2(0.3)}) for name in ("trades", "villa")]
        return [defence(objective, PARAMS, (), batch, KEY)[:2] for defence in defences]

    parts = jax.pmap(steps, axis_name=SHARD)(jax.tree.map(lambda leaf: leaf[:, None], whole))
    expected = jax.jit(steps)(whole)
    for shard in (0, 3):
        chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[shard], parts), expected, rtol=1e-5)


def test_a_balance_can_be_the_inner_gradient(initial):
    """OGM-GE compares the attacked outputs; with one fused output it says what it needs."""
    batch = one_seed(two_seeds())
    defence = AdversarialTraining(FGSM({"image": L2(0.5)}), inner=OGMGE())
    with pytest.raises(ValueError, match="OGMGE compares the outputs"):
        jax.eval_shape(make_step(MODEL, cross_entropy, TX, gradient=defence), one_seed(initial), {}, batch)
