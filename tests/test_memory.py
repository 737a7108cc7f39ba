"""What a process keeps, seen from outside: page faults of large arrays that come and go."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from mmjax.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def once():
    np.ones(10_000_000)  # 80 MB, above the size that glibc ever keeps by itself
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_freed_memory_is_used_again_without_page_faults():
    given_back, kept = faults("give back"), faults("keep")
    assert kept < given_back / 5
