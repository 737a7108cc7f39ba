"""The search page and its JSON endpoint, as a Starlette application."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mmjax.data.decode import DataError
from mmjax.search.requests import read_query
from mmjax.search.searcher import Searcher

__all__ = ["HEADERS", "LOOPBACK", "PAGE", "WAITING", "SafeHeaders", "application"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
WAITING = 256
"""Requests that may wait for their turn; others are told to come again."""
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
PAGE = {"/": ("page.html", "text/html"), "/page.css": ("page.css", "text/css"), "/page.js": ("page.js", "text/javascript")}


def application(
    searcher: Searcher, about: Mapping[str, Any], max_bytes: int, hosts: tuple[str, ...] = LOOPBACK
) -> "SafeHeaders":
    """The ASGI application: GET / is the page, GET /health the state, POST /search the answer to a query, and GET
    /item/NUMBER/KIND an image or a sound of an item.

    about: JSON that is part of /health, such as the names of run and cell. max_bytes: of a request. hosts: names that the
    server is addressed by, ("*",) for any; other names are refused, so that no other site can read answers by a name of its
    own. Queries are decoded and answered one at a time. Errors are {"error": one line}.
    """
    turn, media_turn, waiting = anyio.CapacityLimiter(1), anyio.CapacityLimiter(2), [0]

    async def health(request: Request) -> Response:
        del request
        query = dict(searcher.kinds)
        collection = searcher.collection
        gallery = {"name": collection.name, "modality": collection.modality, "items": len(searcher.rows)}
        composition = "sum" if searcher.embedder.space.fused is None else "fused"
        state = {"status": "ok", "query": query, "gallery": gallery, "composition": composition, "waiting": waiting[0]}
        return JSONResponse({**about, **state, "max_bytes": max_bytes})

    async def answer(request: Request) -> Response:
        _same_origin(request)
        async with read_query(request, searcher.kinds, max_bytes) as (inputs, k):
            if waiting[0] >= WAITING:
                raise HTTPException(503, "too many queries are waiting; try again in a few seconds", {"Retry-After": "5"})
            waiting[0] += 1
            try:
                found = await anyio.to_thread.run_sync(_answer, searcher, inputs, {} if k is None else {"k": k}, limiter=turn)
            finally:
                waiting[0] -= 1
        return JSONResponse(found)

    async def media(request: Request) -> Response:
        number, kind = request.path_params["number"], request.path_params["kind"]
        if number >= len(searcher.collection):
            raise HTTPException(404, f"there is no item {number}")
        data, media_type = await anyio.to_thread.run_sync(_media, searcher, number, kind, limiter=media_turn)
        return Response(data, media_type=media_type)

    routes = [Route(path, _static(*file)) for path, file in PAGE.items()]
    routes += [
        Route("/health", health),
        Route("/search", answer, methods=["POST"]),
        Route("/item/{number:int}/{kind}", media),
    ]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)]
    handlers = {HTTPException: _error, Exception: _failure}
    return SafeHeaders(Starlette(routes=routes, middleware=middleware, exception_handlers=handlers))


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


def _answer(searcher: Searcher, inputs: Mapping[str, Any], options: Mapping[str, int]) -> dict[str, Any]:
    """The files are read here, where only one query is at a time, so that memory does not grow with waiting ones."""
    raw = {name: value.file.read() if isinstance(value, UploadFile) else value for name, value in inputs.items()}
    try:
        return searcher.answer(raw, **options)
    except (DataError, ImportError) as error:
        raise HTTPException(422, " ".join(str(error).split())) from None
    except MemoryError:
        raise HTTPException(413, "there is not enough memory for the query; send smaller files") from None


def _media(searcher: Searcher, number: int, kind: str) -> tuple[bytes, str]:
    found = searcher.collection.media(number)
    if kind not in found:
        raise HTTPException(404, f"item {number} has no such media; it has {', '.join(found) or 'none'}")
    try:
        return found[kind]()
    except (DataError, OSError):
        raise HTTPException(404, f"the {kind} of item {number} cannot be read any more") from None


def _same_origin(request: Request) -> None:
    """Refuses requests that a page of another site makes; browsers name the site in this header."""
    origin, host = request.headers.get("origin"), request.headers.get("host")
    if origin is not None and origin.partition("://")[2] != host:
        raise HTTPException(403, "pages of other sites may not search here")


def _static(name: str, media_type: str) -> Any:
    data = (Path(__file__).parent / name).read_bytes()

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
