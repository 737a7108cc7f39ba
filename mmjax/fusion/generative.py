"""Multimodal variational autoencoders: a Gaussian latent z per example, from any subset of the modalities.

Each modality has an encoder q_k(z) = N(m_k, diag s_k^2), with m_k and log s_k^2 by a perceptron of the mean token x_k, and a
decoder p(x_k | z) = N(f_k(z), I) with a perceptron f_k; as a target, x_k has no gradient. Sums and products run over present
modalities. The output is z as one token: a sample in training, its mean in evaluation. The output "negative_elbo"
(see `FusionOutput`) is the loss in nats without the constants of log p, for `losses.OutputLoss`.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.fusion.joint import one_token, pool, project
from mmjax.fusion.outputs import FusedTokens
from mmjax.nn.checks import positive
from mmjax.shards import example_keys
from mmjax.types import Tokens

__all__ = ["MMVAE", "MVAE"]

_Gaussian = tuple[Any, Any]  # mean and log-variance, [b width] or [b k width]


def _encoded(module: Any, tokens: Mapping[str, Tokens], train: bool) -> tuple[dict[str, Array], _Gaussian, Bool[Array, "b k"]]:
    """(the vectors x_k, the experts q_k [b k width], presence)."""
    positive(module, "width", "hidden")
    vectors, present = pool(tokens, 0.0, train)

    def expert(name, x):
        return project(nn.relu(project(x, module.hidden, f"{name}_up", module.dtype)), 2 * module.width, name, module.dtype)

    experts = jnp.stack([expert(name, x) for name, x in vectors.items()], axis=1)
    mean, log_variance = jnp.split(experts, 2, axis=-1)
    return {name: lax.stop_gradient(x) for name, x in vectors.items()}, (mean, log_variance), present


def _sample(module: Any, gaussian: _Gaussian, train: bool) -> Float[Array, "b ..."]:
    """A sample with one draw per example in training, else the mean."""
    mean, log_variance = gaussian
    if not train:
        return mean
    keys = example_keys(module.make_rng("dropout"), mean.shape[0])
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(keys)
    return mean + jnp.exp(log_variance / 2) * noise


def _divergence(gaussian: _Gaussian) -> Float[Array, "b ..."]:
    """KL(q || N(0, I)) in nats."""
    mean, log_variance = gaussian
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, axis=-1)


def _errors(module: Any, vectors: Mapping[str, Array], z: Float[Array, "b r width"]) -> Float[Array, "b r k"]:
    """-log p(x_k | z) without its constant, for r latents and k modalities."""

    def error(name, x):
        again = nn.relu(project(z, module.hidden, f"{name}_decoder_up", module.dtype))
        return 0.5 * jnp.sum((project(again, x.shape[-1], f"{name}_decoder", module.dtype) - x[:, None]) ** 2, axis=-1)

    return jnp.stack([error(name, x) for name, x in vectors.items()], axis=-1)


class MVAE(nn.Module):
    """Multimodal VAE with a product of experts (Wu and Goodman, 2018):

        q(z | x) = N(0, I) prod_k q_k(z), normalised:  precision 1 + sum_k s_k^-2,  mean (sum_k m_k s_k^-2) / precision
        loss = - ELBO(all) - sum_k ELBO(k),
        ELBO(A) = E_q(z | x_A) [sum_{k in A} log p(x_k | z)] - beta KL(q(z | x_A) || N(0, I))

    (equations 3 to 5; without their additional random subsets A, as in MultiBench). The networks are perceptrons of one hidden
    layer; the authors' depend on the data.

    width: of z. hidden: units of the perceptrons. beta: weight of the divergence, 1 for the ELBO; the authors raise it from 0.
    dtype: of the matmuls.
    """

    width: int = 64
    hidden: int = 64
    beta: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, (mean, log_variance), present = _encoded(self, tokens, train)
        count = present.shape[1]
        # Row 0 has all present modalities, row k modality k alone.
        rows = jnp.concatenate([jnp.ones((1, count), bool), jnp.eye(count, dtype=bool)])[None] & present[:, None]
        precision = jnp.where(rows[..., None], jnp.exp(-log_variance)[:, None], 0)
        total = 1 + precision.sum(axis=2)
        posterior = (precision * mean[:, None]).sum(axis=2) / total, -jnp.log(total)

        z = _sample(self, posterior, train)
        errors = jnp.where(rows, _errors(self, vectors, z), 0).sum(axis=-1)
        elbo = jnp.where(rows.any(axis=-1), errors + self.beta * _divergence(posterior), 0)
        fused = one_token(z[:, 0], present)
        return FusedTokens(fused.x, fused.mask, {"negative_elbo": elbo.sum(axis=1)})


class MMVAE(nn.Module):
    """Multimodal VAE with a mixture of experts (Shi et al., 2019): q(z | x) = mean_k q_k(z), and

        loss = - mean_k E_q_k(z) [sum_j log p(x_j | z) + log p(z) - log q(z | x)],   p(z) = N(0, I)

    (equation 2, by one sample of each expert). Distributions are Gaussian, where the authors choose Laplace's, whose scale they
    also learn for the prior, and they train by several samples of each expert: `fusion.published_mmvae.PublishedMMVAE`. In
    evaluation, z is the mean of the mixture. With one modality present, this is a VAE.

    width: of z. hidden: units of the perceptrons of one hidden layer. dtype: of the matmuls.
    """

    width: int = 64
    hidden: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, experts, present = _encoded(self, tokens, train)
        count = jnp.maximum(present.sum(axis=1), 1)
        average = lambda values: jnp.where(present, values, 0).sum(axis=1) / count

        z = _sample(self, experts, train)
        mean, log_variance = (part[:, None] for part in experts)
        log_q = -0.5 * jnp.sum((z[:, :, None] - mean) ** 2 * jnp.exp(-log_variance) + log_variance, axis=-1)
        log_q = jnp.where(present[:, None], log_q, jnp.finfo(jnp.float32).min)  # [b sample expert]
        mixture = jax.nn.logsumexp(log_q, axis=-1) - jnp.log(count)[:, None]
        errors = jnp.where(present[:, None], _errors(self, vectors, z), 0).sum(axis=-1)
        elbo = average(errors + 0.5 * jnp.sum(z**2, axis=-1) + mixture)
        fused = one_token(jnp.where(present[..., None], z, 0).sum(axis=1) / count[:, None], present)
        return FusedTokens(fused.x, fused.mask, {"negative_elbo": elbo})
