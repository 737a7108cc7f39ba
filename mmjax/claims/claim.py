"""Claims as values, and their files.

    claim = "Fusing image and name is more accurate than either alone."
    source = "Source 4, advantages of multimodal models"
    data = "Stamps: nine classes, 847 stamps in five folds"
    command = "python experiments/stamps_pretrained.py image_text image text --folds all --seeds 10"
    contradicted_by = "a single modality that is more accurate than both"
    minutes = 3

    [[better]]
    cell = "image_text"
    than = ["image", "text"]
    metric = "accuracy"

Each of the tables `better`, `equal`, `near` and `cheaper` is an expectation. A claim is reproduced if all of them are.
"""

import hashlib
import json
import shlex
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

__all__ = ["COSTS", "EXPECTATIONS", "FOLDER", "Better", "Cheaper", "Claim", "ClaimError", "Equal", "Expectation", "Near",
           "read_claim", "read_claims"]  # fmt: skip

FOLDER = "claims"
COSTS = ("parameters", "flops", "seconds")


class ClaimError(ValueError):
    """A claim's file or command is not valid, or its run failed; the message names the file and the field."""


@dataclass(frozen=True)
class Better:
    """`cell` is better than each cell of `than`, and than each baseline.

    metric, task: of the comparison; task None for the first one of the experiment. subset: the modalities that are present in
    both cells, joined by "+"; None for all of a cell's own. by: the least improvement, in the direction that is better for the
    metric; below 0, the cell may be worse by that much.
    """

    cell: str
    metric: str
    than: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    task: str | None = None
    subset: str | None = None
    by: float = 0.0

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.cell, *self.than)

    def __str__(self) -> str:
        margin = f" by more than {self.by:g}" if self.by > 0 else f" or worse by less than {-self.by:g}" if self.by else ""
        rivals = ", ".join((*self.than, *self.baselines))
        return f"{self.metric} of {self.cell} is better than that of {rivals}{margin}{_where(self)}"


@dataclass(frozen=True)
class Equal:
    """`cell` differs from each cell of `to` by less than `within`, in either direction. Other fields: as in `Better`."""

    cell: str
    metric: str
    to: tuple[str, ...]
    within: float
    task: str | None = None
    subset: str | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.cell, *self.to)

    def __str__(self) -> str:
        return f"{self.metric} of {self.cell} equals that of {', '.join(self.to)} within {self.within:g}{_where(self)}"


@dataclass(frozen=True)
class Near:
    """The metric of `cell` is `number`, the published one, within `within`."""

    cell: str
    metric: str
    number: float
    within: float
    task: str | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.cell,)

    def __str__(self) -> str:
        return f"{self.metric} of {self.cell} is {self.number:g} within {self.within:g}{_where(self)}"


@dataclass(frozen=True)
class Cheaper:
    """The cost of `cell` is at most `ratio` of that of each cell of `than`.

    cost: "parameters" of the model, "flops" of a training step of one seed by XLA's count, or its "seconds", the least of
    several steps.
    """

    cell: str
    cost: str
    than: tuple[str, ...]
    ratio: float = 1.0

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.cell, *self.than)

    def __str__(self) -> str:
        return f"{self.cell} has at most {self.ratio:g} of the {self.cost} of {', '.join(self.than)}"


def _where(expectation: Any) -> str:
    task = f", task {expectation.task}" if expectation.task else ""
    subset = f", {expectation.subset} present" if getattr(expectation, "subset", None) else ""
    return task + subset


Expectation = Better | Equal | Near | Cheaper
EXPECTATIONS: Mapping[str, type] = {"better": Better, "equal": Equal, "near": Near, "cheaper": Cheaper}


@dataclass(frozen=True)
class Claim:
    """One claim and what would settle it.

    name: of its file. claim: one sentence. source: the paper with its table, figure or section, or one of the source documents.
    data: what it is tested on here. contradicted_by: the result that would contradict it. command: of one experiment file,
    without --out; "" if it cannot run at all. minutes: CPU minutes of the command. needs: data that are not part of the
    project, "" if there are none. note: how the test departs from the source. expectations: all must hold.
    """

    name: str
    claim: str
    source: str
    data: str
    contradicted_by: str
    command: str = ""
    minutes: float = 0.0
    needs: str = ""
    note: str = ""
    expectations: tuple[Expectation, ...] = ()

    @property
    def words(self) -> list[str]:
        """The command after `python`: the experiment file, its cells and its flags."""
        return shlex.split(self.command)[1:]

    @property
    def fingerprint(self) -> str:
        """A hash of what decides the verdict: the command and the expectations."""
        decisive = [self.command, *({type(one).__name__: asdict(one)} for one in self.expectations)]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def read_claims(folder: Path) -> list[Claim]:
    """All claims of a folder, sorted by name. ClaimError for the first file that is not valid, or if there is none."""
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise ClaimError(f"{folder} has no .toml files; name a folder with claims")
    return [read_claim(file) for file in files]


def read_claim(file: Path) -> Claim:
    """The claim in a file. ClaimError, naming file and field, if it is not valid."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ClaimError(f"{file}: not TOML: {error}") from None
    tables = {kind: content.pop(kind) for kind in EXPECTATIONS if kind in content}
    for reserved in ("name", "expectations"):
        if reserved in content:
            raise ClaimError(f"{file}: unknown field '{reserved}'")
    claim = _value(Claim, content | {"name": file.stem}, f"{file}: ", expectations=tuple(_expectations(tables, file)))
    for field in ("claim", "source", "data", "contradicted_by"):
        if not getattr(claim, field).strip():
            raise ClaimError(f"{file}: field '{field}' is empty")
    _check_command(claim, file)
    return claim


def _check_command(claim: Claim, file: Path) -> None:
    if not claim.command:
        if not claim.needs:
            raise ClaimError(f"{file}: missing field 'command'; a claim without one must say what it 'needs'")
        return
    try:
        python, *words = shlex.split(claim.command)
    except ValueError as error:
        raise ClaimError(f"{file}: field 'command': {error}") from None
    if python != "python" or not words or not words[0].endswith(".py"):
        raise ClaimError(f"{file}: field 'command' must be 'python experiments/NAME.py CELL ...', not {claim.command!r}")
    ours = [word for word in words if word.split("=")[0] in ("--out", "--resume", "--costs")]
    if ours:
        raise ClaimError(f"{file}: field 'command' has {ours[0]}, which `run` adds itself or cannot use")
    if not claim.expectations:
        raise ClaimError(f"{file}: no expectation; write a table [[{']], [['.join(EXPECTATIONS)}]]")
    if claim.minutes <= 0:
        raise ClaimError(f"{file}: field 'minutes' must be the CPU minutes of the command, above 0, not {claim.minutes:g}")


def _expectations(tables: Mapping[str, Any], file: Path) -> Iterator[Expectation]:
    for kind, entries in tables.items():
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ClaimError(f"{file}: '{kind}' must be a table [[{kind}]]")
        for number, entry in enumerate(entries):
            where = f"{file}: {kind}[{number}]."
            expectation = _value(EXPECTATIONS[kind], entry, where)
            if isinstance(expectation, Better) and not expectation.than + expectation.baselines:
                raise ClaimError(f"{where}than: name a cell, or a baseline in 'baselines'")
            if isinstance(expectation, Cheaper) and expectation.cost not in COSTS:
                raise ClaimError(f"{where}cost is {expectation.cost!r}; it must be one of {', '.join(COSTS)}")
            for margin in ("within", "ratio"):
                if getattr(expectation, margin, 1) <= 0:
                    raise ClaimError(f"{where}{margin} is {getattr(expectation, margin):g}; it must be above 0")
            yield expectation


def _value(kind: type, content: Mapping[str, Any], where: str, **given: Any) -> Any:
    """A dataclass from a TOML table, its fields checked. where: file and table, for the message. given: further fields."""
    hints, known = typing.get_type_hints(kind), {field.name: field for field in fields(kind)}
    for name in content:
        if name not in known:
            raise ClaimError(f"{where}unknown field '{name}'; the fields are {', '.join(known)}")
    for name, field in known.items():
        if name not in content and name not in given and field.default is MISSING:
            raise ClaimError(f"{where}missing field '{name}'")
    return kind(**{name: _typed(value, hints[name], f"{where}field '{name}'") for name, value in content.items()}, **given)


def _typed(value: Any, hint: Any, where: str) -> Any:
    """A TOML value as a field of this type: a str, a float, or a tuple of str, for which one str will do."""
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if typing.get_origin(hint) is tuple and isinstance(value, (str, list)):
        entries = [value] if isinstance(value, str) else value
        if all(isinstance(entry, str) for entry in entries):
            return tuple(entries)
    optional = isinstance(hint, types.UnionType)
    if isinstance(value, str) and (hint is str or optional):
        return " ".join(value.split())
    kind = {float: "a number", str: "a text"}.get(hint, "a text" if optional else "a text or a list of texts")
    raise ClaimError(f"{where} must be {kind}, not {value!r}")
