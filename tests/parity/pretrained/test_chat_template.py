"""Chat templates in the form of published ones: texts equal those of transformers."""

import numpy as np
import pytest

from mmjax.data.formats.dialogue_files import read_messages, written_messages
from mmjax.pretrained.chat_template import ChatTemplate, read_chat_template
from mmjax.pretrained.dialogues import dialogue_ids, dialogue_pieces, dialogue_with_vectors
from mmjax.pretrained.language_text import LanguageText
from mmjax.pretrained.wheels import fetch
from tests.pretrained.tiny import byte_tokenizer

pytestmark = pytest.mark.parity

TALK = [
    {"role": "user", "content": "  What is 1 < 2 & 'three'?\n"},
    {"role": "assistant", "content": "True."},
    {"role": "user", "content": "Größe?"},
]
SYSTEM = [{"role": "system", "content": "Be brief."}, *TALK]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"x": {"type": "number"}, "ü": [1, None, True]}}}]
TEMPLATES = {
    "chatml": """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    "llama": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" ~ system_message }}
{%- if tools is not none %}{% for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
{%- endfor %}{% endif %}
{%- for message in messages %}
    {%- if 'tool_calls' in message and message.tool_calls|length != 1 %}{{ raise_exception('one call') }}{% endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}""",
    "gemma": """{{ bos_token }}{%- if messages[0].role == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}{%- set loop_messages = messages[1:] -%}
{%- else -%}{%- set first_user_prefix = "" -%}{%- set loop_messages = messages -%}{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception("roles must alternate") }}{%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}{{ message['content'] | trim }}{%- endif -%}{{ '<end_of_turn>\n' }}
{%- endfor -%}""",
    "qwen": """{%- set ns = namespace(multi=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi and message.role == "user" and not(message.content.startswith('<tool>')) %}
        {%- set ns.multi = false %}{%- set ns.last = index %}
    {%- endif %}
{%- endfor %}{{ ns.last }}
{%- for key, value in messages[-1].items()|sort %}{{ key }}:{{ value.split(' ')[-1].rstrip('?').lower() }};{% endfor %}
{{- messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('|') }}{{ thinking is defined }}""",
}
CASES = [({"messages": TALK}, "talk"), ({"messages": SYSTEM, "tools": TOOLS}, "system and tools")]


def their_text(template, given, tokens, add_generation_prompt):
    from transformers.utils.chat_template_utils import render_jinja_template

    conversation = {"conversations": [given["messages"]], "tools": given.get("tools")}
    prompt = {"add_generation_prompt": add_generation_prompt}
    return render_jinja_template(chat_template=template, **conversation, **prompt, **tokens)[0][0]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("given", [given for given, _ in CASES], ids=[name for _, name in CASES])
def test_texts(name, given):
    template = ChatTemplate(TEMPLATES[name], {"bos_token": "<s>"})
    for prompt in (True, False):
        ours = template.render(**given, add_generation_prompt=prompt)
        assert ours == their_text(template.source, given, template.tokens, prompt) and len(ours) > 20


def test_smollm2():
    template = read_chat_template(fetch("smollm2-135m-instruct"))
    for messages in (TALK, SYSTEM):
        assert template.render(messages) == their_text(template.source, {"messages": messages}, template.tokens, True)
    assert template.render(SYSTEM).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")


CHATML = """{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}
{{- m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}
{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
LONG_TALK = [*SYSTEM, {"role": "assistant", "content": " Größe ist 3.5 m,\n\nsagt man."}, *TALK[:2]]


@pytest.mark.parametrize("messages", [TALK, SYSTEM, LONG_TALK], ids=["talk", "system", "long"])
def test_assistant_masks(messages):
    """The masks of `return_assistant_tokens_mask`, with SmolLM2's tokens. Answers end in characters of one token each, since
    transformers' mask has only the first token of a character. Without {% generation %}, the line break after an answer is part
    of it too."""
    from transformers import PreTrainedTokenizerFast

    library = LanguageText("smollm2-135m-instruct").train(()).library
    original = PreTrainedTokenizerFast(tokenizer_object=library)
    settings = {"chat_template": CHATML, "return_dict": True, "return_assistant_tokens_mask": True}
    theirs = original.apply_chat_template(messages, tokenize=True, **settings)
    ids, answer = dialogue_ids(dialogue_pieces(ChatTemplate(CHATML), messages), library)
    assert ids.tolist() == theirs["input_ids"]
    assert answer.astype(int).tolist() == theirs["assistant_masks"] and 0 < answer.sum() < len(ids)
    tagless = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    others, found = dialogue_ids(dialogue_pieces(ChatTemplate(tagless), messages), library)
    assert others.tolist() == ids.tolist()
    breaks = [library.decode([token]) for token in ids[found & ~answer].tolist()]
    assert not (answer & ~found).any() and breaks == ["\n"] * sum(m["role"] == "assistant" for m in messages)


PARTS = CHATML.replace(
    "{{ m['content'] + '<|im_end|>\n' }}",
    """{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}
{{- '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}""",
)
IMAGE, TEXT = {"type": "image", "image": "a.png"}, lambda text: {"type": "text", "text": text}


@pytest.mark.parametrize("first", [[], [IMAGE], [IMAGE, TEXT(" or\n"), IMAGE, IMAGE]], ids=["none", "one", "several"])
def test_images_among_texts(first):
    """The ids and masks of a tokenizer of bytes whose special token stands for an image, in the place of our vector."""
    from transformers import PreTrainedTokenizerFast

    messages = [{"role": "user", "content": [*first, TEXT("Which?")]}, TALK[1]]
    messages += [{"role": "user", "content": [TEXT(" And "), *first]}, {"role": "assistant", "content": " None,\nI say."}]
    ours, theirs = byte_tokenizer(), byte_tokenizer()
    original = PreTrainedTokenizerFast(tokenizer_object=theirs, additional_special_tokens=["<image>"])
    settings = {"chat_template": PARTS, "return_dict": True, "return_assistant_tokens_mask": True}
    expected = original.apply_chat_template(messages, tokenize=True, **settings)
    pieces = dialogue_pieces(ChatTemplate(PARTS), written_messages(read_messages(messages), "<image>"))
    count, vocabulary = 2 * sum(part is IMAGE for part in first), ours.get_vocab_size()
    found = dialogue_with_vectors(pieces, ours, vocabulary, "<image>", [1] * count)
    vectors = found.ids >= vocabulary
    assert np.where(vectors, original.convert_tokens_to_ids("<image>"), found.ids).tolist() == expected["input_ids"]
    assert found.ids[vectors].tolist() == [vocabulary + number for number in range(count)]
    assert (found.answer >= 0).astype(int).tolist() == expected["assistant_masks"] and (found.answer >= 0).any()
