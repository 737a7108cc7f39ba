"""A limit on the time of a test's own work."""

import gc
import time
from contextlib import contextmanager


@contextmanager
def at_once(seconds):
    """Fails if the thread takes more CPU time; other threads and the garbage of earlier tests do not count."""
    gc.disable()  # a full collection takes seconds after thousands of tests
    began = time.thread_time()
    try:
        yield
        assert time.thread_time() - began < seconds
    finally:
        gc.enable()
