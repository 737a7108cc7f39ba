"""Approximate search for large galleries, by an index of faiss: a graph of neighbours (HNSW; Malkov and Yashunin, 2018)."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mmjax.data.decode import DataError
from mmjax.search import exact
from mmjax.search.gallery import CHUNK, Gallery

__all__ = ["FILE", "TRAINED", "Approximate"]

FILE = "index"
"""The file of an index, in faiss's format. index.json is its description."""
TRAINED = 100_000
"""Vectors at most that the ranges of the codes are fitted to."""


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError("approximate search needs faiss: pip install 'mmjax[search]'") from error
    return faiss


@dataclass(frozen=True, eq=False)
class Approximate:
    """An index of a gallery. It takes a byte for each number and 8 bytes for each link, in memory.

    A search looks at some vectors only, by their int8 codes, and ranks the best ones again by their exact dot products. It
    compares dot products, which a graph suits best if all vectors have the same length.
    """

    gallery: Gallery
    index: Any

    @classmethod
    def of(cls, gallery: Gallery, links: int = 32, effort: int = 200) -> "Approximate":
        """Builds the index. links: of each vector to its neighbours. effort: candidates that are kept while a vector is linked.

        Raises ImportError without the extra "search", and DataError for values below 1.
        """
        faiss = _faiss()
        if links < 2 or effort < 1:
            raise DataError(f"links is {links} and effort is {effort}; links must be at least 2 and effort at least 1")
        index = faiss.index_factory(gallery.width, f"HNSW{links}_SQ8", faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = effort
        step = -(-len(gallery) // TRAINED)
        index.train(np.ascontiguousarray(gallery.vectors[::step]))
        for start in range(0, len(gallery), CHUNK):
            index.add(np.ascontiguousarray(gallery.vectors[start : start + CHUNK]))
        return cls(gallery, index)

    def save(self, folder: Path | str) -> None:
        """Writes the index, without its gallery, into a folder, which is made: the file "index", and last its description."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{FILE}.json").unlink(missing_ok=True)  # an index without it is not complete
        _faiss().write_index(self.index, str(folder / FILE))
        about = {"sha256": _file_digest(folder / FILE), "gallery": _gallery_digest(self.gallery)}
        (folder / f"{FILE}.json").write_text(json.dumps(about) + "\n")

    @classmethod
    def load(cls, folder: Path | str, gallery: Gallery) -> "Approximate":
        """The index that `save` wrote, for the gallery that it was built of, which is read once to compare it.

        Raises DataError if the index is not complete, was changed, or belongs to another gallery; ImportError without the extra
        "search".
        """
        faiss, folder = _faiss(), Path(folder)
        try:
            about = json.loads((folder / f"{FILE}.json").read_text())
            expected, of = str(about["sha256"]), str(about["gallery"])
        except FileNotFoundError:
            raise DataError(f"{folder} has no {FILE}.json; it must be the folder of a complete index") from None
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{folder / FILE}.json is damaged; it must have sha256 and gallery") from None
        if not (folder / FILE).is_file() or _file_digest(folder / FILE) != expected:
            raise DataError(f"{folder / FILE} is missing or was changed after it was written; build the index again")
        if of != _gallery_digest(gallery):
            raise DataError(f"{folder / FILE} belongs to another gallery than the given one of {len(gallery):,} vectors")
        return cls(gallery, faiss.read_index(str(folder / FILE)))

    def search(self, query: Float[np.ndarray, "q d"], k: int = 10, effort: int = 128) -> exact.Found:
        """As `mmjax.search.search`, but a better candidate may be missed, so `exact` is False.

        effort: candidates that are kept during the search; more of them miss less and take longer. At least SHORTLIST * k are
        kept. Raises DataError as `mmjax.search.search` does.
        """
        faiss = _faiss()
        query = exact.checked(query, self.gallery, k)
        k = min(k, len(self.gallery))
        count = min(exact.SHORTLIST * k, len(self.gallery))
        settings = faiss.SearchParametersHNSW(efSearch=max(effort, count))
        _, row = self.index.search(query, count, params=settings)
        vectors = self.gallery.vectors[np.maximum(row, 0)]
        similarity = np.einsum("qd,qnd->qn", query, vectors, dtype=np.float32)
        similarity[row < 0] = -np.inf  # the graph reached fewer candidates
        order = np.lexsort((row, -similarity))[:, :k]
        best, row = np.take_along_axis(similarity, order, axis=1), np.take_along_axis(row, order, axis=1)
        for lost in np.flatnonzero(~np.isfinite(best).all(axis=1)):
            best[lost], row[lost] = (found[0] for found in exact.search(query[lost : lost + 1], self.gallery, k)[:2])
        return exact.Found(best, row.astype(np.int64), np.zeros(len(query), bool))


def _file_digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _gallery_digest(gallery: Gallery) -> str:
    """sha256 of the vectors and their shape."""
    digest = hashlib.sha256(repr(gallery.vectors.shape).encode())
    for start in range(0, len(gallery), CHUNK):
        digest.update(np.ascontiguousarray(gallery.vectors[start : start + CHUNK]))
    return digest.hexdigest()
