"""Models that answer messages: published weights with their chat template, or the decoder of a trained cell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.chat.messages import KINDS, Message, media_of, text_of, without_media
from mmjax.decoders.generator import Generator
from mmjax.encoders import NoTokens
from mmjax.nn.sample import NextToken
from mmjax.pretrained.answering import ends_of, template_text
from mmjax.pretrained.chat_template import ChatTemplate, read_chat_template
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.image_prompts import ImagePrompts
from mmjax.pretrained.language_models import further_ends
from mmjax.pretrained.language_text import LanguageTokenizer
from mmjax.pretrained.loading import Pretrained, load
from mmjax.pretrained.qwen2_audio import AudioPrompts
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.results.cell import Cell
from mmjax.types import Batch, Tokens

__all__ = ["BLOCKS", "ChatModel", "ChatPrompt", "Media", "chat_weights", "chat_with_cell", "inputs_of"]

BLOCKS = "blocks"
_UNLIMITED = 10_000_000  # tokens, in place of the limit of a tokenizer: `fitted` drops old turns instead


class ChatPrompt(NamedTuple):
    """ids: token ids before an answer; those of at least the vocabulary are vectors. batch: of the media; None without."""

    ids: list[int]
    batch: Batch | None = None


@dataclass(frozen=True, eq=False)
class Media:
    """The images or recordings that messages may have.

    kind: of `messages.KINDS`. prompts: {"text", "images" or "audio"} -> ids and batch. memory: batch -> the vectors of media,
    compiled once for each number of them.
    """

    kind: str
    prompts: ImagePrompts | AudioPrompts
    memory: Callable[[Batch], Tokens]

    def prompt(self, messages: Sequence[Message], template: ChatTemplate | None) -> ChatPrompt:
        """As of `ChatModel`."""
        marker, texts = self.prompts.marker, self.prompts.texts
        if template is None:
            messages = messages[-1:]
        media = media_of(messages, self.kind)
        if template is None:
            text = text_of(messages[-1])
            text = text if marker in text else marker * len(media) + text
        else:
            text = template_text(template, texts, without_media(messages, marker))
        name = "images" if self.kind == "image" else self.kind
        found = self.prompts.batch([{"text": text, name: media}])
        ids = np.asarray(found.ids.x)[0, : int(np.asarray(found.ids.length)[0])].tolist()
        return ChatPrompt(ids, found.batch if media else None)


@dataclass(frozen=True, eq=False)
class ChatModel:
    """A generator with its texts.

    encode: a text with special tokens written out -> token ids. decode: token ids -> text. template: messages -> text; None for
    a model that continues the last message as a text. media: of the messages; None for texts alone.
    """

    generator: Generator
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    template: ChatTemplate | None = None
    media: Media | None = None

    @property
    def takes(self) -> tuple[str, ...]:
        """Of `messages.KINDS`, what messages may have beside a text."""
        return () if self.media is None else (self.media.kind,)

    def prompt(self, messages: Sequence[Message]) -> ChatPrompt:
        """The prompt before the answer. Raises ChatTemplateError if the template refuses the messages, and ValueError if they
        have media that the model does not take."""
        for kind in KINDS:
            if kind not in self.takes and media_of(messages, kind):
                raise ValueError(f"the model takes no {kind}; it takes {' and '.join(('texts', *self.takes))}")
        if self.media is not None:
            return self.media.prompt(messages, self.template)
        if self.template is None:
            return ChatPrompt(self.encode(text_of(messages[-1])))
        return ChatPrompt(self.encode(self.template.render(messages, date=datetime.now())))

    def memory(self, prompt: ChatPrompt) -> Tokens | None:
        """The vectors of the media of a prompt; None without."""
        return None if prompt.batch is None or self.media is None else self.media.memory(prompt.batch)


def chat_weights(source: str, choice: NextToken = NextToken(), dtype: str = "float32") -> ChatModel:
    """The language model of `mmjax.pretrained.load(source)`, or the vision-language or audio-language model. dtype: of the
    language model, float32, bfloat16, int8 or BLOCKS. Raises WeightsError for other models."""
    weights = load(source, keep_blocks=dtype == BLOCKS)
    if isinstance(weights.preprocessing, ImagePrompts | AudioPrompts):
        return _with_media(source, weights, choice, dtype)
    model, texts = weights.module, weights.preprocessing
    if not hasattr(model, "step_states") or not isinstance(texts, TextPreprocessing):
        raise WeightsError(f"{source}: {type(model).__name__} is not a language model with a tokenizer")
    library = LanguageTokenizer(texts.library.to_str(), model.vocabulary, model.end).library  # without truncation
    template = read_chat_template(texts.file if texts.file.suffix == ".gguf" else texts.file.parent)
    ends = further_ends(weights, weights.module.vocabulary, weights.module.end)
    generator = _generator(model, weights.variables, choice, ends, dtype)
    encode = lambda text: library.encode(text, add_special_tokens=template is None).ids
    return ChatModel(generator, encode, library.decode, template)


def _with_media(source: str, weights: Pretrained, choice: NextToken, dtype: str) -> ChatModel:
    """A vision-language or audio-language model."""
    prompts, module = weights.preprocessing, weights.module
    if prompts.texts is None:
        raise WeightsError(f"{source}: the weights came without tokenizer.json, so they cannot read a message")
    library = prompts.texts.library
    prompts = replace(prompts, texts=replace(prompts.texts, max_tokens=_UNLIMITED))
    params = weights.variables["params"]
    generator = _generator(module.decoders["text"], {"params": params["decoders_text"]}, choice, ends_of(weights)[1:], dtype)
    others = {"params": {name: jax.tree.map(jnp.asarray, part) for name, part in params.items() if name != "decoders_text"}}
    run = jax.jit(lambda variables, batch: module.apply(variables, batch, method="memory"))
    kind = "image" if isinstance(prompts, ImagePrompts) else "audio"
    media = Media(kind, prompts, lambda batch: run(others, batch))
    template = read_chat_template(weights.folder) if weights.folder else None
    return ChatModel(generator, lambda text: library.encode(text).ids, library.decode, template, media)


def _generator(model: Any, variables: Mapping[str, Any], choice: NextToken, ends: tuple[int, ...], dtype: str) -> Generator:
    """dtype: float32, bfloat16, int8 for the kernels of dense layers, or BLOCKS for those that are in blocks."""
    plain = Generator.of(model, variables, choice, ends)
    if dtype == BLOCKS:
        return plain
    return plain.with_int8() if dtype == "int8" else plain.with_dtype(jnp.dtype(dtype))


def chat_with_cell(cell: Cell, choice: NextToken = NextToken(), dtype: str = "float32") -> ChatModel:
    """The first language model of a trained cell, with the first seed. It continues texts.

    dtype: float32, bfloat16 or int8. Raises ValueError if the cell has none, or has other inputs than texts that are continued:
    `chat.cell.chat_cell` is for those.
    """
    model = cell.models[0]
    decoders = getattr(model.module, "decoders", {})
    name = next((name for name, decoder in decoders.items() if hasattr(cell.classes.get(name), "library")), None)
    if name is None:
        raise ValueError(f"cell {cell.name} has no language model: a decoder whose target is a text")
    if inputs := inputs_of(cell):
        raise ValueError(f"cell {cell.name} answers to {', '.join(inputs)}, not to texts that are continued")
    tokenizer, decoder = cell.classes[name], decoders[name]
    params = cell.variables(model.seeds[0])["params"][f"decoders_{name}"]
    generator = _generator(decoder, {"params": params}, choice, (), dtype)
    return ChatModel(generator, lambda text: [*decoder.prompt, *tokenizer.ids(text)], tokenizer.text)


def inputs_of(cell: Cell) -> list[str]:
    """The modalities that a cell encodes."""
    encoders = getattr(cell.models[0].module, "encoders", {})
    return [modality for modality, encoder in encoders.items() if not isinstance(encoder, NoTokens)]
