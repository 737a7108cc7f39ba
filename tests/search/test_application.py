"""The application without a socket: limits of waiting queries and of the body, and failures."""

import json
import time

import pytest

from mmjax.search import server
from mmjax.search.searcher import Searcher
from mmjax.web import requests
from tests.served import call


class Stub(Searcher):
    """A searcher that finds nothing."""

    def __init__(self, answer=lambda raw, **options: {"results": []}):
        for name, value in {"kinds": {"text": "text", "image": "image"}, "answer": answer}.items():
            object.__setattr__(self, name, value)


def test_only_so_many_queries_wait(monkeypatch):
    monkeypatch.setattr(server, "WAITING", 3)
    application = server.application(Stub(), {}, 1000)
    answers = call(application, "/search", [b'{"text": "a"}'], clients=8)
    statuses = [status for status, *_ in answers]
    assert statuses.count(200) == 3 and statuses.count(503) == 5
    _, headers, body, _ = next(answer for answer in answers if answer[0] == 503)
    assert headers["retry-after"] == "5" and json.loads(body)["error"].startswith("too many queries are waiting")
    assert call(application, "/search", [b'{"text": "a"}'])[0][0] == 200  # they are gone again


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x"])
def test_an_endless_body_is_not_kept(content_type):
    start = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' if "form" in content_type else b"{"

    def endless():
        yield start
        for _ in range(10_000):
            yield bytes(100)

    ((status, _, body, read),) = call(server.application(Stub(), {}, 1000), "/search", endless(), content_type)
    assert status == 413 and json.loads(body)["error"] == "the request is larger than 1,000 bytes; send smaller files"
    assert read <= requests.DISCARDED * 10 + 2


def test_a_slow_client_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(requests, "MAX_SECONDS", 0.05)

    def slow():
        yield b"{"
        time.sleep(0.1)
        yield from (b" " for _ in range(100))

    ((status, _, body, _),) = call(server.application(Stub(), {}, 1000), "/search", slow())
    assert status == 408 and "was not complete after" in json.loads(body)["error"]


def test_a_failure_has_no_traceback_for_the_client():
    def fails(raw, **options):
        raise RuntimeError("a bug")

    ((status, headers, body, _),) = call(server.application(Stub(fails), {}, 1000), "/search", [b'{"text": "a"}'])
    assert status == 500 and json.loads(body) == {"error": "the server failed at this request; its log says why"}
    assert headers["x-content-type-options"] == "nosniff"
