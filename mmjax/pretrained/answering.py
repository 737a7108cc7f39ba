"""Answers of a vision-language model to questions about images.

    weights = load("path/to/llava-1.5-7b-hf")
    answer = answerer(weights)
    answer([{"text": "USER: <image>\\nWhat is this? ASSISTANT:", "images": [image]}])
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from mmjax.nn.search import greedy
from mmjax.pretrained.image_prompts import Prompts
from mmjax.pretrained.loading import Pretrained
from mmjax.types import Padded

__all__ = ["answer_ids", "answerer"]


def answer_ids(weights: Pretrained, max_tokens: int) -> Callable[[Prompts], Padded]:
    """Prompts -> the most likely token ids, as of `nn.search.greedy`; compiled once for each shape. Each prompt of a batch
    gives what it gives alone."""
    module, end = weights.module, weights.module.decoders["text"].end

    @jax.jit
    def run(variables, batch, ids):
        apply = lambda *given, method: module.apply(variables, *given, method=method)
        tokens = apply(batch, method="encode")
        cache = apply("text", tokens, batch.present, ids.x.shape[1] + max_tokens, method="init_cache")
        return greedy(lambda ids, cache: apply("text", ids, cache, method="step"), cache, ids, max_tokens, end)

    return lambda prompts: run(weights.variables, *prompts)


def answerer(weights: Pretrained, max_tokens: int = 64) -> Callable[[Iterable[Mapping[str, Any]]], list[str]]:
    """Examples with a "text" and its "images" (`image_prompts.ImagePrompts`) -> the texts of the answers."""
    run = answer_ids(weights, max_tokens)

    def answers(examples: Iterable[Mapping[str, Any]]) -> list[str]:
        found = run(weights.preprocessing.batch(examples))
        library = weights.preprocessing.texts.library
        return [library.decode(row[:length].tolist()) for row, length in zip(found.x, found.length)]

    return answers
