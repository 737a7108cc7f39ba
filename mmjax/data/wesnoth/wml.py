"""The markup of Wesnoth's configuration files: tags with attributes and children, and macros without arguments.

    [unit_type]
        name= _ "Elvish Archer"
        [attack]
            name=bow
        [/attack]
    [/unit_type]
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mmjax.data.decode import DataError

__all__ = ["Tag", "parse"]

OPEN_OR_CLOSE = re.compile(r"\[(/?)\+?(\w+)\]\s*(?:#.*)?")
DEFINE = re.compile(r"^#define[ \t]+(\w+)[ \t]*([^\n]*)\n(.*?)#enddef", re.MULTILINE | re.DOTALL)


@dataclass
class Tag:
    """attributes: {key: text}, without quotes; of repeated keys the first. children: in the order of the file."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Tag"] = field(default_factory=list)

    def of(self, *names: str) -> Iterator["Tag"]:
        """The children with one of these names."""
        return (child for child in self.children if child.name in names)


def parse(text: str, name: str) -> Tag:
    """A file's tags, as the children of one without a name.

    Macros that the file defines are replaced if they have no arguments; other macros, which add tags or attributes, are left
    out. Raises DataError, naming the file, if a tag is not closed by its own name.
    """
    macros = DEFINE.findall(text)
    text = DEFINE.sub("", text)
    for macro, arguments, content in macros:
        if not arguments:
            text = text.replace(f"{{{macro}}}", content.strip())
    top = Tag("")
    path = [top]
    for line in _lines(text):
        tag = OPEN_OR_CLOSE.fullmatch(line)
        if tag and not tag[1]:
            path[-1].children.append(Tag(tag[2]))
            path.append(path[-1].children[-1])
        elif tag:
            if path.pop().name != tag[2] or not path:
                raise DataError(f"{name}: [/{tag[2]}] does not close an open tag; each tag must be closed by its own name")
        elif "=" in line and not line.startswith("{"):
            key, _, value = line.partition("=")
            path[-1].attributes.setdefault(key.strip(), _plain(value))
    if len(path) > 1:
        raise DataError(f"{name}: [{path[-1].name}] is not closed; each tag must be closed by its own name")
    return top


def _lines(text: str) -> Iterator[str]:
    """Lines without comments and outer spaces; a quoted text of several lines is one."""
    open_lines: list[str] = []
    for line in text.splitlines():
        if not open_lines and line.lstrip().startswith("#"):
            continue
        open_lines.append(line)
        if sum(part.count('"') for part in open_lines) % 2 == 0:
            yield "\n".join(open_lines).strip()
            open_lines = []
    if open_lines:
        yield "\n".join(open_lines).strip()


def _plain(value: str) -> str:
    """A value without the mark of translatable texts, quotes, and what follows them."""
    value = value.strip().removeprefix("_").strip() if value.strip().startswith(("_ ", '_"')) else value.strip()
    if not value.startswith('"'):
        return value.partition("#")[0].strip()
    parts = re.match(r'"((?:[^"]|"")*)"', value)
    return (parts[1] if parts else value.strip('"')).replace('""', '"')
