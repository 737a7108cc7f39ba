"""Helpers for tests of pages: a server in a process of its own, requests without a socket, forms, and a browser."""

import asyncio
import base64
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import QUICK

ROOT = Path(__file__).parents[1]
BOUNDARY = "a-boundary"
DROP = """(() => {{
    const bytes = Uint8Array.from(atob("{data}"), letter => letter.charCodeAt(0)), transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "{name}"));
    document.querySelector("{target}").dispatchEvent(
        new DragEvent("drop", {{dataTransfer: transfer, bubbles: true, cancelable: true}}));
}})()"""
# A microphone that plays a tone of 300 Hz.
MICROPHONE = """navigator.mediaDevices.getUserMedia = async () => {
    const context = new AudioContext(), tone = context.createOscillator(), end = context.createMediaStreamDestination();
    tone.frequency.value = 300; tone.connect(end); tone.start();
    return end.stream;
}"""


class Served:
    """A page in a process of its own. address: of the page. pid: of the process. output: what it printed."""

    def __init__(self, *command: str, log: Path):
        """command: behind "python -m". log: a file that is made."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(log.parent), "XLA_FLAGS": QUICK}
        arguments = [sys.executable, "-m", *command, "--port", "0"]
        with log.open("w") as file:
            self.process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=file, stderr=file)
        self.pid, self._log = self.process.pid, log
        end = time.monotonic() + 300
        while not (found := re.search(r"page: (http://\S+)", self.output)):
            assert self.process.poll() is None and time.monotonic() < end, self.output
            time.sleep(0.1)
        self.address = found[1]

    @property
    def output(self) -> str:
        return self._log.read_text()

    def memory(self) -> float:
        """Resident memory in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self) -> int:
        """Ends it as Ctrl-C does; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


def form(**fields: str | bytes) -> tuple[str, bytes]:
    """(content type, body) of a multipart form; bytes are files."""
    body = b""
    for name, value in fields.items():
        file = f'; filename="{name}.bin"' if isinstance(value, bytes) else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    return f"multipart/form-data; boundary={BOUNDARY}", body + f"--{BOUNDARY}--\r\n".encode()


def call(application, path: str, pieces, content_type: str = "application/json", clients: int = 1, **headers_given: str):
    """[(status, headers, body, pieces read)] of simultaneous POST requests with this body."""

    async def one():
        sent, read, body = [], [0], iter(pieces)

        async def receive():
            piece = next(body, None)
            read[0] += piece is not None
            await asyncio.sleep(0)
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

        async def send(message):
            sent.append(message)

        given = {"host": "localhost", "content-type": content_type, **headers_given}
        headers = [(name.encode(), value.encode()) for name, value in given.items()]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        scope |= {"scheme": "http", "server": ("localhost", 80), "client": ("localhost", 1)}
        try:
            await application(scope, receive, send)
        except RuntimeError as error:  # is raised again for the log of the server
            assert str(error) == "a bug"
        body = b"".join(message.get("body", b"") for message in sent)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], found, body, read[0]

    async def everyone():
        return await asyncio.gather(*(one() for _ in range(clients)))

    return asyncio.run(everyone())


def wait(browser, condition: str) -> None:
    """Until a condition of the page is true."""
    end = time.monotonic() + 60
    while not browser.evaluate(condition):
        assert time.monotonic() < end, (condition, browser.evaluate("document.body.innerText"))
        time.sleep(0.02)


def drop(page, target: str, name: str, data: bytes) -> None:
    """Drops a file on an element. target: its selector, without quotation marks."""
    page.evaluate(DROP.format(target=target, name=name, data=base64.b64encode(data).decode()))
