"""PaliGemma (Beyer et al., 2024) and PaliGemma 2 (Steiner et al., 2024): transformers' models of type "paligemma"."""

from dataclasses import dataclass

from mmjax.decoders.interleaved import PrefixLM
from mmjax.fusion.connectors import llava_linear
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.image_prompts import ImagePrompts, OneTile
from mmjax.pretrained.images import ImagePreprocessing
from mmjax.pretrained.layout import dense
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.pretrained.tokenizer_files import special_token
from mmjax.pretrained.vision_language import NamedModule, image_part, join, prefixes, text_part

__all__ = ["LINE_BREAK", "PrefixText", "line_break", "paligemma"]

LINE_BREAK = 108
"""The id of the line break, which ends a prefix, in the vocabulary of Gemma 1 and 2."""


@dataclass(frozen=True)
class PrefixText:
    """A prompt -> images, then the start token, the prompt, and the line break that ends the prefix.

    start: the text of the start token. marker: of an image; one is put first if the prompt has none.
    """

    start: str
    marker: str = "<image>"

    def __call__(self, text: str) -> str:
        if "\n" in text:
            raise ValueError("'text' has a line break, which ends the prefix of PaliGemma; a prompt must be one line")
        end = text.rfind(self.marker) + len(self.marker) if self.marker in text else 0
        return f"{text[:end]}{self.start}{text[end:]}\n"


def paligemma(source: Source) -> Architecture:
    """Images and prompt, up to the line break, attend to each other in both directions; the answer is causal."""
    where = prefixes(source)
    image = image_part(source, where, "siglip_vision_model")
    text, texts = text_part(source, where, tied=True, use_bidirectional_attention=None)
    connector = NamedModule(llava_linear(text.module.width), dense("image_dense0", f"{where.connector}linear"))
    count = image.grid[0] * image.grid[1]
    pixels = ImagePreprocessing.of(source)
    tiles = OneTile(pixels, "<image>" * count, count) if pixels else None
    placeholder, vocabulary = source.integer("image_token_index", 256_000), text.module.vocabulary
    start = special_token(source.settings("tokenizer_config.json"), "bos_token", "<bos>")
    prompts = ImagePrompts(
        "<image>", placeholder, vocabulary, image.size, count, pixels, tiles, texts, PrefixText(start), special=False
    )
    return join(image, connector, text, PrefixLM(line_break(texts)), prompts)


def line_break(texts: TextPreprocessing | None) -> int:
    """The id of the line break in a tokenizer; `LINE_BREAK` without one."""
    found = texts.library.token_to_id("\n") if texts else None
    return LINE_BREAK if found is None else found
