"""Drawings in SVG become images; hostile ones read no files, need no network, and end within their limits."""

import io

import numpy as np
import pytest
from PIL import Image

from mmjax.data import svg as module
from mmjax.data.decode import DataError, decode_image
from mmjax.data.svg import drawn, self_contained

HEAD = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
RED = f'<svg {HEAD} width="3in" height="144pt"><rect width="100%" height="100%" fill="#f00"/></svg>'
EMPTY = f'<svg {HEAD} width="40" height="40"><text y="20">no fonts</text></svg>'


def test_drawings_keep_their_proportions_and_failures_are_reported(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "secret.png")
    reads = f'<svg {HEAD} width="40" height="40"><image width="40" height="40" xlink:href="{tmp_path}/secret.png"/></svg>'
    shapeless = f'<svg {HEAD} width="0" height="5"/>'
    long = f'<svg {HEAD} width="1" height="100000"><rect width="1" height="100000"/></svg>'
    files = {"red": RED, "reads": reads, "empty": EMPTY, "shapeless": shapeless, "long": long}
    files |= {"broken": "<svg", "no svg": "hello"}
    found = dict(drawn(((name, text.encode()) for name, text in files.items()), 64))
    image = decode_image(found["red"], "red")
    assert image.shape == (43, 64, 4) and (image[:42] == [255, 0, 0, 255]).all()  # 3 in x 2 in; the last row is partly covered
    assert decode_image(found["long"], "long").shape[0] == 64
    for name, message in {
        "reads": "the SVG draws nothing", "empty": "the SVG draws nothing, such as letters without outlines",
        "shapeless": "the SVG cannot be drawn", "broken": "the SVG cannot be drawn", "no svg": "there is no element <svg>",
    }.items():  # fmt: skip
        assert isinstance(found[name], DataError) and str(found[name]).startswith(f"{name}: {message}")


def test_a_drawing_that_takes_too_long_ends_and_the_next_one_is_drawn():
    nested = "".join(f'<g id="g{k}"><use href="#g{k - 1}"/><use href="#g{k - 1}"/></g>' for k in range(1, 40))
    slow = f'<svg {HEAD} width="40" height="40"><g id="g0"><circle r="9" filter="url(#f)"/></g>{nested}</svg>'
    found = dict(drawn([("slow", slow.encode()), ("red", RED.encode())], 32, seconds=1.0))
    assert isinstance(found["slow"], DataError) and "slow: the SVG" in str(found["slow"])
    assert decode_image(found["red"], "red").shape == (21, 32, 4) or decode_image(found["red"], "red").shape == (22, 32, 4)


def test_references_to_files_and_urls_are_removed():
    text = """<svg><a xlink:href="http://x.org/a.png"/><b href='/etc/passwd'/><c href = "#own"/><d href="data:,x"/></svg>"""
    kept = """<svg><a xlink:href="#"/><b href="#"/><c href = "#own"/><d href="data:,x"/></svg>"""
    assert self_contained(text.encode(), "x") == kept


@pytest.mark.parametrize(
    "entity",
    ['e SYSTEM "file:///etc/passwd"', 'a "ha"><!ENTITY b "&a;&a;"', "i '<image href=\"x\"/>'", '% p "x"'],
)
def test_external_and_nested_entities_are_refused(entity):
    with pytest.raises(DataError, match="x: an entity of the SVG is external or nested; entities should be plain text"):
        self_contained(f"<!DOCTYPE svg [<!ENTITY {entity}>]><svg>&b;</svg>".encode(), "x")
    namespaces = '<!DOCTYPE svg [<!ENTITY ns_svg "http://www.w3.org/2000/svg">]><svg xmlns="&ns_svg;"/>'  # of Illustrator
    assert self_contained(namespaces.encode(), "x") == namespaces


def test_large_files_and_other_encodings_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="x: the SVG has 11 bytes; at most 10 are drawn"):
        self_contained(b"<svg>xxxxxx", "x")
    with pytest.raises(DataError, match="which is not UTF-8"):
        self_contained(b"\xff<svg>", "x")


def test_invisible_colours_are_removed():
    half = f'<svg {HEAD} width="2" height="1"><rect width="1" height="1" fill="#0f0"/></svg>'
    (_, png), = drawn([("half", half.encode())], 8)
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    assert pixels[0, 0].tolist() == [0, 255, 0, 255] and pixels[0, 7].tolist() == [0, 0, 0, 0]
