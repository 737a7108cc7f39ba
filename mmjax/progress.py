"""What a person sees while a run works: a bar for each long piece, with time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Context manager around rich's bars; where the output is no terminal, finished pieces are printed as lines."""

    def __init__(self, console: Console):
        self.console = console
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bars = Bars(*columns, console=console, expand=True)
        self._cell: Any = None
        self._name, self._steps = "", 0

    def __enter__(self) -> "Progress":
        self.bars.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bars.stop()

    def print(self, line: str) -> None:
        self.console.print(line, highlight=False)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A piece of unknown length."""
        task = self.bars.add_task(what, total=None, note="")
        try:
            yield
        finally:
            self.bars.remove_task(task)

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A piece of `total` items; gives the function that is told of each few done."""
        task = self.bars.add_task(what, total=total, note="")
        try:
            yield lambda items: self.bars.update(task, advance=items)
        finally:
            self.bars.remove_task(task)

    def cell(self, name: str, steps: int) -> None:
        """A cell begins to train."""
        self._name, self._steps = name, steps
        self._cell = self.bars.add_task(f"training {name}", total=steps, note="")

    def step(self, done: int) -> None:
        self.bars.update(self._cell, completed=done)

    def evaluated(self, record: dict[str, Any]) -> None:
        """A point of the learning curve, its numbers averaged over the seeds."""
        accuracy, loss = (sum(record[k]) / len(record[k]) for k in ("validation_accuracy", "train_loss"))
        note = f"training loss {loss:.2f}, validation accuracy {accuracy:.3f}"
        self.bars.update(self._cell, note=note)
        if not self.console.is_terminal and record["step"] == self._steps:
            self.print(f"trained {self._name}: {record['step']} steps, {note}")
