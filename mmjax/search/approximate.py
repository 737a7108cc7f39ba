"""Approximate search for large galleries, by an index of faiss: a graph of neighbours (HNSW; Malkov and Yashunin, 2018)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mmjax.data.decode import DataError
from mmjax.search import exact
from mmjax.search.gallery import CHUNK, Gallery

__all__ = ["TRAINED", "Approximate"]

TRAINED = 100_000
"""Vectors at most that the ranges of the codes are fitted to."""


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
        try:
            import faiss
        except ImportError as error:
            raise ImportError("approximate search needs faiss: pip install 'mmjax[search]'") from error
        if links < 2 or effort < 1:
            raise DataError(f"links is {links} and effort is {effort}; links must be at least 2 and effort at least 1")
        index = faiss.index_factory(gallery.width, f"HNSW{links}_SQ8", faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = effort
        step = -(-len(gallery) // TRAINED)
        index.train(np.ascontiguousarray(gallery.vectors[::step]))
        for start in range(0, len(gallery), CHUNK):
            index.add(np.ascontiguousarray(gallery.vectors[start : start + CHUNK]))
        return cls(gallery, index)

    def search(self, query: Float[np.ndarray, "q d"], k: int = 10, effort: int = 128) -> exact.Found:
        """As `mmjax.search.search`, but a better candidate may be missed, so `exact` is False.

        effort: candidates that are kept during the search; more of them miss less and take longer. At least SHORTLIST * k are
        kept. Raises DataError as `mmjax.search.search` does.
        """
        import faiss

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
