"""The page in headless chromium: typing, dropping an image, dropping and recording a sound, and what is found."""

import time

import pytest

from tests.search.test_server import png, wav
from tests.served import MICROPHONE, drop, wait

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def page(browser, server):
    browser.open(server.address, 1100)
    wait(browser, "document.body.dataset.ready === 'yes'")
    return browser


def drop_on(page, modality: str, name: str, data: bytes) -> None:
    drop(page, f"[data-modality={modality}] .drop", name, data)


def chosen(page, modality: str) -> None:
    wait(page, f"!document.querySelector('[data-modality={modality}] .chosen').hidden")


def search(page) -> list[str]:
    """The captions that are found."""
    page.evaluate("document.getElementById('results').replaceChildren(), document.getElementById('search').click()")
    wait(page, "document.querySelectorAll('#results article').length > 0")
    assert page.evaluate("document.getElementById('error').hidden")
    return page.evaluate("[...document.querySelectorAll('#results .caption')].map(e => e.textContent)")


def error(page) -> str:
    wait(page, "!document.getElementById('error').hidden")
    return page.evaluate("document.getElementById('error').textContent")


def test_typing_and_enter(page):
    page.evaluate("document.querySelector('textarea').focus()")
    page.call("Input.insertText", text="a red square")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13)
    wait(page, "document.querySelectorAll('#results article').length === 12")
    assert page.evaluate("document.querySelector('#results .caption').textContent") == "a red square"
    assert page.evaluate("document.querySelectorAll('#results .contributions li').length") == 0  # of one part
    assert page.evaluate("document.getElementById('about').textContent").startswith("18 items (image) of run, test, found by")
    # the images load, and the sounds play
    wait(page, "[...document.querySelectorAll('#results img')].slice(0, 3).every(e => e.complete && e.naturalWidth === 9)")
    page.evaluate("document.querySelector('#results audio').play()")
    wait(page, "document.querySelector('#results audio').currentTime > 0")
    assert page.evaluate("document.querySelector('#results audio').duration") == pytest.approx(0.2)


def test_dropping_an_image_and_a_sound_and_leaving_them_out_again(page):
    drop_on(page, "image", "query.png", png(2))
    chosen(page, "image")
    assert search(page)[0] == "a blue square"
    page.evaluate("document.querySelector('[data-modality=image] .remove').click()")
    drop_on(page, "voice", "query.wav", wav(1))
    chosen(page, "voice")
    assert search(page)[0] == "a green field"
    drop_on(page, "image", "query.png", png(1))
    chosen(page, "image")
    assert search(page)[0] == "a green field"
    lines = page.evaluate(
        "[...document.querySelectorAll('#results article')[0].querySelectorAll('.contributions li')].map(e => e.innerText)"
    )
    assert [line.split()[0] for line in lines] == ["image", "voice"]
    score = float(page.evaluate("document.querySelector('#results .score').textContent").split()[-1])
    assert sum(float(line.split()[1].replace("−", "-")) for line in lines) == pytest.approx(score, abs=0.002)
    page.evaluate("document.getElementById('clear').click()")
    assert page.evaluate("document.getElementById('found').hidden")
    page.evaluate("document.getElementById('search').click()")
    assert error(page) == "The query is empty: give at least one of text, image, voice."


def test_recording(page):
    page.evaluate(MICROPHONE)
    page.evaluate("document.querySelector('.record').click()")
    wait(page, "document.querySelector('.record').textContent === 'Stop'")
    time.sleep(0.6)
    page.evaluate("document.querySelector('.record').click()")
    chosen(page, "voice")
    assert page.evaluate("document.querySelector('[data-modality=voice] .chosen span').textContent") == "recording.wav"
    assert len(search(page)) == 12


def test_bad_files_give_a_message_and_the_page_goes_on(page):
    drop_on(page, "image", "no.png", b"<img src=x onerror=alert(1)>")
    chosen(page, "image")
    page.evaluate("document.getElementById('search').click()")
    assert error(page) == "image: the format is not known; it should be PNG, JPEG, WebP, GIF or BMP"
    drop_on(page, "image", "large.png", bytes(2_100_000))
    assert error(page) == "large.png is larger than 2 MB"
    drop_on(page, "voice", "broken.m4a", b"no sound")
    assert error(page) == "broken.m4a: this browser cannot read the sound; choose a WAV, FLAC, Ogg or MP3 file"
    page.evaluate("document.getElementById('clear').click()")
    page.evaluate("document.querySelector('textarea').value = '<b>red</b>'")
    assert len(search(page)) == 12


@pytest.mark.parametrize("width", [1100, 390])
def test_nothing_overflows(browser, server, width):
    browser.open(server.address, width)
    wait(browser, "document.body.dataset.ready === 'yes'")
    browser.evaluate("document.querySelector('textarea').value = 'a red square'")
    search(browser)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
