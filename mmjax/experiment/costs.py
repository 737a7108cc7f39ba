"""What an experiment's cells cost, stage by stage, by XLA's own analysis of the training step: `python experiments/NAME.py
--costs`."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mmjax.data import feed
from mmjax.data.dataset import Dataset
from mmjax.experiment import Experiment, parameter_count
from mmjax.train.parallel import single
from mmjax.train.seeds import init_seeds, orders
from mmjax.train.stages import parts


class Costs(NamedTuple):
    """Of one training step of all seeds: which parameters learn in it, as `Stage.learns` has it, None where the training has no
    stages; numbers in the parameters of one seed, frozen ones too; FLOPs of one seed; bytes in use at most, of all seeds;
    seconds to compile; the loss of the step that was taken."""

    learns: tuple[str, ...] | None
    parameters: int
    flops: float
    memory: int
    compile_seconds: float
    loss: float


def costs(experiment: Experiment, dataset: Dataset, seeds: int) -> Iterator[Costs]:
    """Compiles the step of each of the experiment's stages, analyses it, and takes it on real data from parameters as they are
    drawn; a single one where there are no stages.

    FLOPs are XLA's count of the compiled program, in which the body of a loop (a recurrent layer's step) counts once.
    """
    rows = dataset.splits["train"]
    batch = feed.Streamed(dataset, rows, experiment.encoders)(orders(range(seeds), len(rows), experiment.batch)(0))
    one_seed = jax.tree.map(lambda leaf: leaf[0], batch)
    for part in parts(experiment.stages, experiment.steps):
        tx, balance = experiment.tx_of(part), experiment.balance
        state = init_seeds(experiment.model, tx, range(seeds), one_seed, balance, part.learns)
        parameters = parameter_count(state.params) // seeds
        began = time.monotonic()
        compiled = single(experiment.step_of(part)).run.lower(state, batch).compile()
        seconds = time.monotonic() - began
        memory = compiled.memory_analysis()
        held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        held += memory.temp_size_in_bytes
        _, loss = compiled(state, batch)
        flops = float(compiled.cost_analysis().get("flops", float("nan"))) / seeds
        yield Costs(part.learns, parameters, flops, held, seconds, float(np.mean(loss)))


def print_costs(cells: Mapping[str, Experiment], datasets: Mapping[Any, Dataset], options: Any) -> None:
    """A line for each cell, or for each of its stages. datasets: what `ablation.load_and_check` gives for them."""
    console = Console()
    table = Table(title=f"one training step, {options.seeds} seeds on {jax.devices()[0].device_kind}", box=SIMPLE_HEAD)
    for name in ("cell", "batch", "parameters", "GFLOP a seed", "memory, MB", "compiled in, s", "loss"):
        table.add_column(name, justify="left" if name == "cell" else "right", no_wrap=name == "cell")
    stages = []  # what they are, below the table, where there is room
    for cell, experiment in cells.items():
        with console.status(f"compiling {cell}"):
            found = list(costs(experiment, datasets[experiment.data], options.seeds))
        for number, cost in enumerate(found, 1):
            name = cell
            if cost.learns is not None:
                name = f"{cell} {number}/{len(found)}"
                stages.append(f"stage {name} learns {', '.join(path or 'everything' for path in cost.learns)}")
            numbers = (f"{cost.parameters:,}", f"{cost.flops / 1e9:.3g}", f"{cost.memory / 1e6:,.0f}")
            table.add_row(name, str(experiment.batch), *numbers, f"{cost.compile_seconds:.1f}", f"{cost.loss:.3f}")
    console.print(table)
    for stage in stages:
        console.print(stage, markup=False)
    console.print("XLA counts the body of a loop, such as a recurrent layer's step, once.")
