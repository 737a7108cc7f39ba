"""The real server: what it answers, 100 queries at once, 20 malformed ones, and flat memory."""

import base64
import http.client
import io
import json
import re
import wave
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import mmjax
from tests.search.colours import COUNT, RATE, phrase, picture, tone
from tests.served import form

pytestmark = pytest.mark.end_to_end


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(number)).save(file, "PNG")
    return file.getvalue()


def wav(number: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes((tone(number)[0] * 32767).astype("<i2").tobytes())
    return file.getvalue()


def ask(server, method: str, path: str, content_type: str = "", body: bytes | None = None, **headers: str):
    """(status, headers, body) of one request."""
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=120)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type:
        given["Content-Type"] = content_type
    try:
        connection.request(method, path, body, given)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def found(server, **fields: str | bytes) -> dict:
    status, _, body = ask(server, "POST", "/search", *form(**fields))
    assert status == 200, body
    return json.loads(body)


def colours_of(answer) -> list[str]:
    return [result["caption"].split()[1] for result in answer["results"]]


def test_each_modality_finds_its_colour_and_contributions_add_up(server):
    assert colours_of(found(server, text="a red square", k="3")) == ["red"] * 3
    assert colours_of(found(server, image=png(2), k="3")) == ["blue"] * 3
    assert colours_of(found(server, voice=wav(1), k="3")) == ["green"] * 3
    mixed = found(server, text="a red square", image=png(2), voice=wav(0))
    assert mixed["query"] == ["image", "text", "voice"] and mixed["exact"] and len(mixed["results"]) == 12
    for result in mixed["results"]:
        assert list(result["contributions"]) == ["image", "text", "voice"]
        assert abs(sum(result["contributions"].values()) - result["score"]) < 1e-5
    scores = [result["score"] for result in mixed["results"]]
    assert scores == sorted(scores, reverse=True)


def test_scores_are_those_of_the_cell(server, run):
    """The mean over seeds of the dot products of `Cell.predict`, for text and voice together."""
    tests = [i for i in range(COUNT) if i // 6 % 4 == 3]
    cell = mmjax.load_run(run)["fused"]
    query = cell.predict({"text": ["a red square"], "voice": [tone(1)]}, each_seed=True)["to_image"]
    items = cell.predict({"image": [picture(i) for i in tests]}, each_seed=True)["to_image"]
    pairs = zip(query, items)
    expected = np.mean([b["gallery"].reshape(len(tests), -1) @ a["query"].reshape(-1) for a, b in pairs], axis=0)
    answer = found(server, text="a red square", voice=wav(1), k="18")
    assert sorted(result["id"] for result in answer["results"]) == sorted(f"colour{i}" for i in tests)
    by_id = {result["id"]: result["score"] for result in answer["results"]}
    np.testing.assert_allclose([by_id[f"colour{i}"] for i in tests], expected, atol=1e-4)  # the clip as 16 bits


def test_json_and_forms_give_the_same(server):
    body = {"text": "a red square", "image": base64.b64encode(png(2)).decode(), "k": 5}
    status, headers, answer = ask(server, "POST", "/search", "application/json", json.dumps(body).encode())
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert json.loads(answer) == found(server, text="a red square", image=png(2), k="5")


def test_media_of_items_and_safe_headers(server):
    first = found(server, text="a red square", k="1")["results"][0]
    assert first["media"] == ["image", "sound"]
    number = int(first["id"].removeprefix("colour"))
    status, headers, data = ask(server, "GET", f"/item/{first['item']}/image")
    assert status == 200 and headers["Content-Type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), picture(number))
    status, headers, data = ask(server, "GET", f"/item/{first['item']}/sound")
    assert status == 200 and headers["Content-Type"] == "audio/wav" and data == wav(number)
    for path in ("/", "/page.js", "/page.css", "/health", "/nothing"):
        status, headers, data = ask(server, "GET", path)
        assert status == (404 if path == "/nothing" else 200)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
        assert b"http://" not in data and b"https://" not in data  # nothing is fetched from elsewhere
    health = json.loads(ask(server, "GET", "/health")[2])
    assert health["status"] == "ok" and health["query"] == {"image": "image", "text": "text", "voice": "sound"}
    assert health["gallery"]["items"] == 18 and health["max_bytes"] == 2_000_000


def big_image() -> bytes:
    """A PNG of 144 million pixels in less than a megabyte."""
    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")
    return file.getvalue()


JSON = "application/json"
MALFORMED = {
    "no body": (("", b""), 415, "the content type is missing"),
    "text/plain": (("text/plain", b"red"), 415, "the content type is text/plain; it must be multipart"),
    "urlencoded": (("application/x-www-form-urlencoded", b"text=red"), 415, "the content type is application/x-www-form"),
    "empty form": (form(text=""), 422, "the query is empty; give at least one of image, text, voice"),
    "spaces": (form(text="  \n "), 422, "the query is empty"),
    "empty file": (form(image=b""), 422, "the query is empty"),
    "unknown modality": (form(video=b"x"), 400, "there is no field 'video'; the fields are image, text, voice and k"),
    "no boundary": (("multipart/form-data", b"x"), 400, "the form is malformed"),
    "truncated form": (("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form"), 422, "the query is empty"),
    "garbage form": (("multipart/form-data; boundary=x", b"\0\xff" * 50), 400, "the form is malformed"),
    "a file as text": (form(text=b"red"), 400, "text must be a text, not a file"),
    "a text as image": (form(image="what?"), 400, "image must be a file"),
    "no image": (form(image=b"<svg></svg>"), 422, "image: the format is not known; it should be PNG, JPEG"),
    "truncated image": (form(image=png(0)[:60]), 422, "image: the image is truncated or damaged"),
    "huge image": (form(image=big_image()), 422, "image: the image has 12000 x 12000 pixels; it should have at most"),
    "broken audio": (form(voice=wav(0)[:30]), 422, "voice: recording: the audio"),
    "noise as audio": (form(voice=b"\xff\xfb" + bytes(range(256)) * 8), 422, "voice: recording: the audio"),
    "long text": (form(text="a" * 10_001), 413, "text has 10,001 characters; it may have 10,000"),
    "k": (form(text="red", k="-1"), 400, "k is the number of results; it must be a whole number"),
    "large k": (form(text="red", k="101"), 422, "k is 101; it must be between 1 and 100"),
    "upload": (form(image=bytes(3_000_000)), 413, "the request is larger than 2,000,000 bytes; send smaller files"),
    "large JSON": ((JSON, b'{"text": "' + b"a" * 1_100_000 + b'"}'), 413, "the request is larger than 1,000,000 bytes"),
    "no JSON": ((JSON, b"{text: red}"), 400, "the body is not valid JSON"),
    "deep JSON": ((JSON, b"[" * 100_000), 400, "the body is not valid JSON"),
    "a list": ((JSON, b'["red"]'), 400, "the body must be a JSON object"),
    "twice": ((JSON, b'{"text": "red", "text": "blue"}'), 400, "the field 'text' is given twice"),
    "base64": ((JSON, b'{"image": "%%%"}'), 400, "image must be a file of a form, or a file as base64"),
    "surrogate": ((JSON, b'{"text": "\\ud800"}'), 400, "text has characters that are not Unicode"),
    "surrogate name": ((JSON, b'{"\\ud800": 1}'), 400, "there is no field '?'"),
    "an object": ((JSON, b'{"text": {"a": 1}}'), 400, "text must be a text"),
}  # fmt: skip


def test_malformed_queries_get_one_line_and_memory_stays_flat(server):
    before = ask(server, "POST", "/search", *form(text="a red square"))
    for round_ in range(3):
        for name, (content, status, message) in MALFORMED.items():
            got, headers, body = ask(server, "POST", "/search", *content)
            assert got == status, (name, got, body)
            error = json.loads(body)["error"]
            assert error.startswith(message) and "\n" not in error and "Traceback" not in error, (name, error)
            assert headers["X-Content-Type-Options"] == "nosniff"
        if round_ == 0:
            memory = server.memory()
    assert server.memory() < memory + 20
    assert ask(server, "POST", "/search", *form(text="a red square"))[2] == before[2]
    assert "Traceback" not in server.output


def test_other_methods_names_and_sites_are_refused(server):
    assert ask(server, "GET", "/search")[0] == 405
    assert ask(server, "GET", "/item/999/image")[0] == 404
    assert ask(server, "GET", "/item/0/video")[0] == 404
    assert ask(server, "GET", "/item/..%2f..%2fetc/image")[0] == 404
    assert ask(server, "GET", "/", Host="evil.example")[0] == 400
    assert ask(server, "POST", "/search", *form(text="red"), Origin="http://evil.example")[0] == 403
    assert ask(server, "POST", "/search", *form(text="red"), Origin=server.address)[0] == 200


def test_100_queries_at_once_with_flat_memory(server):
    queries = [{"text": phrase(i), "image": png(i)} if i % 2 else {"voice": wav(i), "k": "5"} for i in range(100)]
    expected = [found(server, **query) for query in queries[:12]]
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda query: found(server, **query), queries))
        memory = server.memory()
        again = list(pool.map(lambda query: found(server, **query), queries))
    assert answers[:12] == expected and again == answers
    assert server.memory() < memory + 20


def test_it_prints_its_address_alone_and_is_on_loopback(server):
    lines = server.output.splitlines()
    assert lines[0].startswith("gallery: 18 items (image) of run, test")
    assert re.fullmatch(r"search page: http://127\.0\.0\.1:\d+   \(Ctrl-C ends it\)", lines[1])
    assert "Traceback" not in server.output
