"""The frame of a page's Starlette application: safe headers, requests of this page alone, errors of one line, and turns."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["HEADERS", "LOOPBACK", "SafeHeaders", "application", "hosts_of", "same_origin", "static", "taking_turns"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Cache-Control": "no-store",
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_SHARED = Path(__file__).parent


def application(routes: Sequence[Route], hosts: tuple[str, ...]) -> "SafeHeaders":
    """The ASGI application of a page. Errors are {"error": one line}.

    hosts: names that the server is addressed by, ("*",) for any; other names are refused, so that no other site can read
    answers by a name of its own.
    """
    shared = [Route(f"/{name}", static(_SHARED / name)) for name in ("page.css", "media.js")]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)]
    handlers = {HTTPException: _error, Exception: _failure}
    return SafeHeaders(Starlette(routes=[*routes, *shared], middleware=middleware, exception_handlers=handlers))


def hosts_of(host: str) -> tuple[str, ...]:
    """As of `application`, by the address of the server."""
    return LOOPBACK if host in ("127.0.0.1", "::1", "localhost") else ("*",)


class SafeHeaders:
    """Adds `HEADERS` to every response, also to those of errors."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, with_headers)


def taking_turns(most: int) -> tuple[Callable[[], AbstractAsyncContextManager[None]], Callable[[], int]]:
    """(a context in which one request is at a time, the number of those that wait or are in it). Entering raises HTTPException
    503 if `most` are."""
    turn, waiting = anyio.CapacityLimiter(1), [0]

    @asynccontextmanager
    async def own_turn() -> AsyncIterator[None]:
        if waiting[0] >= most:
            raise HTTPException(503, "too many queries are waiting; try again in a few seconds", {"Retry-After": "5"})
        waiting[0] += 1
        try:
            async with turn:
                yield
        finally:
            waiting[0] -= 1

    return own_turn, lambda: waiting[0]


def same_origin(request: Request) -> None:
    """Refuses requests that a page of another site makes; browsers name the site in this header."""
    origin, host = request.headers.get("origin"), request.headers.get("host")
    if origin is not None and origin.partition("://")[2] != host:
        raise HTTPException(403, "pages of other sites may not ask here")


def static(file: Path) -> Any:
    """The endpoint of a file, read once."""
    data, media_type = file.read_bytes(), _TYPES[file.suffix]

    async def endpoint(request: Request) -> Response:
        del request
        return Response(data, media_type=media_type)

    return endpoint


async def _error(request: Request, error: HTTPException) -> Response:
    del request
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _failure(request: Request, error: Exception) -> Response:
    """The traceback is on the server's standard error."""
    del request, error
    return JSONResponse({"error": "the server failed at this request; its log says why"}, 500)
