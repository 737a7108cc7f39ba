"""Fingerprints of the code and the shipped data that a claim depends on. Nothing is imported or run."""

import ast
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["CHECKOUT", "PACKAGE", "SHOWN_ONLY", "TABLES", "WEIGHTS", "code_fingerprint", "data_fingerprint", "files_of"]

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "mmjax"
TABLES = ("pretrained/architectures.py", "pretrained/wheels.py")  # they import all architectures; WEIGHTS has those in use
WEIGHTS = {
    "efficientnet-": "efficientnet",
    "gemma3-": "language_models",
    "minilm": "bert",
    "multilingual-e5-": "bert",
    "smollm2-": "language_models",
    "whisper-": "whisper",
}
"""The first letters of the names of published weights -> the module of `mmjax.pretrained` that reads them."""
SHOWN_ONLY = ("audit/", "claims/", "report/", "experiment/costs.py")  # they read results or count


def code_fingerprint(experiment: Path) -> str:
    """A hash of the experiment file and of the files of the project that it imports, directly or not, also in functions.

    A name that a package re-exports counts as the module that defines it, so that a change of one fusion leaves experiments
    with other fusions alone. A text that names published weights counts as an import of what reads them. Docstrings, comments
    and blank lines do not count, nor does code that only shows results.
    """
    parts = [f"{_name(file)} {_facts(file).code}" for file in files_of(experiment)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def data_fingerprint() -> str:
    """A hash of the checksums of the data in the repository. Fetched packages have theirs in the code."""
    files = sorted((CHECKOUT / "data").glob("*/sha256sums.txt"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def files_of(experiment: Path) -> list[Path]:
    """The files whose code counts, sorted. Every experiment can read weights; what reads them counts if it names some."""
    found = _reached(experiment, not_followed=("pretrained/",))
    return _reached(experiment, TABLES) if any(_facts(file).readers for file in found) else found


def _reached(experiment: Path, not_followed: tuple[str, ...]) -> list[Path]:
    """The files that are imported, directly or not, sorted. not_followed: first letters of the names of those whose imports do
    not count."""
    found, waiting = set(), [experiment.resolve()]
    while waiting:
        file = waiting.pop()
        name = file.relative_to(PACKAGE).as_posix() if _is_ours(file) else ""
        if file in found or name.startswith(SHOWN_ONLY):
            continue
        found.add(file)
        if not name.startswith(not_followed):
            imported = (_defining(module, name, file) for module, name in _facts(file).imports)
            waiting += [path for path in imported if path]
            waiting += [PACKAGE / "pretrained" / f"{reader}.py" for reader in _facts(file).readers]
    return sorted(found, key=_name)


def _is_ours(file: Path) -> bool:
    return file.is_relative_to(PACKAGE)


def _name(file: Path) -> str:
    return file.relative_to(CHECKOUT).as_posix() if _is_ours(file) else file.name


def _defining(module: str, name: str, importer: Path) -> Path | None:
    """The file that defines a name imported from a module; "" stands for the module itself. None for other packages."""
    file = (name and _module(f"{module}.{name}", importer)) or _module(module, importer)
    if file is None or file.name != "__init__.py":
        return file
    source = _facts(file).exported.get(name)
    return _defining(source, name, file) if source else file


def _module(name: str, importer: Path) -> Path | None:
    """The file of a module of the package, or of one beside an experiment. None for all other modules."""
    path = Path(*name.split("."))
    if path.parts[0] != "mmjax" and _is_ours(importer):
        return None
    folder = CHECKOUT if path.parts[0] == "mmjax" else importer.parent
    return next((file for file in (folder / f"{path}.py", folder / path / "__init__.py") if file.is_file()), None)


class _Facts(NamedTuple):
    """What counts of a file. imports: (module, name) pairs. readers: modules that read weights which it names, see WEIGHTS.
    exported: {name: module} of imports at the top. code: a hash."""

    imports: tuple[tuple[str, str], ...]
    readers: frozenset[str]
    exported: Mapping[str, str]
    code: str


def _facts(file: Path) -> _Facts:
    return _read(file, file.stat().st_mtime_ns)


@cache
def _read(file: Path, changed: int) -> _Facts:
    """The facts of a file. changed: the time of its last change, so that a change is seen."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    imports: list[tuple[str, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports += [(node.module, alias.name) for alias in node.names]
    top = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    exported = {alias.asname or alias.name: node.module for node in top for alias in node.names}
    words = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in words)
    texts = [node.value for node in found if isinstance(node.value, str)]
    readers = frozenset(reader for name, reader in WEIGHTS.items() for text in texts if text.startswith(name))
    return _Facts(tuple(imports), readers, exported, _code(text, tree))


def _code(text: str, tree: ast.Module) -> str:
    """A hash of the lines without docstrings, comments and blank lines."""
    lines = text.splitlines()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
        if is_text and not lines[first.lineno - 1][: first.col_offset].strip():
            lines[first.lineno - 1 : first.end_lineno] = [""] * (first.end_lineno - first.lineno + 1)
    kept = [line.rstrip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()
