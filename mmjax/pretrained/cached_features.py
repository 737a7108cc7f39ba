"""A data set as frozen published encoders see it: features that are computed once and kept in the user's cache."""

import dataclasses
import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array
from rich.console import Console

from mmjax.data.custom.video import frames_of
from mmjax.data.dataset import Column, Dataset, identity, stack
from mmjax.data.decode import DataError
from mmjax.data.inputs import image_array, sound_array, text
from mmjax.data.scale import Normalize, Standardize
from mmjax.data.splits import folds_of, with_fold
from mmjax.data.stamps.dataset import Stamps
from mmjax.nn import masked_mean
from mmjax.pretrained import load_encoder
from mmjax.pretrained.audio import WaveformPreprocessing, WhisperPreprocessing
from mmjax.pretrained.feature_cache import feature_key, features_folder, load_features, save_features
from mmjax.pretrained.frame_features import frame_counts, frames_column, sequences
from mmjax.pretrained.images import ImagePreprocessing
from mmjax.pretrained.init import digest
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.progress import Progress
from mmjax.types import Padded, Tokens

__all__ = ["CHUNK", "PUBLISHED", "RATE", "CachedFeatures", "FeatureInput", "encode", "prompt_text"]

PUBLISHED = (("image", "efficientnet-lite0"), ("text", "minilm"), ("audio", "whisper-tiny.en#encoder"))
CHUNK = 32  # items that are encoded at once
RATE = 16_000  # Hz, of recordings


@dataclasses.dataclass(frozen=True)
class CachedFeatures:
    """Some modalities of a data set as the features of published encoders; the others are unchanged.

    The features of an item are the mean of its tokens, [d]; those of a video are one such vector per frame by an image encoder,
    Padded [t d]. `mmjax.encoders.Features` is their encoder, `Contextual` one that relates the frames. Columns keep their
    originals.

    data: any value with `load() -> Dataset` whose columns have originals, such as Stamps(). weights: (modality, source) pairs,
    with sources as in `mmjax.pretrained.load_encoder`. sound_seconds: longer recordings are truncated, and none are
    padded to the length of the original preprocessing. pad_sounds: Whisper's encoder gets `sound_seconds` of each recording,
    padded with silence that counts, as in its training (with 30 s); otherwise it gets the recording alone. whole_images:
    resizes whole images where the preprocessing would crop the centre; drawings fill their frame. tokens: modalities that
    keep all their tokens, Padded [n d]. normalize: `Standardize()`, `UnitDirections()` for fusions that depend on angles, or
    `Unchanged()` for a published decoder; fitted on the training split.
    prompts: templates for each text. The features are the mean of the unit vectors of all prompts, as in the prompt ensembles
    of CLIP (Radford et al., 2021). In a prompt, "{}" is the text, "{phrase}" the text in lower case without a final
    point, and "{noun}" the phrase without an English article.
    """

    data: Annotated[Any, tyro.conf.arg(name="")] = Stamps()
    weights: tuple[tuple[str, str], ...] = PUBLISHED
    sound_seconds: float = 4.0
    pad_sounds: bool = False
    whole_images: bool = True
    tokens: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    normalize: tyro.conf.Suppress[Normalize] = Standardize()

    def __post_init__(self):
        if not 0 < self.sound_seconds <= 60:
            raise DataError(f"CachedFeatures.sound_seconds is {self.sound_seconds}; it must be above 0 and at most 60")

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "CachedFeatures":
        """The same features with this test fold; those of an item do not depend on it."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        """Loads the data, and encodes what the cache lacks."""
        data = self.data.load()
        columns, sizes, keys = dict(data.columns), dict(data.sizes), []
        known = [name for name, column in columns.items() if column.original and column.fingerprint]
        for modality, source in self.weights:
            if modality not in known:
                raise DataError(
                    f"CachedFeatures.weights: the data have no originals of {modality!r} with a fingerprint; they have "
                    f"{', '.join(sorted(known)) or 'none'}"
                )
            column = columns[modality]
            key, features, parse = encode(modality, column, source, self)
            encoded = dataclasses.replace(column, read=partial(_item, features), preprocess=identity, parse=parse)
            columns[modality] = self.normalize(encoded, data.splits["train"].pointer[modality])
            sizes[modality] = {"width": features["x"].shape[-1]}
            keys.append(key)
        parts = " ".join([data.fingerprint, *keys, repr(self.normalize)])
        fingerprint = hashlib.sha256(parts.encode()).hexdigest()
        return dataclasses.replace(data, columns=columns, sizes=sizes, fingerprint=fingerprint)


def encode(
    modality: str, column: Column, source: str, settings: CachedFeatures
) -> tuple[str, dict[str, np.ndarray], "FeatureInput"]:
    """The features of a column by the weights of a source, from the cache if it has them.

    Returns (their key, features, the reader of new inputs). Features: x Float32[items d]; or x Float32[items n d] and length
    Int32[items] if all tokens are kept, or for the n frames of videos.
    """
    weights, items = load_encoder(source), column.count
    prompts = settings.prompts if isinstance(weights.preprocessing, TextPreprocessing) else ()
    keep_tokens = modality in settings.tokens
    if prompts and keep_tokens:
        raise DataError(f"CachedFeatures.prompts needs one vector per text, but .tokens keeps all tokens of {modality!r}")
    if prompts:
        column = _prompted(column, prompts)
    counts = frame_counts(column)
    if counts is not None:
        _check_video(modality, source, weights.preprocessing, keep_tokens)
        column = frames_column(column, counts)
    texts = _tokenized(weights.preprocessing, column)
    max_tokens = texts.x.shape[1] if texts else None
    of = digest(weights.variables)
    sounds = settings.sound_seconds, settings.whole_images, max_tokens, settings.pad_sounds
    parse = FeatureInput(source, of, prompts, keep_tokens, *sounds, frames=max(counts) if counts else None)
    preprocessing = parse.preprocessing(weights)
    inputs = [column.fingerprint, column.count, keep_tokens, of, prompts]
    key = feature_key(inputs, weights.module, preprocessing)
    file = features_folder() / f"{key}.npz"
    features = load_features(file)
    if features is None:
        lengths = texts.length if texts and not keep_tokens else None
        features = _computed(modality, column, preprocessing.read, parse.encoder(weights), lengths)
        if prompts:
            features = {"x": _mean_direction(features["x"].reshape(items, len(prompts), -1))}
        if counts is not None:
            features = sequences(features["x"], counts, parse.frames)
        save_features(file, features)
    return key, features, parse


@dataclasses.dataclass(frozen=True)
class FeatureInput:
    """A new image, text, recording or video -> its features, [d] or Padded [n d], as `CachedFeatures` has them before
    `normalize`.

    source: the published weights, which are loaded on first use. digest: of their variables; DataError if they have changed.
    max_tokens: of the longest text; longer ones are truncated. frames: of the longest video, of which new ones have at most as
    many, evenly spaced; None if the inputs are no videos. Other fields: as in `CachedFeatures`.
    """

    source: str
    digest: str
    prompts: tuple[str, ...] = ()
    keep_tokens: bool = False
    sound_seconds: float = 4.0
    whole_images: bool = True
    max_tokens: int | None = None
    pad_sounds: bool = False
    frames: int | None = None

    def __call__(self, raw: Any) -> Any:
        weights, read, run = _loaded(self)
        if self.frames is not None:
            images = [read(frame) for frame in frames_of(raw, self.frames)]
            batch = stack(images + images[-1:] * (self.frames - len(images)))  # one shape, one compilation
            return _item(sequences(np.asarray(run(batch)["x"])[: len(images)], [len(images)], self.frames), 0)
        match weights.preprocessing:
            case TextPreprocessing():
                originals = [prompt_text(template, text(raw)) for template in self.prompts] or [text(raw)]
            case ImagePreprocessing():
                originals = [image_array(raw)]
            case _:
                originals = [(sound_array(raw, RATE), RATE)]
        features = {name: np.asarray(x) for name, x in run(stack([read(original) for original in originals])).items()}
        if self.prompts:
            features = {"x": _mean_direction(features["x"][None])}
        return _item(features, 0)

    def preprocessing(self, weights: Any) -> Any:
        """The preprocessing of the weights without needless padding and cropping: recordings of `sound_seconds`, whole images,
        and texts padded to the longest."""
        preprocessing = weights.preprocessing
        match preprocessing:
            case None:
                raise DataError(f"{self.source}: the weights come without a preprocessing, so they cannot encode anything")
            case WhisperPreprocessing():
                return dataclasses.replace(preprocessing, seconds=self.sound_seconds, attend_to_padding=self.pad_sounds)
            case WaveformPreprocessing():
                return dataclasses.replace(preprocessing, seconds=self.sound_seconds)
            case ImagePreprocessing() if preprocessing.crop and self.whole_images:
                return dataclasses.replace(preprocessing, size=preprocessing.crop, crop=None)
            case TextPreprocessing() if self.max_tokens is not None:
                return dataclasses.replace(preprocessing, max_tokens=self.max_tokens)
            case _:
                return preprocessing

    def encoder(self, weights: Any) -> Callable[[Any], dict[str, Array]]:
        """The compiled function: a batch of items -> their features."""
        preprocessing, variables = self.preprocessing(weights), jax.tree.map(jnp.asarray, weights.variables)
        apply = lambda variables, x: _features(weights.module.apply(variables, preprocessing.finish(x)), self.keep_tokens)
        run = jax.jit(apply)
        return lambda x: run(variables, x)


@lru_cache(maxsize=8)
def _loaded(parse: FeatureInput) -> tuple[Any, Callable[[Any], Any], Callable[[Any], dict[str, Array]]]:
    """(weights, original -> item, batch of items -> features)."""
    weights = load_encoder(parse.source)
    if digest(weights.variables) != parse.digest:
        raise DataError(f"the weights {parse.source} differ from those that computed the features for training")
    return weights, parse.preprocessing(weights).read, parse.encoder(weights)


def _check_video(modality: str, source: str, preprocessing: Any, keep_tokens: bool) -> None:
    if not isinstance(preprocessing, ImagePreprocessing):
        raise DataError(f"CachedFeatures.weights: {modality!r} has videos, which need an image encoder; {source} is another")
    if keep_tokens:
        raise DataError(f"CachedFeatures.tokens: {modality!r} has videos, which have one vector per frame; leave it out")


def prompt_text(template: str, text: str) -> str:
    """A text in a prompt, see `CachedFeatures.prompts`."""
    phrase = text.strip().removesuffix(".").lower()
    noun = re.sub(r"^(an?|the|some)\s+", "", phrase)
    return template.format(text, phrase=phrase, noun=noun)


def _prompted(column: Column, prompts: tuple[str, ...]) -> Column:
    """The column of every text in every prompt; the prompts of a text follow one another."""
    original = lambda number: prompt_text(prompts[number % len(prompts)], column.original(number // len(prompts)))
    return dataclasses.replace(column, count=column.count * len(prompts), original=original)


def _tokenized(preprocessing: Any, column: Column) -> Padded | None:
    """All texts of a column, padded to the longest; None if texts are padded anyway, or the column is not text."""
    if not isinstance(preprocessing, TextPreprocessing) or preprocessing.attend_to_padding:
        return None
    return preprocessing.batch([column.original(number) for number in range(column.count)])


def _mean_direction(x: np.ndarray) -> np.ndarray:
    """Float32[b n d] -> Float32[b d], the mean of n unit vectors."""
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).mean(axis=1)


def _features(tokens: Tokens, keep_tokens: bool) -> dict[str, Array]:
    """The mean of the tokens, or all of them; valid tokens come first in the output of every published encoder."""
    if not keep_tokens:
        return {"x": masked_mean(tokens)}
    return {"x": jnp.where(tokens.mask[..., None], tokens.x, 0), "length": tokens.mask.sum(axis=1, dtype=jnp.int32)}


def _item(features: dict[str, np.ndarray], number: int) -> Any:
    x = features["x"][number]
    return Padded(x, features["length"][number]) if "length" in features else x


def _computed(
    modality: str,
    column: Column,
    read: Callable[[Any], Any],
    run: Callable[[Any], dict[str, Array]],
    lengths: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """The features of all items. read: original -> item; run: batch of items -> their features. lengths: of texts, Int[items],
    which are then encoded in the order of their lengths, with little padding; a few long ones would make all expensive."""
    order = np.arange(column.count) if lengths is None else np.argsort(lengths, kind="stable")
    parts = []
    with Progress(Console()) as progress, progress.counting(f"encoding {modality}", column.count) as advance:
        with ThreadPoolExecutor(4) as pool:
            for start in range(0, column.count, CHUNK):
                numbers = order[start : start + CHUNK].tolist()
                items = list(pool.map(lambda number: read(column.original(number)), numbers))
                items += [items[-1]] * (CHUNK - len(items))  # one shape, one compilation
                if lengths is not None:  # a few shapes: powers of two
                    size = max(8, 1 << (int(lengths[numbers[-1]]) - 1).bit_length())
                    items = [Padded(item.x[:size], item.length) for item in items]
                parts.append({name: np.asarray(x)[: len(numbers)] for name, x in run(stack(items)).items()})
                advance(len(numbers))
    return {name: np.concatenate([part[name] for part in parts])[np.argsort(order)] for name in parts[0]}
