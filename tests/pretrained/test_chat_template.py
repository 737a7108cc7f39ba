"""Chat templates: texts worked out by hand, and hostile templates, each refused in one line within a second."""

import gc
import json
import time
from datetime import datetime

import pytest

from mmjax.pretrained.chat_sandbox import ChatTemplateError
from mmjax.pretrained.chat_template import ChatTemplate, read_chat_template
from mmjax.pretrained.files import WeightsError
from tests.at_once import at_once
from tests.pretrained.gguf_files import file_bytes, llama_parts, written

MESSAGES = [{"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Yo"}]
TEXTS = {
    "loops": ("{% for m in messages %}{{ m.role[0] }}{{ loop.index }}{% if not loop.last %},{% endif %}{% endfor %}", "u1,a2"),
    "blocks": ("{% if true %}\n  a\n  {% endif %}\nb", "  a\nb"),
    "filters": ("{{ messages[0].content|trim|upper }} {{ [1, 2]|join('-') }} {{ {'a': 'é'}|tojson }}", 'HI 1-2 {"a": "é"}'),
    "methods": ("{{ messages[0]['content'].strip().replace('i', 'o') }}{{ 'a b'.split(' ')[1] }}", "Hob"),
    "namespace": ("{% set n = namespace(x=0) %}{% for m in messages %}{% set n.x = n.x + 2 %}{% endfor %}{{ n.x }}", "4"),
    "tokens": ("{{ bos_token ~ 'x' ~ 1 }}{{ missing }}", "<s>x1"),
    "macros": ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('a') }}{{ f(2) }}", "<a><2>"),
    "break": ("{% for m in messages %}{{ m.role }}{% break %}{% endfor %}", "user"),
    "generation": ("{% generation %}a{% endgeneration %}{{ add_generation_prompt }}", "aTrue"),
    "items": ("{% for k, v in messages[1].items() %}{{ k }}={{ v }};{% endfor %}", "role=assistant;content=Yo;"),
    "selections": ("{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ 7 % 2 }}{{ '=' * 3 }}", "11==="),
    "date": ("{{ strftime_now('%Y') }}", "2024"),
    "none": ("{{ tools is none }}{{ tools }}{{ true }}", "TrueNoneTrue"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts(name):
    source, expected = TEXTS[name]
    assert ChatTemplate(source, {"bos_token": "<s>"}).render(MESSAGES, date=datetime(2024, 1, 2)) == expected


DOUBLED = "{%% set n = namespace(x='ab') %%}{%% for i in range(60) %%}{%% set n.x = %s %%}{%% endfor %%}"
NESTED = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
LATE = "more than 0.5 s|nested too deeply"
HOSTILE = {
    "loops": (NESTED, "more than 0.5 s"),
    "silent filters": ("{% set s = 'a' * 99999 %}" + "{% set t = s" + "|upper" * 20_000 + " %}", LATE),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested too deeply"),
    "exponential recursion": (
        "{% macro f(n) %}{% if n %}{% set a = f(n - 1) %}{% set b = f(n - 1) %}{% endif %}{% endmacro %}{{ f(40) }}",
        "more than 0.5 s",
    ),
    "large range": ("{% for i in range(10 ** 9) %}{% endfor %}", r"uses \*\*"),
    "larger range": ("{{ range(1000000000)|list }}", "Range too big"),
    "long text": ("{{ 'a' * 10000000000 }}", "more than 200,000 characters"),
    "long list": ("{{ [1] * 10000000000 }}", r"uses \*"),
    "number": ("{{ 9 ** 9 ** 9 }}", r"uses \*\*"),
    "doubled": (DOUBLED % "n.x ~ n.x", "200,000"),
    "added": (DOUBLED % "n.x + n.x", "200,000"),
    "shared": (DOUBLED % "[n.x, n.x]", "50,000 entries|more than 0.5 s"),
    "assigned blocks": ("{% set n = namespace(x='ab') %}" + "{% set x %}{{ x }}{{ x }}ab{% endset %}" * 60, "200,000"),
    "shared tuples": (DOUBLED % "(n.x, n.x)" + "{{ n.x }}", "50,000 entries|more than 0.5 s"),
    "shared mappings": (DOUBLED % "dict(a=n.x, b=n.x)", "50,000 entries|more than 0.5 s"),
    "replaced": ("{{ ('a' * 1000).replace('a', 'b' * 1000) }}", "200,000"),
    "joined": ("{{ ('a' * 1000).join(range(1000)) }}", "200,000"),
    "padded": ("{{ 'a'.ljust(10000000000) }}", "it may not"),
    "formatted": ("{{ '%10000000000d' % 3 }}", "uses %"),
    "format": ("{{ '{0.__class__}'.format(3) }}", "it may not"),
    "format filter": ("{{ '%10000000000d'|format(3) }}", "No filter named 'format'"),
    "centred": ("{{ 'a'|center(10000000000) }}", "No filter named 'center'"),
    "class": ("{{ ''.__class__ }}", "it may not"),
    "subclasses": ("{{ [].__class__.__base__.__subclasses__() }}", "it may not"),
    "by item": ("{{ ''['__class__'] }}", "it may not"),
    "by filter": ("{{ ''|attr('__class__') }}", "No filter named 'attr'"),
    "by map": ("{{ [1]|map(attribute='__class__')|list }}", "it may not"),
    "globals": ("{% macro f() %}{% endmacro %}{{ f._func }}", "it may not"),
    "number's bytes": ("{{ (3).to_bytes(10000000000, 'big') }}", "it may not"),
    "change": ("{{ messages.append(1) }}", "it may not"),
    "itself": ("{{ self }}", "writes a TemplateReference"),
    "namespace itself": ("{{ namespace(a=1) }}", "writes a Namespace"),
    "include": ("{% include '/etc/passwd' %}", "has include in line 1; it may not import"),
    "import": ("{% import 'os' as os %}", "has import in line 1"),
    "from import": ("{% from 'os' import path %}", "has fromimport in line 1"),
    "extends": ("\n{% extends 'x' %}", "has extends in line 2"),
    "syntax": ("{% for %}", "Expected an expression"),
    "unclosed": ("{% if x %}", "end of template"),
    "deep": ("{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}", "nested too deeply"),
    "long": ("a" * 200_001, "has 200,001 characters; it may have 200,000"),
    "division": ("{{ 1 / 0 }}", "division by zero"),
    "refusal": ("{{ raise_exception('roles must alternate\nalways') }}", "refuses the messages: 'roles must alternate"),
    "no date": ("{{ strftime_now('%Y') }}", "'strftime_now' is undefined"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_are_refused_in_one_line_at_once(name):
    source, message = HOSTILE[name]
    with at_once(1), pytest.raises(ChatTemplateError, match=message) as refused:
        ChatTemplate(source).render(MESSAGES)
    assert "\n" not in str(refused.value)


def test_the_garbage_of_a_large_process_does_not_take_the_time_of_a_template():
    def slow(phase, info):
        end = time.thread_time() + 0.4
        while time.thread_time() < end:
            pass

    threshold = gc.get_threshold()
    gc.callbacks.append(slow)
    gc.set_threshold(50, 5, 5)
    try:
        text = ChatTemplate("{% for i in range(300) %}{{ [[i]] }}{% endfor %}").render(MESSAGES)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(slow)
    assert text.startswith("[[0]][[1]]") and gc.isenabled()


def test_each_text_has_its_own_time_and_starts_anew(monkeypatch):
    template = ChatTemplate("{% set n = namespace(x=0) %}{% for m in messages %}{% set n.x = n.x + 1 %}{% endfor %}{{ n.x }}")
    assert template.render(MESSAGES) == str(len(MESSAGES))
    now = time.thread_time
    monkeypatch.setattr(time, "thread_time", lambda: now() + 10)  # ten seconds later
    assert template.render(MESSAGES) == str(len(MESSAGES))


def test_messages_are_not_changed_and_must_be_plain():
    messages = [{"role": "user", "content": "a"}]
    ChatTemplate("{% set messages = [] %}{{ messages }}").render(messages)
    assert messages == [{"role": "user", "content": "a"}]


def test_where_templates_are_found(tmp_path):
    assert read_chat_template(tmp_path) is None
    config = {"chat_template": "a{{ bos_token }}", "bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_chat_template(tmp_path).render([]) == "a<s>"
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": named}))
    assert read_chat_template(tmp_path).render([]) == "d"
    (tmp_path / "chat_template.jinja").write_text("own")
    assert read_chat_template(tmp_path).render([]) == "own"
    metadata, tensors = llama_parts()
    file = written(tmp_path, file_bytes(metadata | {"tokenizer.chat_template": "{{ eos_token }}"}, tensors))
    assert read_chat_template(file).render([]) == "</s>"
    file.unlink()
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": 3}')
    with pytest.raises(WeightsError, match="chat_template is 3; it must be a string"):
        read_chat_template(tmp_path)
