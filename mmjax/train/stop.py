"""Stopping a run by a signal."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While entered, SIGINT and SIGTERM set `asked` instead of ending the process. A second signal acts as usual.

    acknowledge: called at once for the first signal, from another thread: Python runs signal handlers only between its own
    instructions, so during a long compilation `asked` is set when it ends, and a second signal ends the process there.
    """

    def __init__(self, acknowledge: Callable[[], None] = lambda: None):
        self.asked, self.acknowledge = False, acknowledge

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, self._before[number])

    def _listen(self) -> None:
        """Reads the signals, whose numbers the interpreter writes to the pipe; 0 comes from `__exit__`."""
        seen = 0
        for number in iter(lambda: os.read(self._read, 1), b"\0"):
            if number[0] not in SIGNALS:
                continue
            seen += 1
            if seen == 1:
                self.acknowledge()
            elif not self.asked:  # the main thread is still busy and cannot raise KeyboardInterrupt; nothing is being written
                os._exit(128 + number[0])

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        signal.set_wakeup_fd(self._fd)
        os.write(self._write, b"\0")
        self._thread.join()
        for descriptor in (self._read, self._write):
            os.close(descriptor)
        for number, handler in self._before.items():
            signal.signal(number, handler)
