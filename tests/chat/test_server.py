"""The application of the chat page without a socket: answers, what is refused, and clients that leave."""

import asyncio
import io
import json
import threading

import pytest
from PIL import Image

from mmjax.chat import ChatCell
from mmjax.chat.messages import media_of, text_of
from mmjax.chat.server import application
from tests.chat.models import tone
from tests.served import call, form


class Stub(ChatCell):
    """Answers with the texts and the sizes of images that it is given."""

    def __init__(self, answer=None):
        given = {"inputs": {"image": "picture", "text": "question"}, "answer": answer or self._sizes, "cell": None, "task": ""}
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def _sizes(self, messages):
        return ";".join(text_of(one) + "".join(str(image.size) for image in media_of([one], "image")) for one in messages)


def served(answer=None, system: str = ""):
    return application(Stub(answer), {"model": "stub", "system": system}, 5, 0, (), 20_000)


def png(width: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, 2)).save(file, "PNG")
    return file.getvalue()


def ask(messages, app=None, **files):
    """(status, lines of the answer, or the error)."""
    content_type, body = form(messages=messages if isinstance(messages, str) else json.dumps(messages), **files)
    ((status, headers, found, _),) = call(app or served(), "/answer", [body], content_type)
    assert headers["x-content-type-options"] == "nosniff"
    if status != 200:
        return status, json.loads(found)["error"]
    assert headers["content-type"].startswith("application/x-ndjson")
    return status, [json.loads(line) for line in found.decode().splitlines()]


QUESTION = {"role": "user", "content": "what"}
PICTURE = {"role": "user", "content": [{"type": "image", "file": "0"}, {"type": "text", "text": "what"}]}
ANSWER = {"role": "assistant", "content": "this"}


def test_an_answer_with_its_history():
    text = lambda found: [{"dropped": 0}, {"text": found}, {"end": True}]
    assert ask([QUESTION]) == (200, text("what"))
    history = [PICTURE, ANSWER, {"role": "user", "content": [{"type": "image", "file": "1"}, {"type": "image", "file": "0"}]}]
    files = {"0": png(3), "1": png(7)}
    assert ask(history, served(system="be"), **files) == (200, text("be;what(3, 2);this;(7, 2)(3, 2)"))
    body = json.dumps({"messages": [QUESTION]}).encode()
    ((status, _, found, _),) = call(served(), "/answer", [body])
    assert status == 200 and json.loads(found.splitlines()[1]) == {"text": "what"}


@pytest.mark.parametrize(
    ("messages", "files", "status", "message"),
    [
        ("[", {}, 400, "messages is not valid JSON"),
        ([], {}, 400, "messages must be a list of at most 1000, such as"),
        ([QUESTION, ANSWER], {}, 400, "messages must be questions and answers in turn, and the last one a question"),
        ([ANSWER], {}, 400, "message 1 must have the role 'user'"),
        ([QUESTION, QUESTION, QUESTION], {}, 400, "message 2 must have the role 'assistant'"),
        ([{"role": "user"}], {}, 400, "the content of message 1 must be a text or parts"),
        ([QUESTION, {"role": "assistant", "content": []}, QUESTION], {}, 400, "the content of message 2 must be a text"),
        ([{"role": "user", "content": ["a"]}], {}, 400, "a part must be"),
        ([{"role": "user", "content": "a" * 10_001}], {}, 413, "a message has 10,001 characters; it may have 10,000"),
        ('[{"role": "user", "content": "\\ud800"}]', {}, 400, "a message has characters that are not Unicode"),
        ([PICTURE], {}, 400, "the form has no file '0', which a part names"),
        ([PICTURE], {"0": b"no image"}, 422, "image: the format is not known"),
        ([PICTURE], {"0": bytes(20_000)}, 413, "the request is larger than 20,000 bytes"),
        ([{"role": "user", "content": [{"type": "audio", "file": "0"}]}], {}, 400, "the model takes no audio; it takes texts"),
    ],
)
def test_bad_requests_have_one_line(messages, files, status, message):
    found, error = ask(messages, **files)
    assert found == status and error.startswith(message) and "\n" not in error


def test_errors_of_the_model_have_one_line():
    def refuses(messages):
        raise ValueError("the message\nis too long")

    assert ask([QUESTION], served(refuses)) == (422, "the message is too long")


def test_pages_of_other_sites_cannot_ask():
    content_type, body = form(messages=json.dumps([QUESTION]))
    ((status, _, _, _),) = call(served(), "/answer", [body], content_type, origin="http://elsewhere")
    assert status == 403
    ((status, _, _, _),) = call(served(), "/answer", [body], content_type, origin="http://localhost")
    assert status == 200


def test_an_answer_ends_when_its_client_leaves(monkeypatch):
    """The second answer begins although the first one, which never ends, was not read to its end."""
    written, left = [], threading.Event()

    def endless():
        while True:
            written.append(1)
            yield "a"

    replies = iter([endless(), iter(["b"])])
    monkeypatch.setattr("mmjax.chat.server.reply", lambda model, messages, *given: (messages, next(replies)))
    app, (content_type, body) = served(), form(messages=json.dumps([QUESTION]))

    async def leaves():
        sent = []

        async def receive():
            if not sent:
                sent.append(0)
                return {"type": "http.request", "body": body}
            while len(sent) < 4:
                await asyncio.sleep(0.01)
            left.set()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", content_type.encode())]
        scope = {"type": "http", "method": "POST", "path": "/answer", "query_string": b"", "headers": headers}
        scope |= {"scheme": "http", "server": ("localhost", 80), "client": ("localhost", 1), "asgi": {"spec_version": "2.3"}}
        await app(scope, receive, send)

    asyncio.run(asyncio.wait_for(leaves(), 60))
    count = len(written)
    assert left.is_set() and count >= 1
    assert ask([QUESTION], app)[1][1] == {"text": "b"} and len(written) == count


def test_recordings_are_decoded():
    """A tone as a WAV file, which a stub with recordings takes."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, tone(300)[0], 16_000, format="WAV")
    stub = Stub(lambda messages: str([wave.shape for wave, _ in media_of(messages, "audio")]))
    object.__setattr__(stub, "inputs", {"audio": "voice"})
    app = application(stub, {"model": "stub"}, 5, 0, (), 100_000)
    message = {"role": "user", "content": [{"type": "audio", "file": "a"}]}
    assert ask([message], app, a=file.getvalue())[1][1] == {"text": "[(3200,)]"}
