"""The chat page in headless chromium: a tiny vision-language model answers, with and without images."""

import io

import pytest
from PIL import Image

from tests.chat.models import hears, sees
from tests.served import MICROPHONE, Served, drop, wait

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    flags = "--page", "--max-tokens", "8", "--upload", "1"
    server = Served("mmjax.chat", str(sees(folder / "sees")), *flags, log=folder / "log")
    yield server
    assert server.close() in (0, 130)


def opened(browser, server):
    browser.open(server.address, 1100)
    wait(browser, "document.body.dataset.ready === 'yes'")


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def ask(browser, text: str) -> str:
    """Types a message and Enter; the answer."""
    before = browser.evaluate("document.querySelectorAll('#messages .assistant').length")
    browser.evaluate("document.getElementById('text').focus()")
    browser.call("Input.insertText", text=text)
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13)
    wait(browser, f"document.querySelectorAll('#messages .assistant').length === {before + 1} && byId('stop').hidden")
    assert browser.evaluate("document.getElementById('error').hidden")
    return browser.evaluate("[...document.querySelectorAll('#messages .assistant .said')].pop().textContent")


def show(browser, name: str, data: bytes) -> None:
    count = browser.evaluate("document.querySelectorAll('#chosen li').length")
    drop(browser, "#question .drop", name, data)
    wait(browser, f"document.querySelectorAll('#chosen li').length === {count + 1}")


def test_images_in_a_conversation(browser, server):
    opened(browser, server)
    assert "sees" in browser.evaluate("document.getElementById('about').textContent")
    show(browser, "red.png", png("red"))
    red = ask(browser, "what")
    assert red and browser.evaluate("document.querySelectorAll('#chosen li').length") == 0
    wait(browser, "document.querySelector('#messages .user img').naturalWidth === 8")
    again = ask(browser, "what")  # with the image and the answer before
    browser.evaluate("document.getElementById('new').click()")
    assert browser.evaluate("document.querySelectorAll('#messages li').length") == 0
    text = ask(browser, "what")
    browser.evaluate("document.getElementById('new').click()")
    show(browser, "blue.png", png("blue"))
    show(browser, "red.png", png("red"))
    browser.evaluate("document.querySelector('#chosen .remove').click()")  # the first one
    wait(browser, "document.querySelectorAll('#chosen li').length === 1")
    assert ask(browser, "what") == red
    assert len({red, again, text}) == 3


def test_bad_files_give_a_message_and_the_page_goes_on(browser, server):
    opened(browser, server)
    error = "document.getElementById('error').textContent"
    drop(browser, "#question .drop", "large.png", bytes(1_100_000))
    wait(browser, f"{error} === 'large.png is larger than 1 MB'")
    drop(browser, "#question .drop", "a.wav", b"sound")
    wait(browser, f"{error} === 'a.wav: the model takes no audio'")
    show(browser, "no.png", b"<img src=x onerror=alert(1)>")
    browser.evaluate("document.getElementById('text').value = '<b>what</b>', document.getElementById('send').click()")
    wait(browser, f"{error} === 'image: the format is not known; it should be PNG, JPEG, WebP, GIF or BMP'")
    assert browser.evaluate("document.querySelectorAll('#messages li').length") == 0  # the message is back in its field
    assert browser.evaluate("document.getElementById('text').value") == "<b>what</b>"
    browser.evaluate("document.querySelector('#chosen .remove').click(), document.getElementById('text').value = ''")
    assert ask(browser, "<b>what</b>")
    assert browser.evaluate("document.querySelector('#messages .user .said').textContent") == "<b>what</b>"


@pytest.mark.parametrize("width", [1100, 390])
def test_nothing_overflows(browser, server, width):
    browser.open(server.address, width)
    wait(browser, "document.body.dataset.ready === 'yes'")
    show(browser, f"{'long' * 40}.png", png("red"))
    ask(browser, "w" * 150)
    show(browser, f"{'long' * 40}.png", png("red"))
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_recording(browser, tmp_path):
    server = Served("mmjax.chat", str(hears(tmp_path / "hears")), "--page", "--max-tokens", "8", log=tmp_path / "log")
    try:
        opened(browser, server)
        browser.evaluate(MICROPHONE)
        browser.evaluate("document.querySelector('.record').click()")
        wait(browser, "document.querySelector('.record').textContent === 'Stop'")
        browser.evaluate("new Promise(done => setTimeout(done, 400))")
        browser.evaluate("document.querySelector('.record').click()")
        wait(browser, "document.querySelectorAll('#chosen audio').length === 1")
        assert ask(browser, "what")
        assert browser.evaluate("document.querySelectorAll('#messages .user audio').length") == 1
    finally:
        server.close()
