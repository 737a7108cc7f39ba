"""What an experiment's cells cost, by XLA's own analysis of the training step: `python experiments/NAME.py --costs`."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mmjax.data import feed
from mmjax.data.dataset import Dataset
from mmjax.experiment import Experiment, parameter_count
from mmjax.train.ablate import init_seeds, orders
from mmjax.train.parallel import single
from mmjax.train.stages import parts


class Costs(NamedTuple):
    """Of one training step of all seeds: numbers in the parameters of one seed; FLOPs of one seed; bytes in use at most, of
    all seeds; seconds to compile; the loss of the step that was taken."""

    parameters: int
    flops: float
    memory: int
    compile_seconds: float
    loss: float


def costs(experiment: Experiment, dataset: Dataset, seeds: int) -> Costs:
    """Compiles the experiment's last step (of its last stage, where it has some), analyses it, and takes it on real data.

    FLOPs are XLA's count of the compiled program, in which the body of a loop (a recurrent layer's step) counts once.
    """
    rows = dataset.splits["train"]
    batch = feed.Streamed(dataset, rows, experiment.encoders)(orders(range(seeds), len(rows), experiment.batch)(0))
    one_seed = jax.tree.map(lambda leaf: leaf[0], batch)
    last = parts(experiment.stages, experiment.steps)[-1]
    tx, balance = experiment.tx_of(last), experiment.balance
    state = init_seeds(experiment.model, tx, range(seeds), one_seed, balance, last.learns)
    parameters = parameter_count(state.params) // seeds
    began = time.monotonic()
    compiled = single(experiment.step_of(last)).run.lower(state, batch).compile()
    seconds = time.monotonic() - began
    memory = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes + memory.temp_size_in_bytes
    _, loss = compiled(state, batch)
    flops = float(compiled.cost_analysis().get("flops", float("nan"))) / seeds
    return Costs(parameters, flops, held, seconds, float(np.mean(loss)))


def print_costs(cells: Mapping[str, Experiment], datasets: Mapping[Any, Dataset], options: Any) -> None:
    """A line for each cell. datasets: what `ablation.load_and_check` gives for them."""
    console = Console()
    table = Table(title=f"one training step, {options.seeds} seeds on {jax.devices()[0].device_kind}", box=SIMPLE_HEAD)
    for name in ("cell", "batch", "parameters", "GFLOP a seed", "memory, MB", "compiled in, s", "loss"):
        table.add_column(name, justify="left" if name == "cell" else "right", no_wrap=name == "cell")
    for cell, experiment in cells.items():
        with console.status(f"compiling {cell}"):
            cost = costs(experiment, datasets[experiment.data], options.seeds)
        numbers = (f"{cost.parameters:,}", f"{cost.flops / 1e9:.3g}", f"{cost.memory / 1e6:,.0f}")
        table.add_row(cell, str(experiment.batch), *numbers, f"{cost.compile_seconds:.1f}", f"{cost.loss:.3f}")
    console.print(table)
    console.print("XLA counts the body of a loop, such as a recurrent layer's step, once.")
