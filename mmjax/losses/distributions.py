"""Losses that compare two outputs [b d] over the whole batch, as samples rather than as pairs and negatives.

The value is computed over all shards and is the same for every valid example. An example is valid in an output if its weight is
above 0 and it has the output's modality ("text" of "text.shared"); the loss counts in examples that are valid in both. Shards
add up means and then products [d d] of centred outputs, so that none holds the outputs of the whole batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.losses.combine import counted, pick, zero_invalid
from mmjax.losses.contrastive import dot, pair
from mmjax.shards import shard_index, sum_over_blocks, sum_over_shards
from mmjax.types import Batch

__all__ = ["DCCA", "CentralMoments", "Correlation", "NormalMMD", "Orthogonality", "SignedEntropy"]


def _centred(
    x: Float[Array, "b d"], valid: Bool[Array, " b"]
) -> tuple[Float[Array, "b d"], Float[Array, " d"], Float[Array, ""]]:
    """(x minus its mean over the valid examples of all shards, zero in the others; the mean; their number, at least 1)."""
    count = jnp.maximum(sum_over_shards(jnp.sum(valid, dtype=jnp.float32)), 1)
    mean = sum_over_shards(jnp.sum(jnp.where(valid[:, None], x, 0), axis=0)) / count
    return jnp.where(valid[:, None], x - mean[None, :], 0), mean, count


def _products(x: Float[Array, "b d"], y: Float[Array, "b e"]) -> Float[Array, "d e"]:
    """X' Y over all shards."""
    return sum_over_shards(dot(x.T, y))


def _covariances(
    outputs: Mapping[str, Array], batch: Batch, first: str, second: str, ridge: float, name: str
) -> tuple[Float[Array, "d d"], Float[Array, "d d"], Float[Array, "d d"], Bool[Array, " b"]]:
    """(S11 + r I, S12, S22 + r I, valid) over the examples that are valid in both outputs."""
    if not ridge > 0:
        raise ValueError(f"{name}.ridge is {ridge}; it must be above 0")
    x, y, valid = pair(outputs, batch, first, second)
    (x, _, count), (y, _, _) = _centred(x, valid), _centred(y, valid)
    share = 1 / jnp.maximum(count - 1, 1)
    s11, s22 = (_products(z, z) * share + ridge * jnp.eye(z.shape[1]) for z in (x, y))
    return s11, _products(x, y) * share, s22, valid


@dataclass(frozen=True)
class Correlation:
    """d - sum_k rho_k^2, with rho_k the d canonical correlations of the two outputs over the batch: 0 is best, d is worst.

    After Andrew et al., "Deep canonical correlation analysis", ICML 2013. They maximise sum_k rho_k (`DCCA`), which has no
    gradient where a rho_k is 0. The sum of squares, tr T'T = tr S11^-1 S12 S22^-1 S21, has its maximum at the same outputs (all
    rho_k = 1), needs no eigenvectors, and has a finite gradient everywhere.

    Use batches much larger than d: with d examples, all d correlations are 1. The outputs need not have unit length, so
    `Regressor(d)` is a suitable head.

    first, second: names of two outputs [b d]. ridge: r > 0, added to the diagonals of S11 and S22 (r1 and r2 in the paper), in
    squared units of the outputs.
    """

    first: str
    second: str
    ridge: float = 1e-3

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        s11, s12, s22, valid = _covariances(outputs, batch, self.first, self.second, self.ridge, "Correlation")
        total = jnp.sum(jnp.linalg.solve(s11, s12) * jnp.linalg.solve(s22, s12.T).T)
        return jnp.where(valid, s12.shape[0] - total, 0)


@dataclass(frozen=True)
class DCCA:
    """m - sum of the m highest canonical correlations rho_k of the two outputs over the batch: 0 is best, m is worst.

    The objective of deep CCA (Andrew et al., "Deep canonical correlation analysis", ICML 2013, equation 10), minus its constant
    maximum m; of linear CCA if the outputs are linear in frozen features, as of a `Regressor`. The rho_k are the singular
    values of S11^(-1/2) S12 S22^(-1/2), computed from Cholesky factors L L' = S, as those of L11^-1 S12 L22^-T, which needs no
    eigenvectors of S11 and S22. MultiBench's `CCALoss` adds 1e-3 to each rho_k^2 and limits them to 1e-9 from below.

    first, second, ridge: as in `Correlation`. top: m, None for all. ValueError if `top` is not from 1 to d.
    """

    first: str
    second: str
    top: int | None = None
    ridge: float = 1e-3

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        s11, s12, s22, valid = _covariances(outputs, batch, self.first, self.second, self.ridge, "DCCA")
        width = s12.shape[0]
        top = width if self.top is None else self.top
        if not 1 <= top <= width:
            raise ValueError(f"DCCA.top is {self.top}; it must be from 1 to {width}, the width of the outputs")
        half = lax.linalg.triangular_solve(jnp.linalg.cholesky(s11), s12, left_side=True, lower=True)
        whitened = lax.linalg.triangular_solve(jnp.linalg.cholesky(s22), half.T, left_side=True, lower=True)
        return jnp.where(valid, top - jnp.sum(jnp.linalg.svd(whitened, compute_uv=False)[:top]), 0)


@dataclass(frozen=True)
class CentralMoments:
    """The central moment discrepancy |E x - E y| + sum_{k=2..moments} |E (x - E x)^k - E (y - E y)^k|, with Euclidean norms.

    Zellinger et al., "Central moment discrepancy", ICLR 2017, equation 5, for outputs in intervals of length 1 such as those of
    a sigmoid; the similarity loss of MISA (Hazarika et al., 2020, equation 11). Each expectation is the mean over the examples
    that are valid in that output. The gradient of a norm at 0 is 0.

    first, second: names of two outputs [b d]. moments: the highest moment; ValueError unless it is at least 1.
    """

    first: str
    second: str
    moments: int = 5

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        if not self.moments >= 1:
            raise ValueError(f"CentralMoments.moments is {self.moments}; it must be at least 1")
        _, _, both = pair(outputs, batch, self.first, self.second)  # checks the shapes

        def moments(name):
            centred, mean, count = _centred(pick(outputs, name).astype(jnp.float32), counted(name, batch))
            higher = sum_over_shards([jnp.sum(centred**k, axis=0) for k in range(2, self.moments + 1)])
            return jnp.stack([mean, *(one / count for one in higher)])

        square = jnp.sum((moments(self.first) - moments(self.second)) ** 2, axis=-1)
        norms = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
        return jnp.where(both, jnp.sum(norms), 0)


@dataclass(frozen=True)
class Orthogonality:
    """|X' Y|^2 / (d e) (squared Frobenius norm), with rows of X [B d] and Y [B e] centred over the batch and of unit length.

    The difference loss of MISA (Hazarika et al., 2020, equation 13), after Bousmalis et al., "Domain separation networks",
    2016, equation 5. As in the authors' code, the value is a mean over entries instead of a sum, the lengths of rows are
    constants for the gradient, and 1e-6 is added to them. The mean of a column is over the examples that are valid in both.

    first, second: names of two outputs [b d].
    """

    first: str
    second: str

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        x, y, valid = pair(outputs, batch, self.first, self.second)

        def unit(x):
            x = _centred(x, valid)[0]
            return x / (lax.stop_gradient(jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))) + 1e-6)

        return jnp.where(valid, jnp.mean(_products(unit(x), unit(y)) ** 2), 0)


@dataclass(frozen=True)
class NormalMMD:
    """The squared maximum mean discrepancy of an output z [b d] to N(0, I), with k(x, y) = exp(-|x - y|^2 / s), s = d:

        mean_ij k(z_i, z_j) - 2 mean_i E k(z_i, y) + E k(y, y'),   y, y' ~ N(0, I),
        E k(z, y) = (1 + 2 / s)^(-d / 2) exp(-|z|^2 / (s + 2)),    E k(y, y') = (1 + 4 / s)^(-d / 2)

    Gretton et al., "A kernel two-sample test", JMLR 2012, equation 5; the regulariser of the multimodal factorisation model
    (Tsai et al., 2019), whose code has another kernel, exp(-|x - y|^2 / d^2), and draws as many y as there are examples:
    `PublishedNormalMMD` has that kernel. The value is computed over the valid examples of the whole batch.

    output: its name.
    """

    output: str

    def kernel_scale(self, width: int) -> int:
        """s, for outputs of d = width numbers."""
        return width

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        z, valid = pick(outputs, self.output), counted(self.output, batch)
        if z.ndim != 2:
            raise ValueError(f"output {self.output!r} must be [b d]; it is {z.shape}")
        z, width, scale = zero_invalid(z.astype(jnp.float32), valid), z.shape[1], self.kernel_scale(z.shape[1])
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


@dataclass(frozen=True)
class SignedEntropy:
    """(log det S_p + log det S_n) / 4 in nats, with the covariances S_p and S_n of an output z [b d] over the examples with a
    positive and with a negative target.

    The entropy of the mixture of two Gaussians in MMIM (Han et al., 2021, section 3.4) without its constants, as in their code,
    which maximises it: give it a negative weight. As many examples of each sign as z is wide are too few; with
    `train.previous_batch.PreviousBatch`, those of the batch before count too, as in their code.

    output: its name. target: the name of a target Float[b] or Float[b 1]; examples with 0 or without a target do not count.
    ridge: added to the diagonals, in squared units of the output; 0 in the code. ValueError if there is no such target, or if
    those of the batch before do not fit.
    """

    output: str
    target: str = "score"
    ridge: float = 1e-6

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        z, valid, sign = pick(outputs, self.output), counted(self.output, batch), batch.targets.get(self.target)
        if sign is None or sign.size != sign.shape[0] or not jnp.issubdtype(sign.dtype, jnp.floating):
            raise ValueError(
                f"SignedEntropy.target is {self.target!r}; it must be a target Float[b] of the batch, which has "
                f"{sorted(batch.targets)}"
            )
        z, sign = zero_invalid(z.astype(jnp.float32), valid), jnp.where(valid, sign.reshape(-1), 0)
        before, their_sign = (batch.targets.get(f"previous/{name}") for name in (self.output, self.target))
        if before is not None:
            if their_sign is None:
                raise ValueError(f"PreviousBatch.target must be that of the SignedEntropy of {self.output!r}, {self.target!r}")
            if before.shape[1] != z.shape[1]:
                width = f"PreviousBatch.outputs has the width {before.shape[1]} for {self.output!r}"
                raise ValueError(f"{width}; it must be {z.shape[1]}")
            their_sign = jnp.where(shard_index() == 0, their_sign, 0)  # every shard has the whole batch before; it counts once
            z, sign = jnp.concatenate([z, before]), jnp.concatenate([sign, their_sign])

        def log_determinant(chosen):
            centred, _, count = _centred(z, chosen)
            covariance = _products(centred, centred) / count
            return jnp.linalg.slogdet(covariance + self.ridge * jnp.eye(z.shape[1]))[1]

        return jnp.where(valid, (log_determinant(sign > 0) + log_determinant(sign < 0)) / 4, 0)
