"""The scripts of the game Battle for Wesnoth (WML): blocks [tag] ... [/tag] with keys and values. Nothing is executed.

Of the preprocessor only the macros without arguments that a script defines for itself are expanded; other macros stay as text.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from mmjax.data.decode import DataError

__all__ = ["DEFINED", "ITEM", "STRING", "VALUE", "Block", "expanded", "frame_names", "parse"]

STRING = r'"(?:[^"]|"")*"'
VALUE = rf"(?:_?[ \t]*{STRING}(?:\s*\+\s*)?)+|[^\n#]*"
ITEM = re.compile(rf"^[ \t]*(?:\[(?P<mark>[/+]?)(?P<tag>\w+)\]|(?P<key>\w+)[ \t]*=[ \t]*(?P<value>{VALUE}))", re.MULTILINE)
DEFINED = re.compile(r"^[ \t]*#define[ \t]+(\w+)([^\n]*)\n(.*?)#enddef", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """tag: "" for a whole script. values: of the block's own keys, the first of each. blocks: inside this one, in order."""

    tag: str
    values: dict[str, str]
    blocks: list["Block"]

    def inside(self, *tags: str) -> Iterator["Block"]:
        """The blocks of these tags directly inside this one."""
        return (block for block in self.blocks if block.tag in tags)


def expanded(script: str) -> str:
    """The script with its own macros without arguments in place, and without definitions."""
    own = {name: body.strip() for name, arguments, body in DEFINED.findall(script) if not arguments.strip()}
    script = DEFINED.sub("", script)
    for _ in range(3):  # macros within macros
        script = re.sub(r"\{(\w+)\}", lambda found: own.get(found[1], found[0]), script)
    return script


def parse(script: str, name: str) -> Block:
    """The blocks of a script. Raises DataError, naming the script, if a block is not closed."""
    stack = [Block("", {}, [])]
    for found in ITEM.finditer(expanded(script)):
        match found["mark"], found["tag"], found["key"]:
            case "/", tag, _:
                if stack[-1].tag != tag:
                    raise DataError(f"{name}: [/{tag}] closes [{stack[-1].tag}]; blocks must be nested")
                stack.pop()
            case None, _, key:
                stack[-1].values.setdefault(key, _plain(found["value"]))
            case _, tag, _:
                stack[-1].blocks.append(Block(tag, {}, []))
                stack.append(stack[-1].blocks[-1])
    if len(stack) > 1:
        raise DataError(f"{name}: [{stack[-1].tag}] is not closed; it needs [/{stack[-1].tag}]")
    return stack[0]


def _plain(value: str) -> str:
    """The strings of a value, joined; a value without quotes as it is."""
    strings = re.findall(STRING, value)
    return "".join(one[1:-1].replace('""', '"') for one in strings) if strings else value.strip()


def frame_names(image: str) -> list[str]:
    """The files of the "image" of a frame: "a-[1~3,2].png:[50*3,80]" has the files a-1.png, a-2.png, a-3.png, a-2.png.

    Durations after ":" and functions after ".png~" are left out.
    """
    names = []
    for one in re.findall(r"(?:\[[^\]]*\]|\([^)]*\)|[^,\[(])+", image):
        before, _, rest = one.strip().partition("[") if "[" in one.split(":")[0] else (one.strip(), "", "")
        numbers, _, after = rest.partition("]")
        cut = lambda name: re.sub(r"(\.png).*", r"\1", name.split(":")[0], flags=re.DOTALL)
        names += [cut(f"{before}{number}{after}") for number in (_range(numbers) if rest else [""])]
    return names


def _range(numbers: str) -> list[str]:
    """Such as "1~3,7*2" -> 1, 2, 3, 7, 7, with the leading zeros of the first number of each range."""
    found = []
    for part in numbers.split(","):
        part, _, times = part.strip().partition("*")
        first, _, last = part.partition("~")
        one = [part]
        if first.isdigit() and last.isdigit():
            step = 1 if int(last) >= int(first) else -1
            one = [str(n).zfill(len(first)) for n in range(int(first), int(last) + step, step)]
        found += one * (int(times) if times.isdigit() else 1)
    return found
