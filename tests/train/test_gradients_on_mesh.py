"""Every way to compute a gradient gives the same training on a mesh, where parameters lie in parts."""

import jax
import numpy as np
import optax
import pytest

from mmjax.data.dataset import Rows
from mmjax.data.feed import DeviceFeed
from mmjax.encoders import Features
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import On
from mmjax.model import Multimodal
from mmjax.robust.adversarial import TRADES, AdversarialTraining
from mmjax.robust.attacks import PGD
from mmjax.robust.budgets import L2
from mmjax.robust.free import FreeAdversarial
from mmjax.robust.privacy import DPSGD, Flat
from mmjax.train.accumulate import Accumulate
from mmjax.train.grad_cache import GradCache
from mmjax.train.parallel import single
from mmjax.train.seeds import init_seeds, orders
from mmjax.train.sharded import Mesh, sharded
from mmjax.train.step import make_step

ROWS, BATCH, STEPS, SEEDS = 24, 8, 3, (0, 1)
ATTACK = PGD({"arm": L2(0.3)}, steps=2)
GRADIENTS = {
    "accumulation": Accumulate(2),
    "gradient cache": GradCache(chunk=4),
    "DP-SGD": DPSGD(Flat(1.0), noise_multiplier=1.0, expected=8.0),
    "adversarial": AdversarialTraining(ATTACK),
    "TRADES": TRADES(ATTACK),
    "free": FreeAdversarial({"arm": L2(0.3)}, replays=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_those_of_one_device(name, monkeypatch):
    monkeypatch.setattr("mmjax.train.sharded.MIN_SIZE", 8)
    random, gradient, tx = np.random.default_rng(0), GRADIENTS[name], optax.sgd(0.1, 0.9)
    columns = {name: random.normal(size=(ROWS, 16)).astype(np.float32) for name in ("arm", "leg")}
    label = {"label": np.arange(ROWS, dtype=np.int32) % 3}
    feed = DeviceFeed(columns, Rows({name: np.arange(ROWS) for name in columns}, label, np.ones(ROWS, np.float32)))
    model = Multimodal({name: Features(16) for name in columns}, Concat(width=16), {"label": Classifier(3)})
    order = orders(SEEDS, ROWS, BATCH)
    one_seed = jax.tree.map(lambda leaf: leaf[0], feed(order(0)))

    def train(plan):
        run = plan.train(make_step(model, On("label"), tx, gradient=gradient, gather=plan.gather))
        state = plan.place(init_seeds(model, tx, SEEDS, one_seed, gradient, plan=plan))
        (batches,) = plan.feed(feed).chunks(order, [range(STEPS)])
        state, metrics = run(state, plan.place({}, seeds=False), batches)
        return jax.tree.leaves(plan.fetch(state).params), np.asarray(metrics["loss"])

    (params, losses), (expected, expected_losses) = (train(plan) for plan in (sharded(Mesh(data=1, fsdp=4)), single()))
    np.testing.assert_allclose(losses, expected_losses, atol=2e-6)
    for ours, theirs in zip(params, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
