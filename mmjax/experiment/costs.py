"""The costs of the cells of an experiment, by XLA's analysis of the training step: `python experiments/NAME.py --costs`.

With `--plan sharded` and a mesh that is larger than the devices there are, the step is compiled for simulated devices, from
shapes alone: nothing runs, and states are not made.
"""

import contextlib
import dataclasses
import math
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
from mmjax.describe import parameter_count
from mmjax.experiment.chips import chips_table, collectives_table
from mmjax.experiment.privacy import with_noise
from mmjax.experiment.tokens import with_token_ids
from mmjax.experiment.training import plan_of, training_of
from mmjax.experiment.value import Experiment
from mmjax.train.parallel import Plan, program_bytes, single
from mmjax.train.program import Program, read_program
from mmjax.train.seeds import orders
from mmjax.train.training import Training
from mmjax.types import Batch

__all__ = ["Costs", "costs", "print_costs", "shapes_of"]


class Costs(NamedTuple):
    """The cost of one training step of all seeds in one stage.

    learns: `Stage.learns`, None without stages. parameters: their number for one seed, frozen ones included. flops: of the
    products of one seed, on one device. memory: in bytes on each device, of arguments, outputs and temporaries.
    compile_seconds: time to compile. loss: in that step; nan if it does not run. program: on each device.
    """

    learns: tuple[str, ...] | None
    parameters: int
    flops: float
    memory: int
    compile_seconds: float
    loss: float
    program: Program


def costs(
    experiment: Experiment,
    dataset: Dataset,
    weights: Mapping[str, Any],
    seeds: int,
    plan: Plan | None = None,
    run: bool = True,
) -> Iterator[Costs]:
    """Compiles the training step of each stage, analyses it, and runs it once on training data with the initial parameters.

    plan: None for one device. run: whether the step runs; otherwise a state is not made, and the plan is `sharded`.
    """
    rows = dataset.splits["train"]
    read = feed.HostFeed(dataset, rows, experiment.encoders)
    experiment = with_noise(with_token_ids(experiment, dataset), len(rows))
    plan = plan or single()
    width = experiment.sampling.width(len(rows), experiment.batch, experiment.steps)
    width += -width % plan.devices
    order = orders(range(seeds), len(rows), experiment.batch, experiment.sampling, width)
    training = training_of(experiment, plan)
    first = read(order(0)[0])
    if run:
        state, frozen = training.init(range(seeds), first, weights or None)
        reset = lambda number: plan.compute(jax.vmap(lambda state: training.reset(state, number)), state)
    else:
        state, frozen = shapes_of(training, seeds, first, weights)
        reset = lambda number: jax.eval_shape(jax.vmap(lambda state: training.reset(state, number)), state)
    parameters = parameter_count(state.params) // seeds + parameter_count(frozen.get("params", {}))
    state, frozen = plan.place(state), plan.place(frozen, seeds=False)
    (batches,) = plan.feed(read).chunks(order, [range(1)])
    for number, (stage, _) in enumerate(training.resolved):
        of_stage = plan.place(reset(number))
        step = plan.train(training.step(number))
        began = time.monotonic()
        compiled = step.lower(of_stage, frozen, batches).compile()
        seconds = time.monotonic() - began
        program = read_program(compiled)
        held = program_bytes(compiled) or 0
        here = np.prod(of_stage.step.sharding.shard_shape(of_stage.step.shape))  # seeds of a device
        learns = tuple(stage.learns) if experiment.stages else None
        loss = float("nan")
        if run:
            with contextlib.suppress(MemoryError):
                _, metrics = step(of_stage, frozen, batches)
                loss = float(np.mean(metrics["loss"]))
        yield Costs(learns, parameters, float(program.flops / here), held, seconds, loss, program)


def shapes_of(training: Training, seeds: int, batch: Batch, weights: Mapping[str, Any]) -> tuple[Any, Any]:
    """As `Training.init`, with shapes and dtypes in place of arrays, also in `batch` and `weights`."""
    alone = dataclasses.replace(training, plan=single())
    return jax.eval_shape(lambda weights: alone.init(range(seeds), batch, weights), dict(weights))


def print_costs(cells: Mapping[str, Experiment], loaded: Any, options: Any, run: bool = True) -> None:
    """Prints a line for each cell, or for each of its stages. loaded: the result of `run.load_and_check` for the cells. run: as
    of `costs`."""
    console = Console()
    where = jax.devices()[0].device_kind + ("" if options.plan == "single" else f", --plan {options.plan}, per device")
    table = Table(title=f"one training step, {options.seeds} seeds on {where}", box=SIMPLE_HEAD)
    for name in ("cell", "batch", "parameters", "GFLOP per seed", "memory, MB", "compile time, s", "loss"):
        table.add_column(name, justify="left" if name == "cell" else "right", no_wrap=name == "cell")
    any_nan, stages, programs = False, [], []  # stages are printed below the table, where there is room
    for cell, experiment in cells.items():
        with console.status(f"compiling {cell}"):
            arguments = loaded.datasets[experiment.data], loaded.weights[cell], options.seeds
            found = list(costs(experiment, *arguments, plan_of(experiment, options), run))
        for number, cost in enumerate(found, 1):
            name, any_nan = cell, any_nan or math.isnan(cost.loss)
            if cost.learns is not None:
                name = f"{cell} {number}/{len(found)}"
                stages.append(f"stage {name} learns {', '.join(path or 'everything' for path in cost.learns)}")
            numbers = (f"{cost.parameters:,}", f"{cost.flops / 1e9:.3g}", f"{cost.memory / 1e6:,.0f}")
            table.add_row(name, str(experiment.batch), *numbers, f"{cost.compile_seconds:.1f}", f"{cost.loss:.3f}")
            programs.append((name, cost.program, cost.memory, None))
    console.print(table)
    for stage in stages:
        console.print(stage, markup=False)
    if any_nan and run:
        console.print("The loss is nan if a step is not finite or needs more memory than there is, which is not run then.")
    if not run:
        console.print("The devices are simulated: programs are compiled for CPUs from shapes alone, and nothing runs.")
    if options.plan == "sharded":
        console.print(collectives_table([row[:2] for row in programs]), chips_table(programs))
