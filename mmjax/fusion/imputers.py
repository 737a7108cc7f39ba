"""Imputers: vectors of the present modalities -> vectors of all modalities, for `fusion.imputed.Imputed`.

Every imputer is a module

    ({modality: Float[b d]}, {modality: present Bool[b]}, train) -> ({modality: Float[b d]}, {loss: Float[b]})

The vectors of absent modalities are zeros. What is learned without a gradient is kept in the collection "imputer": it changes
in training, and a trained model keeps it. In training, the condition of each target loses further modalities at random, so that
an imputer learns every subset.
"""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mmjax.nn.adversarial import Perceptron
from mmjax.nn.checks import positive, rate
from mmjax.shards import example_keys, gather_over_shards, sum_over_shards

__all__ = ["COLLECTION", "MeanImputer", "NearestImputer", "RegressionImputer", "condition", "kept", "learns", "needs_two"]

COLLECTION = "imputer"


def learns(module: nn.Module, train: bool) -> bool:
    """Whether this call may update the collection "imputer"."""
    return train and not module.is_initializing() and module.is_mutable_collection(COLLECTION)


def kept(
    present: Mapping[str, Bool[Array, " b"]], target: str, hide: float, key: Key[Array, ""] | None
) -> dict[str, Bool[Array, " b"]]:
    """The modalities that predict the target: the other present ones, each hidden with probability `hide` if there is a key."""
    others = sorted(set(present) - {target})
    if key is None:
        return {name: present[name] for name in others}
    keys = example_keys(jax.random.fold_in(key, sorted(present).index(target)), present[target].shape[0])
    shown = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - hide, (len(others),)))(keys)
    return {name: present[name] & shown[:, number] for number, name in enumerate(others)}


def condition(
    vectors: Mapping[str, Float[Array, "b _"]], shown: Mapping[str, Bool[Array, " b"]]
) -> Float[Array, "b c"]:
    """The concatenation of the vectors that are shown, zeros for the others, and of the flags of `shown`."""
    parts = [jnp.where(shown[name][:, None], vectors[name], 0) for name in sorted(shown)]
    flags = jnp.stack([shown[name] for name in sorted(shown)], axis=1).astype(jnp.float32)
    return jnp.concatenate([*parts, flags], axis=1)


def needs_two(imputer: nn.Module, names: Sequence[str]) -> None:
    """ValueError for a single modality, which nothing can be predicted from."""
    if len(names) < 2:
        raise ValueError(f"{type(imputer).__name__} needs at least two modalities; the model has {sorted(names)}")


class MeanImputer(nn.Module):
    """The mean of the modality over all training examples that had it, whatever is present. It has no loss."""

    @nn.compact
    def __call__(
        self, vectors: Mapping[str, Float[Array, "b _"]], present: Mapping[str, Bool[Array, " b"]], *, train: bool = False
    ) -> tuple[dict[str, Float[Array, "b _"]], dict[str, Float[Array, " b"]]]:
        out = {}
        for name in sorted(vectors):
            x, valid = vectors[name], present[name]
            count = self.variable(COLLECTION, f"{name}_count", jnp.zeros, ())
            mean = self.variable(COLLECTION, f"{name}_mean", jnp.zeros, x.shape[1:])
            if learns(self, train):
                number, total = sum_over_shards((valid.sum(), jnp.where(valid[:, None], x, 0).sum(axis=0)))
                count.value += number
                mean.value += (total - number * mean.value) / jnp.maximum(count.value, 1)
            out[name] = jnp.broadcast_to(mean.value[None], x.shape)
        return out, {}


class RegressionImputer(nn.Module):
    """A prediction from the present modalities and a flag for the presence of each, trained by the squared error.

    Its loss "regression" is the mean squared error of the features, averaged over the present modalities.

    hidden: widths of hidden layers; () for linear regression. hide: probability that a present modality is hidden in training.
    """

    hidden: tuple[int, ...] = ()
    hide: float = 0.3

    @nn.compact
    def __call__(
        self, vectors: Mapping[str, Float[Array, "b _"]], present: Mapping[str, Bool[Array, " b"]], *, train: bool = False
    ) -> tuple[dict[str, Float[Array, "b _"]], dict[str, Float[Array, " b"]]]:
        positive(self, "hidden")
        rate(self, "hide")
        needs_two(self, list(vectors))
        key = self.make_rng("dropout") if train else None
        out, loss = {}, jnp.zeros(next(iter(present.values())).shape)
        count = jnp.maximum(sum(valid.astype(jnp.float32) for valid in present.values()), 1)
        for name in sorted(vectors):
            c = condition(vectors, kept(present, name, self.hide, key))
            out[name] = Perceptron(vectors[name].shape[-1], self.hidden, name=name)(c)
            if train:
                error = jnp.square(out[name] - vectors[name]).mean(axis=-1)
                loss += jnp.where(present[name], error, 0) / count
        return out, {"regression": loss}


class NearestImputer(nn.Module):
    """The modality of the most similar training example that has it, by the modalities which both have.

    The distance is the mean over common modalities of the mean squared difference of features. In training, an example at
    distance zero is skipped, since it is the same one. Without any common modality, the zero vector is imputed. It has no loss.

    capacity: the number of latest training examples that are stored.
    """

    capacity: int = 512

    @nn.compact
    def __call__(
        self, vectors: Mapping[str, Float[Array, "b _"]], present: Mapping[str, Bool[Array, " b"]], *, train: bool = False
    ) -> tuple[dict[str, Float[Array, "b _"]], dict[str, Float[Array, " b"]]]:
        positive(self, "capacity")
        needs_two(self, list(vectors))
        names = sorted(vectors)
        place = self.variable(COLLECTION, "place", jnp.zeros, ())
        stored = {n: self.variable(COLLECTION, f"{n}_stored", jnp.zeros, (self.capacity, vectors[n].shape[1])) for n in names}
        valid = {n: self.variable(COLLECTION, f"{n}_valid", jnp.zeros, (self.capacity,)) for n in names}
        distance = {name: _mean_squared(vectors[name], stored[name].value) for name in names}
        common = {name: present[name][:, None] & (valid[name].value > 0)[None] for name in names}
        out = {name: self._nearest(name, vectors, distance, common, stored, valid, train) for name in names}
        if learns(self, train):
            new = {name: gather_over_shards(vectors[name]) for name in names}
            flags = {name: gather_over_shards(present[name]) for name in names}
            size = next(iter(flags.values())).shape[0]
            index = (place.value.astype(jnp.int32) + jnp.arange(size)) % self.capacity
            for name in names:
                stored[name].value = stored[name].value.at[index].set(jnp.where(flags[name][:, None], new[name], 0))
                valid[name].value = valid[name].value.at[index].set(flags[name].astype(jnp.float32))
            place.value = (place.value + size) % self.capacity
        return out, {}

    def _nearest(self, target, vectors, distance, common, stored, valid, train):
        """The stored vectors of the target, Float[b d]; zeros for an example without a usable neighbour."""
        others = [name for name in sorted(vectors) if name != target]
        count = sum(common[name].astype(jnp.float32) for name in others)
        total = sum(jnp.where(common[name], distance[name], 0) for name in others) / jnp.maximum(count, 1)
        usable = (count > 0) & (valid[target].value > 0)[None]
        if train:
            size = sum(jnp.square(vectors[name]).mean(axis=1) for name in others)[:, None]
            usable &= total > 1e-5 * jnp.maximum(size, 1e-6)  # relative: the distance is a difference of products
        at = jnp.argmin(jnp.where(usable, total, jnp.inf), axis=1)
        return jnp.where(usable.any(axis=1)[:, None], stored[target].value[at], 0)


def _mean_squared(x: Float[Array, "b d"], y: Float[Array, "n d"]) -> Float[Array, "b n"]:
    """The mean squared difference of features of each row of x and each row of y."""
    inner = jnp.matmul(x, y.T, precision="highest")
    squared = jnp.square(x).sum(axis=1)[:, None] + jnp.square(y).sum(axis=1)[None] - 2 * inner
    return jnp.maximum(squared, 0) / x.shape[1]
