"""What one waits for before anything is trained, in processes of their own: imports, `--help`, and the first training step of
the trimodal row's model, to its end; and, without imports, the compilation of that step alone.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.work import Case, Weights, Work

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = {
    "mmjax": "import mmjax.encoders, mmjax.experiment, mmjax.fusion, mmjax.heads",
    "torch": "import torch; from transformers import AutoModel, AutoProcessor, AutoTokenizer, CLIPModel, TrainingArguments",
}
HELP = f"""{IMPORTS["torch"]}
import argparse
options = argparse.ArgumentParser()
for name in ("data", "model", "steps", "batch", "lr", "seeds"):
    options.add_argument(f"--{{name}}")
options.parse_args(["--help"])
"""
STEPS = {
    "mmjax": "from mmjax.experiment.cli import prepare_jax; prepare_jax(); from benchmarks import start; start.our_step({batch})[1]()",
    "mmjax cold": "from benchmarks import start; start.our_step({batch})[1]()",
    "torch": "from benchmarks import start; start.their_step({batch}, {device!r})()",
}


def cases(quick: bool, device: str) -> list[Case]:
    batch = 4 if quick else 32
    python = lambda code: [sys.executable, "-c", code]
    helps = {"mmjax": [sys.executable, str(ROOT / "experiments" / "stamps_fusion.py"), "--help"], "torch": python(HELP)}
    sides = ("mmjax", "torch") if quick else STEPS
    steps = {side: python(STEPS[side].format(batch=batch, device=device)) for side in sides}
    commands = lambda of: {side: partial(process, command) for side, command in of.items()}
    warm = "mmjax with its compilation cache filled, as from an experiment's second run on; mmjax cold without any"
    return [
        Case("import", commands({side: python(code) for side, code in IMPORTS.items()})),
        Case("--help", commands(helps), note="of an experiment, which is to take less than 1,000 ms; torch: by argparse"),
        Case("first step", commands(steps), note=f"imports included; {warm}"),
        Case(
            "compilation of a step",
            {"mmjax": partial(compilation, batch, True), "mmjax cold": partial(compilation, batch, False)},
            {"mmjax cold": 10.0},
            note=f"XLA's part alone; {warm}",
        ),
    ]


def process(command: list[str], weights: Weights) -> Work:
    """A process to its end, with a cache folder of its own."""
    folder = tempfile.TemporaryDirectory()
    env = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}

    def run() -> None:
        subprocess.run(command, env=env | {"XDG_CACHE_HOME": folder.name}, check=True, stdout=subprocess.DEVNULL)

    return Work(run, {})


def our_step(batch: int) -> tuple[Callable, Callable]:
    """The lowering of the trimodal row's training step; and its run, compilation included."""
    import jax
    import optax

    from benchmarks.trimodal import DECAY, RATE, experiment
    from mmjax.losses import cross_entropy
    from mmjax.train.parallel import single
    from mmjax.train.seeds import init_seeds
    from mmjax.train.step import make_step

    model, data = experiment(batch)
    tx = optax.adamw(RATE, weight_decay=DECAY)
    given = init_seeds(model, tx, [0], data), {}, jax.tree.map(lambda leaf: leaf[None, None], data)
    step = single().train(make_step(model, cross_entropy, tx))
    return lambda: (step.lower(*given), given), lambda: jax.block_until_ready(step(*given))


def their_step(batch: int, device: str) -> Callable:
    """torch's, with weights of its own."""
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.peers import DEVICES, adamw, place, train_step
    from benchmarks.trimodal import DECAY, RATE, inputs, network

    given = {name: place(x, device) for name, x in inputs(batch).items()}
    model = network().to(DEVICES[device], memory_format=torch.channels_last)
    optimizer = adamw([p for p in model.parameters() if p.requires_grad], RATE, DECAY)
    forward = lambda: model(given["image"].permute(0, 3, 1, 2), given["text"], given["audio"])
    return train_step(lambda: cross_entropy(forward(), given["label"]), optimizer, device)


def compilation(batch: int, warm: bool, weights: Weights) -> Work:
    """The step is traced and lowered once; a run compiles it, or reads what the cache has of it."""
    import jax

    from mmjax.experiment.cli import prepare_jax

    folder = tempfile.TemporaryDirectory()
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    if warm:
        os.environ["XDG_CACHE_HOME"] = folder.name
        prepare_jax()
    lowered, given = our_step(batch)[0]()

    def run(held=folder):
        jax.clear_caches()
        return lowered.compile({"xla_embed_ir_in_executable": False})  # the default; without an option the first is kept

    run()
    return Work(run, {"loss": np.asarray(run()(*given)[1]["loss"][0])})
