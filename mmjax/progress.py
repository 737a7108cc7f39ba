"""Progress bars of a run, one for each long task, with the remaining time and the speed of training."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

__all__ = ["Progress"]


class _Speed(ProgressColumn):
    """Examples per second of the last half minute, evaluation included, for tasks that state how many a step takes."""

    def render(self, task: Task) -> Text:
        examples = task.fields.get("examples")
        return Text(f"{task.speed * examples:,.0f} examples/s" if examples and task.speed else "")


class Progress:
    """Context manager around rich's progress bars. Without a terminal, it prints a line per trained cell instead.

    parts: number of training runs of the whole command. steps: their number of training steps, for the time that is left.
    """

    def __init__(self, console: Console, parts: int = 0, steps: int = 0):
        self.console, self.parts, self.steps = console, parts, steps
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            _Speed(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self.bars = Bars(*columns, console=console, expand=True)
        self._cell: Any = None
        self._all: Any = None
        self._name, self._steps, self._part, self._done = "", 0, 0, 0
        self._examples, self._compiled = 0, (0, 0.0)  # examples of a step; (steps, time) after the first call

    def __enter__(self) -> "Progress":
        self.bars.start()
        if self.parts > 1:
            self._all = self.bars.add_task("all training runs", total=self.steps, note="")
        return self

    def __exit__(self, *error: Any) -> None:
        self.bars.stop()

    def print(self, line: str) -> None:
        """Prints a line above the bars. Without a terminal it is not wrapped."""
        wrap = self.console.is_terminal
        self.console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=not wrap)

    @contextmanager
    def waiting(self, label: str) -> Iterator[None]:
        """Shows a bar of unknown length while the block runs."""
        task = self.bars.add_task(label, total=None, note="")
        try:
            yield
        finally:
            self.bars.remove_task(task)

    @contextmanager
    def counting(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Shows a bar of `total` items while the block runs; yields a function of the number of newly finished items."""
        task = self.bars.add_task(label, total=total, note="")
        try:
            yield lambda items: self.bars.update(task, advance=items)
        finally:
            self.bars.remove_task(task)

    def skip(self, steps: int) -> None:
        """Counts a training run that is already done."""
        self._part += 1
        self._advance(steps)

    def cell(self, name: str, steps: int, examples: int) -> None:
        """Starts the bar of a cell that trains for this number of steps; it says "compiling" until the first one is taken.

        examples: of a step, of all its seeds.
        """
        self._part += 1
        number = f" ({self._part} of {self.parts})" if self.parts > 1 else ""
        self._name, self._steps, self._done, self._examples = name, steps, 0, examples
        self._compiled = (steps, 0.0)
        self._cell = self.bars.add_task(f"training {name}{number}", total=steps, note="compiling", examples=examples)
        if not self.console.is_terminal:
            self.print(f"training {name}{number}: compiling")

    def step(self, done: int) -> None:
        """Moves the bar of the cell. done: number of steps taken."""
        note = {}
        if self._done == 0:
            note, self._compiled = {"note": ""}, (done, time.monotonic())
        self.bars.update(self._cell, completed=done, **note)
        self._advance(done - self._done)
        self._done = done

    def _advance(self, steps: int) -> None:
        if self._all is not None:
            self.bars.update(self._all, advance=steps)

    def evaluated(self, record: dict[str, Any]) -> None:
        """Shows a record of the learning curve, averaged over seeds: the training loss and the selected validation metric."""
        mean = lambda name: sum(record[name]) / len(record[name])
        always = ("validation_loss", "validation_score")
        metrics = [name for name in record if name.startswith("validation_") and name not in always]
        note = f"training loss {mean('train_loss'):.2f}"
        for name in metrics or ["validation_loss"]:
            note += f", validation {name.removeprefix('validation_')} {mean(name):.3f}"
        self.bars.update(self._cell, note=note)
        if not self.console.is_terminal and record["step"] == self._steps:
            steps, seconds = record["step"] - self._compiled[0], time.monotonic() - self._compiled[1]
            speed = f" at {steps * self._examples / seconds:,.0f} examples/s" if steps > 0 and seconds > 0 else ""
            self.print(f"trained {self._name}: {record['step']} steps{speed}, {note}")
