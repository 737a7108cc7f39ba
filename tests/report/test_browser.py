"""The page in headless chromium: it fits, sorts, filters, selects cells, plays sounds, and can be read without scripts."""

import json

import pytest

from mmjax.report.page import write_report
from tests.report.chromium import Browser
from tests.report.run_folders import make_results, write_run

WIDTHS = (1100, 390)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of two runs; the first one has 100 examples of each task, the second one has long names."""
    folder = tmp_path_factory.mktemp("page")
    long = make_results(1)
    long["name"], long["tasks"]["label"]["warnings"] = "a_run_with_a_long_name_" * 6, ["x" * 300]
    long["cells"]["a_cell_with_a_long_name_" * 4] = long["cells"].pop("concat")
    runs = [write_run(folder / "one", examples=100), write_run(folder / "two", results=long)]
    return write_report(runs, folder / "report.html")


def _names(browser, table: str) -> list[str]:
    return browser.evaluate(f"[...document.querySelectorAll('{table} tbody th')].map(e => e.textContent.replace('★', ''))")


@pytest.mark.parametrize(("width", "media"), [(1100, "screen"), (390, "screen"), (700, "print")])  # paper is 700 px wide
def test_nothing_overflows(browser, report, width, media):
    browser.open(report, width, media=media)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    # the tables of results fit without scrolling inside the page, and each cell takes one line
    tables = browser.evaluate(
        "[...document.querySelectorAll('table.results')].map(t => [t.getBoundingClientRect().right,"
        " Math.max(...[...t.tBodies[0].rows].map(r => r.getBoundingClientRect().height))])"
    )
    assert len(tables) == 6  # of both tasks: of each run, and joint
    assert all(right <= width and height < 40 for right, height in tables)


@pytest.mark.parametrize("width", WIDTHS)
def test_tables_are_sorted_by_a_click(browser, report, results, width):
    browser.open(report, width)
    table = "#run-1-1 table.results"
    scored = {name: cell["tasks"]["label"] for name, cell in results["cells"].items()}
    rows = {name: of["subsets"][of["complete"]] for name, of in scored.items()}
    rows |= results["tasks"]["label"]["baselines"]
    means = {name: scores["accuracy"]["mean"] for name, scores in rows.items()}
    assert _names(browser, table) == list(rows)
    click = f"document.querySelectorAll('{table} thead button')[%d].click()"
    descending = sorted(means, key=means.get, reverse=True)
    browser.evaluate(click % 1)
    assert _names(browser, table) == descending  # of accuracy, higher is better
    assert browser.evaluate(f"document.querySelector('{table} th:nth-child(2)').ariaSort") == "descending"
    browser.evaluate(click % 1)
    assert _names(browser, table) == descending[::-1]
    browser.evaluate(click % 0)
    assert _names(browser, table) == sorted(rows)
    browser.evaluate(f"[...document.querySelectorAll('{table} thead button')].at(-1).click()")
    parameters = {name: cell["parameters"] for name, cell in results["cells"].items()}
    assert _names(browser, table)[:5] == sorted(parameters, key=parameters.get)
    assert {*_names(browser, table)[5:]} == {"majority", "tfidf_svm"}  # without a value: last


@pytest.mark.parametrize("width", WIDTHS)
def test_the_selector_changes_details_and_examples(browser, report, width):
    browser.open(report, width)
    answers = json.loads((report.parent / "one/cells/image/all.seeds0-1/examples.json").read_text())["label"]
    wrong = sum(entry["image"]["correct"] is False for entry in answers)
    assert 0 < wrong < 100
    shown = "[...document.querySelectorAll('#run-1-1 .%s')].filter(e => e.offsetParent).map(e => e.dataset.cell)"
    assert {*browser.evaluate(shown % "answers")} == {*browser.evaluate(shown % "of-cell")} == {"gated"}
    browser.evaluate(
        "(s => { s.value = 'image'; s.dispatchEvent(new Event('change')) })(document.querySelectorAll('#run-1-1 select')[1])"
    )
    assert browser.evaluate(shown % "answers") == ["image"] * 100
    assert browser.evaluate(shown % "of-cell") == ["image"]
    assert browser.evaluate("[...document.querySelectorAll('#run-1-1 .cell-selector')].map(s => s.value)") == ["image"] * 2
    visible = "[...document.querySelectorAll('#run-1-1 .card')].filter(e => e.offsetParent).map(e => e.className)"
    assert browser.evaluate(visible).count("card wrong") == wrong
    browser.evaluate("document.querySelector('#run-1-1 .errors-only').click()")
    assert browser.evaluate(visible) == ["card wrong"] * wrong
    assert browser.evaluate("document.querySelector('#run-1-1 .count').textContent") == f"{wrong} of 100 examples"
    browser.evaluate("document.querySelector('#run-1-1 .errors-only').click()")
    assert len(browser.evaluate(visible)) == 100
    order = "(s => {{ s.value = '{}'; s.dispatchEvent(new Event('change')) }})(document.querySelector('#run-1-1 .card-order'))"
    before = browser.evaluate(visible)
    wrong_cards, right_cards = ["card wrong"] * wrong, ["card right"] * before.count("card right")
    browser.evaluate(order.format(1))  # wrong answers have lower scores
    assert browser.evaluate(visible)[: len(wrong_cards + right_cards)] == wrong_cards + right_cards
    browser.evaluate(order.format(-1))
    assert browser.evaluate(visible)[: len(right_cards)] == right_cards
    browser.evaluate(order.format(""))
    assert browser.evaluate(visible) == before
    assert browser.evaluate("document.querySelector('#run-1-2 .errors-only')") is None  # its answers are not right or wrong


def test_texts_start_with_the_worst_score(browser, results, tmp_path):
    results["tasks"]["label"]["kind"] = "Generate"
    browser.open(write_report([write_run(tmp_path / "run", results=results, examples=12)], tmp_path / "report.html"), 1100)
    assert browser.evaluate("document.querySelector('#run-1-1 .card-order').value") == "1"
    scores = browser.evaluate("[...document.querySelectorAll('#run-1-1 .answers:not([hidden])')].map(e => +e.dataset.score)")
    assert scores == sorted(scores) and scores[0] < scores[-1]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_click_on_a_word_shows_its_attention(browser, report, width):
    """Over the image of 2 x 2 tokens, as a bar of the sound's three tokens, and on the words of the text."""
    browser.open(report, width)
    card = "document.querySelector('#run-1-2 .card')"
    browser.evaluate(f"{card}.scrollIntoView()")
    loaded = "const done = () => resolve(i.naturalWidth); i.complete ? done() : i.onload = done"
    browser.evaluate(f"new Promise(resolve => {{ const i = {card}.querySelector('img'); {loaded} }})")
    words = f"[...{card}.querySelectorAll('.word')]"
    assert browser.evaluate(f"{words}.map(e => e.textContent)") == ["rank", "3", "of", "47"]
    browser.evaluate(f"{words}[0].click()")
    alpha = "[0, 1, 2, 3].map(k => c.getContext('2d').getImageData(k % 2, k >> 1, 1, 1).data[3])"
    found = browser.evaluate(f"(c => [c.width, c.height, ...{alpha}])({card}.querySelector('canvas'))")
    levels = [1, 9 / 35, 18 / 35, 0]  # of the weights .4, .1, .2 and 0
    assert found == [2, 2, *(pytest.approx(255 * 0.82 * (1 - level), abs=1.5) for level in levels)]
    boxes = f"['img', 'canvas'].map(n => JSON.stringify({card}.querySelector(n).getBoundingClientRect()))"
    image, canvas = browser.evaluate(boxes)
    assert json.loads(image) == pytest.approx(json.loads(canvas), abs=0.1)
    assert browser.evaluate(f"[...{card}.querySelectorAll('.name')].map(e => e.textContent)") == [
        "audio 20 %", "image 70 %", "text 10 %",
    ]  # fmt: skip
    parts = f"[...{card}.querySelectorAll('%s span')].map(e => [e.textContent, getComputedStyle(e).getPropertyValue('--part')])"
    assert browser.evaluate(parts % ".strip") == [["", "0.51"], ["", "1.00"], ["", "0.51"]]
    assert browser.evaluate(parts % ".tokens") == [["a", "1.00"], ["<i>crow</i>", "0.00"]]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.evaluate(f"{words}[3].click()")
    pressed = f"{words}.map(e => e.getAttribute('aria-pressed'))"
    assert browser.evaluate(pressed) == ["false", "false", "false", "true"]
    assert browser.evaluate(f"{card}.querySelectorAll('canvas').length") == 1
    browser.evaluate(f"{words}[3].click()")
    assert browser.evaluate(pressed) == ["false"] * 4
    assert browser.evaluate(f"{card}.querySelectorAll('canvas, .modality').length") == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_sounds_play(browser, report, width):
    browser.open(report, width)
    media = browser.evaluate("[...document.querySelectorAll('#run-1 audio')].map(e => [e.preload, e.readyState])")
    assert media == [["none", 0]] * len(media) and len(media) > 100  # nothing is decoded before it is asked for
    for which in (0, len(media) - 1):  # the last one has the content of an earlier one
        played = (
            f"new Promise((done, fail) => {{ const a = document.querySelectorAll('#run-1 audio')[{which}]; a.onended = () =>"
            " done([a.currentTime, a.duration]); a.onerror = () => fail(a.error); a.play() })"
        )
        assert browser.evaluate(played) == pytest.approx([0.1, 0.1], abs=0.02)


def test_images_load_lazily(browser, report):
    browser.open(report, 390)
    last = "[...document.querySelectorAll('#run-1 img')].at(-1)"
    assert browser.evaluate(f"[{last}.loading, {last}.complete, {last}.naturalWidth]") == ["lazy", False, 0]
    browser.evaluate(f"{last}.scrollIntoView()")
    loaded = "const done = () => resolve(i.naturalWidth); i.complete ? done() : i.onload = done"
    assert browser.evaluate(f"new Promise(resolve => {{ const i = {last}; {loaded} }})") == 12


def test_without_scripts_everything_but_the_controls_is_there(browser, report):
    browser.open(report, 1100, scripts=False)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)  # for the questions below; the page's script has not run
    assert browser.evaluate("document.documentElement.className") == ""
    assert browser.evaluate("[...document.querySelectorAll('select, th button')].filter(e => e.offsetParent).length") == 0
    shown = "[...document.querySelectorAll('#run-1-1 %s')].filter(e => e.offsetParent)"
    summaries = browser.evaluate(shown % ".of-cell > summary" + ".map(e => e.textContent)")
    assert summaries == ["gated", "concat", "text", "image", "audio"]
    assert browser.evaluate(shown % ".card" + ".length") == 100
    assert browser.evaluate("document.documentElement.scrollWidth") <= 1100


def test_links_of_the_contents_lead_somewhere(browser, report):
    browser.open(report, 1100)
    links = browser.evaluate("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href').slice(1))")
    assert len(links) == len(set(links)) > 15
    assert browser.evaluate(f"{json.dumps(links)}.filter(id => !document.getElementById(id))") == []


@pytest.mark.parametrize(("dark", "media", "paper"), [(False, "screen", 255), (True, "screen", 19), (True, "print", 255)])
def test_dark_pages_are_printed_on_white(browser, report, dark, media, paper):
    browser.open(report, 1100, media=media, dark=dark)
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor").startswith(f"rgb({paper},")
    hidden = browser.evaluate("getComputedStyle(document.querySelector('.controls')).display") == "none"
    assert hidden == (media == "print")


def test_without_chromium_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"^the tests of the report need chromium: apt-get install -y chromium$"):
        Browser(tmp_path)
