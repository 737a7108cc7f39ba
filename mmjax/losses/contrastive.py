"""Losses over pairs: two outputs of one example are a positive pair, those of different examples are negatives.

first, second: names of two outputs [b d], such as "image.embedding" and "text.embedding", from heads such as `Projection` in
`Multimodal.unimodal_heads`. An example is valid, as a pair and as a negative of the others, if its weight is above 0 and both
modalities are present; the loss of other examples is 0. Negatives come from the whole batch, over all shards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mmjax.losses.combine import counted, pick, zero_invalid
from mmjax.shards import gather_over_shards, shard_index, sum_over_blocks
from mmjax.types import Batch

__all__ = ["CPC", "LOWEST", "InfoNCE", "Pairs", "SigmoidPairs", "Triplet", "dot", "matched", "pair", "pairs"]

LOWEST = jnp.finfo(jnp.float32).min


class Pairs(NamedTuple):
    """The two outputs of a shard's b examples and of the whole batch's B examples, zero in invalid examples.

    x, y: [b d], of this shard. all_x, all_y: [B d]. valid: Bool[b]; all_valid: Bool[B].
    positive: Bool[b B]; positive[i, j] is True if all_y[j] is a positive of x[i]: that of the same example, and with a match
    those of all valid examples with its value.
    """

    x: Float[Array, "b d"]
    y: Float[Array, "b d"]
    all_x: Float[Array, "B d"]
    all_y: Float[Array, "B d"]
    valid: Bool[Array, " b"]
    all_valid: Bool[Array, " B"]
    positive: Bool[Array, "b B"]

    @property
    def negatives(self) -> Bool[Array, "b B"]:
        """negatives[i, j] is True if j is a valid example and no positive of i."""
        return self.all_valid[None, :] & ~self.positive

    def of_positives(self, similarity: Float[Array, "b B"]) -> Float[Array, " b"]:
        """The mean similarity to the positives, from the same matrix product as those of the negatives: a product of its own
        would round differently, and dividing the difference by a small temperature would magnify it."""
        count = jnp.maximum(jnp.sum(self.positive, axis=-1), 1)
        return jnp.sum(jnp.where(self.positive, similarity, 0), axis=-1) / count

    def similarities(self) -> tuple[Float[Array, "b B"], Float[Array, "b B"]]:
        """(x with all_y, y with all_x): dot products, which are cosines if the outputs have unit length."""
        return dot(self.x, self.all_y.T), dot(self.y, self.all_x.T)


def dot(a: Float[Array, "i j"], b: Float[Array, "j k"]) -> Float[Array, "i k"]:
    """Matrix product in full float32, also on devices whose default precision is lower."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def pairs(outputs: Mapping[str, Array], batch: Batch, first: str, second: str, match: str | None = None) -> Pairs:
    """The pairs of two outputs. match: a target Int[b]; valid examples with equal values are positives of each other, too.

    ValueError unless both outputs are [b d] with the same d, and the batch has the target.
    """
    x, y, valid = pair(outputs, batch, first, second)
    all_valid = gather_over_shards(valid)
    count = valid.shape[0]
    position = shard_index() * count + jnp.arange(count)
    positive = position[:, None] == jnp.arange(all_valid.shape[0])[None, :]
    if match is not None:
        value = matched(match, batch)
        positive |= _equal(value, gather_over_shards(value)) & valid[:, None] & all_valid[None, :]
    return Pairs(x, y, gather_over_shards(x), gather_over_shards(y), valid, all_valid, positive)


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


def _equal(value: Int[Array, " b"], others: Int[Array, " B"]) -> Bool[Array, "b B"]:
    """Negative values are equal to nothing."""
    return (value[:, None] == others[None, :]) & (value >= 0)[:, None]


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


def _nats(p: Pairs, similarity: Float[Array, "b B"], t: Any) -> Float[Array, " b"]:
    """- log softmax of similarity / t at the positive, over all valid examples."""
    logits = jnp.where(p.all_valid[None, :], (similarity - p.of_positives(similarity)[:, None]) / t, LOWEST)
    return jax.nn.logsumexp(logits, axis=-1)


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

        values = sum(_nats(p, similarity, t) for similarity in p.similarities()) / 2
        return jnp.where(p.valid, values, 0)


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
        return jnp.where(p.valid, _nats(p, p.similarities()[0], 1.0), 0)


@dataclass(frozen=True)
class SigmoidPairs:
    """sum_j - log sigmoid(z_ij (x_i . y_j / t + c)) in nats, with z_ij = 1 for positives and -1 otherwise.

    Zhai et al., "Sigmoid loss for language image pre-training" (SigLIP), ICCV 2023, section 3.2. As in their figure 1, the
    shards of `--plan pmap` pass their outputs y around, so that each holds one block [b b] of the similarities at a time,
    however many shards there are; the gradient computes the blocks again.

    temperature: t, a number or the name in `Multimodal.loss_parameters` of a `heads.Temperature` (the paper starts at 0.1).
    bias: c, a number or the name of a `heads.Bias` (the paper starts at -10). match: as in `InfoNCE`.
    """

    first: str
    second: str
    temperature: float | str = 0.1
    bias: float | str = -10.0
    match: str | None = None

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        x, y, valid = pair(outputs, batch, self.first, self.second)
        t = _temperature(outputs, self.temperature)
        bias = _learned(outputs, self.bias) if isinstance(self.bias, str) else self.bias
        value = jnp.full(valid.shape, -1, jnp.int32) if self.match is None else matched(self.match, batch)

        @jax.checkpoint
        def block(candidates, own):
            y, present, values = candidates
            positive = (jnp.eye(len(y), dtype=bool) & own) | _equal(value, values)
            logits = dot(x, y.T) / t + bias
            nats = -jax.nn.log_sigmoid(jnp.where(positive, logits, -logits))
            return jnp.sum(jnp.where(present[None, :], nats, 0), axis=-1)

        return jnp.where(valid, sum_over_blocks(block, (y, valid, value)), 0)


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

        def one_way(similarity):
            # an example without negatives has LOWEST here, and so a loss of 0
            hardest = jnp.max(jnp.where(p.negatives, similarity, LOWEST), axis=-1)
            return jax.nn.relu(self.margin - p.of_positives(similarity) + hardest)

        return jnp.where(p.valid, sum(map(one_way, p.similarities())), 0)
