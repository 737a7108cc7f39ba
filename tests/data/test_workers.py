"""Worker processes read what this process would read; their errors name the row, and they end with the training."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from threading import Lock

import numpy as np
import pytest

from mmjax.data.decode import DataError, decode_image
from mmjax.data.feed import HostFeed
from mmjax.data.workers import Workers, read_items
from tests.data.feeds import order, toy

WANTED = {"x": [(0, 3), (5, 1)], "file": [], "pid": []}


def damaged(number):
    return decode_image(b"\x89PNG\r\n\x1a\n damaged", f"birds/{number}.png")


def read():
    """Lambdas and closures can be sent."""
    import time

    offset = np.arange(10)
    pid = lambda number: time.sleep(number) or os.getpid()
    return {"x": lambda number: offset[number] * 2, "file": damaged, "pid": pid, "missing": lambda number: open("no such file")}


@pytest.fixture(scope="module")
def workers():
    with Workers(read(), 2) as workers:
        yield workers


def test_items_are_read_in_another_process(workers):
    assert workers(WANTED) == read_items(read(), WANTED) == {"x": [6, 2], "file": [], "pid": []}
    assert workers({"pid": [(0, 0)]})["pid"] != [os.getpid()]
    assert workers({"x": []}) == {"x": []}


@pytest.mark.parametrize(("name", "reason"), [
    ("file", r"row 7, item 2 of file: birds/2\.png: the image is truncated or damaged \(.*\); it should be a complete file"),
    ("missing", r"row 7, item 2 of missing: FileNotFoundError: \[Errno 2\] No such file or directory: 'no such file'"),
])
def test_an_error_names_row_and_file_in_one_line(workers, name, reason):
    for reads in (workers, lambda wanted: read_items(read(), wanted)):
        with pytest.raises(DataError, match=f"^{reason}$") as caught:
            reads({"x": [(4, 4)], name: [(7, 2)]})
        assert "\n" not in str(caught.value)


def test_batches_of_workers_are_those_of_threads():
    dataset = toy()
    rows, read_columns = dataset.splits["train"], {name: column.read for name, column in dataset.columns.items()}
    with Workers(read_columns, 1) as workers:
        streamed = list(HostFeed(dataset, rows, dataset.columns, workers=workers).stream(order, 0, 4))
    by_threads = HostFeed(dataset, rows, dataset.columns).stream(order, 0, 4)
    for step, (one, other) in enumerate(zip(streamed, by_threads, strict=True)):
        real = order(step) >= 0
        np.testing.assert_array_equal(np.asarray(one.targets["label"])[real], order(step)[real])
        np.testing.assert_array_equal(one.inputs["image"], other.inputs["image"])
        np.testing.assert_array_equal(one.inputs["text"].x, other.inputs["text"].x)
        np.testing.assert_array_equal(one.present["text"], other.present["text"])


def test_a_killed_worker_stops_the_stream_at_once():
    with Workers({"pid": read()["pid"]}, 1) as workers:
        (pid,) = workers({"pid": [(0, 0)]})["pid"]
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(DataError, match="a worker process ended while the rows 3 to 8 were read: it was killed"):
            workers({"pid": [(3, 0), (8, 60)]})
        assert time.monotonic() - began < 5


def test_workers_end_with_a_killed_parent(tmp_path):
    """The parent is killed while a worker reads for a minute; within five seconds no worker is left."""
    script = tmp_path / "reads.py"
    script.write_text(textwrap.dedent("""
        import os, time
        from mmjax.data.workers import Workers

        if __name__ == "__main__":
            workers = Workers({"pid": lambda number: time.sleep(number) or os.getpid()}, 1)
            print(workers({"pid": [(0, 0)]})["pid"][0], flush=True)
            workers({"pid": [(0, 60)]})
    """))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)  # it runs
        parent.kill()
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":  # ended, but nobody has asked for its exit code
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


def test_what_cannot_be_sent_is_named():
    lock = Lock()
    with pytest.raises(DataError, match=r"the reader of x cannot be sent to worker processes .*; use --workers 0"):
        Workers({"x": lambda number: lock}, 1)
    with pytest.raises(ValueError, match="count is 0"):
        Workers({}, 0)
