"""The command-line side of a page: its flags, its port, and the server, which ends with Ctrl-C."""

import argparse
import importlib.util
import logging
import socket
from collections.abc import Callable
from typing import Any

__all__ = ["EXTRA", "add_flags", "check_flags", "listen", "serve"]

EXTRA = ("starlette", "uvicorn", "python_multipart")


def add_flags(parser: Any) -> None:
    """--host, --port and --upload. parser: of argparse, or a group of one."""
    add: Callable[..., Any] = parser.add_argument
    add("--host", default="127.0.0.1", help="address; only loopback is private (default: %(default)s)")
    add("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    add("--upload", type=float, default=20.0, metavar="MB", help="size of a request (default: %(default)s)")


def check_flags(given: argparse.Namespace) -> None:
    """Raises ValueError for a value out of range, and ImportError without the packages of the page."""
    if missing := [name for name in EXTRA if importlib.util.find_spec(name) is None]:
        raise ImportError(f"the page needs {missing[0]}: pip install 'mmjax[demo]'")
    if not 0 < given.upload <= 1000 or not 0 <= given.port < 65536:
        valid = "they must be in (0, 1000] and [0, 65535]"
        raise ValueError(f"--upload is {given.upload:g} MB and --port {given.port}; {valid}")


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """(an open port, the address of the page). It is taken before any work, so that a port in use is reported at once.

    Raises OSError, with one line, if it cannot be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(512)  # so that another server cannot take the port before uvicorn listens
    except OSError as error:
        listening.close()
        reason = f"{error.strerror or error}; choose another port, or 0 for a free one"
        raise OSError(f"--host {host} --port {port}: {reason}") from None
    own, number = listening.getsockname()[:2]
    return listening, f"http://{f'[{own}]' if ':' in own else own}:{number}"


def serve(app: Any, listening: socket.socket) -> None:
    """Answers requests until Ctrl-C. app: an ASGI application."""
    import uvicorn

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every malformed form
    settings = {"log_level": "warning", "access_log": False, "server_header": False, "ws": "none", "lifespan": "off"}
    limits = {"limit_concurrency": 512, "timeout_keep_alive": 10, "timeout_graceful_shutdown": 3}
    uvicorn.Server(uvicorn.Config(app, http="h11", loop="asyncio", **settings, **limits)).run(sockets=[listening])
