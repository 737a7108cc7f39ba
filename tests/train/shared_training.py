"""A training on two devices, of one process or of two: `python -m tests.train.shared_training HOST:PORT PROCESS FOLDER`."""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from mmjax.data.dataset import Rows
from mmjax.data.feed import DeviceFeed
from mmjax.encoders import Features
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.processes import is_first, join
from mmjax.train.checkpoint import Checkpoints
from mmjax.train.loop import TrainData, fit
from mmjax.train.seeds import orders
from mmjax.train.sharded import Mesh, sharded
from mmjax.train.training import Schedule, Training

ROWS, BATCH, STEPS, SEEDS = 12, 4, 3, (0, 1)


def training() -> Training:
    """Two kernels of 64 x 64, which are cut over fsdp. No dropout or Adam: they take long to compile."""
    model = Multimodal({"x": Features(width=64)}, Concat(width=64), {"label": Classifier(3)})
    plan = sharded(Mesh(data=1, fsdp=2))
    return Training(model, cross_entropy, lambda steps: optax.sgd(0.1, 0.9), Schedule(STEPS, STEPS, STEPS), plan=plan)


def train(folder: Path) -> dict[str, Any]:
    """{"loss": Float[s], "bytes": of the state on a device, path: parameters restored from the checkpoint}."""
    random, own = np.random.default_rng(0), training()
    inputs = {"x": random.normal(size=(ROWS, 64)).astype(np.float32)}
    rows = Rows({"x": np.arange(ROWS)}, {"label": np.arange(ROWS, dtype=np.int32) % 3}, np.ones(ROWS, np.float32))
    feed, order = DeviceFeed(inputs, rows), orders(SEEDS, ROWS, BATCH)
    state, _ = own.init(SEEDS, jax.tree.map(lambda leaf: leaf[0], feed(order(0))))
    shape = jax.eval_shape(lambda: state)
    on_device = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state.replace(key=())))
    data = TrainData(lambda chunks: own.plan.feed(feed).chunks(order, chunks), order, SEEDS)
    score = lambda variables: {"score": np.zeros(len(SEEDS)), "loss": np.zeros(len(SEEDS))}
    checkpoints = Checkpoints(folder)
    fitted = fit(own, state, own.plan.place({}, seeds=False), data, score, checkpoints)
    restored, _, _ = checkpoints.restore(lambda step: (shape, fitted.best))
    checkpoints.close()
    params = jax.tree_util.tree_leaves_with_path(restored.params)
    found = {jax.tree_util.keystr(path): leaf for path, leaf in params}
    return {"loss": np.asarray(fitted.curves[-1]["train_loss"]), "bytes": np.asarray(on_device), **found}


if __name__ == "__main__":
    join(sys.argv[1], 2, int(sys.argv[2]))
    result = train(Path(sys.argv[3]) / "checkpoints")
    if is_first():
        np.savez(Path(sys.argv[3]) / "result.npz", **result)
