"""Answers of a vision-language model to questions about images: `python -m mmjax.pretrained.answering WEIGHTS TEXT IMAGE...`.

    weights = load("path/to/llava-1.5-7b-hf")
    answers = answerer(weights)
    answers([{"text": "USER: <image>\\nWhat is this? ASSISTANT:", "images": [image]}])
"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.data.decode import open_image
from mmjax.nn.search import greedy
from mmjax.pretrained.chat_template import ChatTemplate, read_chat_template
from mmjax.pretrained.image_prompts import ImagePrompts, Prompts
from mmjax.pretrained.language_models import further_ends
from mmjax.pretrained.loading import Pretrained, load
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.types import Padded

__all__ = ["answer_ids", "answerer", "ends_of", "interleaved", "main", "question", "template_text"]


def ends_of(weights: Pretrained) -> tuple[int, ...]:
    """The end tokens: the decoder's, then others of generation_config.json or config.json, such as that of a turn."""
    decoder = weights.module.decoders["text"]
    return decoder.end, *further_ends(weights, decoder.vocabulary, decoder.end)


def answer_ids(weights: Pretrained, max_tokens: int) -> Callable[[Prompts], Padded]:
    """Prompts -> the most likely token ids, as of `nn.search.greedy`; compiled once for each shape. Each prompt of a batch
    gives what it gives alone. A text ends with any of `ends_of`."""
    module, ends = weights.module, jnp.array(ends_of(weights))

    def one_end(logits, ids, count):
        del ids, count
        best = logits[:, ends].max(axis=1)
        return logits.at[:, ends].set(-jnp.inf).at[:, ends[0]].set(best)

    @jax.jit
    def run(variables, batch, ids):
        apply = lambda *given, method: module.apply(variables, *given, method=method)
        tokens = apply(batch, method="encode")
        cache = apply("text", tokens, batch.present, ids.x.shape[1] + max_tokens, method="init_cache")
        step = lambda ids, cache: apply("text", ids, cache, method="step")
        return greedy(step, cache, ids, max_tokens, module.decoders["text"].end, one_end)

    return lambda prompts: run(weights.variables, *prompts)


def answerer(weights: Pretrained, max_tokens: int = 64) -> Callable[[Iterable[Mapping[str, Any]]], list[str]]:
    """Examples with a "text" and its "images" (`image_prompts.ImagePrompts`) -> the texts of the answers."""
    run = answer_ids(weights, max_tokens)

    def answers(examples: Iterable[Mapping[str, Any]]) -> list[str]:
        found = run(weights.preprocessing.batch(examples))
        library = weights.preprocessing.texts.library
        return [library.decode(row[:length].tolist()) for row, length in zip(found.x, found.length)]

    return answers


def question(weights: Pretrained, text: str, images: Sequence[Any]) -> dict[str, Any]:
    """An example for `answerer`. A text with markers is the complete prompt. Otherwise it is a question after the images, in
    the chat template of the weights if they have one. ValueError if these came without a tokenizer."""
    if weights.preprocessing.marker in text:
        return {"text": text, "images": images}
    return interleaved(weights, [*images, text])


def interleaved(weights: Pretrained, parts: Sequence[Any]) -> dict[str, Any]:
    """An example for `answerer`: texts and images in this order, in the chat template of the weights if they have one; some
    templates put images first. ValueError if the weights came without a tokenizer."""
    marker, texts = weights.preprocessing.marker, weights.preprocessing.texts
    if texts is None:
        raise ValueError("the weights came without tokenizer.json, so they cannot read a question")
    images = [part for part in parts if not isinstance(part, str)]
    template = read_chat_template(weights.folder) if weights.folder else None
    if template is None:
        return {"text": "".join(part if isinstance(part, str) else marker for part in parts), "images": images}
    content = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts]
    return {"text": template_text(template, texts, [{"role": "user", "content": content}]), "images": images}


def template_text(template: ChatTemplate, texts: TextPreprocessing, messages: Sequence[Mapping[str, Any]]) -> str:
    """The prompt of messages, as of `ChatTemplate.render`, without a start token that the tokenizer adds too."""
    written, start = template.render(messages, date=datetime.now()), template.tokens.get("bos_token", "")
    library = texts.library
    begins = start and library.encode("").ids == [library.token_to_id(start)]
    return written.removeprefix(start) if begins else written


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the answer. Exits with one line for an error."""
    parser = argparse.ArgumentParser(prog="python -m mmjax.pretrained.answering", description=__doc__.partition(":")[0])
    parser.add_argument("weights", help="a folder, or owner/model of a hub")
    parser.add_argument("text", help="a question, or a complete prompt with the marker of each image")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="image files, in the order of the text")
    parser.add_argument("--max-tokens", type=int, default=64, help="of the answer (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        weights = load(given.weights)
        if not isinstance(weights.preprocessing, ImagePrompts):
            raise ValueError(f"{given.weights} is no vision-language model, but a {type(weights.module).__name__}")
        if given.max_tokens < 1:
            raise ValueError(f"--max-tokens is {given.max_tokens}; it must be at least 1")
        images = [open_image(Path(file).read_bytes(), file) for file in given.images]
        print(answerer(weights, given.max_tokens)([question(weights, given.text, images)])[0])
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
