"""The page of a conversation and its endpoint, as a Starlette application."""

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import jax
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mmjax.chat.cell import ChatCell
from mmjax.chat.conversation import reply
from mmjax.chat.messages import Message
from mmjax.chat.model import ChatModel
from mmjax.chat.requests import read_messages
from mmjax.data.decode import DataError
from mmjax.web import application as web

__all__ = ["WAITING", "application"]

WAITING = 16
"""Requests that may wait for their turn, each with its files in memory; others are told to come again."""
_HERE = Path(__file__).parent
_FAILED = "the server failed at this request; its log says why"


def application(
    model: ChatModel | ChatCell,
    about: Mapping[str, Any],
    max_tokens: int,
    seed: int,
    stop: Sequence[str],
    max_bytes: int,
    hosts: tuple[str, ...] = web.LOOPBACK,
) -> web.SafeHeaders:
    """The ASGI application: GET / is the page, GET /health the state, and POST /answer the answer to a conversation.

    The server keeps no conversations: each request has all messages (`requests.read_messages`). The answer comes as lines of
    JSON: {"dropped": turns that did not fit}, {"text": piece} while it is written, and {"end": true} or {"error": one line}.
    One answer is written at a time; one whose client leaves is ended.

    about: JSON that is part of /health, such as the name of the model; its "system" is the system message. max_tokens, stop: of
    an answer. seed: of random numbers. max_bytes: of a request. hosts: as of `web.application.application`.
    """
    (own_turn, waiting), count = web.taking_turns(WAITING), [0]
    system = [{"role": "system", "content": about["system"]}] if about.get("system") else []

    async def health(request: Request) -> Response:
        del request
        state = {"status": "ok", "takes": list(model.takes), "remembers": isinstance(model, ChatModel) and bool(model.template)}
        return JSONResponse({**about, **state, "max_bytes": max_bytes, "max_tokens": max_tokens, "waiting": waiting()})

    def begin(messages: list[Message]) -> tuple[int, Iterator[str]]:
        """(the number of dropped turns, the pieces of the answer)."""
        count[0] += 1
        key = jax.random.fold_in(jax.random.key(seed), count[0])
        try:
            kept, pieces = reply(model, [*system, *messages], max_tokens, key, stop)
        except (DataError, ImportError, ValueError) as error:
            raise HTTPException(422, " ".join(str(error).split())) from None
        except MemoryError:
            raise HTTPException(413, "there is not enough memory for the messages; send smaller files") from None
        return (len(system) + len(messages) - len(kept)) // 2, pieces

    async def answer(request: Request) -> "_Answer":
        web.same_origin(request)
        messages = await read_messages(request, model.takes, max_bytes)
        return _Answer(own_turn, lambda: begin(messages))

    routes = [
        Route("/", web.static(_HERE / "page.html")),
        Route("/page.js", web.static(_HERE / "page.js")),
        Route("/health", health),
        Route("/answer", answer, methods=["POST"]),
    ]
    return web.application(routes, hosts)


class _Answer:
    """A response that is written while it has its turn. begin: as in `application`."""

    def __init__(self, own_turn: Callable[[], Any], begin: Callable[[], tuple[int, Iterator[str]]]):
        self.own_turn, self.begin = own_turn, begin

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self.own_turn():
            dropped, pieces = await anyio.to_thread.run_sync(self.begin)
            response = StreamingResponse(_lines(dropped, pieces), media_type="application/x-ndjson")
            await response(scope, receive, send)


async def _lines(dropped: int, pieces: Iterator[str]) -> AsyncIterator[str]:
    yield json.dumps({"dropped": dropped}) + "\n"
    try:
        while (piece := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
            yield json.dumps({"text": piece}) + "\n"
        yield json.dumps({"end": True}) + "\n"
    except ValueError as error:
        yield json.dumps({"error": " ".join(str(error).split())}) + "\n"
    except (MemoryError, RuntimeError):  # the status has been sent
        logging.getLogger(__name__).exception("an answer failed")
        yield json.dumps({"error": _FAILED}) + "\n"
