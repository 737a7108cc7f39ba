"""The flags of experiments: their descriptions, values and dtype."""

import importlib
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from mmjax.describe import as_json
from mmjax.experiment.cli import _parse
from mmjax.experiment.flags import field_texts, flags_of, shown, with_dtype
from mmjax.experiment.options import Options
from tests.experiment.test_cli import BASE, run

FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.py"))


def test_descriptions_come_from_the_docstring():
    @dataclass(frozen=True)
    class Sizes:
        """Several sizes. Not a field: nothing.

        width, height: in pixels; both are
        positive. name: of the thing. Raises ValueError for a wrong size.

        rest: everything else: also this.
        """

        width: int = 1
        height: int = 2
        name: str = ""
        rest: int = 0
        silent: int = 0

    pixels = "in pixels; both are positive"
    others = {"name": "of the thing", "rest": "everything else: also this"}
    assert field_texts(Sizes) == {"width": pixels, "height": pixels} | others


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_help_has_every_flag_that_can_be_set_with_a_description(file, monkeypatch):
    """The parser accepts every flag with the value that help shows, which changes nothing."""
    monkeypatch.syspath_prepend(str(file.parent))
    module = importlib.import_module(file.stem)
    for experiment in (*module.ABLATIONS.values(), *getattr(module, "BY_NAME", {}).values()):
        assert [flag.name for flag in flags_of(Options(), experiment) if not flag.text] == []
    experiment = next(iter(module.ABLATIONS.values()))
    args = []
    for flag in flags_of(Options(), experiment):
        if not isinstance(flag.default, bool) and shown(flag.default) != "()":
            args += [flag.name, *shown(flag.default).split()]
    parsed, unknown = _parse(experiment, args, "")
    assert unknown == [] and as_json(parsed.experiment) == as_json(experiment) and parsed.options == Options()


def test_flags_are_read_again_if_python_cannot_parse_source(monkeypatch):
    """ "AST constructor recursion depth mismatch": two threads share a counter in Python 3.11."""
    import tyro

    calls, cli = [], tyro.cli

    def once(*given, **named):
        calls.append(given)
        if len(calls) == 1:
            raise SystemError("AST constructor recursion depth mismatch (before=237, after=287)")
        return cli(*given, **named)

    monkeypatch.setattr(tyro, "cli", once)
    assert _parse(BASE, ["--steps", "7"], "")[0].experiment.steps == 7 and len(calls) == 2


def test_one_dtype_for_all_modules():
    options, cells = run("concat", "--dtype", "bfloat16")
    cell = with_dtype(cells["concat"], options.dtype)
    assert [module.dtype for module in (*cell.encoders.values(), cell.fusion)] == [jnp.bfloat16] * 3
    assert with_dtype(cell, "float32") == BASE
    outputs = jax.eval_shape(cell.encoders["image"].init_with_output, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))[0]
    assert outputs.x.dtype == jnp.bfloat16
