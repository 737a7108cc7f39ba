"""A closed sandbox for the Jinja templates of published language models.

Templates are untrusted programs. A template sees strings, numbers, lists and mappings, and some of their methods. It has no
imports and no attributes of Python objects; its time and the size of every text and list that it builds are limited. Anything
else is one error, at once.
"""

import functools
import gc
import json
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from mmjax.pretrained.files import shown

__all__ = ["FILTERS", "MAX_ENTRIES", "MAX_SECONDS", "MAX_SIZE", "METHODS", "ChatTemplateError", "rendered"]

MAX_SIZE, MAX_ENTRIES, MAX_SECONDS = 200_000, 50_000, 0.5
"""Characters of a template or a text that it builds; entries of a nested list; seconds of the thread's CPU time."""
METHODS = {
    str: {
        "capitalize", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit", "islower", "isspace", "isupper",
        "lower", "lstrip", "removeprefix", "removesuffix", "rfind", "rsplit", "rstrip", "split", "splitlines", "startswith",
        "strip", "title", "upper",
    },
    dict: {"get", "items", "keys", "values"},
    list: {"count", "index"},
    tuple: {"count", "index"},
}  # fmt: skip
"""The methods that a template may call. The others change values or make results of any size."""
FILTERS = (
    "abs", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last", "length", "map", "max", "min",
    "reject", "rejectattr", "reverse", "round", "select", "selectattr", "sort", "unique",
)  # fmt: skip
"""Jinja's filters whose results are no larger than their input; `_OWN_FILTERS` are the others."""


class ChatTemplateError(ValueError):
    """A template that cannot be read, does what it may not do, or refuses the messages; one line."""


def rendered(source: str, values: Mapping[str, Any], marks: tuple[str, str]) -> str:
    """The text that a template makes of plain values, its own. marks: around what is inside {% generation %}. Raises
    ChatTemplateError; ImportError without jinja2."""
    if len(source) > MAX_SIZE:
        raise ChatTemplateError(f"the chat template has {len(source):,} characters; it may have {MAX_SIZE:,}")
    try:
        from jinja2.exceptions import TemplateError
    except ImportError as error:
        raise ImportError("chat templates need jinja2: pip install jinja2") from error
    collects = gc.isenabled()
    gc.disable()  # collecting the garbage of a large process would take the template's time
    try:
        environment, code, clock = _compiled(source, marks)
        clock.start()
        template = environment.template_class.from_code(environment, code, environment.make_globals(None))
        parts, size = [], 0
        for part in template.generate(**values):
            size = _limited(size + len(part))
            parts.append(part)
        return "".join(parts)
    except ChatTemplateError:
        raise
    except RecursionError as error:
        raise ChatTemplateError("the chat template is nested too deeply") from error
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, SyntaxError) as error:
        raise ChatTemplateError(f"the chat template: {shown(error)}") from error
    finally:
        if collects:
            gc.enable()


def _limited(size: int) -> int:
    if size > MAX_SIZE:
        raise ChatTemplateError(f"the chat template makes a text of more than {MAX_SIZE:,} characters")
    return size


def _weighed(value: Any) -> Any:
    """The value itself. A list that contains another one twice counts twice, since a comparison would visit it twice."""
    waiting, entries, size = [value], 0, 0
    while waiting:
        one = waiting.pop()
        if type(one) is str:
            size = _limited(size + len(one))
        elif type(one) in (list, tuple, dict):
            inner = one if type(one) is not dict else [*one, *one.values()]
            entries += len(inner)
            if entries > MAX_ENTRIES:
                raise ChatTemplateError(f"the chat template makes a list of more than {MAX_ENTRIES:,} entries")
            waiting.extend(inner)
    return value


def _text(value: Any) -> str:
    from jinja2 import Undefined

    if isinstance(value, Undefined | str | int | float | list | tuple | dict | None):
        text = str(_weighed(value))
        _limited(len(text))
        return text
    raise ChatTemplateError(f"the chat template writes a {type(value).__name__}; it may write texts, numbers and lists")


def _joined(parts: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    texts = [_text(part if attribute is None else part[attribute]) for part in parts]
    _limited(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _replaced(text: Any, old: str, new: str, count: int | None = None) -> str:
    text, old, new = _text(text), str(old), str(new)
    _limited(len(text) + len(new) * text.count(old))
    return text.replace(old, new, -1 if count is None else count)


def _indented(text: Any, width: int = 4, first: bool = False) -> str:
    lines = _text(text).splitlines() or [""]
    _limited(sum(map(len, lines)) + int(width) * len(lines))
    return " " * width * first + f"\n{' ' * width}".join(lines)


def _as_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators=None, sort_keys=False) -> str:
    indent = indent if indent is None else min(int(indent), 16)
    text = json.dumps(_weighed(value), ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    _limited(len(text))
    return text


_OWN_FILTERS = {
    "capitalize": lambda x: _text(x).capitalize(),
    "indent": _indented,
    "join": _joined,
    "list": lambda x: _weighed(list(x)),
    "lower": lambda x: _text(x).lower(),
    "replace": _replaced,
    "safe": lambda x: x,
    "string": _text,
    "title": lambda x: _text(x).title(),
    "tojson": _as_json,
    "trim": lambda x, characters=None: _text(x).strip(characters),
    "upper": lambda x: _text(x).upper(),
}


def _refuse(message: Any) -> None:
    raise ChatTemplateError(f"the chat template refuses the messages: {shown(message)}")


class _Clock(threading.local):
    """Called at every iteration, call, operation and filter: raises ChatTemplateError when the time is over. Each thread has
    its own time."""

    def start(self) -> None:
        self.end = time.thread_time() + MAX_SECONDS

    def __call__(self) -> str:
        if time.thread_time() > self.end:
            raise ChatTemplateError(f"the chat template runs for more than {MAX_SECONDS:g} s")
        return ""

    def around(self, function: Any) -> Any:
        @functools.wraps(function)
        def timed(*given: Any, **named: Any) -> Any:
            self()
            return function(*given, **named)

        return timed


@functools.lru_cache(16)  # compiling takes longer than writing a dialogue
def _compiled(source: str, marks: tuple[str, str]) -> tuple[Any, Any, _Clock]:
    """(the environment of a template, its code, its clock)."""
    clock = _Clock()
    clock.start()
    environment = _environment(marks, clock)
    return environment, environment.compile(_guarded(environment, source)), clock


def _environment(marks: tuple[str, str], clock: _Clock) -> Any:
    """Jinja with transformers' settings and functions, and less of everything else."""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.runtime import LoopContext
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """{% generation %} puts marks around the answers, for training."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            before, after = (nodes.Output([nodes.TemplateData(mark)]).set_lineno(line) for mark in marks)
            return [before, *parser.parse_statements(["name:endgeneration"], drop_needle=True), after]

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(["+", "*", "**", "%"])

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            known = isinstance(obj, LoopContext | Namespace) and super().is_safe_attribute(obj, attr, value)
            return known or attr in METHODS.get(type(obj), ())

        def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
            raise ChatTemplateError(f"the chat template uses {shown(attribute, 60)} of a {type(obj).__name__}; it may not")

        def wrap_str_format(self, value: Any) -> Any:
            return None  # str.format is not among the methods

        def getattr(self, obj: Any, attribute: str) -> Any:
            if type(obj) is str and attribute in ("replace", "join"):  # Python's make texts of any size
                return lambda *given: _replaced(obj, *given) if attribute == "replace" else _joined(*given, obj)
            return super().getattr(obj, attribute)

        def call(self, context: Any, function: Any, /, *given: Any, **named: Any) -> Any:
            clock()
            return _weighed(super().call(context, function, *given, **named))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            clock()
            number = isinstance(left, int | float) and isinstance(right, int | float)
            if operator in ("*", "**", "%") and not (number and operator != "**" and abs(left) + abs(right) < 2**63):
                if not (operator == "*" and isinstance(left, str) and isinstance(right, int)):
                    raise ChatTemplateError(f"the chat template uses {operator}, which may make results of any size")
                _limited(len(left) * right)
            return _weighed(super().call_binop(context, operator, left, right))

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols], optimized=False, finalize=_text
    )
    filters = {name: environment.filters[name] for name in FILTERS} | _OWN_FILTERS
    environment.filters = {name: clock.around(function) for name, function in filters.items()}
    known = {name: environment.globals[name] for name in ("range", "namespace", "dict")}
    environment.globals = known | {"raise_exception": _refuse, _STEP: clock}
    environment.globals |= {_CONCAT: lambda *parts: _joined(parts), _LIST: lambda *parts: list(parts)}
    return environment


_STEP, _CONCAT, _LIST = "mmjax_step", "mmjax_concat", "mmjax_list"


def _guarded(environment: Any, source: str) -> Any:
    """The syntax tree, in which iterations and macros ask the clock, and lists and the operator ~ are limited functions."""
    from jinja2 import nodes

    tree = environment.parse(source)
    for kind in (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends):
        for found in tree.find_all(kind):
            raise ChatTemplateError(f"the chat template has {kind.__name__.lower()} in line {found.lineno}; it may not import")
    call = lambda name, *given: nodes.Call(nodes.Name(name, "load"), list(given), [], None, None)

    def changed(node):
        for name, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, name, changed(value))
            elif isinstance(value, list):
                setattr(node, name, [changed(x) if isinstance(x, nodes.Node) else x for x in value])
        if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
            node.body.insert(0, nodes.Output([call(_STEP)]))
        if isinstance(node, nodes.Concat):
            return call(_CONCAT, *node.nodes)
        return call(_LIST, *node.items) if isinstance(node, nodes.List) else node

    return changed(tree).set_environment(environment)
