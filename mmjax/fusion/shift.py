"""Fusion by shifting: other modalities displace the tokens of one modality, at each of their aligned steps.

    e <- e + alpha h,   alpha = min(beta |e| / |h|, 1),   h = sum of the gated other modalities

so that no displacement is longer than beta |e|. A modality that is absent at a step contributes nothing to h. At a step without
the target, e = 0 and alpha = 1, so that the others still count; the paper has no such steps.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.fusion.joint import project
from mmjax.fusion.steps import aligned
from mmjax.nn import Dropout
from mmjax.nn.checks import rate
from mmjax.types import Tokens

__all__ = ["MAG", "RAVEN"]


def _length(x: Float[Array, "*b d"]) -> Float[Array, "*b 1"]:
    """|x|, with gradient 0 at x = 0."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _split(
    module: Any, tokens: Mapping[str, Tokens]
) -> tuple[Float[Array, "b n d"], dict[str, Array], Bool[Array, "b n"]]:
    """(the target, the others by name, where any modality is valid), float32 with zeros where masked."""
    name = type(module).__name__
    if module.target not in tokens:
        raise ValueError(f"{name}.target is {module.target!r}; it must be one of the modalities {sorted(tokens)}")
    aligned(tokens, module)
    clean = {k: jnp.where(t.mask[..., None], t.x, 0).astype(jnp.float32) for k, t in sorted(tokens.items())}
    return clean.pop(module.target), clean, jnp.stack([t.mask for t in tokens.values()]).any(axis=0)


def _shifted(
    e: Float[Array, "b n d"], h: Float[Array, "b n d"], has_target: Bool[Array, "b n"], beta: float, epsilon: float
) -> Float[Array, "b n d"]:
    size = _length(h)
    most = beta * _length(e) / (jnp.where(size == 0, 1, size) + epsilon)
    return e + jnp.where(has_target[..., None], jnp.minimum(most, 1), 1) * h


class MAG(nn.Module):
    """The multimodal adaptation gate (Rahman et al., 2020, "Integrating multimodal information in large pretrained
    transformers", equations 1 to 5), for any number of other modalities a_k of the target e:

        h = sum_k g_k * (W_k a_k + b_k),   g_k = relu(R_k [a_k; e] + r_k),   e <- LN(e + alpha h)

    The tokens keep the target's width. It equals the authors' code, whose |h| + 1e-6 and norm it uses. In MAG-BERT the gate is
    between two layers of BERT; here it follows an encoder.

    target: the modality that is shifted, such as "text"; ValueError if the model has no such modality, or if numbers of steps
    differ. beta: the longest displacement, relative to the token. dropout: rate on the output. dtype: of the matmuls.
    """

    target: str
    beta: float = 1.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        rate(self, "dropout")
        e, others, mask = _split(self, tokens)
        h = jnp.zeros_like(e)
        for name, a in others.items():
            gate = nn.relu(project(jnp.concatenate([a, e], axis=-1), e.shape[-1], f"{name}_gate", self.dtype))
            h += jnp.where(tokens[name].mask[..., None], gate * project(a, e.shape[-1], name, self.dtype), 0)
        y = _shifted(e, h, tokens[self.target].mask, self.beta, 1e-6)
        y = nn.LayerNorm(1e-5, name="norm")(y)
        return Tokens(Dropout(self.dropout, name="dropout")(y, train=train), mask)


class RAVEN(nn.Module):
    """The gated shift of RAVEN (Wang et al., 2019, "Words can shift", equations 3 to 8):

        h = sum_k w_k W_k a_k + b,   w_k = sigmoid(v_k . [a_k; e] + c_k),   e <- e + alpha h

    with one gate per step and modality. The a_k are the states of the authors' LSTMs over the frames of a word; encoders
    provide them. The LSTM over the shifted words is `ContextOver(RAVEN("text"), LSTM(64))`. This follows the paper; the
    authors' code has no sigmoid, and e + beta |e| h / max(|h|, 1).

    target, beta, dropout, dtype: as in `MAG`.
    """

    target: str
    beta: float = 1.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        rate(self, "dropout")
        e, others, mask = _split(self, tokens)
        h = jnp.broadcast_to(self.param("bias", nn.initializers.zeros_init(), e.shape[-1:])[None, None], e.shape)
        for name, a in others.items():
            gate = nn.sigmoid(project(jnp.concatenate([a, e], axis=-1), 1, f"{name}_gate", self.dtype))
            shift = project(a, e.shape[-1], name, self.dtype, bias=False)
            h += jnp.where(tokens[name].mask[..., None], gate * shift, 0)
        y = _shifted(e, h, tokens[self.target].mask, self.beta, 0.0)
        return Tokens(Dropout(self.dropout, name="dropout")(y, train=train), mask)
