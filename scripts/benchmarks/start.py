"""The delay before training, each in a process of its own: imports, `--help`, and the first training step of the trimodal row's
model; and, without imports, the compilation of that step.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.case import Case, Weights, Workload

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
STEP = "from benchmarks import start; start.mmjax_step({batch})[1]()"
STEPS = {
    "mmjax": f"from mmjax.experiment.cli import prepare_jax; prepare_jax(); {STEP}",
    "mmjax cold": STEP,
    "torch": "from benchmarks import start; start.torch_step({batch}, {device!r})()",
}


def cases(quick: bool, device: str) -> list[Case]:
    batch = 4 if quick else 32
    python = lambda code: [sys.executable, "-c", code]
    helps = {"mmjax": [sys.executable, str(ROOT / "experiments" / "stamps_fusion.py"), "--help"], "torch": python(HELP)}
    sides = ("mmjax", "torch") if quick else STEPS
    steps = {side: python(STEPS[side].format(batch=batch, device=device)) for side in sides}
    processes = lambda commands: {side: partial(process, command) for side, command in commands.items()}
    caches = "mmjax with a filled compilation cache, as from an experiment's second run on; mmjax cold without a cache"
    return [
        Case("import", processes({side: python(code) for side, code in IMPORTS.items()})),
        Case("--help", processes(helps), note="of an experiment, which should take less than 1,000 ms; torch: argparse"),
        Case("first step", processes(steps), note=f"imports included; {caches}"),
        Case(
            "compilation of a step",
            {"mmjax": partial(compilation, batch, True), "mmjax cold": partial(compilation, batch, False)},
            {"mmjax cold": 10.0},
            note=f"XLA's part only; {caches}",
        ),
    ]


def process(command: list[str], weights: Weights) -> Workload:
    """Runs a process to its end, with a cache folder of its own."""
    folder = tempfile.TemporaryDirectory()

    def run() -> None:
        subprocess.run(command, env=os.environ | {"XDG_CACHE_HOME": folder.name}, check=True, stdout=subprocess.DEVNULL)

    return Workload(run, {})


def mmjax_step(batch: int) -> tuple[Callable, Callable]:
    """(lower, run) of the trimodal row's training step. lower: () -> (lowered step, arguments). run: includes compilation."""
    import jax
    import optax

    from benchmarks.trimodal import DECAY, RATE, mmjax_model
    from mmjax.losses import cross_entropy
    from mmjax.train.parallel import single
    from mmjax.train.seeds import init_seeds
    from mmjax.train.step import make_step

    model, data = mmjax_model(batch)
    tx = optax.adamw(RATE, weight_decay=DECAY)
    arguments = init_seeds(model, tx, [0], data), {}, jax.tree.map(lambda leaf: leaf[None, None], data)
    step = single().train(make_step(model, cross_entropy, tx))
    return lambda: (step.lower(*arguments), arguments), lambda: jax.block_until_ready(step(*arguments))


def torch_step(batch: int, device: str) -> Callable:
    """The same step in torch, with its own initial weights."""
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.torch_side import DEVICES, adamw, to_device, train_step
    from benchmarks.trimodal import DECAY, RATE, inputs, torch_model

    tensors = {name: to_device(x, device) for name, x in inputs(batch).items()}
    model = torch_model().to(DEVICES[device], memory_format=torch.channels_last)
    optimizer = adamw([p for p in model.parameters() if p.requires_grad], RATE, DECAY)
    forward = lambda: model(tensors["image"].permute(0, 3, 1, 2), tensors["text"], tensors["audio"])
    return train_step(lambda: cross_entropy(forward(), tensors["label"]), optimizer, device)


def compilation(batch: int, warm: bool, weights: Weights) -> Workload:
    """The step is traced and lowered once; a run compiles it, or reads it from the cache."""
    import jax

    from mmjax.experiment.cli import prepare_jax

    folder = tempfile.TemporaryDirectory()
    if warm:
        os.environ["XDG_CACHE_HOME"] = folder.name
        prepare_jax()
    lowered, arguments = mmjax_step(batch)[0]()

    def run(held=folder):
        jax.clear_caches()
        return lowered.compile({"xla_embed_ir_in_executable": False})  # the default; without options, the result is kept

    run()
    return Workload(run, {"loss": np.asarray(run()(*arguments)[1]["loss"])})
