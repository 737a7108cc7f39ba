"""Embeddings of a trained cell for a search: items of a gallery, and queries of any combination of modalities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.data.dataset import stack
from mmjax.data.decode import DataError
from mmjax.runs.model import SavedModel
from mmjax.tasks.embeddings import modalities_of
from mmjax.tasks.retrieve import Retrieve
from mmjax.tasks.units import modality_of
from mmjax.train.stages import merged

__all__ = ["BATCH", "Embedder", "Query", "Space", "galleries_of", "shapley_values", "space_of", "unit_sum"]

BATCH = 32  # gallery items of one compiled call


class Space(NamedTuple):
    """The outputs of a cell whose dot products a search compares.

    modality: of the gallery. gallery: its output. fused: the output of fused tokens that embeds a query, or None.
    queries: {modality of a query: the output that embeds it}: `fused` for all, or an output of each modality.
    """

    modality: str
    gallery: str
    fused: str | None
    queries: Mapping[str, str]


def galleries_of(tasks: Mapping[str, Any]) -> tuple[str, ...]:
    """The modalities that the `Retrieve` tasks of a cell can search in, sorted."""
    return tuple(sorted({modality_of(output) for _, output in _outputs(tasks) if modality_of(output)}))


def space_of(tasks: Mapping[str, Any], modality: str, known: Sequence[str]) -> Space:
    """The space of a search among items of a modality, from the `Retrieve` tasks of a cell.

    If a task compares the modality with an output of fused tokens, this output embeds the queries. Their modalities are those
    that any task computes this output from. Otherwise the outputs of the single modalities that are compared with the
    gallery's, and the gallery's own, are summed. known: all modalities of the cell.
    Raises DataError if no task has an output of the modality.
    """
    pairs = [(task, output) for task, output in _outputs(tasks) if modality_of(output) == modality]
    if not pairs:
        found = ", ".join(galleries_of(tasks)) or "none, since no task of the cell is a Retrieve"
        raise DataError(f"no retrieval task of the cell has an output of {modality!r}; galleries can be of {found}")
    gallery = pairs[0][1]
    others = [_other(task, output) for task, output in pairs if output == gallery]
    fused = next((output for output in others if not modality_of(output)), None)
    if fused is None:
        return Space(modality, gallery, None, {modality_of(output): output for output in [gallery, *others]})
    used = {
        name
        for task, output in _outputs(tasks)
        if output == fused
        for name in modalities_of(output, _other(task, output), task.fused, known)
    }
    return Space(modality, gallery, fused, dict.fromkeys(sorted(used), fused))


def _outputs(tasks: Mapping[str, Any]) -> list[tuple[Retrieve, str]]:
    """(task, output) for both outputs of each `Retrieve` task; candidates come first."""
    found = [task for task in tasks.values() if isinstance(task, Retrieve)]
    return [(task, task.gallery) for task in found] + [(task, task.query) for task in found]


def _other(task: Retrieve, output: str) -> str:
    return task.query if output == task.gallery else task.gallery


class Query(NamedTuple):
    """The embeddings of a query of m modalities and of all its parts.

    given: the m modalities. embedding: Float32[2**m d]. Row r has the modalities given[i] for each bit i of r; the last row is
    the complete query, and row 0 is zeros.
    """

    given: tuple[str, ...]
    embedding: np.ndarray


@dataclass(frozen=True, eq=False)
class Embedder:
    """The compiled programs of a cell for one space. All calls have the same shapes, so each program is compiled once.

    The embeddings of s seeds are concatenated and divided by sqrt(s): their dot product is the mean of the seeds' dot products.
    The embedding of a query is the output `space.fused` of its modalities. Without one it is u / |u|, u being the sum of the
    embeddings of its modalities.
    """

    model: SavedModel
    space: Space

    def gallery(self, items: Sequence[Any]) -> Float[np.ndarray, "n d"]:
        """The embeddings of at most `BATCH` items, as `Reader.parse` returns them."""
        reader = self.model.readers[self.space.modality]
        batch = {name: stack([other.empty] * BATCH) for name, other in self.model.readers.items()}
        batch[self.space.modality] = stack([*items, *[reader.empty] * (BATCH - len(items))])
        return np.asarray(self._gallery(*self._variables, batch))[: len(items)]

    def query(self, inputs: Mapping[str, Any]) -> Query:
        """Raw inputs, as for `Cell.predict`, at most one for each modality -> the embeddings of all their combinations.

        Raises DataError, naming the modality, for inputs that cannot be read, and if there are none.
        """
        given = tuple(name for name in self.space.queries if inputs.get(name) is not None)
        unknown = sorted(set(inputs) - set(self.space.queries))
        if unknown or not given:
            wrong = f"{unknown[0]!r} is not a modality of a query" if unknown else "the query is empty"
            raise DataError(f"{wrong}; give at least one of {', '.join(self.space.queries)}")
        items = {name: reader.empty for name, reader in self.model.readers.items()}
        items |= {name: _parsed(self.model.readers[name], name, inputs[name]) for name in given}
        present = {name: np.array([name in given]) for name in items}
        rows = np.asarray(self._query(*self._variables, stack([items]), present))
        bit = {name: 1 << i for i, name in enumerate(self.space.queries)}
        return Query(given, rows[[sum(bit[name] for name in part) for part in _subsets(given)]])

    @cached_property
    def _variables(self) -> tuple[Any, Any]:
        return jax.device_put((self.model.variables, self.model.frozen))

    @cached_property
    def _gallery(self) -> Any:
        """The compiled function of variables and a batch of items -> Float[b d]."""

        def run(variables, frozen, items):
            present = {name: jnp.full(BATCH, name == self.space.modality) for name in items}
            batch = self.model.batch(items, present)

            def of_seed(one):
                everything = merged(one, frozen)
                tokens = self.model.module.apply(everything, batch, method="encode")
                return self._decode(everything, tokens, present)[self.space.gallery].astype(jnp.float32)

            return _side_by_side(jax.vmap(of_seed)(variables))

        return jax.jit(run)

    @cached_property
    def _query(self) -> Any:
        """The compiled function of variables, items [1 ...] and presence Bool[1] -> Float[2**q d] of q query modalities."""
        names = tuple(self.space.queries)
        table = np.array([[row >> i & 1 for i in range(len(names))] for row in range(2 ** len(names))], bool)

        def run(variables, frozen, items, present):
            batch = self.model.batch(items, present)
            rows = {name: jnp.asarray(table[:, i]) & present[name] for i, name in enumerate(names)}
            rows |= {name: jnp.zeros(len(table), bool) for name in items if name not in rows}

            def of_seed(one):
                everything = merged(one, frozen)
                tokens = self.model.module.apply(everything, batch, method="encode")  # once, for all combinations
                tokens = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(table), axis=0), tokens)
                outputs = self._decode(everything, tokens, rows)
                if self.space.fused:
                    embedding = outputs[self.space.fused].astype(jnp.float32)
                else:
                    embedding = unit_sum([jnp.where(rows[n][:, None], outputs[self.space.queries[n]], 0) for n in names])
                used = jnp.stack([rows[name] for name in names]).any(axis=0)
                return jnp.where(used[:, None], embedding, 0)

            return _side_by_side(jax.vmap(of_seed)(variables))

        return jax.jit(run)

    def _decode(self, variables: Any, tokens: Any, present: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.model.module.apply(variables, tokens, present, method="decode")


def unit_sum(embeddings: Sequence[Float[Array, "r d"]]) -> Float[Array, "r d"]:
    """Sums of embeddings, divided by their norms; a sum of zeros stays zero."""
    total = sum(x.astype(jnp.float32) for x in embeddings)
    norm = jnp.linalg.norm(total, axis=-1, keepdims=True)
    return total / jnp.where(norm > 0, norm, 1)


def shapley_values(values: Float[np.ndarray, "parts k"]) -> Float[np.ndarray, "m k"]:
    """The contributions of m modalities to k scores (Shapley, 1953).

    values[r]: the scores of the part of the query with the modalities of the bits of r, as in `Query`; values[0] is 0.
    The contribution of a modality is the mean change of the score when it joins those before it, over all orders of the
    modalities. Contributions add up to the score of the complete query; one modality alone has all of it.
    """
    count = len(values).bit_length() - 1
    found = np.zeros((count, values.shape[1]), np.float64)
    for i in range(count):
        for row in range(len(values)):
            if row >> i & 1:
                continue
            before = row.bit_count()
            orders = math.factorial(before) * math.factorial(count - before - 1) / math.factorial(count)
            found[i] += orders * (values[row | 1 << i].astype(np.float64) - values[row])
    return found.astype(np.float32)


def _subsets(given: Sequence[str]) -> list[tuple[str, ...]]:
    """All parts of the modalities, in the order of `Query.embedding`."""
    return [tuple(name for i, name in enumerate(given) if row >> i & 1) for row in range(2 ** len(given))]


def _side_by_side(embeddings: Float[Array, "s b d"]) -> Float[Array, "b s*d"]:
    """The embeddings of all seeds as one vector."""
    seeds, rows, width = embeddings.shape
    return jnp.swapaxes(embeddings, 0, 1).reshape(rows, seeds * width) / math.sqrt(seeds)


def _parsed(reader: Any, modality: str, raw: Any) -> Any:
    if reader.parse is None:
        raise DataError(f"{modality}: the data of the cell do not say how new inputs are read")
    try:
        return reader.parse(raw)
    except DataError as error:
        raise DataError(f"{modality}: {str(error).removeprefix(f'{modality}: ')}") from None
