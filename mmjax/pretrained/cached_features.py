"""A data set as frozen published encoders see it: features that are computed once, and kept in the user's cache.

A file of features is found by what made it, all in its name: the numbers of the weights, the module and the preprocessing, the
text of mmjax's own code for both, the versions of the libraries that decode and compute, and the identity of the items. What
has changed has another name, so that nothing stale is ever read; and what is damaged is noticed by the sha256 inside, and
computed again.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array
from rich.console import Console

from mmjax.data.dataset import Column, Dataset, stack
from mmjax.data.decode import DataError
from mmjax.data.scale import standardised
from mmjax.data.stamps.dataset import Stamps
from mmjax.nn import masked_mean
from mmjax.progress import Progress
from mmjax.types import Padded, Tokens

PUBLISHED = (("image", "efficientnet-lite0"), ("text", "minilm"), ("audio", "whisper-tiny.en#encoder"))
CHUNK = 32  # items that are encoded at once


@dataclasses.dataclass(frozen=True)
class CachedFeatures:
    """Some modalities of a data set as a published encoder's tokens, or their mean; the others as they are.

    data: whose columns have `raw` items, such as Stamps. weights: (modality, source) pairs, each source as
    `mmjax.pretrained.encoder` takes it. sound_seconds: of each sound that are heard, where the preprocessing would otherwise
    fill it up to half a minute. whole_pictures: nothing is cut off, where the preprocessing would crop what lies outside of
    the middle: a drawing fills its frame. tokens: modalities of which all tokens are kept, a Padded [n d]; of the others
    their mean, [d]. Both are z-scored over the training split, or see `directions`; `Features` is their encoder.
    prompts: sentences that each text is put into, if any: its features are then the mean over them of unit vectors, as in the
    prompt ensembles of CLIP (Radford et al., 2021). "{}" stands for the text as it is, "{phrase}" for it without its last
    point, in small letters, and "{noun}" for the phrase without an English article.
    directions: features are unit vectors, centred over the training split and with one deviation for all their numbers, for
    fusions that go by angles (`RandomFourier`): z-scores would raise what most pictures have nothing of.
    """

    data: Annotated[Any, tyro.conf.arg(name="")] = Stamps()
    weights: tuple[tuple[str, str], ...] = PUBLISHED
    sound_seconds: float = 4.0
    whole_pictures: bool = True
    tokens: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    directions: bool = False

    def load(self) -> Dataset:
        """Loads the data and encodes what the cache does not hold yet."""
        data = self.data.load()
        columns, sizes, keys = dict(data.columns), dict(data.sizes), []
        for modality, source in self.weights:
            column = columns.get(modality)
            if column is None or column.raw is None or not column.identity:
                known = ", ".join(sorted(name for name, column in columns.items() if column.raw and column.identity))
                has = f"they have {known or 'none'}"
                raise DataError(f"CachedFeatures.weights: the data have no raw {modality!r} with an identity to encode; {has}")
            key, features = encode(modality, column, source, self)
            pointer = data.splits["train"].pointer[modality]
            finish = _unit if self.directions else _same
            known = dataclasses.replace(column, read=partial(_item, features), finish=finish, raw=None, identity="")
            columns[modality] = standardised(known, pointer, column.count, self.directions)
            sizes[modality] = {"width": features["x"].shape[-1]}
            keys.append(key)
        fingerprint = hashlib.sha256(" ".join([data.fingerprint, *keys, "directions" * self.directions]).encode()).hexdigest()
        return dataclasses.replace(data, columns=columns, sizes=sizes, fingerprint=fingerprint)


def encode(modality: str, column: Column, source: str, settings: CachedFeatures) -> tuple[str, dict[str, np.ndarray]]:
    """(what these features are, by sha256; the features) of a column by the weights of a source: x Float32[items d], or x
    Float32[items n d] and length Int32[items] where all tokens are kept."""
    from mmjax.pretrained import encoder  # here, since it asks for libraries that an experiment without weights can do without
    from mmjax.pretrained.init import digest

    weights = encoder(source)
    prompts = settings.prompts if isinstance(column.raw(0), str) else ()
    if prompts and modality in settings.tokens:
        raise DataError(f"CachedFeatures.prompts: all tokens of {modality!r} are kept, and those of several sentences have no mean")
    items, column = column.count, _prompted(column, prompts) if prompts else column
    prepare, tokens = _fitting(weights.preprocessing, column, settings, source), modality in settings.tokens
    made_of = [column.identity, column.count, tokens, digest(weights.variables), prompts]
    made_by = [_described(weights.module), _described(prepare), _code(), _versions()]
    key = hashlib.sha256(json.dumps(made_of + made_by).encode()).hexdigest()
    file = cache_folder() / f"{key}.npz"
    features = _kept(file)
    if features is None:
        variables = jax.tree.map(jnp.asarray, weights.variables)
        run = jax.jit(lambda variables, raw: _features(weights.module.apply(variables, prepare.finish(raw)), tokens))
        features = _computed(modality, column, prepare.read, lambda raw: run(variables, raw))
        if prompts:
            features = {"x": _mean_direction(features["x"].reshape(items, len(prompts), -1))}
        _keep(file, features)
    return key, features


def cache_folder() -> Path:
    """Where features are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmjax" / "features"


def _same(x: Any) -> Any:
    return x


def _unit(x: Any) -> Any:
    """Vectors of length 1 along the last axis; zeros remain."""
    if isinstance(x, Padded):
        return Padded(_unit(x.x), x.length)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _prompted(column: Column, prompts: tuple[str, ...]) -> Column:
    """Each text in each of these sentences, one after another."""

    def raw(number: int) -> str:
        text = column.raw(number // len(prompts))
        phrase = text.strip().removesuffix(".").lower()
        noun = re.sub(r"^(an?|the|some)\s+", "", phrase)
        return prompts[number % len(prompts)].format(text, phrase=phrase, noun=noun)

    return dataclasses.replace(column, count=column.count * len(prompts), raw=raw)


def _mean_direction(x: np.ndarray) -> np.ndarray:
    """Float32[b n d] -> Float32[b d], the mean of n unit vectors."""
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).mean(axis=1)


def _features(tokens: Tokens, all_of_them: bool) -> dict[str, Array]:
    """Tokens that are there come first in what published encoders give, but where a class token is there alone."""
    if not all_of_them:
        return {"x": masked_mean(tokens)}
    return {"x": jnp.where(tokens.mask[..., None], tokens.x, 0), "length": tokens.mask.sum(axis=1, dtype=jnp.int32)}


def _item(features: dict[str, np.ndarray], number: int) -> Any:
    x = features["x"][number]
    return Padded(x, features["length"][number]) if "length" in features else x


def _fitting(preprocessing: Any, column: Column, settings: CachedFeatures, source: str) -> Any:
    """The weights' preprocessing without padding that nobody needs, sounds of some seconds, texts as long as the longest, and
    with pictures whole."""
    if preprocessing is None:
        raise DataError(f"{source}: the weights come without a preprocessing, so that nothing can be encoded")
    has = {field.name for field in dataclasses.fields(preprocessing)}
    if "seconds" in has:
        changes = {"seconds": settings.sound_seconds} | ({"silence": False} if "silence" in has else {})
        return dataclasses.replace(preprocessing, **changes)
    if {"size", "crop"} <= has and preprocessing.crop and settings.whole_pictures:
        return dataclasses.replace(preprocessing, size=preprocessing.crop, crop=None)
    if {"most", "whole"} <= has and not preprocessing.whole:
        longest = preprocessing.batch([column.raw(number) for number in range(column.count)]).x.shape[1]
        return dataclasses.replace(preprocessing, most=longest)
    return preprocessing


def _described(value: Any) -> Any:
    """All fields of a module or a preprocessing, of files their content."""
    from mmjax.describe import as_json

    fields = as_json(value)
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            held = getattr(value, field.name, None)
            if isinstance(held, Path):
                fields[field.name] = hashlib.sha256(held.read_bytes()).hexdigest()
    return fields


def _code() -> str:
    """sha256 over the text of all of mmjax that may have a part in features."""
    package, digest = Path(__file__).parents[1], hashlib.sha256()
    for folder in ("data", "encoders", "nn", "pretrained"):
        for file in sorted((package / folder).rglob("*.py")):
            digest.update(f"{file.relative_to(package)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    """Of the libraries that decode, resample, cut and compute, as far as they are installed."""
    found = {}
    for name in ("jax", "flax", "numpy", "pillow", "soundfile", "soxr", "tokenizers"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _computed(
    modality: str, column: Column, read: Callable[[Any], Any], run: Callable[[Any], dict[str, Array]]
) -> dict[str, np.ndarray]:
    parts = []
    with Progress(Console()) as progress, progress.counting(f"encoding {modality}", column.count) as advance:
        with ThreadPoolExecutor(4) as pool:
            for start in range(0, column.count, CHUNK):
                numbers = range(start, min(start + CHUNK, column.count))
                items = list(pool.map(lambda number: read(column.raw(number)), numbers))
                items += [items[-1]] * (CHUNK - len(items))  # one shape, one compilation
                parts.append({name: np.asarray(x)[: len(numbers)] for name, x in run(stack(items)).items()})
                advance(len(numbers))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _digest(features: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, x in sorted(features.items()):
        digest.update(f"{name} {x.dtype}{x.shape}".encode() + x.tobytes())
    return digest.hexdigest()


def _kept(file: Path) -> dict[str, np.ndarray] | None:
    """What the cache holds, None where it does not or where it is damaged, which a warning tells."""
    if not file.is_file():
        return None
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:  # np.load leaves a broken file open
            features = {name: arrays[name] for name in arrays.files}
            digest = str(features.pop("sha256"))
    except Exception as error:  # whatever zipfile, zlib and NumPy say about broken files
        warnings.warn(f"{file} cannot be read ({error}); its features are computed again", stacklevel=2)
        return None
    if _digest(features) != digest:
        warnings.warn(f"{file} is damaged; its features are computed again", stacklevel=2)
        return None
    return features


def _keep(file: Path, features: dict[str, np.ndarray]) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f"{file.stem}.{os.getpid()}.npz")
    np.savez(scratch, **features, sha256=_digest(features))
    scratch.replace(file)
