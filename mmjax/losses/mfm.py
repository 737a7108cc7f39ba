"""The loss of the multimodal factorisation model exactly as its authors' code defines it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.losses.combine import WeightedLosses, counted, pick, zero_invalid
from mmjax.losses.contrastive import dot
from mmjax.losses.distributions import NormalMMD
from mmjax.losses.output import OutputLoss
from mmjax.shards import sum_over_blocks, sum_over_shards
from mmjax.types import Batch

__all__ = ["PublishedNormalMMD", "published_mfm_loss"]


@dataclass(frozen=True)
class PublishedNormalMMD(NormalMMD):
    """`NormalMMD` with the kernel of the authors' code of the multimodal factorisation model (Tsai et al., 2019),
    k(x, y) = exp(-|x - y|^2 / d^2) for outputs z [b d]; that of `NormalMMD` is exp(-|x - y|^2 / d).

        mean_ij k(z_i, z_j) - 2 mean_i E k(z_i, y) + E k(y, y'),   y, y' ~ N(0, I), with s = d^2:
        E k(z, y) = (1 + 2 / s)^(-d / 2) exp(-|z|^2 / (s + 2)),    E k(y, y') = (1 + 4 / s)^(-d / 2)

    Deviation: the code draws as many y as there are examples. This is the expectation over the y, without the constant
    that pairs y_i, y_i add to it in the code.

    output: its name.
    """

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        z, valid = pick(outputs, self.output), counted(self.output, batch)
        if z.ndim != 2:
            raise ValueError(f"output {self.output!r} must be [b d]; it is {z.shape}")
        z, width = zero_invalid(z.astype(jnp.float32), valid), z.shape[1]
        scale = width**2
        total = lambda x: sum_over_shards(jnp.sum(x))
        share = valid / jnp.maximum(total(valid.astype(jnp.float32)), 1)
        square = jnp.sum(z * z, axis=-1)

        @jax.checkpoint
        def block(others, their_share):
            distance = square[:, None] + jnp.sum(others * others, axis=-1)[None, :] - 2 * dot(z, others.T)
            return jnp.sum(share[:, None] * their_share[None, :] * jnp.exp(-jnp.maximum(distance, 0) / scale))

        own = total(sum_over_blocks(lambda part, _: block(*part), (z, share)))
        cross = (1 + 2 / scale) ** (-width / 2) * total(share * jnp.exp(-square / (scale + 2)))
        return jnp.where(valid, own - 2 * cross + (1 + 4 / scale) ** (-width / 2), 0)


def published_mfm_loss(
    loss: Any, modalities: tuple[str, ...], generation: float = 1.0, discrepancy: float = 1.0
) -> WeightedLosses:
    """`mfm_loss` with the kernel of the authors' code: `PublishedNormalMMD` instead of `NormalMMD`. All as there."""
    each = {"task": (loss, 1.0), "generation": (OutputLoss("generation"), generation)}
    for output in ("latent", *(f"{name}.latent" for name in sorted(modalities))):
        each[f"discrepancy {output}"] = PublishedNormalMMD(output), discrepancy
    return WeightedLosses(each)
