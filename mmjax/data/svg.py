"""Drawings in SVG -> images, by resvg: deterministic, without fonts, files and network, with limits on size, memory and time.

An SVG is a program of sorts: it may name files and URLs, and be drawn forever. References to anything outside the file are
removed, entities must be plain text, and a process of its own draws the files, which is killed if one takes too long. The fonts
of a machine are not used, so texts that are not outlines are not drawn.
"""

import io
import multiprocessing
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.decode import DataError, decode_image, decode_text

__all__ = ["DPI", "ENTITY", "HREF", "MAX_BYTES", "MAX_MEMORY", "SECONDS", "drawn", "self_contained"]

MAX_BYTES = 10_000_000  # of one file
MAX_MEMORY = 4_000_000_000  # bytes of address space of the process that draws
SECONDS = 60.0  # of one drawing
DPI = 96.0  # of lengths in pt, mm or in; the size of CSS pixels
HREF = re.compile(r"""(href\s*=\s*)(?:"(?!\s*(?:\#|data:))[^"]*"|'(?!\s*(?:\#|data:))[^']*')""")
ENTITY = re.compile(r"""<!ENTITY\s+(%?)\s*[^\s"']+\s+("[^"]*"|'[^']*'|[A-Z]+)""")


def self_contained(data: bytes, name: str) -> str:
    """The text of an SVG file whose references to other files and URLs are replaced by "#".

    Raises DataError, naming the file, if it is too large, is not UTF-8, or has external or nested entities.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"{name}: the SVG has {len(data):,} bytes; at most {MAX_BYTES:,} are drawn")
    text = decode_text(data, name)
    if "<svg" not in text and ":svg" not in text:
        raise DataError(f"{name}: there is no element <svg>; it should be an SVG file")
    for parameter, value in ENTITY.findall(text):
        if parameter or value[0] not in "\"'" or "&" in value or "<" in value:
            raise DataError(f"{name}: an entity of the SVG is external or nested; entities should be plain text")
    return HREF.sub(r'\1"#"', text)


def drawn(files: Iterable[tuple[str, bytes]], side: int, seconds: float = SECONDS) -> Iterator[tuple[str, bytes | DataError]]:
    """(name, SVG file) -> (name, PNG with RGBA whose longer side has `side` pixels; or the error that says why there is none).

    seconds: the longest time of one drawing. Raises ImportError without resvg-py.
    """
    try:
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise ImportError("drawings in SVG need resvg-py: pip install 'mmjax[svg]'") from error
    painter = None
    try:
        for name, data in files:
            painter = painter or _Painter(side)
            try:
                yield name, _visible(painter.draw(self_contained(data, name), name, seconds), name)
            except DataError as error:
                painter = painter if painter.usable else None
                yield name, error
    finally:
        if painter:
            painter.close()


class _Painter:
    """A process that draws one SVG after the other. usable: False after a drawing that took too long or killed the process."""

    def __init__(self, side: int):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_paint, args=(other, side), daemon=True)
        self._process.start()
        other.close()
        self.usable = True
        if not self._pipe.poll(120):
            self.close()
            raise RuntimeError("the process that draws SVG files does not start")
        try:
            self._pipe.recv()
        except EOFError:
            self.close()
            raise RuntimeError(
                "the process that draws SVG files does not start; a script must start its work below "
                'if __name__ == "__main__":, since the process imports the script'
            ) from None

    def draw(self, text: str, name: str, seconds: float) -> bytes:
        """The PNG file. Raises DataError."""
        try:
            self._pipe.send(text)
            if not self._pipe.poll(seconds):
                self.close()
                raise DataError(f"{name}: the SVG was not drawn within {seconds:g} s; it should be simpler")
            png, problem = self._pipe.recv()
        except (EOFError, OSError):
            self.close()
            raise DataError(f"{name}: the SVG ended the process that drew it; it should need less memory") from None
        if problem:
            raise DataError(f"{name}: the SVG cannot be drawn ({problem})")
        return png

    def close(self) -> None:
        self.usable = False
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _paint(pipe: Any, side: int) -> None:
    """Draws what the pipe receives until it is closed."""
    import resource

    import resvg_py

    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    pipe.send("ready")
    while True:
        try:
            text = pipe.recv()
        except EOFError:
            return
        try:
            answer = bytes(resvg_py.svg_to_bytes(svg_string=text, width=side, height=side, dpi=DPI, skip_system_fonts=True)), ""
        except Exception as error:
            answer = b"", " ".join(str(error).split())[:200]
        pipe.send(answer)


def _visible(png: bytes, name: str) -> bytes:
    """The PNG file with invisible colours set to 0. Raises DataError if nothing is visible."""
    image = decode_image(png, name)
    if image.shape[-1] == 4:
        if image[..., 3].max() == 0:
            raise DataError(f"{name}: the SVG draws nothing, such as letters without outlines")
        image[image[..., 3] == 0] = 0
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
