"""Losses over pairs: two outputs of the same example belong together, those of different examples do not.

first, second: names of two outputs [b d], such as "image.embedding" and "text.embedding", of heads `Projection` that the model
has under `unimodal_heads`. An example counts, as a pair of its own and as a stranger to the others, where its weight is above 0 and both
modalities are present; elsewhere its value is 0. Every example sees those of the whole batch, over all shards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.losses.tasks import blank, counted, pick
from mmjax.shards import gather_over_shards, shard_index
from mmjax.types import Batch

LOWEST = jnp.finfo(jnp.float32).min


class Pairs(NamedTuple):
    """x, y: this part's outputs [b d]; all_x, all_y: the whole batch's [B d], zeros where the example does not count; here
    Bool[b], there Bool[B]: which ones count; own Bool[b B]: whose partner is whose."""

    x: Float[Array, "b d"]
    y: Float[Array, "b d"]
    all_x: Float[Array, "B d"]
    all_y: Float[Array, "B d"]
    here: Bool[Array, " b"]
    there: Bool[Array, " B"]
    own: Bool[Array, "b B"]

    @property
    def others(self) -> Bool[Array, "b B"]:
        """Which of the whole batch is a stranger to each example."""
        return self.there[None, :] & ~self.own

    def similarities(self) -> tuple[Float[Array, "b B"], Float[Array, "b B"]]:
        """(of x with all y, of y with all x): dot products, cosines where the outputs have length one."""
        return dot(self.x, self.all_y.T), dot(self.y, self.all_x.T)


def dot(a: Float[Array, "i j"], b: Float[Array, "j k"]) -> Float[Array, "i k"]:
    """Matrix product in full float32, also where a device's default is less."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def pairs(outputs: Mapping[str, Array], batch: Batch, first: str, second: str) -> Pairs:
    x, y = pick(outputs, first), pick(outputs, second)
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"outputs {first!r} and {second!r} must be [b d] of one width; they are {x.shape} and {y.shape}")
    here = counted(first, batch) & counted(second, batch)
    x, y = blank(x.astype(jnp.float32), here), blank(y.astype(jnp.float32), here)
    there = gather_over_shards(here)
    count = here.shape[0]
    position = shard_index() * count + jnp.arange(count)
    own = position[:, None] == jnp.arange(there.shape[0])[None, :]
    return Pairs(x, y, gather_over_shards(x), gather_over_shards(y), here, there, own)


def _temperature(outputs: Mapping[str, Array], given: float | str) -> Any:
    """[b 1] from the output of that name, or the number; what divides the similarities."""
    if isinstance(given, str):
        return pick(outputs, given)[:, :1]
    if given <= 0:
        raise ValueError(f"temperature is {given}; it must be above 0")
    return given


@dataclass(frozen=True)
class InfoNCE:
    """(- log softmax_j(x_i . y_j / t)[i] - log softmax_j(y_i . x_j / t)[i]) / 2 in nats: whose partner am I, both ways.

    van den Oord et al., "Representation learning with contrastive predictive coding", 2018, equation 4; symmetric as in
    Radford et al., "Learning transferable visual models from natural language supervision" (CLIP), 2021, figure 3.

    temperature: t, dimensionless: a number, or the name of an output of the head `Temperature`, which learns it.
    """

    first: str
    second: str
    temperature: float | str = 0.07

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        p = pairs(outputs, batch, self.first, self.second)
        own = jnp.sum(p.x * p.y, axis=-1)
        t = _temperature(outputs, self.temperature)

        def one_way(similarity):
            logits = jnp.where(p.there[None, :], (similarity - own[:, None]) / t, LOWEST)
            return jax.nn.logsumexp(logits, axis=-1)

        values = sum(map(one_way, p.similarities())) / 2
        return jnp.where(p.here, values, 0)


@dataclass(frozen=True)
class SigmoidPairs:
    """sum_j - log sigmoid(z_ij (x_i . y_j / t + c)) in nats, z_ij = 1 for i = j and -1 otherwise: is each pair a pair?

    Zhai et al., "Sigmoid loss for language image pre-training" (SigLIP), ICCV 2023, section 3.2.

    temperature: t, a number or the name of an output of the head `Temperature` (theirs starts at 0.1). bias: c, a number or the
    name of an output of the head `Bias` (theirs starts at -10).
    """

    first: str
    second: str
    temperature: float | str = 0.1
    bias: float | str = -10.0

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        p = pairs(outputs, batch, self.first, self.second)
        t = _temperature(outputs, self.temperature)
        bias = pick(outputs, self.bias)[:, :1] if isinstance(self.bias, str) else self.bias
        logits = p.similarities()[0] / t + bias
        values = jnp.sum(jnp.where(p.there[None, :], -jax.nn.log_sigmoid(jnp.where(p.own, logits, -logits)), 0), axis=-1)
        return jnp.where(p.here, values, 0)


@dataclass(frozen=True)
class Triplet:
    """max_j [m - x_i . y_i + x_i . y_j]_+ + max_j [m - x_i . y_i + y_i . x_j]_+ over j != i: the hardest stranger, both ways.

    Faghri et al., "VSE++: improving visual-semantic embeddings with hard negatives", BMVC 2018, equation 6. margin: m, in
    units of the similarity.
    """

    first: str
    second: str
    margin: float = 0.2

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        p = pairs(outputs, batch, self.first, self.second)
        own = jnp.sum(p.x * p.y, axis=-1)

        def one_way(similarity):
            hardest = jnp.max(jnp.where(p.others, similarity, LOWEST), axis=-1)  # LOWEST, and so 0 below, where there is none
            return jax.nn.relu(self.margin - own + hardest)

        return jnp.where(p.here, sum(map(one_way, p.similarities())), 0)


@dataclass(frozen=True)
class Correlation:
    """d - sum_k rho_k^2, with rho_k the d canonical correlations of the two outputs over the batch: 0 at best, d at worst.

    After Andrew et al., "Deep canonical correlation analysis", ICML 2013. They maximise sum_k rho_k = tr (T'T)^(1/2), with
    T = S11^(-1/2) S12 S22^(-1/2), which has no gradient where a rho_k is 0. The sum of squares, tr T'T = tr S11^-1 S12 S22^-1
    S21, is largest for the same outputs (all rho_k = 1), needs no eigenvectors, and has a finite gradient everywhere.

    The value is one of the batch, the same in each example that counts. Take batches much larger than d: with as many
    numbers as examples, anything correlates. Outputs need no length, so that `Regressor(d)` is the head to take.
    ridge: r, added to the diagonals of S11 and S22 (their r1, r2), in squared units of the outputs.
    """

    first: str
    second: str
    ridge: float = 1e-3

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        if self.ridge <= 0:
            raise ValueError(f"Correlation.ridge is {self.ridge}; it must be above 0")
        p = pairs(outputs, batch, self.first, self.second)
        count = jnp.sum(p.there, dtype=jnp.float32)

        def centred(x):
            mean = jnp.sum(x, axis=0) / jnp.maximum(count, 1)
            return jnp.where(p.there[:, None], x - mean[None, :], 0)

        x, y = centred(p.all_x), centred(p.all_y)
        share, width = 1 / jnp.maximum(count - 1, 1), x.shape[1]
        s11, s22 = (dot(z.T, z) * share + self.ridge * jnp.eye(width) for z in (x, y))
        s12 = dot(x.T, y) * share
        total = jnp.sum(jnp.linalg.solve(s11, s12) * jnp.linalg.solve(s22, s12.T).T)
        return jnp.where(p.here, width - total, 0)
