"""Runs an experiment in several processes of this machine, each with some CPU devices, to try what a cluster will do.

    python scripts/launch/local.py PROCESSES DEVICES experiments/NAME.py [CELL ...] --plan sharded [--FLAG VALUE ...]

The first process prints; the others print errors alone. SIGTERM and SIGINT go to all of them. If one fails, the others get 20
seconds to notice it before they are killed. The exit code is that of the first one that failed.
"""

import os
import signal
import socket
import subprocess
import sys
import time

GRACE = 20  # seconds


def main(args: list[str]) -> int:
    """Returns the exit code."""
    if len(args) < 3 or not all(number.isdecimal() and int(number) > 0 for number in args[:2]):
        print(__doc__, file=sys.stderr)
        return 2
    count, devices, command = int(args[0]), int(args[1]), args[2:]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    shared = ["--coordinator", f"localhost:{port}", "--processes", str(count)]
    start = lambda i: subprocess.Popen([sys.executable, *command, *shared, "--process", str(i)], env=environment)
    processes = [start(i) for i in range(count)]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: [process.send_signal(number) for process in processes])
    code, deadline = 0, None
    while any(process.poll() is None for process in processes):
        failed = [process.returncode for process in processes if process.returncode]
        if failed and deadline is None:
            code, deadline = failed[0], time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    return code or next((process.returncode for process in processes if process.returncode), 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
