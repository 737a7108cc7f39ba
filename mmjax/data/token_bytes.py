"""The number of bytes of text that each token id stands for."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int

__all__ = ["token_bytes"]


@lru_cache(maxsize=8)
def token_bytes(tokenizer: Any) -> Int[np.ndarray, " vocabulary"]:
    """UTF-8 bytes of each token of a `Tokenizer`, so that the bytes of a text are the sum over its token ids.

    In a byte-level vocabulary (GPT-2) each character of a token is a byte. A U+2581 of SentencePiece is a space, also the one
    that it puts before a text, and <0x0A> is a byte. "##" of WordPiece is none. Special tokens, which include unknown ones, the
    end and padding, have no bytes. Tokenizers that drop white space or change letters count the bytes of what they keep.
    """
    library = tokenizer.library
    config = json.loads(library.to_str())
    special = {token["content"] for token in config["added_tokens"] if token["special"]} | {config["model"].get("unk_token")}
    kinds = set(_types(config.get("decoder")))
    count = np.zeros(max(tokenizer.vocabulary, library.get_vocab_size()), np.int64)
    for token, number in library.get_vocab().items():
        if token in special or number == tokenizer.end:
            continue
        if "ByteLevel" in kinds:
            count[number] = len(token)
        elif "ByteFallback" in kinds and re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            count[number] = 1
        else:
            plain = token.removeprefix("##") if "WordPiece" in kinds else token
            count[number] = len(plain.replace("\u2581", " ").encode())
    return count


def _types(decoder: Any) -> Iterator[str]:
    """The types of a decoder and of its steps."""
    if decoder:
        yield decoder["type"]
        for step in decoder.get("decoders", ()):
            yield from _types(step)
