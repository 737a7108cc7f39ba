"""What the C library does with freed memory."""

import ctypes
import sys

ARENAS, MMAPS, TRIM = -8, -4, -1  # glibc's M_ARENA_MAX, M_MMAP_MAX and M_TRIM_THRESHOLD, malloc.h


def keep_freed_memory() -> None:
    """Memory that a compiled step has freed stays with the process, for the next step.

    glibc gives large blocks back to the system, which clears every page of them when it gives them out again: a fifth of the
    CPU time of a small model's training step. The price: the process stays as large as it was once. Elsewhere than with glibc
    this does nothing. To be called before other threads begin, by programs and not by libraries.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt:
        for option, value in ((ARENAS, 1), (MMAPS, 0), (TRIM, 2**31 - 1)):
            mallopt(option, value)
