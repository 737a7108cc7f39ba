"""Losses over pairs: two outputs of one example are a positive pair, those of different examples are negatives.

first, second: names of two outputs [b d], such as "image.embedding" and "text.embedding", from heads such as `Projection` in
`Multimodal.unimodal_heads`. An example is valid, as a pair and as a negative of the others, if its weight is above 0 and both
modalities are present; the loss of other examples is 0. Negatives come from the whole batch, over all shards, a block of one
shard at a time, as in figure 1 of SigLIP (`each_block`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mmjax.losses.combine import counted, pick, zero_invalid
from mmjax.shards import gather_over_shards, shard_index, sum_over_blocks
from mmjax.types import Batch

__all__ = [
    "CPC", "LOWEST", "InfoNCE", "Pairs", "SigmoidPairs", "Statistics", "Triplet", "dot", "each_block", "matched", "pair",
    "pairs",
]  # fmt: skip

LOWEST = jnp.finfo(jnp.float32).min


class Pairs(NamedTuple):
    """Two outputs of a shard's b examples, zero in invalid ones.

    x, y: [b d]. valid: Bool[b]. item: Int[b]; examples with equal items are positives of each other, -1 is equal to nothing.
    """

    x: Float[Array, "b d"]
    y: Float[Array, "b d"]
    valid: Bool[Array, " b"]
    item: Int[Array, " b"]


def dot(a: Float[Array, "i j"], b: Float[Array, "j k"]) -> Float[Array, "i k"]:
    """Matrix product in full float32, also on devices whose default precision is lower."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def pairs(outputs: Mapping[str, Array], batch: Batch, first: str, second: str, match: str | None = None) -> Pairs:
    """The pairs of two outputs. match: a target Int[b]; valid examples with equal values are positives of each other, too.

    ValueError unless both outputs are [b d] with the same d, and the batch has the target.
    """
    x, y, valid = pair(outputs, batch, first, second)
    value = jnp.full(valid.shape, -1, jnp.int32) if match is None else matched(match, batch)
    return Pairs(x, y, valid, jnp.where(valid, value, -1))


Statistics = Callable[[Float[Array, "b c"], Bool[Array, "b c"], Bool[Array, "b c"]], Float[Array, "m b"]]
"""(similarities, positives, negatives) of b examples and c candidates -> m numbers of each example. An example is a positive
of itself, even if it is invalid; all other positives and negatives are valid."""


def each_block(p: Pairs, statistics: Statistics, both: bool = True) -> list[Float[Array, "m k b"]]:
    """The statistics of the similarities x . y between this shard's x and the y of each of the k shards, and with `both` those
    between its y and the x of each; k is 1 if the batch is not split.

    A shard holds one block [b b] of the similarities at a time, however many shards there are: they pass their outputs around,
    and the gradient computes the blocks of others again. Dot products are cosines if the outputs have unit length.
    """
    shards = len(gather_over_shards(jnp.zeros(1)))

    def block(own: bool, x: Array | None, y: Array, valid: Array, item: Array, shard: Array) -> Array:
        positive = (p.item[:, None] == item[None, :]) & (item >= 0)[None, :]
        positive = positive | jnp.eye(len(item), dtype=bool) if own else positive
        ways = [dot(p.x, y.T)]
        if both:
            ways.append(ways[0].T if own else dot(p.y, x.T))
        found = jnp.stack([statistics(similarity, positive, valid[None, :] & ~positive) for similarity in ways])
        return jnp.zeros((*found.shape[:2], shards, found.shape[2])).at[:, :, shard].set(found)

    own, others = partial(block, True), jax.checkpoint(partial(block, False))
    part = (p.x if both else None, p.y, p.valid, p.item, jnp.asarray(shard_index()))
    return list(sum_over_blocks(lambda part, is_own: own(*part) if is_own else others(*part), part))


def _of_positives(total: Float[Array, "k b"], count: Float[Array, "k b"]) -> Float[Array, " b"]:
    """The mean similarity to the positives, from the sums and numbers of each block. They come from the same matrix product as
    the negatives: a product of its own would round differently, and dividing the difference by a small temperature would
    magnify it."""
    return jnp.sum(total, axis=0) / jnp.maximum(jnp.sum(count, axis=0), 1)


def _positives(similarity: Float[Array, "b c"], positive: Bool[Array, "b c"]) -> list[Float[Array, " b"]]:
    """[sum, number]"""
    return [jnp.sum(jnp.where(positive, similarity, 0), axis=-1), jnp.sum(positive, axis=-1, dtype=jnp.float32)]


def pair(
    outputs: Mapping[str, Array], batch: Batch, first: str, second: str
) -> tuple[Float[Array, "b d"], Float[Array, "b d"], Bool[Array, " b"]]:
    """Two outputs of this shard, zero in invalid examples, and which are valid. ValueError as of `pairs`."""
    x, y = pick(outputs, first), pick(outputs, second)
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"outputs {first!r} and {second!r} must be [b d] of one width; they are {x.shape} and {y.shape}")
    valid = counted(first, batch) & counted(second, batch)
    return zero_invalid(x.astype(jnp.float32), valid), zero_invalid(y.astype(jnp.float32), valid), valid


def matched(match: str, batch: Batch) -> Int[Array, " b"]:
    """The values of a target. ValueError if it is not Int[b]."""
    value = batch.targets.get(match)
    if value is None or value.ndim != 1 or not jnp.issubdtype(value.dtype, jnp.integer):
        known = ", ".join(name for name, one in sorted(batch.targets.items()) if one.ndim == 1)
        raise ValueError(f"match is {match!r}; it must be a target Int[b] of the batch, which has {known or 'none'}")
    return value


def _learned(outputs: Mapping[str, Array], name: str) -> Float[Array, ""]:
    """The loss parameter of this name. ValueError if it is not a scalar."""
    value = pick(outputs, name)
    if value.ndim:
        raise ValueError(f"output {name!r} has shape {list(value.shape)}; it must be a scalar from Multimodal.loss_parameters")
    return value


def _temperature(outputs: Mapping[str, Array], temperature: float | str) -> Float[Array, ""] | float:
    """The value of a temperature that is given as a number or by the name of a loss parameter."""
    if isinstance(temperature, str):
        return _learned(outputs, temperature)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")
    return temperature


def _nats(p: Pairs, t: Any, both: bool) -> list[Float[Array, " b"]]:
    """- log softmax of x . y / t at the positives, over all valid examples; with `both` also that of y . x / t."""

    def block(similarity, positive, negative):
        valid = positive | negative
        some = jnp.any(valid, axis=-1)
        highest = lax.stop_gradient(jnp.where(some, jnp.max(jnp.where(valid, similarity, LOWEST), axis=-1), 0))
        total = jnp.sum(jnp.exp(jnp.where(valid, (similarity - highest[:, None]) / t, LOWEST)), axis=-1)
        log_total = jnp.where(some, jnp.log(jnp.where(some, total, 1)), LOWEST)
        return jnp.stack([highest, log_total, *_positives(similarity, positive)])

    return [
        jax.nn.logsumexp(log_total + (highest - _of_positives(*positives)[None]) / t, axis=0)
        for highest, log_total, *positives in each_block(p, block, both)
    ]


@dataclass(frozen=True)
class InfoNCE:
    """(- log softmax_j(x_i . y_j / t)[i] - log softmax_j(y_i . x_j / t)[i]) / 2 in nats, over the whole batch.

    van den Oord et al., "Representation learning with contrastive predictive coding", 2018, equation 4; symmetric as in
    Radford et al., "Learning transferable visual models from natural language supervision" (CLIP), 2021, figure 3.

    With several positives, the mean over them of the log softmax (Khosla et al., "Supervised contrastive learning", 2020,
    equation 2).

    temperature: t > 0, dimensionless: a number, or the name in `Multimodal.loss_parameters` of a `heads.Temperature`. match: a
    target Int[b], such as the number of an item with several texts; examples with equal values are positives of each other.
    """

    first: str
    second: str
    temperature: float | str = 0.07
    match: str | None = None

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        p = pairs(outputs, batch, self.first, self.second, self.match)
        t = _temperature(outputs, self.temperature)
        return jnp.where(p.valid, sum(_nats(p, t, both=True)) / 2, 0)


@dataclass(frozen=True)
class CPC:
    """- x_i . y_i + log sum_j exp(x_i . y_j) in nats, over the whole batch: y predicts x.

    Contrastive predictive coding (van den Oord et al., 2018, equation 4) in one direction and without a temperature, as between
    the fusion and a modality in MMIM (Han et al., 2021), for outputs of unit length.
    """

    first: str
    second: str

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        p = pairs(outputs, batch, self.first, self.second)
        return jnp.where(p.valid, _nats(p, 1.0, both=False)[0], 0)


@dataclass(frozen=True)
class SigmoidPairs:
    """sum_j - log sigmoid(z_ij (x_i . y_j / t + c)) in nats, with z_ij = 1 for positives and -1 otherwise.

    Zhai et al., "Sigmoid loss for language image pre-training" (SigLIP), ICCV 2023, section 3.2.

    temperature: t, a number or the name in `Multimodal.loss_parameters` of a `heads.Temperature` (the paper starts at 0.1).
    bias: c, a number or the name of a `heads.Bias` (the paper starts at -10). match: as in `InfoNCE`.
    """

    first: str
    second: str
    temperature: float | str = 0.1
    bias: float | str = -10.0
    match: str | None = None

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        p = pairs(outputs, batch, self.first, self.second, self.match)
        t = _temperature(outputs, self.temperature)
        bias = _learned(outputs, self.bias) if isinstance(self.bias, str) else self.bias

        def block(similarity, positive, negative):
            logits = similarity / t + bias
            nats = -jax.nn.log_sigmoid(jnp.where(positive, logits, -logits))
            return jnp.sum(jnp.where(positive | negative, nats, 0), axis=-1)[None]

        return jnp.where(p.valid, jnp.sum(each_block(p, block, both=False)[0][0], axis=0), 0)


@dataclass(frozen=True)
class Triplet:
    """max_j [m - x_i . y_i + x_i . y_j]_+ + max_j [m - x_i . y_i + y_i . x_j]_+ over j != i: the hardest negatives.

    Faghri et al., "VSE++: improving visual-semantic embeddings with hard negatives", BMVC 2018, equation 6. With several
    positives, x_i . y_i is their mean, and none of them is a negative.

    margin: m, in units of the similarity. match: as in `InfoNCE`.
    """

    first: str
    second: str
    margin: float = 0.2
    match: str | None = None

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        p = pairs(outputs, batch, self.first, self.second, self.match)

        def block(similarity, positive, negative):
            hardest = jnp.max(jnp.where(negative, similarity, LOWEST), axis=-1)
            return jnp.stack([hardest, *_positives(similarity, positive)])

        def one_way(hardest, *positives):
            # an example without negatives has LOWEST here, and so a loss of 0
            return jax.nn.relu(self.margin - _of_positives(*positives) + jnp.max(hardest, axis=0))

        return jnp.where(p.valid, sum(one_way(*of) for of in each_block(p, block)), 0)
