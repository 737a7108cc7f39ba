"""Every module lists its public names in `__all__`, and packages show no others."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmjax

FILES = sorted(path for path in Path(mmjax.__file__).parent.rglob("*.py") if path.name not in ("__main__.py", "__init__.py"))
PACKAGES = ["mmjax", *(module.name for module in pkgutil.walk_packages(mmjax.__path__, "mmjax.") if module.ispkg)]


def defined(body: list[ast.stmt]) -> Iterator[str]:
    """The public names that statements define."""
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                names = [leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case ast.If(body=inner, orelse=other):
                names = [*defined(inner), *defined(other)]
            case _:
                names = []
        yield from (name for name in names if not name.startswith("_"))


def listed(tree: ast.Module) -> list[str] | None:
    """The names in `__all__`."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "__all__":
            return ast.literal_eval(statement.value)
    return None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(Path(mmjax.__file__).parent).as_posix())
def test_modules_list_what_they_define(file):
    tree = ast.parse(file.read_text())
    main_only = {"main"} if any(isinstance(s, ast.If) and "__name__" in ast.unparse(s.test) for s in tree.body) else set()
    assert set(listed(tree) or ()) | main_only == set(defined(tree.body)) | main_only


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_show_their_public_names_alone(name):
    """The names in `__all__`, which can be imported, and submodules."""
    module = importlib.import_module(name)
    submodules = {found.name for found in pkgutil.iter_modules(module.__path__)}
    shown = {entry for entry in dir(module) if not entry.startswith("_")} - {"jaxtyping"}  # of the type checks of the tests
    assert shown <= {*module.__all__, *submodules}
    for entry in module.__all__:
        assert hasattr(module, entry) or importlib.import_module(f"{name}.{entry}")
