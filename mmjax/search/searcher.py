"""A search over a collection: its gallery of embeddings, computed once and kept in files, and answers to queries."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.decode import DataError
from mmjax.pretrained.feature_cache import feature_key
from mmjax.runs.folder import read_json, sha256, write_json
from mmjax.runs.model import MODEL, VARIABLES
from mmjax.search.approximate import Approximate
from mmjax.search.collection import Collection
from mmjax.search.embed import BATCH, Embedder, shapley_values
from mmjax.search.exact import Resident, search
from mmjax.search.gallery import Gallery, open_gallery, write_gallery

__all__ = ["CODES", "ITEMS", "MAX_FOUND", "Searcher", "embedded", "fingerprint", "indexed"]

MAX_FOUND = 100
"""Items of an answer at most; every search is for this number, so that all run one compiled program."""
CODES = 200_000
"""Galleries of this size get int8 codes, which take a quarter of the memory."""
ITEMS = "items.json"


@dataclass(frozen=True, eq=False)
class Searcher:
    """Answers queries over a collection.

    kinds: {modality of a query: "image", "sound" or "text"}. rows: Int[g], the item of each vector of the gallery; items that
    cannot be read have none. engine: of the gallery. skipped: {number of an item: why it cannot be read}.
    """

    collection: Collection
    embedder: Embedder
    kinds: Mapping[str, str]
    engine: Resident | Approximate
    rows: np.ndarray
    skipped: Mapping[int, str]

    def answer(self, inputs: Mapping[str, Any], k: int = 12) -> dict[str, Any]:
        """The k nearest items as JSON: {"query": modalities, "results": [...], "exact"}.

        Of each result: "item", its number; "id", "caption"; "media", what it can show; "score", its dot product with the
        query; and "contributions" of the modalities of the query, which add up to the score (see `shapley_values`).
        inputs: {modality: raw input}, as for `Cell.predict`. Raises DataError if they cannot be read, or if there are none.
        """
        if not 1 <= k <= MAX_FOUND:
            raise DataError(f"k is {k}; it must be between 1 and {MAX_FOUND}")
        query = self.embedder.query(inputs)
        find = self.engine.search if isinstance(self.engine, Approximate) else partial(search, gallery=self.engine)
        found = find(query.embedding[-1:], k=MAX_FOUND)
        at = found.row[0, :k]
        vectors = np.asarray(self.engine.gallery.vectors[at])
        values = np.einsum("rd,kd->rk", query.embedding, vectors, dtype=np.float32)
        parts = shapley_values(values)
        results = [
            {
                "item": int(number),
                "id": self.collection.ids[number],
                "caption": self.collection.captions[number],
                "media": sorted(self.collection.media(int(number))),
                "score": float(values[-1, i]),
                "contributions": {name: float(parts[m, i]) for m, name in enumerate(query.given)},
            }
            for i, number in enumerate(self.rows[at])
        ]
        return {"query": list(query.given), "results": results, "exact": bool(found.exact[0])}


def fingerprint(collection: Collection, embedder: Embedder, part: Path) -> str:
    """sha256 of everything that determines the embeddings: the collection, the space, the model's files and source code.

    part: the folder of the model.
    """
    files = [sha256(part / name) for name in (MODEL, VARIABLES)]
    return feature_key([collection.fingerprint, *embedder.space[:2], *files], embedder.model.module, None)


def embedded(
    collection: Collection, embedder: Embedder, folder: Path, advance: Callable[[int], None]
) -> tuple[Gallery, np.ndarray, dict[int, str]]:
    """(gallery, rows, skipped), as in `Searcher`: from the folder if they are complete there, otherwise computed into it.

    folder: named by the `fingerprint`. advance: is called with the number of new items that are done. Raises DataError if no
    item can be read.
    """
    if (kept := _kept(collection, folder)) is not None:
        advance(len(collection))
        return kept
    skipped: dict[int, str] = {}

    def read(number: int) -> Any:
        try:
            return collection.parsed(number)
        except DataError as error:
            skipped[number] = str(error).encode(errors="replace").decode()  # names of files need not be UTF-8
            return None

    def chunks() -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(4) as pool:
            for start in range(0, len(collection), BATCH):
                numbers = range(start, min(start + BATCH, len(collection)))
                items = [item for item in pool.map(read, numbers) if item is not None]
                if items:
                    yield embedder.gallery(items)
                advance(len(numbers))

    (folder / ITEMS).unlink(missing_ok=True)
    try:
        gallery = write_gallery(folder, chunks(), codes=len(collection) >= CODES)
    except DataError:
        if len(skipped) < len(collection):
            raise
        raise DataError(f"{collection.name}: no item can be read; the first: {skipped[min(skipped)]}") from None
    rows = np.array([number for number in range(len(collection)) if number not in skipped])
    write_json(folder / ITEMS, {"count": len(collection), "skipped": sorted(skipped.items())})
    return gallery, rows, dict(sorted(skipped.items()))


def indexed(gallery: Gallery, folder: Path) -> Approximate:
    """The approximate index of a gallery: from the folder if it is complete there, otherwise built into it."""
    try:
        return Approximate.load(folder, gallery)
    except DataError:
        index = Approximate.of(gallery)
        index.save(folder)
        return index


def _kept(collection: Collection, folder: Path) -> tuple[Gallery, np.ndarray, dict[int, str]] | None:
    """What an earlier call wrote; None if it is not there, or not complete."""
    if not (folder / ITEMS).is_file():
        return None
    try:
        gallery = open_gallery(folder)
        skipped = dict(read_json(folder / ITEMS)["skipped"])
    except (ValueError, KeyError, TypeError):
        return None
    rows = np.array([number for number in range(len(collection)) if number not in skipped])
    return (gallery, rows, skipped) if len(rows) == len(gallery) else None
