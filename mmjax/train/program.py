"""What a compiled program does on each device, read from XLA's text of it: matrix products and collectives.

A loop counts as often as it runs, which XLA's own count of FLOPs does not do. Instructions of a branch all count.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["COLLECTIVES", "Collective", "Program", "read_program"]

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
_BITS = {"pred": 8, "c64": 64, "c128": 128, "token": 0}  # others end in their number of bits, such as bf16, s4 and f8e4m3fn


class Collective(NamedTuple):
    """One kind of collective on a device. calls: how often one runs. sent: bytes that the device sends, by a ring."""

    calls: int
    sent: float


class Program(NamedTuple):
    """A program on one device. flops: of matrix products and convolutions, two for each multiplication. collectives: by kind,
    of `COLLECTIVES`; those that do not occur are left out."""

    flops: float
    collectives: Mapping[str, Collective]

    @property
    def sent(self) -> float:
        """Bytes that the device sends in all collectives."""
        return sum(kind.sent for kind in self.collectives.values())


class _Instruction(NamedTuple):
    name: str
    type: str
    kind: str
    operands: tuple[str, ...]
    rest: str  # the line behind its operands


def read_program(compiled: Any) -> Program:
    """The counts of a compiled function, such as `jax.jit(f).lower(x).compile()`."""
    text = compiled.as_text()
    computations, entry = _computations(text)
    partitions = re.search(r"num_partitions=(\d+)", text.partition("\n")[0])
    devices = int(partitions[1]) if partitions else 1
    flops, calls, sent = 0.0, Counter(), Counter()
    for name, times in _times(computations, entry).items():
        types = {one.name: one.type for one in computations[name]}
        for one in computations[name]:
            kind = one.kind.removesuffix("-start")
            if kind in ("dot", "convolution"):
                flops += times * _flops(one, types)
            elif kind in COLLECTIVES:
                calls[kind] += times
                sent[kind] += times * _sent(one, kind, types, devices)
    return Program(flops, {kind: Collective(calls[kind], float(sent[kind])) for kind in COLLECTIVES if calls[kind]})


def _computations(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    """({name: instructions}, the name of the first computation)."""
    found: dict[str, list[_Instruction]] = {}
    entry = name = ""
    for line in text.splitlines():
        if header := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{$", line):
            name = header[2]
            entry, found[name] = name if header[1] else entry, []
        elif name and (parts := re.match(r"\s+(?:ROOT )?%?([\w.-]+) = (.*)", line)):
            found[name].append(_instruction(parts[1], parts[2]))
    return found, entry


def _instruction(name: str, text: str) -> _Instruction:
    """text: "f32[2,3]{1,0} dot(%a, %b), lhs_contracting_dims={1}, ..."; the type may be a tuple."""
    type_, after = _closed(text) if text.startswith("(") else text.split(" ", 1)
    kind, _, _ = after.lstrip().partition("(")
    inside, rest = _closed(after.lstrip().removeprefix(kind))
    return _Instruction(name, type_, kind.strip(), tuple(re.findall(r"%([\w.-]+)", inside)), rest)


def _closed(text: str) -> tuple[str, str]:
    """A text that begins with a parenthesis, cut behind the one that closes it."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[: at + 1], text[at + 1 :]
    return text, ""


def _times(computations: Mapping[str, list[_Instruction]], entry: str) -> dict[str, int]:
    """How often each computation runs; 1 for a loop whose number of turns is not known."""
    times: Counter[str] = Counter()
    waiting = [(entry, 1)]
    while waiting:
        name, count = waiting.pop()
        times[name] += count
        for one in computations[name]:
            if one.kind.startswith("async-") and one.kind != "async-start":
                continue  # of the same computation
            turns = count * _turns(one) if one.kind == "while" else count
            waiting += [(called, turns) for called in _called(one.rest) if called in computations]
    return dict(times)


def _called(rest: str) -> Iterator[str]:
    """The computations that an instruction runs."""
    for names in re.findall(r"(?:calls|to_apply|body|condition|\w+_computations?)=(\{[^}]*\}|%?[\w.-]+)", rest):
        yield from (name.strip().removeprefix("%") for name in names.strip("{}").split(","))


def _turns(loop: _Instruction) -> int:
    found = re.search(r'"known_trip_count":(\{[^}]*\})', loop.rest)
    return int(json.loads(found[1])["n"]) if found else 1


def _shapes(type_: str) -> list[tuple[str, tuple[int, ...]]]:
    """The element type and the shape of each array of a type."""
    found = re.findall(r"([a-z]\w*)\[([\d,]*)\]", type_)
    return [(element, tuple(int(size) for size in sizes.split(",") if size)) for element, sizes in found]


def _bytes(type_: str) -> float:
    def bits(element: str) -> int:
        number = re.match(r"[a-z]+(\d+)", element)
        return _BITS[element] if element in _BITS else int(number[1]) if number else 0

    return sum(math.prod(shape) * bits(element) / 8 for element, shape in _shapes(type_))


def _numbers(name: str, text: str) -> list[int]:
    found = re.search(rf"\b{name}=\{{([\d,]*)\}}", text)
    return [int(number) for number in found[1].split(",") if number] if found else []


def _flops(one: _Instruction, types: Mapping[str, str]) -> float:
    (_, result), *_ = _shapes(one.type)
    left, right = (_shapes(types[name])[0][1] for name in one.operands[:2])
    if one.kind == "dot":
        return 2.0 * math.prod(result) * math.prod(left[at] for at in _numbers("lhs_contracting_dims", one.rest))
    labels = re.search(r"dim_labels=\w+_(\w+)->", one.rest)
    outputs = right[labels[1].index("o")] if labels else 1
    return 2.0 * math.prod(result) * math.prod(right) / outputs  # positions that hang over the edge count as others


def _sent(one: _Instruction, kind: str, types: Mapping[str, str], devices: int) -> float:
    """Bytes that a device sends in a ring of the g devices of its group: (g - 1) / g of the larger side, twice that to reduce.

    devices: of the program.
    """
    given = sum(_bytes(types[name]) for name in one.operands)
    made = _bytes(one.type) - (given if one.kind.endswith("-start") and one.type.startswith("(") else 0)
    if kind in ("collective-permute", "collective-broadcast"):
        return given
    size = _group(one.rest) or devices
    return (2 if kind == "all-reduce" else 1) * max(given, made) * (size - 1) / size


def _group(rest: str) -> int | None:
    """The number of devices of a group: replica_groups={{0,1},{2,3}}, [2,2]<=[4] or mesh['x'=2,'y'=2] {'y'}; None for all
    devices, {}."""
    if found := re.search(r"replica_groups=mesh\[([^]]*)\][^{]*\{([^}]*)\}", rest):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        return math.prod(int(part or sizes[axis]) for axis, part in re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2]))
    if found := re.search(r"replica_groups=\[([\d,]+)\]", rest):
        return int(found[1].split(",")[-1])
    found = re.search(r"replica_groups=\{\{([\d,]+)\}", rest)
    return len(found[1].split(",")) if found else None
