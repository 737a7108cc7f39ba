"""scripts/demo, without a network, from its first line to an answer of the page."""

import json
import re
import threading
import urllib.request

import pytest

from tests.end_to_end.conftest import kill


@pytest.mark.slow
@pytest.mark.end_to_end
def test_demo_trains_and_serves_a_page(commands, tmp_path, monkeypatch):
    monkeypatch.setenv("OUT", str(tmp_path / "demo"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # so that pip finds nothing, and the model is trained from scratch
    process = commands.launch("scripts/demo", "--port", "0", "--gallery", "test")
    clock = threading.Timer(600, kill, [process])
    clock.start()
    try:
        lines = []
        while not (address := re.search(r"http://127\.0\.0\.1:\d+", "".join(lines[-1:]))):
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        assert "without these weights, the model is trained from scratch" in "".join(lines)
        with urllib.request.urlopen(f"{address[0]}/") as page:
            assert b"<form" in page.read()
        question = json.dumps({"text": "a dog", "k": 3}).encode()
        request = urllib.request.Request(f"{address[0]}/search", question, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            found = json.load(answer)
        scores = [result["score"] for result in found["results"]]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    finally:
        clock.cancel()
        kill(process)
