"""Reading items in this process or in worker processes; an error names the row."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Thread
from types import TracebackType
from typing import Any

from mmjax.data.decode import DataError

__all__ = ["Items", "Read", "Wanted", "Workers", "read_items"]

Read = Mapping[str, Callable[[int], Any]]
"""{modality: number -> item}, as `Column.read`."""
Wanted = Mapping[str, Sequence[tuple[int, int]]]
"""{modality: [(row, number of its item)]}."""
Items = dict[str, list[Any]]
"""{modality: the wanted items, in order}."""


def read_items(read: Read, wanted: Wanted) -> Items:
    """Reads items one by one. Raises DataError in one line that names the row and the item; the cause names the file."""
    return {name: [_read(read[name], name, row, number) for row, number in pairs] for name, pairs in wanted.items()}


def _read(read: Callable[[int], Any], name: str, row: int, number: int) -> Any:
    try:
        return read(number)
    except Exception as error:
        kind = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
        reason = " ".join(str(error).split())
        raise DataError(f"row {row}, item {number} of {name}: {kind}{reason}") from error


class Workers:
    """Processes that read items: `Workers(read, count)(wanted)` is `read_items(read, wanted)`. A context manager.

    Threads are faster while decoders release Python's lock, as those of images and sound do; processes are for readers in
    Python. Each process holds a copy of whatever `read` refers to, such as arrays, and starts in a second or two. They start
    with the first call and end with the context, or within a second of this process, even if it is killed.

    A script that uses workers must start its run below `if __name__ == "__main__":`, since each process imports the script.
    Raises ValueError for a count below 1, and DataError if a process ends early.
    """

    def __init__(self, read: Read, count: int):
        if count < 1:
            raise ValueError(f"count is {count}; it must be at least 1")
        context = multiprocessing.get_context("spawn")  # fork would copy the locks of JAX's threads
        self.count, self._pool = count, ProcessPoolExecutor(count, context, _start, (_pickled(read),))

    def __call__(self, wanted: Wanted) -> Items:
        if not any(wanted.values()):
            return {name: [] for name in wanted}
        try:
            return self._pool.submit(_read_here, wanted).result()
        except BrokenProcessPool:
            rows = [row for pairs in wanted.values() for row, _ in pairs]
            raise DataError(
                f"a worker process ended while the rows {min(rows)} to {max(rows)} were read: it was killed, ran out of memory "
                'or could not import the script, which must start its run below `if __name__ == "__main__":`'
            ) from None

    def close(self) -> None:
        """Ends the processes after their current items."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _pickled(read: Read) -> bytes:
    """By cloudpickle, a dependency of Grain, which also takes lambdas and functions of the script."""
    import cloudpickle

    for name, of_modality in read.items():
        try:
            cloudpickle.dumps(of_modality)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise DataError(f"the reader of {name} cannot be sent to worker processes ({reason}); use --workers 0") from error
    return cloudpickle.dumps(dict(read))


_READ: dict[str, Callable[[int], Any]] = {}  # of a worker process


def _start(read: bytes) -> None:
    """Prepares a worker process. read: {modality: number -> item}, pickled."""
    import cloudpickle

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt reaches all processes; the training process handles it
    Thread(target=_end_with_parent, daemon=True).start()
    _READ.update(cloudpickle.loads(read))
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")  # the accelerator belongs to the training process


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _read_here(wanted: Wanted) -> Items:
    return read_items(_READ, wanted)
