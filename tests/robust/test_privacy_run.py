"""DP-SGD through a whole run: its facts in the files and the report, the audit of its cells, and low-rank adaptation."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import mmjax
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.inputs import VectorInput
from mmjax.data.order import Poisson
from mmjax.encoders import BERT, Features, LoRA
from mmjax.experiment import Experiment
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.robust.privacy import DPSGD, AdaptiveClip, ClassicRDP, Flat
from mmjax.robust.privacy.__main__ import main
from mmjax.robust.privacy.canaries import Canaries
from mmjax.runs.folder import read_json
from mmjax.tasks import Classify
from mmjax.train.optim import SGD
from mmjax.train.seeds import init_seeds
from mmjax.train.step import make_step
from mmjax.types import Batch, Padded

ROOT = Path(__file__).parents[2]
COUNT, WIDTH = 60, 20
AT = {"train": np.arange(40), "validation": np.arange(40, 50), "test": np.arange(50, 60)}


@dataclass(frozen=True)
class Vectors:
    """Vectors of three classes, one row each."""

    def load(self) -> Dataset:
        label = (np.arange(COUNT) % 3).astype(np.int32)
        x = np.random.default_rng(0).normal(size=(COUNT, WIDTH)).astype(np.float32)
        x[np.arange(COUNT), label] += 2
        rows = lambda at: Rows({"x": at.astype(np.int32)}, {"label": label[at]}, np.ones(len(at), np.float32))
        return Dataset(
            columns={"x": Column(COUNT, x.__getitem__, identity, parse=VectorInput(WIDTH))},
            splits={split: rows(at) for split, at in AT.items()},
            metadata={split: {"id": np.array([f"row {i}" for i in at]), "group": at} for split, at in AT.items()},
            fingerprint="vectors",
            classes={"label": tuple("xyz")},
        )


PRIVATE = DPSGD(AdaptiveClip(initial=0.5, count_noise=2.0), epsilon=6.0, delta=1e-3, accountant=ClassicRDP(), microbatch=64)
CELL = Experiment(
    data=Canaries(Vectors(), 40),
    encoders={"x": Features(width=None)},
    fusion=Concat(width=8),
    heads={"label": Classifier(3)},
    tasks={"label": Classify("label")},
    optim=SGD(lr=1.0, clip=1e9),
    gradient=PRIVATE,
    sampling=Poisson(),
    steps=8,
    batch=10,
    evaluate_every=8,
    checkpoint_every=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A private cell on data with canaries."""
    out = tmp_path_factory.mktemp("private") / "run"
    mmjax.run({"private": CELL}, seeds=2, out=out, quiet=True)
    return out


def test_facts_of_the_run(folder):
    cells = read_json(folder / "results.json")["cells"]
    part = read_json(folder / "cells" / "private" / "all" / "part.json")["privacy"]
    found = cells["private"]["privacy"]
    assert found == part and 5.9 < found["epsilon"] <= 6 and found["delta"] == 1e-3 and found["steps"] == 8
    assert found["accountant"].startswith("ClassicRDP") and found["sampling"].startswith("Poisson, 10 of ")
    page = (folder / "report.html").read_text()
    assert "<h2>Differential privacy</h2>" in page and "add or remove one training row" in page


def test_the_audit_of_its_cells(folder, capsys):
    main([str(folder)])
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(r"private: epsilon (6|5\.9\d); lower bound \d", line) and "of 20 guesses about 40 canaries" in line
    with pytest.raises(SystemExit):
        main([])
    assert "RUN" in capsys.readouterr().err


KILLED = """
import os, signal
import mmjax
from mmjax.train.checkpoint import Checkpoints
from tests.robust.test_privacy_run import CELL

save = Checkpoints.save
def save_and_die(self, step, *others):
    save(self, step, *others)
    if step == 3:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoints.save = save_and_die
mmjax.run({"private": CELL}, seeds=2, out=%r, quiet=True)
"""


def test_a_killed_run_continues_with_the_same_bits(folder, tmp_path):
    """Poisson batches, noise and the adaptive norm after a resume are those of an undisturbed run; so is the guarantee."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    child = subprocess.run([sys.executable, "-c", KILLED % str(tmp_path / "killed")], cwd=ROOT, env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    part = Path("cells") / "private" / "all"
    assert not (tmp_path / "killed" / part / "part.json").exists()
    mmjax.run({"private": CELL}, seeds=2, out=tmp_path / "killed", resume=True, quiet=True)
    killed, whole = tmp_path / "killed" / part, folder / part
    for name in ("variables.safetensors", "curves.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert read_json(killed / "part.json")["privacy"] == read_json(whole / "part.json")["privacy"]


def test_low_rank_adaptation():
    """Only A, B and the head learn: the other parameters neither change nor count in the clipped norm."""
    text = LoRA(BERT(vocabulary=11, width=8, depth=1, heads=2, hidden=8, positions=4, dropout=0.0), rank=2)
    model = Multimodal({"text": text}, Concat(width=4), {"label": Classifier(3)})
    tokens = Padded(jnp.arange(16).reshape(4, 4) % 11, jnp.array([4, 2, 3, 1]))
    batch = Batch({"text": tokens}, {"text": jnp.ones(4, bool)}, {"label": jnp.arange(4) % 3}, jnp.ones(4))
    learns = ("encoders_text/lora", "heads")
    gradient = DPSGD(Flat(1e-3), noise_multiplier=0.0, expected=1.0)
    tx = SGD(lr=1.0, momentum=0.0, clip=1e9)(1)
    state = init_seeds(model, tx, (0,), batch, gradient, learns)
    step = jax.jit(jax.vmap(make_step(model, cross_entropy, tx, gradient=gradient, learns=learns), in_axes=(0, None, None)))
    new, metrics = step(state, {}, batch)
    change = {path: np.abs(new - old).max() for (path, new), old in zip(
        flatten_dict(new.params, sep="/").items(), flatten_dict(state.params, sep="/").values())}  # fmt: skip
    moved = {path for path, size in change.items() if size > 0}
    # B starts at zero, so that A has no gradient in the first step.
    assert {path.partition("/")[0] for path in moved} == {"encoders_text", "heads_label"}
    assert all("/lora/" in path for path in moved if path.startswith("encoders_text")) and len(moved) >= 3
    assert 0 < metrics["gradient_norm"][0] <= 4 * 1e-3 * 1.0001  # four examples of at most 1e-3 each
