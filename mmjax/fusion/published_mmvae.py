"""The multimodal VAE with a mixture of experts exactly as its authors train it on images."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from mmjax.fusion.joint import one_token, pool
from mmjax.fusion.outputs import FusedTokens
from mmjax.nn.checks import positive
from mmjax.shards import example_keys
from mmjax.types import Tokens

__all__ = ["PublishedMMVAE", "laplace_noise"]

_ETA = 1e-6  # least scale of the code


def laplace_noise(key: Key[Array, ""], batch: Any, shape: tuple[int, ...]) -> Float[Array, "b ..."]:
    """Draws [batch *shape] of the Laplace distribution with location 0 and scale 1, independent of how a batch is split."""
    return jax.vmap(lambda key: jax.random.laplace(key, shape))(example_keys(key, batch))


def _log_prob(x: Array, location: Array | float, scale: Array | float) -> Array:
    """Of the Laplace distribution, in nats, summed over the last axis."""
    return jnp.sum(-jnp.abs(x - location) / scale - jnp.log(2 * jnp.asarray(scale)), axis=-1)


class PublishedMMVAE(nn.Module):
    """Multimodal VAE with a mixture of experts (Shi et al., 2019), with the distributions and the objective of the authors'
    code for MNIST and SVHN. q_k, p(x_j | z) and p(z) are Laplace distributions, q(z | x) = mean_k q_k(z), and the loss is

        - mean_k log mean_s w_ks,   w = prod_j p(x_j | z)^a_j p(z) / q(z | x),   z_ks ~ q_k, s = 1, ..., S

    (`m_dreg_looser` in the code, with the mean over modalities outside of the logarithm). With S = 1 it is equation 2 of the
    paper, as in `MMVAE`. As in the code, the gradient is the doubly reparametrised one of Tucker et al. (2019): none by the
    parameters of q(z | x) but through z, where it has a factor w_ks / sum_s w_ks. The networks are perceptrons of one hidden
    layer, as for MNIST. q_k has the scales width softmax(.) + 1e-6, and the prior, which is learned, width softmax(.) around 0.

    Deviations: f_j(z), the location of x_j, is linear in the last layer, since vectors have no bounds; for pixels the code has
    a sigmoid. As targets, the x_j have no gradient.

    The output is z as one token: the mean over the experts of their first sample in training, of their locations in evaluation,
    where the loss has S = 1 and these as samples. The output "negative_elbo" (see `FusionOutput`) is the loss in nats, for
    `losses.OutputLoss`. Sums and means run over present modalities.

    width: of z. hidden: units of the perceptrons. samples: S. scale: of p(x_j | z). factors: {modality: a_j}, 1 without an
    entry; in the code, the size of the largest x over that of x_j. dtype: of the matmuls. ValueError if `scale` is not
    positive, or for factors of unknown modalities.
    """

    width: int = 20
    hidden: int = 400
    samples: int = 30
    scale: float = 0.75
    factors: Mapping[str, float] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "hidden", "samples")
        factors = dict(self.factors or {})
        if not self.scale > 0:
            raise ValueError(f"PublishedMMVAE.scale is {self.scale}; it must be above 0")
        if unknown := sorted(set(factors) - set(tokens)):
            raise ValueError(f"PublishedMMVAE.factors is of {unknown}; its keys must be some of {sorted(tokens)}")
        x, present = pool(tokens, 0.0, train)
        count = jnp.maximum(present.sum(axis=1), 1)
        layer = lambda size, name: nn.Dense(size, dtype=self.dtype, name=name)
        up = {name: nn.relu(layer(self.hidden, f"{name}_up")(value)) for name, value in x.items()}
        stack = lambda kind: jnp.stack([layer(self.width, f"{name}_{kind}")(y) for name, y in up.items()], axis=1)
        location, scale = stack("location").astype(jnp.float32), stack("scale").astype(jnp.float32)
        scale = self.width * nn.softmax(scale) + _ETA
        prior = self.width * nn.softmax(jnp.asarray(self.param("prior", nn.initializers.zeros_init(), (self.width,))))
        decoders = {
            name: (layer(self.hidden, f"{name}_decoder_up"), layer(value.shape[-1], f"{name}_decoder"))
            for name, value in x.items()
        }

        z = location[:, None]  # [b sample expert width]
        if train:
            shape = (self.samples, *location.shape[1:])
            z = z + scale[:, None] * laplace_noise(self.make_rng("dropout"), location.shape[0], shape)

        def log_weights(z):
            """[b s k]; of absent experts too."""
            likelihood = []
            for name, (first, last) in decoders.items():
                again = last(nn.relu(first(z))).astype(jnp.float32)
                nats = _log_prob(lax.stop_gradient(x[name])[:, None, None], again, self.scale)
                likelihood.append(factors.get(name, 1.0) * nats)
            likelihood = jnp.where(present[:, None, None], jnp.stack(likelihood, axis=-1), 0).sum(axis=-1)
            experts = (lax.stop_gradient(part)[:, None, None] for part in (location, scale))
            each = jnp.where(present[:, None, None], _log_prob(z[..., None, :], *experts), jnp.finfo(jnp.float32).min)
            mixture = jax.nn.logsumexp(each, axis=-1) - jnp.log(count)[:, None, None]
            return likelihood + _log_prob(z, 0.0, prior[None, None, None]) - mixture

        share = lax.stop_gradient(nn.softmax(log_weights(z), axis=1))[..., None]
        # The value of z, and the gradient of z times the share.
        weights = log_weights(lax.stop_gradient((1 - share) * z) + share * z)
        bound = jax.nn.logsumexp(weights, axis=1) - math.log(weights.shape[1])
        total = lambda values, valid: jnp.where(valid, values, 0).sum(axis=1)
        fused = one_token(total(z[:, 0], present[..., None]) / count[:, None], present)
        return FusedTokens(fused.x, fused.mask, {"negative_elbo": -total(bound, present) / count})
