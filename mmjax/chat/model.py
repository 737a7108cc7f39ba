"""Language models that answer messages: published weights with their chat template, or the decoder of a trained cell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jax.numpy as jnp

from mmjax.decoders.generator import Generator
from mmjax.encoders import NoTokens
from mmjax.nn.sample import NextToken
from mmjax.pretrained.chat_template import ChatTemplate, read_chat_template
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.language_models import further_ends
from mmjax.pretrained.language_text import LanguageTokenizer
from mmjax.pretrained.loading import load
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.results.cell import Cell

__all__ = ["ChatModel", "chat_weights", "chat_with_cell"]


@dataclass(frozen=True, eq=False)
class ChatModel:
    """A generator with its texts.

    encode: a text with special tokens written out -> token ids. decode: token ids -> text. template: messages -> text; None for
    a model that continues the last message as a text.
    """

    generator: Generator
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    template: ChatTemplate | None = None

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The token ids before the answer. Raises ChatTemplateError if the template refuses the messages."""
        if self.template is None:
            return self.encode(messages[-1]["content"])
        return self.encode(self.template.render(messages, date=datetime.now()))


def chat_weights(source: str, choice: NextToken = NextToken(), dtype: str = "float32") -> ChatModel:
    """The language model of `mmjax.pretrained.load(source)`. dtype: float32, bfloat16 or int8. Raises WeightsError for other
    models."""
    weights = load(source)
    model, texts = weights.module, weights.preprocessing
    if not hasattr(model, "step_states") or not isinstance(texts, TextPreprocessing):
        raise WeightsError(f"{source}: {type(model).__name__} is not a language model with a tokenizer")
    library = LanguageTokenizer(texts.library.to_str(), model.vocabulary, model.end).library  # without truncation
    template = read_chat_template(texts.file if texts.file.suffix == ".gguf" else texts.file.parent)
    ends = further_ends(weights, weights.module.vocabulary, weights.module.end)
    generator = _generator(model, weights.variables, choice, ends, dtype)
    encode = lambda text: library.encode(text, add_special_tokens=template is None).ids
    return ChatModel(generator, encode, library.decode, template)


def _generator(model: Any, variables: Mapping[str, Any], choice: NextToken, ends: tuple[int, ...], dtype: str) -> Generator:
    """dtype: float32, bfloat16, or int8 for the kernels of dense layers."""
    plain = Generator.of(model, variables, choice, ends)
    if dtype == "int8":
        return plain.with_int8()
    return Generator.of(plain.model.clone(dtype=jnp.dtype(dtype)), {"params": plain.params}, choice, ends)


def chat_with_cell(cell: Cell, choice: NextToken = NextToken(), dtype: str = "float32") -> ChatModel:
    """The first language model of a trained cell, with the first seed. It continues texts.

    dtype: float32, bfloat16 or int8. Raises ValueError if the cell has none, or has other inputs than texts that are continued.
    """
    model = cell.models[0]
    decoders = getattr(model.module, "decoders", {})
    name = next((name for name, decoder in decoders.items() if hasattr(cell.classes.get(name), "library")), None)
    if name is None:
        raise ValueError(f"cell {cell.name} has no language model: a decoder whose target is a text")
    inputs = [modality for modality, encoder in model.module.encoders.items() if not isinstance(encoder, NoTokens)]
    if inputs:
        raise ValueError(f"cell {cell.name} answers to {', '.join(inputs)}, not to texts; use python -m mmjax.predict")
    tokenizer, decoder = cell.classes[name], decoders[name]
    params = cell.variables(model.seeds[0])["params"][f"decoders_{name}"]
    generator = _generator(decoder, {"params": params}, choice, (), dtype)
    return ChatModel(generator, lambda text: [*decoder.prompt, *tokenizer.ids(text)], tokenizer.text)
