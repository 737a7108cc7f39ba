"""Opens the tokenizer beside published weights as its original class does: tokenizer.json, vocab.txt or tokenizer.model, with
the settings of tokenizer_config.json that change token ids.

The classes of transformers replace some steps of a tokenizer.json by their own, whatever the file says: BERT's its normaliser,
RoBERTa's and its relatives' the handling of the first space.
"""

import re
import string
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmjax.pretrained.files import WeightsError, read_json, shown
from mmjax.pretrained.gguf_tokenizer import gguf_tokenizer
from mmjax.pretrained.sentence_piece import read_sentence_piece, surround
from mmjax.pretrained.source import Settings, Source

__all__ = [
    "CANONICAL", "CLASSES", "DIRECTION", "MAX_BYTES", "SPECIAL", "BertRules", "TokenizerRules", "opened", "read_rules",
    "read_tokenizer", "special_token", "special_tokens", "tokenizer_file",
]

MAX_BYTES = 100_000_000
CLASSES = {
    "bert": "BertTokenizer",
    "distilbert": "BertTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
}
"""model_type -> the class of a tokenizer whose tokenizer_config.json names none."""
CANONICAL = {"lower": True, "spaces": "_", "removed": string.punctuation}
"""The rules of big_vision and open_clip ("canonicalize") for texts of SigLIP."""
DIRECTION = {"direction": "Right"}
SPECIAL = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
"""The special tokens of a vocab.txt unless tokenizer_config.json has others."""


@dataclass(frozen=True)
class BertRules:
    """BERT's normaliser.

    lower: whether text is lowercased. strip_accents: None for the same as `lower`. split_chinese: whether each Chinese
    character is a word.
    """

    lower: bool = True
    strip_accents: bool | None = None
    split_chinese: bool = True


@dataclass(frozen=True)
class TokenizerRules:
    """The settings of a tokenizer that its file does not determine.

    lower: whether text is lowercased first, character by character, so that a final sigma is not special. spaces:
    characters that then become spaces. removed: characters that are then removed; if there are any, spaces around the text are
    removed and runs of spaces become one. bert: replaces the normaliser of the file; None to keep it. prefix_space: whether a
    space is added before the text; None for the rule of the file. unigram: whether words begin with "▁", as in SentencePiece.
    truncation_side: "right" or "left", where tokens of long texts are dropped. special: the special tokens of a vocab.txt, in
    the order of `SPECIAL`; () for a tokenizer.json.
    """

    lower: bool = False
    spaces: str = ""
    removed: str = ""
    bert: BertRules | None = None
    prefix_space: bool | None = None
    unigram: bool = False
    truncation_side: str = "right"
    special: tuple[str, ...] = ()


def tokenizer_file(folder: Path | None) -> Path | None:
    """tokenizer.json, or else vocab.txt, or else tokenizer.model of SentencePiece; None without any."""
    files = [folder / name for name in ("tokenizer.json", "vocab.txt", "tokenizer.model")] if folder else []
    return next((file for file in files if file.is_file()), None)


def read_rules(source: Source, file: Path, special: tuple[str, ...], library: Any) -> TokenizerRules:
    """The rules of a folder's tokenizer. special: see `TokenizerRules`. library: the tokenizer of the file.

    Raises WeightsError for settings that are not supported.
    """
    settings = source.settings("tokenizer_config.json")
    settings.require("padding_side", "right", None)
    settings.require("truncation_side", "right", "left", None)
    settings.require("split_special_tokens", False, None)
    kind = settings.string("tokenizer_class", "").removesuffix("Fast")
    kind = kind or CLASSES.get(str(source.config.get("model_type")), "BertTokenizer" if file.suffix == ".txt" else "")
    if file.suffix == ".txt" and kind not in ("BertTokenizer", "DistilBertTokenizer"):
        raise WeightsError(f"{source.where}: the tokenizer is a {kind} without tokenizer.json; vocab.txt needs a BertTokenizer")
    # SigLIP's classes lowercase and remove punctuation in code; their files need not say so.
    lower = kind == "Siglip2Tokenizer" or (kind == "SiglipTokenizer" and settings.flag("do_lower_case", True))
    unigram = kind in ("XLMRobertaTokenizer", "CamembertTokenizer")
    return TokenizerRules(
        lower=lower,
        removed=string.punctuation if kind == "SiglipTokenizer" else "",
        bert=_bert_rules(settings) if kind in ("BertTokenizer", "DistilBertTokenizer") else None,
        prefix_space=settings.flag("add_prefix_space", unigram) if unigram or kind == "RobertaTokenizer" else None,
        unigram=unigram,
        truncation_side=settings.config.get("truncation_side") or (library.truncation or DIRECTION)["direction"].lower(),
        special=special,
    )


def _bert_rules(settings: Settings) -> BertRules:
    strip = settings.config.get("strip_accents")
    if not (strip is None or isinstance(strip, bool)):
        raise settings.error("strip_accents", "true, false or null")
    return BertRules(settings.flag("do_lower_case", True), strip, settings.flag("tokenize_chinese_chars", True))


def special_tokens(settings: Settings) -> tuple[str, ...]:
    """The special tokens of a vocab.txt, in the order of `SPECIAL`."""
    return tuple(special_token(settings, name, default) for name, default in SPECIAL.items())


def special_token(settings: Settings, name: str, default: str) -> str:
    """The content of a special token, such as "pad_token"; it may be an object with its own splitting rules."""
    if isinstance(settings.config.get(name), dict):
        return settings.section(name).string("content")
    return settings.string(name, default)


@lru_cache(maxsize=16)
def opened(file: Path, max_tokens: int, rules: TokenizerRules, version: tuple[int, int]) -> Any:
    """The tokenizer of the `tokenizers` library, cached. version: changes when the file is written again."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers

    library: Tokenizer = read_tokenizer(file, rules.special)
    library.no_padding()
    library.enable_truncation(max_tokens, direction=rules.truncation_side)
    if rules.bert:
        library.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=rules.bert.split_chinese,
            strip_accents=rules.bert.strip_accents,
            lowercase=rules.bert.lower,
        )
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif rules.unigram:
        words = pre_tokenizers.Metaspace(prepend_scheme="always" if rules.prefix_space else "never")
        library.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), words])
    elif rules.prefix_space is not None:
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=rules.prefix_space)
    if rules.lower or rules.removed:
        library.normalizer = _normaliser(rules, library.normalizer)
    return library


def _normaliser(rules: TokenizerRules, own: Any) -> Any:
    """Lowercasing, then replacement and removal of characters, then the file's own normaliser."""
    from tokenizers import Regex, normalizers

    steps = [normalizers.Lowercase()] if rules.lower else []
    steps += [normalizers.Replace(one, " ") for one in rules.spaces]
    if rules.removed:
        patterns = (f"[{re.escape(rules.removed)}]", ""), (r"\s+", " ")
        steps += [*(normalizers.Replace(Regex(pattern), to) for pattern, to in patterns), normalizers.Strip()]
    return normalizers.Sequence([*steps, *([own] if own else [])])


def read_tokenizer(file: Path, special: tuple[str, ...]) -> Any:
    """The tokenizer of a tokenizer.json, a tokenizer.model or a GGUF file, or WordPiece with the words of a vocab.txt. special:
    see `TokenizerRules`."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ImportError("published tokenizers need the tokenizers library: pip install 'mmjax[text]'") from error
    size = file.stat().st_size
    if size > MAX_BYTES and file.suffix != ".gguf":
        raise WeightsError(f"{file}: it has {size:,} bytes; a tokenizer should have at most {MAX_BYTES:,}")
    try:
        if file.suffix == ".gguf":
            return gguf_tokenizer(file)
        if file.suffix == ".model":
            return _sentence_piece(file)
        return Tokenizer.from_file(str(file)) if file.suffix == ".json" else _word_piece(file, special)
    except WeightsError:
        raise
    except BaseException as error:  # the library raises plain Exceptions; a panic of its Rust code is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise WeightsError(f"{file}: not a tokenizer: {shown(error)}") from error


def _word_piece(file: Path, special: tuple[str, ...]) -> Any:
    from tokenizers import AddedToken, Tokenizer, models, processors

    words = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    ids = {word.rstrip(): number for number, word in enumerate(words)}
    unknown, first, last, *_ = special
    missing = [token for token in special[:4] if token not in ids]
    if missing:
        raise WeightsError(f"{file}: the special tokens {', '.join(map(shown, missing))} are missing; each line is one token")
    library = Tokenizer(models.WordPiece(ids, unk_token=unknown))
    library.add_special_tokens([AddedToken(token, special=True) for token in special if token in ids])
    library.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, ids[first]), (last, ids[last])]
    )
    return library


def _sentence_piece(file: Path) -> Any:
    """A tokenizer.model with the added tokens and the first and last token of tokenizer_config.json beside it, as Llama's and
    Gemma's classes have them."""
    from tokenizers import AddedToken

    library = read_sentence_piece(file)
    settings = Settings(str(file.parent), read_json(file.parent / "tokenizer_config.json"), file="tokenizer_config.json")
    kind = settings.string("tokenizer_class", "LlamaTokenizer").removesuffix("Fast")
    if kind not in ("LlamaTokenizer", "GemmaTokenizer"):
        needed = "tokenizer.model needs a LlamaTokenizer or GemmaTokenizer"
        raise WeightsError(f"{file.parent}: the tokenizer is a {shown(kind, 60)} without tokenizer.json; {needed}")
    added = settings.section("added_tokens_decoder", {})
    for number in sorted(added.config, key=lambda number: int(number) if number.isdecimal() else -1):
        one = added.section(number)
        own = {name: one.flag(name, False) for name in ("lstrip", "rstrip", "normalized", "single_word", "special")}
        token = AddedToken(one.string("content"), **own)
        (library.add_special_tokens if own["special"] else library.add_tokens)([token])
        if str(library.token_to_id(token.content)) != number:
            raise added.error(number, f"the id of a new token, {library.get_vocab_size()}, or of the same token in {file.name}")
    first = special_token(settings, "bos_token", "<s>" if kind == "LlamaTokenizer" else "<bos>")
    last = special_token(settings, "eos_token", "</s>" if kind == "LlamaTokenizer" else "<eos>")
    chosen = [token if settings.flag(flag, default) else None
              for flag, token, default in (("add_bos_token", first, True), ("add_eos_token", last, False))]  # fmt: skip
    for token in filter(None, chosen):
        if library.token_to_id(token) is None:
            raise WeightsError(f"{file}: it lacks {shown(token, 60)!r}, which tokenizer_config.json adds to texts")
    surround(library, *chosen)
    return library
