"""A killed run with low-rank matrices of a published encoder and with cached features of one ends with the same bits; also
with stages, several steps per call and data that two worker processes read."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import mmjax
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.encoders import BERT, Features, LoRA
from mmjax.experiment import Experiment
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.tasks import Classify
from mmjax.train.checkpoint import Checkpoints
from mmjax.train.stages import Stage
from mmjax.types import Padded
from tests.end_to_end.conftest import ROOT
from tests.end_to_end.same import assert_same_bits
from tests.pretrained.tiny import CONFIG, WORDS, bert_folder

pytestmark = pytest.mark.end_to_end
PART = Path("cells/both/all")
NOUNS, COUNT = WORDS[4:], 24
AT = {"train": np.arange(16), "validation": np.arange(16, 20), "test": np.arange(20, 24)}


@dataclass(frozen=True)
class Phrases:
    """Phrases of two words in two modalities: as token ids, and as texts for a frozen encoder."""

    def load(self) -> Dataset:
        words = np.random.default_rng(0).integers(len(NOUNS), size=(COUNT, 2))
        texts = [" ".join(NOUNS[word] for word in phrase) for phrase in words]
        rows = lambda at: Rows(
            {"ids": at.astype(np.int32), "text": at.astype(np.int32)},
            {"label": (words[at, 0] % 2).astype(np.int32)},
            np.ones(len(at), np.float32),
        )
        ids = lambda number: np.int32([2, *(words[number] + 4), 3])  # [CLS] and [SEP]
        return Dataset(
            columns={
                "ids": Column(COUNT, lambda number: Padded(ids(number), np.int32(4)), identity),
                "text": Column(COUNT, lambda number: np.zeros(1, np.float32), identity, texts.__getitem__, "phrases"),
            },
            splits={split: rows(at) for split, at in AT.items()},
            metadata={split: {"id": np.array([f"phrase {i}" for i in at]), "group": at} for split, at in AT.items()},
            fingerprint="phrases",
            sizes={"text": {"width": 1}},
            classes={"label": ("even", "odd")},
        )


LEARN = Stage(learns=("encoders_ids/lora", "encoders_text", "fusion", "heads"))
STREAMED = {"device_memory": 0.0, "workers": 2, "steps_per_call": 2}
HOW = {"plain": ({}, {}), "streamed": ({"stages": (LEARN, Stage(learns=("fusion",))), "checkpoint_every": 2}, STREAMED)}
"""{how: (fields of the experiment, options of the run)}"""


def cell(folder: str, how: str) -> Experiment:
    bert = BERT(vocabulary=CONFIG["vocab_size"], width=8, depth=2, heads=2, hidden=12, positions=10)
    experiment = Experiment(
        data=CachedFeatures(Phrases(), (("text", folder),)),
        encoders={"ids": LoRA(bert, rank=2), "text": Features(width=8, dropout=0.2)},
        fusion=Concat(width=8),
        heads={"label": Classifier(2)},
        tasks={"label": Classify("label")},
        weights={"encoders_ids/base": folder},
        stages=(LEARN,),
        steps=8,
        batch=4,
        evaluate_every=4,
        checkpoint_every=1,
    )
    return replace(experiment, **HOW[how][0])


KILLED = """
import os, signal, sys
import mmjax
from mmjax.train.checkpoint import Checkpoints
from tests.end_to_end.test_kill_pretrained import HOW, cell

save = Checkpoints.save
def save_and_die(self, step, *others):
    save(self, step, *others)
    if step > 4:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoints.save = save_and_die
folder, out, how = sys.argv[1:]
mmjax.run({"both": cell(folder, how)}, seeds=2, out=out, quiet=True, **HOW[how][1])
"""


@pytest.mark.parametrize("how", ["plain", pytest.param("streamed", marks=pytest.mark.slow)])
def test_low_rank_matrices_and_cached_features_continue_with_the_same_bits(tmp_path, monkeypatch, how):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, killed, whole = str(bert_folder(tmp_path / "bert")), tmp_path / "killed", tmp_path / "whole"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    child = subprocess.run([sys.executable, "-c", KILLED, folder, killed, how], cwd=ROOT, env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    assert not (killed / PART / "part.json").exists()
    saved, save = [], Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda self, step, *others: (saved.append(step), save(self, step, *others))[1])
    mmjax.run({"both": cell(folder, how)}, seeds=2, out=killed, resume=True, quiet=True, **HOW[how][1])
    assert saved and min(saved) > 4  # it did not begin anew
    mmjax.run({"both": cell(folder, how)}, seeds=2, out=whole, quiet=True, **HOW[how][1])
    assert_same_bits(killed / PART, whole / PART)
    weights = [(out / PART / "variables.safetensors").read_bytes() for out in (killed, whole)]
    assert weights[0] == weights[1]
