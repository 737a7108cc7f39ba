"""Exact search: the 100 best of a gallery for a batch of queries, by dot products."""

from functools import partial

import numpy as np

from benchmarks.case import Case, Weights, Workload

GOALS = {"faiss": 1.0, "numpy": 1.0}


def cases(quick: bool, device: str) -> list[Case]:
    rows, width, queries, k = (1_000, 16, 4, 10) if quick else (100_000, 512, 64, 100)
    sides = {
        "mmjax": partial(mmjax_workload, rows, width, queries, k),
        "faiss": partial(faiss_workload, rows, width, queries, k),
        "numpy": partial(numpy_workload, rows, width, queries, k),
    }
    note = "faiss-cpu and NumPy search on the CPU" if device == "gpu" else ""
    return [Case(f"{rows:,} x {width}, {queries} queries", sides, GOALS, note=note)]


def _vectors(rows: int, width: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.standard_normal((rows, width), np.float32), random.standard_normal((queries, width), np.float32)


def mmjax_workload(rows: int, width: int, queries: int, k: int, weights: Weights) -> Workload:
    from mmjax.search import Gallery, Resident, search

    vectors, query = _vectors(rows, width, queries)
    gallery = Resident.of(Gallery(vectors))
    outputs = {"similarity": search(query, gallery, k).similarity}
    return Workload(lambda: search(query, gallery, k), outputs, flops=2 * rows * width * queries)


def faiss_workload(rows: int, width: int, queries: int, k: int, weights: Weights) -> Workload:
    import faiss

    vectors, query = _vectors(rows, width, queries)
    index = faiss.IndexFlatIP(width)
    index.add(vectors)
    return Workload(lambda: index.search(query, k), {"similarity": index.search(query, k)[0]})


def numpy_workload(rows: int, width: int, queries: int, k: int, weights: Weights) -> Workload:
    vectors, query = _vectors(rows, width, queries)

    def run():
        similarity = query @ vectors.T
        best = np.argpartition(similarity, -k, axis=1)[:, -k:]
        return -np.sort(-np.take_along_axis(similarity, best, axis=1), axis=1)

    return Workload(run, {"similarity": run()})
