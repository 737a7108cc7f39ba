"""The search page and its JSON endpoint, as a Starlette application."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mmjax.data.decode import DataError
from mmjax.search.requests import read_query
from mmjax.search.searcher import Searcher
from mmjax.web import application as web

__all__ = ["WAITING", "application"]

WAITING = 256
"""Requests that may wait for their turn; others are told to come again."""
_HERE = Path(__file__).parent


def application(
    searcher: Searcher, about: Mapping[str, Any], max_bytes: int, hosts: tuple[str, ...] = web.LOOPBACK
) -> web.SafeHeaders:
    """The ASGI application: GET / is the page, GET /health the state, POST /search the answer to a query, and GET
    /item/NUMBER/KIND an image or a sound of an item.

    about: JSON that is part of /health, such as the names of run and cell. max_bytes: of a request. hosts: as of
    `web.application.application`. Queries are decoded and answered one at a time. Errors are {"error": one line}.
    """
    (own_turn, waiting), media_turn = web.taking_turns(WAITING), anyio.CapacityLimiter(2)

    async def health(request: Request) -> Response:
        del request
        query = dict(searcher.kinds)
        collection = searcher.collection
        gallery = {"name": collection.name, "modality": collection.modality, "items": len(searcher.rows)}
        composition = "sum" if searcher.embedder.space.fused is None else "fused"
        state = {"status": "ok", "query": query, "gallery": gallery, "composition": composition, "waiting": waiting()}
        return JSONResponse({**about, **state, "max_bytes": max_bytes})

    async def answer(request: Request) -> Response:
        web.same_origin(request)
        async with read_query(request, searcher.kinds, max_bytes) as (inputs, k), own_turn():
            found = await anyio.to_thread.run_sync(_answer, searcher, inputs, {} if k is None else {"k": k})
        return JSONResponse(found)

    async def media(request: Request) -> Response:
        number, kind = request.path_params["number"], request.path_params["kind"]
        if number >= len(searcher.collection):
            raise HTTPException(404, f"there is no item {number}")
        data, media_type = await anyio.to_thread.run_sync(_media, searcher, number, kind, limiter=media_turn)
        return Response(data, media_type=media_type)

    routes = [
        Route("/", web.static(_HERE / "page.html")),
        Route("/page.js", web.static(_HERE / "page.js")),
        Route("/health", health),
        Route("/search", answer, methods=["POST"]),
        Route("/item/{number:int}/{kind}", media),
    ]
    return web.application(routes, hosts)


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
