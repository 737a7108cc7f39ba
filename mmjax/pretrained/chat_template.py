"""Chat templates of published language models: messages -> the text of a prompt, by Jinja in `chat_sandbox`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mmjax.pretrained.chat_sandbox import MAX_SIZE, rendered
from mmjax.pretrained.files import WeightsError, read_json, shown
from mmjax.pretrained.gguf_models import gguf_file
from mmjax.pretrained.gguf_tokenizer import tokenizer_config

__all__ = ["ChatTemplate", "read_chat_template"]


@dataclass(frozen=True)
class ChatTemplate:
    """Messages -> the text of a prompt.

    source: the template. tokens: special tokens that it may use, such as {"bos_token": "<s>"}.
    """

    source: str = field(repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        date: datetime | None = None,
        marks: tuple[str, str] = ("", ""),
        **variables: Any,
    ) -> str:
        """The text, with special tokens written out.

        messages: {"role": "user", "content": "..."} each. add_generation_prompt: whether the text ends with the beginning of an
        answer. date: the present time, for templates that write it; they find no time if it is None. marks: texts before and
        after what is inside {% generation %}, by which templates mark the answers for training. variables: others, such as
        tools; strings, numbers, lists and mappings. Raises `chat_sandbox.ChatTemplateError`.
        """
        given = {"messages": messages, "add_generation_prompt": add_generation_prompt, "tools": None, "documents": None}
        values = json.loads(json.dumps({**self.tokens, **given, **variables}))  # plain values, which are the template's own
        if date is not None:
            values["strftime_now"] = lambda form: date.strftime(str(form)[:100])
        return rendered(self.source, values, marks)


def read_chat_template(path: Path) -> ChatTemplate | None:
    """The template of a folder (chat_template.jinja, chat_template.json or tokenizer_config.json) or of a GGUF file, or None.

    Of several templates it is the one called "default".
    """
    gguf = gguf_file(path)
    if gguf is not None:
        config = tokenizer_config(gguf)
    else:
        config = read_json(path / "tokenizer_config.json") | read_json(path / "chat_template.json")
        own = path / "chat_template.jinja"
        if own.is_file() and own.stat().st_size <= 4 * MAX_SIZE:
            config = config | {"chat_template": own.read_text(encoding="utf-8")}
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    if found is None:
        return None
    if not isinstance(found, str):
        raise WeightsError(f"{path}: chat_template is {shown(repr(found), 60)}; it must be a string")
    tokens = {name: config[name] for name in config if name.endswith("_token")}
    tokens = {name: token.get("content") if isinstance(token, dict) else token for name, token in tokens.items()}
    return ChatTemplate(found, {name: token for name, token in tokens.items() if isinstance(token, str)})
