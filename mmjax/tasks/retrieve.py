"""Retrieval: find the relevant items of a gallery by the dot product of two embeddings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tyro

from mmjax.data.dataset import Dataset
from mmjax.metrics import retrieval, space
from mmjax.metrics.ranking import rank_outcomes, relevant_positions
from mmjax.tasks import panels
from mmjax.tasks.defaults import each_seed
from mmjax.tasks.embeddings import embed, modalities_of
from mmjax.tasks.items import items_of
from mmjax.tasks.retrieval_baselines import popular_order, popularity, tfidf_vectors
from mmjax.tasks.subsets import subsets_of
from mmjax.tasks.units import find_output, listed, modality_of
from mmjax.types import Batch, Metric, Outcomes, Subset, Tokens, Units

__all__ = ["RANKS", "Retrieve"]

RANKS = (1, 2, 3, 6, 11, 21, 51, 101, 201, 501, 1001)  # lower edges of the bins of the histogram


@dataclass(frozen=True)
class Retrieve:
    """Ranks the items of a gallery for each query, by the dot product of two outputs [b d].

    query, gallery: names of the outputs. "image.embedding" belongs to one modality. "embedding" belongs to the fused tokens; it
    is computed from every modality except the one of the other output. At most one of the two may belong to the fused tokens.
    match: a metadata column or a target. A candidate is relevant if it has the query's value: "id" for the same example;
    "group" accepts near-duplicates too. Missing values ("" or negative) match nothing. All rows of an item must have the same
    value.
    k: the cut-offs of R@k; nDCG uses the largest one. both: also search from the gallery to the queries; the metrics are then
    means over the two directions. fused: the modalities of the fused tokens; name them if the data have modalities without an
    encoder. words: two metadata columns with words of the query and of the candidates, such as ("text", "keywords"), whose
    TF-IDF is a baseline. extra: further metrics of the outcomes in `metrics.retrieval`.

    Queries and candidates are the distinct items of rows of positive weight: an image with nine captions is one item, with the
    total weight of its nine rows. A row without the modality has no item. Units are the queries of both directions. A query
    without a relevant candidate has weight 0, but is still a candidate for others. Without `both`, all queries of the second
    direction have weight 0. Ties and NaN count against the model; an embedding of zeros ties with everything and ranks last.
    """

    query: str
    gallery: str
    match: str = "id"
    k: tuple[int, ...] = (1, 5, 10)
    both: bool = True
    fused: tuple[str, ...] | None = None
    words: tuple[str, str] | None = None
    extra: tyro.conf.Suppress[Mapping[str, Metric]] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, Metric]:
        mean = {name: metric._replace(value=retrieval.over_directions(metric.value)) for name, metric in self._single().items()}
        return mean | dict(self.extra)

    def _single(self) -> dict[str, Metric]:
        """The metrics of one direction."""
        return {f"recall@{k}": Metric(retrieval.recall_at(k)) for k in self.k} | {
            "mrr": Metric(retrieval.reciprocal_rank),
            "map": Metric(retrieval.average_precision),
            f"ndcg@{max(self.k)}": Metric(retrieval.ndcg),
            "median_rank": Metric(retrieval.median_rank, higher_is_better=False, smooth=False, bounds=(1, None)),
        }

    @property
    def directions(self) -> tuple[str, str]:
        """The names of the two directions, such as "image -> text"; fused tokens appear under the name of their output."""
        query, gallery = (modality_of(output) or output for output in (self.query, self.gallery))
        return f"{query} -> {gallery}", f"{gallery} -> {query}"

    def _modalities(self, known: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The modalities that the query and the gallery are computed from. known: all modalities."""
        query = modalities_of(self.query, self.gallery, self.fused, known)
        return query, modalities_of(self.gallery, self.query, self.fused, known)

    def check(self, outputs: Mapping[str, Any], data: Dataset) -> None:
        query = find_output("Retrieve.query", self.query, outputs)
        gallery = find_output("Retrieve.gallery", self.gallery, outputs)
        if self.query == self.gallery or not (modality_of(self.query) or modality_of(self.gallery)):
            raise ValueError(
                f"Retrieve.query is {self.query!r} and Retrieve.gallery is {self.gallery!r}; they must differ, and one must be "
                "of a single modality, such as 'image.embedding'"
            )
        if len(query) != 2 or len(gallery) != 2 or query[1] != gallery[1]:
            raise ValueError(
                f"Retrieve: {self.query!r} has the shape {list(query)} and {self.gallery!r} {list(gallery)}; both must be "
                "[b, d] with the same d"
            )
        if not self.k or min(self.k) < 1:
            raise ValueError(f"Retrieve.k is {self.k}; it needs at least one number, and all of them at least 1")
        for name in sorted({name for side in self._modalities(tuple(data.columns)) for name in side} - set(data.columns)):
            raise ValueError(f"Retrieve: the data have no modality {name!r}; they have {listed(data.columns)}")
        for name in self.words or ():
            if np.asarray(data.metadata["test"].get(name, ())).dtype.kind not in "UO":
                raise ValueError(f"Retrieve.words: the data have no metadata column of texts {name!r}")
        for split in ("validation", "test"):
            if not self.units(data, split).weight.any():
                raise ValueError(
                    f"Retrieve.match: no query of the {split} split has a relevant candidate with the same {self.match!r}"
                )

    def subsets(self, modalities: Sequence[str]) -> tuple[Subset, ...]:
        """The subsets of the modalities of the fused tokens; the complete input alone if both outputs are unimodal."""
        if modality_of(self.query) and modality_of(self.gallery):
            return (tuple(sorted(modalities)),)
        query, gallery = self._modalities(modalities)
        seen = gallery if modality_of(self.query) else query
        return subsets_of([name for name in modalities if name in seen])

    def units(self, data: Dataset, split: str) -> Units:
        """target: {"direction": Int8[u], "match": Int32[u], equal for equal values, -1 if missing}. Query items come first."""
        sides = [items_of(data, split, side) for side in self._modalities(tuple(data.columns))]
        values = [self._match(data, split, items.row, items.of_row) for items in sides]
        known = np.unique(np.concatenate(values))
        missing = np.isin(known, [""]) if known.dtype.kind in "UO" else known < 0
        codes = [np.where(missing[at], -1, at) for at in (np.searchsorted(known, value) for value in values)]
        weight = [
            np.where(np.isin(own, other) & (own >= 0), items.weight, 0)
            for items, own, other in zip(sides, codes, codes[::-1])
        ]
        if not self.both:
            weight[1] = np.zeros_like(weight[1])
        row = np.concatenate([items.row for items in sides])
        metadata = {
            column: np.concatenate([items.metadata[column] for items in sides]) for column in data.metadata[split]
        }
        return Units(
            target={
                "direction": np.repeat(np.int8([0, 1]), [len(items.row) for items in sides]),
                "match": np.concatenate(codes).astype(np.int32),
            },
            weight=np.concatenate(weight).astype(np.float32),
            group=metadata["group"],
            metadata=metadata,
            row=row,
            entry=row,
        )

    def _match(self, data: Dataset, split: str, first: np.ndarray, of_row: np.ndarray) -> np.ndarray:
        """The value of `match` of each item. Raises ValueError if the rows of an item differ in it."""
        metadata, targets = data.metadata[split], data.splits[split].targets
        if self.match not in metadata and self.match not in targets:
            raise ValueError(
                f"Retrieve.match: the data have no metadata column or target {self.match!r}; they have "
                f"{listed([*metadata, *targets])}"
            )
        values = np.asarray(metadata[self.match] if self.match in metadata else targets[self.match])
        if values.ndim != 1 or values.dtype.kind not in "iuUO":
            given = f"{values.dtype}{list(values.shape)}"
            raise ValueError(f"Retrieve.match: {self.match!r} is {given}; it needs one string or integer per row")
        rows = np.flatnonzero(of_row >= 0)
        for row in rows[values[rows] != values[first[of_row[rows]]]][:1]:
            raise ValueError(
                f"Retrieve.match: rows of one item differ in {self.match!r}: {values[first[of_row[row]]]} and {values[row]} "
                f"(row {row} of the {split} split); choose a column that belongs to the item"
            )
        return values[first]

    def predict(self, apply: Callable, tokens: Mapping[str, Tokens], present: Mapping[str, Any], batch: Batch) -> Any:
        """{"query", "gallery"}: Float32[b d]."""
        query, gallery = self._modalities(tuple(batch.present))
        return {
            "query": embed(self.query, query, apply, tokens, present, batch),
            "gallery": embed(self.gallery, gallery, apply, tokens, present, batch),
        }

    def evidence(self, outputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Any:
        """The dot product of the two embeddings of each row: what attributions explain, Float[b].

        ValueError if one of them belongs to the fused tokens, which contain the modality of the other here.
        """
        del reference
        if not (modality_of(self.query) and modality_of(self.gallery)):
            raise ValueError(f"Retrieve: {self.query!r} and {self.gallery!r} must belong to single modalities to be explained")
        return (outputs[self.query] * outputs[self.gallery]).sum(axis=-1)

    def outcomes(self, predicted: Mapping[str, np.ndarray], units: Units) -> Outcomes:
        """Both directions, whatever their weights."""
        sides = [units.target["direction"] == direction for direction in (0, 1)]
        embedding = [predicted[name][units.entry[side]] for name, side in zip(("query", "gallery"), sides)]
        match = [units.target["match"][side] for side in sides]
        found = []
        for own, other in ((0, 1), (1, 0)):
            blocks = relevant_positions(embedding[own], embedding[other], match[own], match[other])
            found += [rank_outcomes(positions, count, len(match[other]), max(self.k)) for positions, count in blocks]
        ranked = {name: np.concatenate([block[name] for block in found]) for name in found[0]}
        weight = tuple(units.weight[side] for side in sides)
        hubs = [space.occurrences(embedding[1 - own], embedding[own], max(self.k)) for own in (0, 1)]
        gap = space.along_gap(*embedding, weight)
        placed = {"occurrence": np.concatenate(hubs), "along_gap": np.concatenate(gap)}
        return ranked | placed | {"direction": units.target["direction"]}

    def baselines(self, data: Dataset) -> dict[str, dict[str, np.ndarray]]:
        """"chance": random embeddings. "popular": one order for all queries, by how close a candidate is to the mean of the
        training items. "tfidf": see `words`."""
        shape = len(data.splits["test"]), 16
        random = np.random.default_rng(0)
        found = {"chance": {name: random.normal(size=shape).astype(np.float32) for name in ("query", "gallery")}}
        popular = [popularity(data, modality_of(output)) for output in (self.query, self.gallery)]
        if all(one is not None for one in popular):
            found["popular"] = popular_order(*popular)
        if self.words:
            found["tfidf"] = tfidf_vectors(data, *self.words)
        return found

    def details(self, units: Units) -> dict[str, Metric]:
        """Every metric in each direction: "recall@1/image -> text"; how skewed the candidates of a direction are found (see
        `metrics.space.hubness`), and the distance between the means of the two kinds of embeddings."""
        if not self.both:
            return {}
        skew = Metric(space.hubness, higher_is_better=False, bounds=(None, None))
        found = {"modality_gap": Metric(space.modality_gap, higher_is_better=False, bounds=(0, 2))}
        for number, direction in enumerate(self.directions):
            for name, metric in self._single().items():
                found[f"{name}/{direction}"] = metric._replace(value=retrieval.of_direction(metric.value, number))
            found[f"hubness/{direction}"] = skew._replace(value=retrieval.of_direction(skew.value, 1 - number))
        return found

    def panels(self, outcomes: Outcomes, units: Units) -> list[dict[str, Any]]:
        """A histogram of the ranks in each direction, by weight, averaged over seeds."""
        drawn = []
        for number, direction in enumerate(self.directions[: 2 if self.both else 1]):
            queries = units.target["direction"] == number
            candidates = int(np.count_nonzero(~queries))
            edges = [*(edge for edge in RANKS if edge <= candidates), candidates + 1]
            weight = np.where(queries, units.weight, 0)
            counts = np.mean([np.histogram(rank, edges, weights=weight)[0] for rank in outcomes["rank"]], axis=0)
            drawn.append(panels.histogram(f"Ranks, {direction}", edges, counts, "rank"))
        return drawn

    def show(self, predicted: Mapping[str, np.ndarray], units: Units, unit: int) -> dict[str, Any]:
        """The candidate with the highest mean similarity over seeds, by its text or else its id; "score" is the similarity."""
        direction = units.target["direction"]
        own, other = ("query", "gallery")[:: 1 if direction[unit] == 0 else -1]
        candidates = np.flatnonzero(direction != direction[unit])
        similarity = np.einsum(
            "sd,scd->c", predicted[own][:, units.entry[unit]], predicted[other][:, units.entry[candidates]]
        ) / len(predicted[own])
        relevant = (units.target["match"][candidates] == units.target["match"][unit]) & (units.target["match"][unit] >= 0)
        name = lambda i: str(units.metadata.get("text", units.metadata["id"])[i] or units.metadata["id"][i])
        best = int(np.lexsort((relevant, -np.nan_to_num(similarity, nan=-np.inf)))[0])
        return {
            "target": ", ".join(list(dict.fromkeys(name(i) for i in candidates[relevant]))[:3]),
            "predicted": name(candidates[best]),
            "correct": bool(relevant[best]),
            "score": float(similarity[best]) if np.isfinite(similarity[best]) else None,
        }

    def answers(self, predicted: Mapping[str, np.ndarray], classes: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
        """{"query", "gallery"}: the embeddings of each seed, Float32[n s d]; seeds have no common space."""
        return each_seed(predicted)
