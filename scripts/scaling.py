#!/usr/bin/env python3
"""How time and memory grow: measured slopes on logarithmic axes beside those of theory, each over a 16-fold range.

    python scripts/scaling.py                              all axes
    python scripts/scaling.py tokens gallery --plot scaling.svg

A slope of 1 is linear growth: 16 times the size, 16 times the time; fixed costs make slopes lower. Time is the lowest CPU time
of at least three calls. Memory is XLA's analysis of a compiled program (arguments, outputs and temporaries); that of rows and
of a gallery is their arrays. Theory counts the multiplications of matrix products for time, and for memory the parameters, with
gradients and two moments, and the activations.
"""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.feed import DeviceFeed, load_columns
from mmjax.data.order import in_order
from mmjax.encoders import Features
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.nn import Transformer
from mmjax.search import Gallery, Resident, search
from mmjax.train.parallel import program_bytes, single
from mmjax.train.seeds import init_seeds
from mmjax.train.step import make_step
from mmjax.types import Batch

WIDTH, CLASSES, DEPTH, SECONDS = 256, 10, 2, 0.5
SUFFIXES = (".svg", ".png")
Built = tuple[Callable[[], Any], int]


class Axis(NamedTuple):
    """sizes: in rising order. build: size -> (a call, its bytes). time, memory: size -> that of theory, in any unit."""

    sizes: tuple[int, ...]
    build: Callable[[int], Built]
    time: Callable[[int], float]
    memory: Callable[[int], float]
    what: str


def training_step(seeds: int = 1, batch: int = 64, modalities: int = 2) -> Built:
    """A training step of dense encoders and a dense fusion."""
    names = [f"m{number}" for number in range(modalities)]
    inputs = {name: jnp.ones((batch, WIDTH)) for name in names}
    data = Batch(inputs, dict.fromkeys(names, jnp.ones(batch, bool)), {"label": jnp.zeros(batch, jnp.int32)}, jnp.ones(batch))
    model = Multimodal({name: Features(WIDTH) for name in names}, Concat(WIDTH), {"label": Classifier(CLASSES)})
    tx = optax.adam(1e-3)
    current = [init_seeds(model, tx, range(seeds), data)]
    batches = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (1, seeds, *leaf.shape)), data)
    step = single().train(make_step(model, cross_entropy, tx))
    size = program_bytes(step.lower(current[0], {}, batches).compile()) or 0

    def run() -> None:
        current[0], metrics = step(current[0], {}, batches)
        jax.block_until_ready(metrics)

    return run, size


def transformer_gradient(tokens: int, width: int = 128, batch: int = 1) -> Built:
    """The gradient of a Transformer of two blocks."""
    layers = Transformer(DEPTH, heads=width // 32, hidden=4 * width)
    x, mask = jnp.ones((batch, tokens, width)), jnp.ones((batch, tokens), bool)
    params = layers.init(jax.random.key(0), x, mask)
    loss = lambda params, x: jnp.sum(jnp.square(layers.apply(params, x, mask)))
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, x).compile()
    return lambda: jax.block_until_ready(compiled(params, x)), program_bytes(compiled) or 0


def transformer_work(tokens: int, width: int = 128) -> float:
    """Multiplications of a block's products, forward: four and eight dense layers of width x width, and the attention."""
    return tokens * 12 * width**2 + 2 * tokens**2 * width


def evaluation(rows: int) -> Built:
    """The logits of all rows, in batches of 256, from columns on the device."""
    values = np.ones((WIDTH,), np.float32)
    table = Rows({"x": np.arange(rows)}, {}, np.ones(rows, np.float32))
    data = Dataset({"x": Column(rows, lambda number: values, lambda x: x)}, {"test": table}, {}, "")
    columns, order = load_columns(data), in_order(rows, 256)
    feed = DeviceFeed(columns, table)
    model = Multimodal({"x": Features(WIDTH)}, Concat(WIDTH), {"label": Classifier(CLASSES)})
    params = model.init(jax.random.key(0), feed(order[0]))
    logits = jax.jit(model.apply)
    batches = lambda: feed.stream(lambda step: order[step], 0, len(order))
    run = lambda: [jax.block_until_ready(logits(params, batch)) for batch in batches()]
    return run, sum(leaf.nbytes for leaf in jax.tree.leaves(columns))


def exact_search(rows: int) -> Built:
    """The ten nearest of a gallery to each of 64 queries."""
    random = np.random.default_rng(0)
    vectors, query = random.standard_normal((rows, WIDTH), np.float32), random.standard_normal((64, WIDTH), np.float32)
    gallery = Resident.of(Gallery(vectors))
    return lambda: search(query, gallery, 10), sum(leaf.nbytes for block in gallery.blocks for leaf in block[1:])


def doubled(first: int) -> tuple[int, ...]:
    return tuple(first * 2**power for power in range(5))


def linear(size: int) -> float:
    return float(size)


AXES = {
    "seeds": Axis(doubled(1), lambda n: training_step(seeds=n), linear, linear, "a training step of two dense encoders"),
    "batch": Axis(doubled(128), lambda n: training_step(batch=n), linear, lambda n: 16 * WIDTH**2 + 10 * WIDTH * n,
                  "a training step of two dense encoders"),
    "modalities": Axis(doubled(2), lambda n: training_step(modalities=n), linear, linear, "a training step of Concat"),
    "tokens": Axis(doubled(256), transformer_gradient, transformer_work, linear, "the gradient of a Transformer, width 128"),
    "width": Axis(doubled(64), lambda n: transformer_gradient(64, n, 4), lambda n: transformer_work(64, n),
                  lambda n: 3 * 12 * n**2 + 4 * 64 * 20 * n, "the gradient of a Transformer, 4 x 64 tokens"),
    "rows": Axis(doubled(2048), evaluation, linear, linear, "evaluation of rows on the device"),
    "gallery": Axis(doubled(8192), exact_search, linear, linear, "exact search, 64 queries"),
}  # fmt: skip


def milliseconds(run: Callable[[], Any]) -> float:
    """The lowest CPU time of at least three calls, after two that are not counted."""
    run(), run()
    found, begin = [], time.perf_counter()
    while len(found) < 3 or time.perf_counter() - begin < SECONDS:
        start = time.process_time()
        run()
        found.append((time.process_time() - start) * 1000)
    return min(found)


def slope(sizes: tuple[int, ...], values: list[float]) -> float:
    """The exponent of growth: least squares on logarithmic axes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def measure(axis: Axis) -> dict[str, list[float]]:
    """{"ms": ..., "MB": ...} for each size."""
    found: dict[str, list[float]] = {"ms": [], "MB": []}
    for size in axis.sizes:
        run, size_in_bytes = axis.build(size)
        found["ms"].append(milliseconds(run))
        found["MB"].append(size_in_bytes / 1e6)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("axes", nargs="*", metavar="AXIS", help=f"any of {', '.join(AXES)}; default: all")
    options.add_argument("--quick", action="store_true", help="two small sizes, to test that an axis works")
    options.add_argument("--plot", type=Path, metavar="F", help="also draw the curves, as .svg or .png")
    given = options.parse_args()
    unknown = [name for name in given.axes if name not in AXES]
    if unknown:
        options.error(f"unknown axis {', '.join(unknown)}; the axes are {', '.join(AXES)}")
    problem = plot_problem(given.plot) if given.plot else None
    if problem:
        options.error(problem)
    console, results = Console(width=None if sys.stdout.isatty() else 160), {}
    table = Table("axis", "sizes", "ms", "slope", "theory", "MB", "slope", "theory", "what")
    for name in given.axes or AXES:
        axis = AXES[name]._replace(sizes=AXES[name].sizes[:2]) if given.quick else AXES[name]
        with console.status(f"measuring {name}"):
            found = results[name] = measure(axis)
        sizes = axis.sizes
        own = [slope(sizes, found[unit]) for unit in ("ms", "MB")]
        theory = [slope(sizes, [rule(size) for size in sizes]) for rule in (axis.time, axis.memory)]
        ends = [f"{found[unit][0]:.3g} to {found[unit][-1]:.3g}" for unit in ("ms", "MB")]
        cells = [name, f"{sizes[0]:,} to {sizes[-1]:,}"]
        for number in range(2):
            cells += [ends[number], f"{own[number]:.2f}", f"{theory[number]:.2f}"]
        table.add_row(*cells, axis.what)
    console.print(table)
    if given.plot:
        draw(results, given.plot)


def plot_problem(file: Path) -> str | None:
    """Why no plot can be written to this file, or None."""
    if file.suffix not in SUFFIXES:
        return f"--plot {file}: the name must end with {' or '.join(SUFFIXES)}"
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        return f"--plot {file} cannot be written; name a file in an existing folder that you may write"
    if importlib.util.find_spec("matplotlib") is None:
        return "--plot needs matplotlib: pip install 'mmjax[report]'"
    return None


def draw(results: dict[str, dict[str, list[float]]], file: Path) -> None:
    """One panel for each axis: the measured points, and the line of theory through the last one."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullLocator

    plain = lambda value, _: f"{value:,.6g}"
    figure, panels = pyplot.subplots(2, len(results), figsize=(2.6 * len(results), 5), squeeze=False, layout="constrained")
    for (name, found), column in zip(results.items(), panels.T):
        axis = AXES[name]
        sizes = axis.sizes[: len(found["ms"])]
        for panel, unit, rule in zip(column, ("ms", "MB"), (axis.time, axis.memory)):
            theory = np.array([rule(size) for size in sizes])
            panel.loglog(sizes, theory * found[unit][-1] / theory[-1], "--", color="grey", label="theory")
            panel.loglog(sizes, found[unit], "o-", label="measured")
            panel.set(xlabel=name, ylabel=unit, xticks=sizes[::2])
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            for side in (panel.xaxis, panel.yaxis):
                side.set_major_formatter(plain)
                side.set_minor_locator(NullLocator())
            panel.grid(alpha=0.3)
    panels[0][0].legend(frameon=False)
    figure.savefig(file)


if __name__ == "__main__":
    main()
