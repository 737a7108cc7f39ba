"""Drives a page in headless chromium, by the DevTools protocol over a pipe."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

TIMEOUT = 60  # seconds for one answer
# chromium reads commands from descriptor 3 and writes answers to 4; the pipes come as standard input and output
PIPES = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'


class Browser:
    """One page at a time. profile: an empty folder. RuntimeError if chromium is missing or does not answer."""

    def __init__(self, profile: Path):
        binary = shutil.which("chromium")
        if binary is None:
            raise RuntimeError("the tests of the report need chromium: apt-get install -y chromium")
        flags = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-gpu", "--mute-audio"]
        flags += ["--no-sandbox"] * (os.geteuid() == 0)  # chromium refuses to run its sandbox as root
        command = ["sh", "-c", PIPES, "sh", binary, *flags]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._buffer, self._count, self._session = b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def close(self) -> None:
        """Ends chromium."""
        self._session = None
        self.call("Browser.close")
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(TIMEOUT)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command of the protocol. Events are ignored."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        while (answer := self._read()).get("id") != self._count:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        file = self._process.stdout.fileno()
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([file], [], [], TIMEOUT)
            received = os.read(file, 1 << 20) if ready else b""
            if not received:
                raise RuntimeError("chromium does not answer" if not ready else "chromium has ended")
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path | str, width: int, scripts: bool = True, media: str = "screen", dark: bool = False) -> None:
        """Loads a page. page: a file or an address. width: of the window in CSS pixels. media: "screen" or "print". dark: the
        reader's preference."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 640)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Page.navigate", url="about:blank")  # so that a page is never reloaded, which keeps its scroll position
        url = page if isinstance(page, str) else page.absolute().as_uri()
        if error := self.call("Page.navigate", url=url).get("errorText"):
            raise RuntimeError(f"{page}: {error}")
        end = time.monotonic() + TIMEOUT
        while self.evaluate("document.readyState") != "complete":
            if time.monotonic() > end:
                raise RuntimeError(f"{page} is not loaded after {TIMEOUT} s")
            time.sleep(0.02)

    def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression, awaited if it is a promise, as if the reader had asked for it."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    def screenshot(self, file: Path, full: bool = True) -> None:
        """Writes a PNG of the page, or of the visible part of it."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=full)["data"]
        file.write_bytes(base64.b64decode(data))
