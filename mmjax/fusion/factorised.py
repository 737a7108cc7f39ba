"""Factorised fusion: what predicts the target, and what generates each modality alone."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mmjax.fusion.joint import project
from mmjax.fusion.memory import MFN, DenseFunction
from mmjax.fusion.outputs import FusedTokens
from mmjax.nn import LSTM, Dropout
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = ["MFM"]


class MFM(nn.Module):
    """The multimodal factorisation model (Tsai et al., 2019, "Learning factorized multimodal representations"):

        z_y = W MFN(x_1, ..., x_K) + b,   z_k = W_k LSTM_k(x_k) + b_k (its last state),   f = relu(V' relu(V z + a) + a')

    with networks V of its own for each z. The output is f_y as one token. From [f_y; f_k], a decoder generates the tokens of
    modality k: an LSTM of their width whose first input is [f_y; f_k], and then its own state, and a linear layer.

    `published.mfm_heads` and `losses.mfm_loss` add the losses: the mean squared error of the generated tokens, which is a
    constant for them (the code generates the inputs), and the discrepancy of the latents z. All latents and factors have the
    same width, which the authors choose one by one; f_y and two linear layers with ReLU between them are the head,
    `Classifier(classes, hidden=(width,))`. An absent modality generates nothing.

    width: of the latents and factors. features, memory, hidden: of the `MFN`. dropout: rate in the networks V and the MFN.
    dtype: of the matmuls. ValueError if the modalities have different numbers of steps.
    """

    width: int = 32
    features: int = 32
    memory: int = 64
    hidden: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "features", "memory", "hidden")
        rate(self, "dropout")
        mfn = MFN(self.features, self.memory, self.hidden, self.dropout, self.dtype, name="mfn")(tokens, train=train)
        latents = {"": project(mfn.x[:, 0], self.width, "latent", self.dtype)}
        clean = {name: jnp.where(t.mask[..., None], t.x, 0).astype(jnp.float32) for name, t in sorted(tokens.items())}
        for name, x in clean.items():
            states = LSTM(self.width, self.dtype, name=f"{name}_encoder")(x, tokens[name].mask, train=train)
            latents[name] = project(states[:, -1], self.width, f"{name}_latent", self.dtype)  # masked steps copy the state

        def factor(name):
            prefix = f"{name}_factor" if name else "factor"
            y = nn.relu(project(latents[name], self.width, f"{prefix}_up", self.dtype))
            y = Dropout(self.dropout, name=f"{prefix}_dropout")(y, train=train)
            return nn.relu(project(y, self.width, f"{prefix}_down", self.dtype))

        target, error = factor(""), 0
        for name, x in clean.items():
            start = jnp.concatenate([target, factor(name)], axis=-1)
            generated = project(self._decode(start, x.shape[1], name), x.shape[-1], f"{name}_decoder", self.dtype)
            square = jnp.mean((generated - lax.stop_gradient(x)) ** 2, axis=-1)
            valid = tokens[name].mask
            error += jnp.where(valid, square, 0).sum(axis=1) / jnp.maximum(valid.sum(axis=1), 1)
        outputs = {f"{name}.latent" if name else "latent": z for name, z in latents.items()}
        return FusedTokens(target[:, None], mfn.mask, outputs | {"generation": error})

    def _decode(self, start: Float[Array, "b d"], steps: int, name: str) -> Float[Array, "b n d"]:
        """The states of an LSTM whose first input is `start`, and each other one its state before."""
        width = start.shape[-1]
        inputs = DenseFunction(width, 4 * width, dtype=self.dtype, name=f"{name}_generator_input")()
        recurrent = DenseFunction(width, 4 * width, bias=False, dtype=self.dtype, name=f"{name}_generator_recurrent")()

        def step(carry, _):
            x, h, c = carry
            i, f, g, o = jnp.split(inputs(x) + recurrent(h), 4, axis=-1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, h, c), h

        zeros = jnp.zeros_like(start)
        return lax.scan(step, (start, zeros, zeros), None, length=steps)[1].swapaxes(0, 1)
