#!/usr/bin/env python3
"""The size, memory and latency of the trained cells of a run, one line a cell.

    python scripts/compressed_costs.py runs/compressed_stamps --against float

disk: variables.safetensors, a seed. zipped: the same by zlib, which is what zeros save. memory: XLA's analysis of one call with
one example: variables, inputs, outputs and temporaries. ms: the median of one call with 1 and with 32 examples; the ratios are
to the cell of --against in the same rounds, below 1 if the cell is faster. All are of one seed, with all modalities, from
preprocessed inputs to logits; frozen published encoders are part of a cell only if it trains with them.
"""

import argparse
import statistics
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import mmjax
from mmjax.results import Cell
from mmjax.runs.model import VARIABLES
from mmjax.train.stages import merged

BATCHES = (1, 32)


class Cost(NamedTuple):
    """disk, zipped, memory: bytes. run: {examples: compiled call}."""

    disk: float
    zipped: float
    memory: int
    run: dict[int, Callable[[], Any]]


def cost(cell: Cell) -> Cost:
    """The sizes of one seed, and its compiled calls."""
    model, file = cell.models[0], cell.folders[0] / VARIABLES
    content, seeds = file.read_bytes(), len(model.seeds)
    variables = jax.tree.map(jnp.asarray, merged(jax.tree.map(lambda leaf: leaf[0], model.variables), model.frozen))
    runs, memory = {}, 0
    for rows in BATCHES:
        items = {
            name: jax.tree.map(lambda leaf: np.stack([leaf] * rows), reader.empty) for name, reader in model.readers.items()
        }
        batch = jax.jit(model.batch)(items, {name: jnp.ones(rows, bool) for name in items})
        compiled = jax.jit(lambda variables, batch: model.module.apply(variables, batch)).lower(variables, batch).compile()
        runs[rows] = lambda compiled=compiled, batch=batch: jax.block_until_ready(compiled(variables, batch))
        if rows == 1:
            found = compiled.memory_analysis()
            memory = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return Cost(len(content) / seeds, len(zlib.compress(content, 6)) / seeds, memory, runs)


def milliseconds(run: Callable[[], Any], calls: int = 20) -> float:
    """The median time of a call."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def table(cells: dict[str, Cell], against: str, rounds: int = 15) -> list[dict[str, Any]]:
    """One row a cell: its costs, and their ratios to those of another cell, measured in turn."""
    base, rows = cost(cells[against]), []
    for name, cell in cells.items():
        own = base if name == against else cost(cell)
        row = {"cell": name, "disk": own.disk, "zipped": own.zipped, "memory": own.memory, "smaller": base.disk / own.disk}
        for examples in BATCHES:
            pairs = [(milliseconds(own.run[examples]), milliseconds(base.run[examples])) for _ in range(rounds)]
            row[f"ms_{examples}"] = statistics.median(mine for mine, _ in pairs)
            row[f"ratio_{examples}"] = statistics.median(mine / theirs for mine, theirs in pairs)
        rows.append(row)
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", type=Path, help="a finished run folder")
    options.add_argument("--against", required=True, metavar="CELL", help="the cell of the ratios")
    given = options.parse_args()
    results = mmjax.load_run(given.run)
    if given.against not in results:
        options.error(f"--against is {given.against!r}; the cells are {', '.join(results)}")
    print(f"{'cell':22}{'disk':>10}{'zipped':>10}{'smaller':>9}{'memory':>10}{'ms, 1':>9}{'ratio':>7}{'ms, 32':>9}{'ratio':>7}")
    for row in table({name: results[name] for name in results}, given.against):
        sizes = "".join(f"{row[name] / 1e3:>7.0f} kB" for name in ("disk", "zipped"))
        times = "".join(f"{row[f'ms_{n}']:>9.3f}{row[f'ratio_{n}']:>7.2f}" for n in BATCHES)
        print(f"{row['cell']:22}{sizes}{row['smaller']:>9.2f}{row['memory'] / 1e3:>7.0f} kB{times}")


if __name__ == "__main__":
    main()
