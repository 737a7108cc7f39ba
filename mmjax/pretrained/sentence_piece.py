"""SentencePiece models (Kudo and Richardson, 2018) as tokenizers of the `tokenizers` library: BPE, or a unigram model."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.pretrained.files import WeightsError, shown

__all__ = [
    "BYTE", "CONTROL", "KINDS", "LONGEST", "NORMAL", "SPACE", "UNKNOWN", "UNUSED", "USER", "add_special", "piece_bpe",
    "read_sentence_piece", "score_merges", "surround",
]  # fmt: skip

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
"""Types of tokens. Control tokens are special, those of users are matched before others."""
KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
LONGEST = 2000
"""Characters of the longest token."""
SPACE = "▁"


def read_sentence_piece(file: Path) -> Any:
    """The tokenizer of a tokenizer.model, which adds no token before or after a text. Raises WeightsError.

    If the model keeps spaces and adds one before a text, then only at its beginning, as in transformers: not after a special
    token, and not before another space, where sentencepiece does.
    """
    from tokenizers import pre_tokenizers

    model = _parsed(file)
    tokens, types = [piece.piece for piece in model.pieces], np.array([piece.type for piece in model.pieces], np.int64)
    scores = np.array([piece.score for piece in model.pieces], np.float64)
    _check(file, model, tokens, types, scores)
    rules = model.normalizer_spec
    library = _model(file, model.trainer_spec, tokens, types, scores)
    library.normalizer = _normalizer(rules)
    if rules.add_dummy_prefix and not rules.remove_extra_whitespaces:  # else the place of the beginning is not known
        library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    library.decoder = _decoder(rules.add_dummy_prefix)
    add_special(library, tokens, types)
    return library


def piece_bpe(tokens: list[str], types: np.ndarray, scores: np.ndarray, *, bytes_for_unknown: bool, space_before: bool) -> Any:
    """BPE with the merges that scores order. bytes_for_unknown: characters without a token are written as bytes. space_before:
    whether texts get a space before them."""
    from tokenizers import Tokenizer, models, normalizers

    vocabulary = {token: number for number, token in enumerate(tokens)}
    # SentencePiece never builds tokens of users, unused or control tokens by merges.
    merges = score_merges({token: vocabulary[token] for token, kind in zip(tokens, types) if kind == NORMAL}, scores)
    unknown = next((token for token, kind in zip(tokens, types) if kind == UNKNOWN), None)
    model = models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=bytes_for_unknown)
    library = Tokenizer(model)
    steps = [normalizers.Prepend(SPACE)] if space_before else []
    library.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    library.decoder = _decoder(space_before)
    return library


def score_merges(vocabulary: dict[str, int], scores: np.ndarray) -> list[tuple[str, str]]:
    """The merges of a vocabulary with scores: every pair of tokens that is a token; the pair with the highest score first."""
    found = []
    for token, number in vocabulary.items():
        pairs = [(token[:at], token[at:]) for at in range(1, len(token))]
        pairs = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
        found += [(-float(scores[number]), vocabulary[a], vocabulary[b], a, b) for a, b in pairs]
    return [(a, b) for *_, a, b in sorted(found, key=lambda one: one[:3])]


def add_special(library: Any, tokens: list[str], types: np.ndarray) -> None:
    """Tokens that are matched in a text before all others."""
    from tokenizers import AddedToken

    for kind, special in ((CONTROL, True), (UNKNOWN, True), (USER, False)):
        chosen = [token for token, own in zip(tokens, types) if own == kind and token]
        # Spaces of a text become SPACE when it is normalized.
        added = [AddedToken(token, special=special, normalized=not special and SPACE in token) for token in chosen]
        (library.add_special_tokens if special else library.add_tokens)(added)


def surround(library: Any, first: str | None, last: str | None) -> None:
    """Adds these tokens of the vocabulary before and after each text; None for no token."""
    from tokenizers import processors

    if first is None and last is None:
        return
    parts = [*([first] if first else []), "$A", *([last] if last else [])]
    used = [(token, library.token_to_id(token)) for token in dict.fromkeys((first, last)) if token]
    library.post_processor = processors.TemplateProcessing(single=parts, special_tokens=used)


def _parsed(file: Path) -> Any:
    """The message ModelProto of sentencepiece_model.proto, of which only the fields that encoding needs are read."""
    from google.protobuf.message import DecodeError

    try:
        return _message().FromString(file.read_bytes())
    except DecodeError as error:
        raise WeightsError(f"{file}: not a SentencePiece model: {shown(error)}") from error


@lru_cache(maxsize=1)
def _message() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="mmjax_sentence_piece.proto", package="mmjax", syntax="proto2")

    def add(name: str, fields: dict[str, tuple[int, int, str]], **nested: tuple[int, int]) -> None:
        """fields: {name: (number, type, default)}. nested: {name of a message: (number, label)}."""
        message = file.message_type.add(name=name)
        for own, (number, kind, default) in fields.items():
            message.field.add(name=own, number=number, type=kind, label=field.LABEL_OPTIONAL, default_value=default or None)
        for own, (number, label) in nested.items():
            message.field.add(name=own, number=number, type=field.TYPE_MESSAGE, label=label, type_name=f".mmjax.{own}")

    text, truth, integer = field.TYPE_STRING, field.TYPE_BOOL, field.TYPE_INT32
    add("pieces", {"piece": (1, text, ""), "score": (2, field.TYPE_FLOAT, ""), "type": (3, integer, "1")})
    spec = {"model_type": (3, integer, "1"), "treat_whitespace_as_suffix": (24, truth, ""), "byte_fallback": (35, truth, "")}
    add("trainer_spec", spec)
    flags = {"add_dummy_prefix": (3, truth, "true"), "remove_extra_whitespaces": (4, truth, "true")}
    more = {"escape_whitespaces": (5, truth, "true"), "normalization_rule_tsv": (6, text, "")}
    add("normalizer_spec", {"precompiled_charsmap": (2, field.TYPE_BYTES, "")} | flags | more)
    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    add("ModelProto", {}, pieces=(1, many), trainer_spec=(2, one), normalizer_spec=(3, one))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("mmjax.ModelProto"))


def _check(file: Path, model: Any, tokens: list[str], types: np.ndarray, scores: np.ndarray) -> None:
    kind, spec = model.trainer_spec.model_type, model.trainer_spec
    if kind not in (1, 2):
        raise WeightsError(f"{file}: the model type is {KINDS.get(kind, kind)}; supported are unigram and bpe")
    if spec.treat_whitespace_as_suffix or not model.normalizer_spec.escape_whitespaces:
        raise WeightsError(f"{file}: spaces must be written as {SPACE} before words; this model does otherwise")
    if not tokens or not all(token and len(token) <= LONGEST for token in tokens) or len(set(tokens)) < len(tokens):
        raise WeightsError(f"{file}: its tokens must be different texts of 1 to {LONGEST} characters")
    if not np.isfinite(scores).all():
        token = tokens[int(np.argmin(np.isfinite(scores)))]
        raise WeightsError(f"{file}: the score of the token {shown(token)!r} is not finite")
    if np.sum(types == UNKNOWN) != 1 or not np.isin(types, range(1, 7)).all():
        raise WeightsError(f"{file}: it must have one unknown token and the types 1 to 6")


def _model(file: Path, spec: Any, tokens: list[str], types: np.ndarray, scores: np.ndarray) -> Any:
    from tokenizers import Tokenizer, models

    if spec.byte_fallback and np.sum(types == BYTE) != 256:
        raise WeightsError(f"{file}: it writes unknown characters as bytes, but has {np.sum(types == BYTE)} tokens of bytes")
    if spec.model_type == 2:
        return piece_bpe(tokens, types, scores, bytes_for_unknown=spec.byte_fallback, space_before=False)
    # Other tokens are never the result of a search: no sum of other scores is below this one.
    own = np.where(types == NORMAL, scores, -1e9)
    return Tokenizer(models.Unigram(list(zip(tokens, own.tolist())), int(np.argmax(types == UNKNOWN)), spec.byte_fallback))


def _normalizer(rules: Any) -> Any:
    from tokenizers import Regex, normalizers

    steps = [normalizers.Precompiled(rules.precompiled_charsmap)] if rules.precompiled_charsmap else []
    if rules.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    prefix = rules.add_dummy_prefix and rules.remove_extra_whitespaces
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE), *([normalizers.Prepend(SPACE)] if prefix else [])])


def _decoder(space_before: bool) -> Any:
    from tokenizers import decoders

    back = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*back, decoders.Strip(" ", 1, 0)] if space_before else back)
