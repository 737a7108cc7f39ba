"""A full disk and missing permissions, for the tests and the scoreboard."""

import contextlib
import os
import resource


@contextlib.contextmanager
def unprivileged():
    """Permissions apply inside, even to root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextlib.contextmanager
def full_disk(size: int = 1000):
    """Simulated by a limit on the size of files (bytes), which makes writes fail in the same way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
