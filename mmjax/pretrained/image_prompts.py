"""Prompts with images as the published processors make them: tiles of each image, and placeholders among the token ids."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from mmjax.pretrained.images import ImagePreprocessing
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.types import Batch, Padded

__all__ = [
    "ImagePrompts", "OneTile", "Prompts", "Tiles", "as_they_are", "check_places", "encoded", "named_vectors", "unchanged",
    "written_out",
]  # fmt: skip


class Prompts(NamedTuple):
    """A batch of prompts for a vision-language model.

    batch: images, x Float[b k h w c] with the tiles of each example. ids: Padded token ids, x Int[b n]; ids of at least the
    vocabulary are vectors (`decoders.Interleaved`).
    """

    batch: Batch
    ids: Padded


class Tiles(NamedTuple):
    """One image as tiles of the encoder's size.

    pixels: uint8 [t h w 3]. text: replaces the marker of the image in the prompt, with a placeholder for each vector. vectors:
    the number of the vector that each placeholder stands for, from the first one of the first tile; negative for a vector
    before those of all images, -1 for the last of these. grid: (rows, columns) of the tiles, if they form one.
    """

    pixels: UInt8[np.ndarray, "t h w 3"]
    text: str
    vectors: Sequence[int]
    grid: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class OneTile:
    """One tile per image: resized and cropped by `images`. text, vectors: as in `Tiles`; vectors is their number."""

    images: ImagePreprocessing
    text: str
    vectors: int

    def __call__(self, image: Any) -> Tiles:
        return Tiles(self.images.read(image)[None], self.text, range(self.vectors))


def unchanged(text: str) -> str:
    """The text."""
    return text


def as_they_are(prompts: Prompts, tiles: Sequence[Sequence[Tiles]]) -> Prompts:
    """The prompts."""
    del tiles
    return prompts


def check_places(text: str, marker: str, given: Sequence[Any], name: str) -> None:
    """Raises ValueError unless the text has a marker for each of the given inputs. name: of these, such as "images"."""
    count = text.count(marker)
    if count != len(given):
        found = f"'text' has {count} times {marker!r}"
        raise ValueError(f"{found}, but there are {len(given)} {name!r}; each needs its place in the text")


def written_out(text: str, marker: str, replacements: Sequence[str]) -> str:
    """The text with a replacement for each marker."""
    first, *rest = text.split(marker)
    return first + "".join(new + piece for new, piece in zip(replacements, rest, strict=True))


def encoded(texts: TextPreprocessing | None, text: str, special: bool = True) -> list[int]:
    """The token ids. ValueError without a tokenizer, or for more tokens than the model's limit."""
    if texts is None:
        raise ValueError("'text' cannot be preprocessed: the weights came without tokenizer.json")
    found = texts.library.encode(text, add_special_tokens=special)
    if found.overflowing:
        raise ValueError(f"a prompt has more than {texts.max_tokens} tokens, images included, the limit of the model")
    return found.ids


def named_vectors(ids: Sequence[int], placeholder: int, vectors: Sequence[int], vocabulary: int) -> Int[np.ndarray, " n"]:
    """The ids in which the k-th placeholder becomes vocabulary + vectors[k].

    Raises ValueError unless there are as many placeholders as vectors.
    """
    found = np.array(ids, np.int32)
    places = np.flatnonzero(found == placeholder)
    if len(places) != len(vectors):
        raise ValueError(f"a prompt has {len(places)} placeholders (token {placeholder}) for {len(vectors)} vectors of images")
    found[places] = vocabulary + np.asarray(vectors, np.int32)
    return found


@dataclass(frozen=True)
class ImagePrompts:
    """{"text": a prompt with a marker for each image, "images": [image, ...]} -> ids and tiles.

    marker: where an image stands in the text, such as "<image>". placeholder: the token id of each vector in `Tiles.text`.
    vocabulary: of the language model. size: (height, width, channels) of a tile. vectors: per tile. images: normalises pixels;
    tiles: image -> Tiles; both None if the weights came without preprocessor_config.json. texts: the tokenizer; None if they
    came without. compose: changes the prompt before images are put in. special: whether the tokenizer adds special tokens.
    leading: the number of vectors before those of all images. extend: (prompts, tiles of each image of each example) ->
    prompts, for inputs that depend on the grids of the images.
    """

    marker: str
    placeholder: int
    vocabulary: int
    size: tuple[int, int, int]
    vectors: int
    images: ImagePreprocessing | None
    tiles: Callable[[Any], Tiles] | None
    texts: TextPreprocessing | None
    compose: Callable[[str], str] = unchanged
    special: bool = True
    leading: int = 0
    extend: Callable[[Prompts, Sequence[Sequence[Tiles]]], Prompts] = as_they_are

    def read(self, example: Mapping[str, Any]) -> tuple[list[Tiles], Int[np.ndarray, " n"]]:
        """The tiles of each image and the token ids of one example. ValueError if markers and images differ in number, if the
        prompt is longer than the model's limit, or if the weights came without a needed file."""
        images, text = list(example.get("images", ())), example["text"]
        check_places(text, self.marker, images, "images")
        if images and self.tiles is None:
            raise ValueError("'images' cannot be preprocessed: the weights came without preprocessor_config.json")
        tiles = [self.tiles(image) for image in images]
        written = written_out(self.compose(text), self.marker, [tile.text for tile in tiles])
        vectors, first = [], self.leading
        for tile in tiles:
            vectors += [number + (first if number >= 0 else self.leading) for number in tile.vectors]
            first += len(tile.pixels) * self.vectors
        for tile in tiles:
            found = tile.pixels.shape[1:]
            if found != self.size:
                raise ValueError(f"an image has tiles of {list(found)}, but the encoder takes {list(self.size)}")
        return tiles, named_vectors(encoded(self.texts, written, self.special), self.placeholder, vectors, self.vocabulary)

    def finish(self, images: Any) -> Any:
        """Scales and normalises pixels to float32; can be jitted."""
        return self.images.finish(images)

    def batch(self, examples: Iterable[Mapping[str, Any]]) -> Prompts:
        """Examples, each with any number of images of any sizes -> the model's input, padded at the end."""
        tiles, tokens = zip(*(self.read(example) for example in examples), strict=True)
        counts = np.array([sum(len(tile.pixels) for tile in row) for row in tiles], np.int32)
        lengths = np.array([len(row) for row in tokens], np.int32)
        pixels = np.zeros((len(counts), max(1, *counts), *self.size), np.uint8)  # without any image, one that is masked
        ids = np.zeros((len(counts), max(lengths)), np.int32)
        for row, (images, own) in enumerate(zip(tiles, tokens)):
            ids[row, : len(own)] = own
            if images:
                pixels[row, : counts[row]] = np.concatenate([tile.pixels for tile in images])
        images = Padded(self.finish(pixels) if self.images else pixels.astype(np.float32), counts)
        batch = Batch({"image": images}, {"image": counts > 0}, {}, np.ones(len(counts), np.float32))
        return self.extend(Prompts(batch, Padded(ids, lengths)), tiles)
