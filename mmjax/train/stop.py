"""Stopping a run by a signal."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from queue import SimpleQueue
from types import FrameType
from typing import Any

import jax

from mmjax.processes import any_process, end_process

__all__ = ["ASK_EVERY", "GRACE", "REPEAT", "SHOW_CURSOR", "SIGNALS", "AskedTogether", "StopRequest", "stopped_at_once"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ASK_EVERY = 10  # calls
GRACE = 0.3  # seconds in which a handler runs unless the main thread is in a long call
REPEAT = 0.01  # seconds
SHOW_CURSOR = b"\x1b[?25h"


class StopRequest:
    """While entered, SIGINT and SIGTERM set `asked` instead of ending the process. A second signal acts as usual.

    acknowledge: called at once for the first signal, from another thread: Python runs signal handlers only between its own
    instructions, so during a long compilation `asked` is set when it ends. A second signal in such a call ends the process
    there; files of a run are written so that this damages none. Outside the main thread, signals are not handled.
    """

    def __init__(self, acknowledge: Callable[[], None] = lambda: None):
        self.asked, self.acknowledge = False, acknowledge
        self._handled = 0  # signals that a Python handler has seen
        self._restored = False  # handlers are those from before, which may repeat a signal

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._handled += 1
        if not self.asked:
            self.asked = True
            return
        self._restore()
        if callable(self._before[number]):
            self._before[number](number, frame)
        else:
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        self._restored = True
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _listen(self) -> None:
        """Reads the signals, whose numbers the interpreter writes to the pipe; 0 comes from `__exit__`."""
        seen = 0
        for number in iter(lambda: os.read(self._read, 1), b"\0"):
            if number[0] not in SIGNALS:
                continue
            seen += 1
            if seen == 1:
                self.acknowledge()
                continue
            time.sleep(GRACE)
            if self._handled < seen and not self._restored:  # the main thread is in a long call
                if sys.stdout.isatty():
                    os.write(sys.stdout.fileno(), SHOW_CURSOR)  # progress bars hide it
                os._exit(128 + number[0])

    def __enter__(self) -> "StopRequest":
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return self
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if not self._before:
            return
        signal.set_wakeup_fd(self._fd)
        os.write(self._write, b"\0")
        self._thread.join()
        for descriptor in (self._read, self._write):
            os.close(descriptor)
        self._restore()


class AskedTogether:
    """() -> whether a process was asked to stop, the same in all. Several processes ask each other in every tenth call, since
    each answer takes the time of a step."""

    def __init__(self, request: StopRequest):
        self.request, self.calls = request, 0

    def __call__(self) -> bool:
        self.calls += 1
        if jax.process_count() == 1:
            return self.request.asked
        return self.calls % ASK_EVERY == 0 and any_process(self.request.asked)


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """Outside of a `StopRequest`, SIGINT and SIGTERM end the process with one line and exit code 130."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    try:
        with _repeated_if_ignored() if is_main else nullcontext():
            yield
    except KeyboardInterrupt:
        print("stopped at once; continue from the last checkpoint with the same command and --resume", file=sys.stderr)
        end_process(130)
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _repeated_if_ignored() -> Iterator[None]:
    """Repeats a signal whose KeyboardInterrupt Python ignored.

    A signal handler may happen to run in a finalizer or in a callback of the garbage collector. Python ignores what these
    raise, and passes it to `sys.unraisablehook` alone.
    """
    report, ignored, main = sys.unraisablehook, SimpleQueue(), threading.get_ident()

    def repeat() -> None:
        for found in iter(ignored.get, None):
            if issubclass(found.exc_type, KeyboardInterrupt):
                time.sleep(REPEAT)  # until the callback has ended
                signal.pthread_kill(main, signal.SIGTERM)
            else:
                report(found)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    sys.unraisablehook = ignored.put  # not Python code, in which the handler of a further signal could run
    try:
        yield
    finally:
        sys.unraisablehook = report
        ignored.put(None)
        thread.join()  # a signal that it has sent is handled here
