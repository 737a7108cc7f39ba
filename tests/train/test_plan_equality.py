"""All plans give the same training after 20 steps of a captioner and classifier with attention, convolution, batch norm,
recurrence and dropout."""

import jax
import numpy as np
import optax
import pytest

from mmjax.data.augment import DropModalities
from mmjax.data.dataset import Rows
from mmjax.data.feed import DeviceFeed
from mmjax.decoders import Decoder
from mmjax.encoders import VGG, FrameRNN, TextTransformer
from mmjax.fusion import JoinTokens
from mmjax.heads import Classifier
from mmjax.losses import CrossEntropy, On, WeightedLosses
from mmjax.model import Multimodal
from mmjax.nn import GRU, Deep, Scan
from mmjax.train.parallel import pmapped, single
from mmjax.train.seeds import init_seeds, orders
from mmjax.train.sharded import Mesh, sharded
from mmjax.train.step import make_step
from mmjax.types import Padded

ROWS, BATCH, STEPS, SEEDS, VOCABULARY = 40, 8, 20, (0, 1), 12
PLANS = {
    "pmap": pmapped,
    "4x1x1": lambda: sharded(Mesh(data=4)),
    "1x4x1": lambda: sharded(Mesh(data=1, fsdp=4)),
    "2x1x2": lambda: sharded(Mesh(data=2, tensor=2)),
    "2 seeds x 2": lambda: sharded(Mesh(seeds=2, data=2)),
}


def data():
    """(columns, rows): some modalities are missing, and some weights are 0."""
    random = np.random.default_rng(0)
    length = random.integers(2, 7, ROWS).astype(np.int32)
    columns = {
        "image": random.normal(size=(ROWS, 8, 8, 3)).astype(np.float32),
        "text": Padded(random.integers(0, VOCABULARY, (ROWS, 6)).astype(np.int32), length),
        "series": Padded(random.normal(size=(ROWS, 6, 4)).astype(np.float32), length[::-1].copy()),
    }
    pointer = {name: np.where(random.uniform(size=ROWS) < 0.8, np.arange(ROWS), -1) for name in columns}
    targets = {
        "label": random.integers(0, 3, ROWS).astype(np.int32),
        "caption": random.integers(1, VOCABULARY, (ROWS, 5)).astype(np.int32),
    }
    return columns, Rows(pointer, targets, (random.integers(0, 4, ROWS) / 3).astype(np.float32))


@pytest.fixture(scope="module")
def problem():
    """(plan -> (state, losses [steps s])), which trains under a plan."""
    tower = TextTransformer(VOCABULARY, 16, depth=2, heads=2, hidden=32, positions=6, dropout=0.2)
    encoders = {
        "image": VGG(stages=((1, 8), (1, 16)), hidden=(), batch_norm=True),
        "text": Deep(tower, Scan(jax.checkpoint_policies.nothing_saveable)),
        "series": FrameRNN(width=16, layer=GRU(16), every_step=True, dropout=0.2),
    }
    decoder = Decoder(VOCABULARY, width=16, depth=1, heads=2, hidden=32, positions=8, dropout=0.2)
    model = Multimodal(encoders, JoinTokens(width=16, dropout=0.1), {"label": Classifier(3)}, {}, {}, {"caption": decoder})
    loss = WeightedLosses({"label": (On("label", CrossEntropy()), 1.0), "caption": (On("caption", CrossEntropy()), 0.5)})
    # Plain momentum: Adam divides a gradient by its size, which lets those near rounding move a parameter by the whole rate.
    tx, (columns, rows) = optax.sgd(0.1, momentum=0.9), data()
    augment = {"modalities": DropModalities(0.3)}
    feed, order = DeviceFeed(columns, rows), orders(SEEDS, ROWS, BATCH)
    one_seed = jax.tree.map(lambda leaf: leaf[0], feed(order(0)))

    def train(plan):
        run = plan.train(make_step(model, loss, tx, augment, gather=plan.gather))
        placed = plan.place(init_seeds(model, tx, SEEDS, one_seed, plan=plan))
        (batches,) = plan.feed(feed).chunks(order, [range(STEPS)])
        placed, metrics = run(placed, plan.place({}, seeds=False), batches)
        return jax.tree.map(np.asarray, plan.fetch(placed).replace(key=None)), np.asarray(metrics["loss"])

    return train


@pytest.fixture(scope="module")
def on_one(problem):
    return problem(single())


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_losses_and_parameters_after_20_steps_are_those_of_one_device(problem, on_one, name, monkeypatch, capsys):
    monkeypatch.setattr("mmjax.train.sharded.MIN_SIZE", 64)  # the model is small
    state, losses = problem(PLANS[name]())
    expected, expected_losses = on_one
    assert losses.shape == (STEPS, len(SEEDS)) and losses[-1].max() < losses[0].min()  # it learns
    apart = {"loss": np.abs(losses / expected_losses - 1).max()}
    for part in ("params", "stats", "opt_state"):
        ours, theirs = jax.tree.leaves(getattr(state, part)), jax.tree.leaves(getattr(expected, part))
        largest = max(np.abs(leaf).max() for leaf in theirs)  # some gradients are 0 but for rounding: that of a key's bias
        apart[part] = max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)) / largest
    with capsys.disabled():
        print(f"\n{name}: " + ", ".join(f"{part} {value:.1e}" for part, value in apart.items()))
    assert max(apart.values()) < 1e-5
