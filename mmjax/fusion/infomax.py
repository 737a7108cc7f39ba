"""Fusion that maximises mutual information: between pairs of modalities, and between the fusion and each modality."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mmjax.fusion.joint import one_token, pool, project
from mmjax.fusion.outputs import FusedTokens
from mmjax.nn import Dropout
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = ["MMIM"]


def _unit(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """x / |x|, zero at zero."""
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))


class MMIM(nn.Module):
    """Multimodal InfoMax (Han et al., 2021, "Improving multimodal fusion with hierarchical mutual information maximization").
    The output is z = tanh(W tanh(V [x_1; ...; x_K] + a) + b) as one token. Other outputs, for bounds of mutual information:

        "k.vector", "k.predicted"     x_k and U_k z + u_k, of unit length, for `losses.CPC` (section 3.5)
        "negative_log_likelihood"     the sum of |(x_k - m_k) / s_k|^2 / 2 over the other modalities k, with m_k and log s_k^2
                                      by perceptrons of the main one: q(x_k | x) of Barber and Agakov (section 3.4)
        "k.entropy"                   tanh(P_k x_k + p_k) of a quarter of the width, for `losses.SignedEntropy` (section 3.4)

    `published.mmim_heads` and `losses.mmim_loss` add its losses. It equals the authors' code with their defaults, up to its
    last linear layer, which is the head; as in the code, the likelihood is without log s_k, and the CPC without a temperature.
    The code alternates epochs in which only q learns, from the likelihood, with epochs in which all but q and the P_k learn, so
    that the P_k stay as they were drawn; here all learn at once. A pair counts if both of its modalities are present. The
    authors' `add_va`, a third pair, is left out.

    main: the modality that predicts the others; ValueError if the model has no such modality. width: of z and of the layer
    before it. dropout: rate on the concatenation. dtype: of the matmuls.
    """

    main: str = "text"
    width: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        if self.main not in tokens:
            raise ValueError(f"MMIM.main is {self.main!r}; it must be one of the modalities {sorted(tokens)}")
        vectors, present = pool(tokens, 0.0, train)
        layer = lambda x, width, name: project(x, width, name, self.dtype)
        valid = dict(zip(vectors, present.T))
        joined = jnp.concatenate(list(vectors.values()), axis=-1)
        joined = Dropout(self.dropout, name="dropout")(joined, train=train)
        z = jnp.tanh(layer(jnp.tanh(layer(joined, self.width, "first")), self.width, "second"))

        outputs, nats, main = {}, jnp.zeros(z.shape[0]), vectors[self.main]
        for name, x in vectors.items():
            width = x.shape[-1]
            outputs[f"{name}.vector"] = _unit(x)
            outputs[f"{name}.predicted"] = _unit(layer(z, width, f"{name}_predicted"))
            if name == self.main:
                continue
            gaussian = {
                kind: layer(nn.relu(layer(main, width, f"{name}_{kind}_up")), width, f"{name}_{kind}")
                for kind in ("mean", "log_variance")
            }
            terms = (x - gaussian["mean"]) ** 2 * jnp.exp(-gaussian["log_variance"])
            nats += jnp.where(valid[name] & valid[self.main], 0.5 * jnp.sum(terms, axis=-1), 0)
            outputs[f"{name}.entropy"] = jnp.tanh(layer(x, max(1, width // 4), f"{name}_entropy"))
        fused = one_token(z, present)
        return FusedTokens(fused.x, fused.mask, outputs | {"negative_log_likelihood": nats})
