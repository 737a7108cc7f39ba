"""Fusion by translation: the representation from which one modality can be translated into the others."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.fusion.memory import DenseFunction
from mmjax.fusion.outputs import FusedTokens
from mmjax.nn import any_token, masked_softmax
from mmjax.nn.checks import positive
from mmjax.types import Tokens

__all__ = ["MCTN"]


def _gate(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The hard sigmoid of Keras 2."""
    return jnp.clip(0.2 * x + 0.5, 0, 1)


def _encoder_cell(z: Float[Array, "b g"], c: Float[Array, "b h"]) -> tuple[Array, Array]:
    """recurrentshop's LSTM cell, which keeps tanh(c)."""
    f, i, o, g = jnp.split(z, 4, axis=-1)
    c = jnp.tanh(_gate(f) * c + _gate(i) * jnp.tanh(g))
    return _gate(o) * c, c


def _decoder_cell(z: Float[Array, "b g"], c: Float[Array, "b h"]) -> tuple[Array, Array]:
    """The authors' cell, whose forget gate is its input gate."""
    i, g, o = jnp.split(z, 3, axis=-1)
    c = _gate(i) * (c + jnp.tanh(g))
    return _gate(o) * jnp.tanh(c), c


def _keras_cell(z: Float[Array, "b g"], c: Float[Array, "b h"]) -> tuple[Array, Array]:
    """The LSTM cell of Keras 2."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    c = _gate(f) * c + _gate(i) * jnp.tanh(g)
    return _gate(o) * jnp.tanh(c), c


def _states(
    cell: Callable, z: Float[Array, "b n g"], recurrent: Callable, mask: Bool[Array, "b n"], width: int, reverse: bool = False
) -> Float[Array, "b n h"]:
    """The states of a cell from zeros; masked steps keep the state."""

    def step(carry, inputs):
        z, valid = inputs
        new = cell(z + recurrent(carry[0]), carry[1])
        carry = tuple(jnp.where(valid, x, old) for x, old in zip(new, carry))
        return carry, carry[0]

    zeros = jnp.zeros((z.shape[0], width))
    inputs = z.swapaxes(0, 1), mask.T[..., None]
    return lax.scan(step, (zeros, zeros), inputs, reverse=reverse)[1].swapaxes(0, 1)


class MCTN(nn.Module):
    """The multimodal cyclic translation network (Pham et al., 2019, "Found in translation"):

        H = E(x),  y' = D(H),  x' = D(E(y'))     translation of the source x into the first target y, and back by the same E, D
        H_2 = E_2(H),  w' = D_2(H_2)             translation of the joint representation into the second target w
        h = LSTM(H_2),   v = sum_t a_t h_t,   a = softmax_t tanh(u . h_t + b)

    (H_2 = H with one target). The output is v as one token: it needs the source alone; without it, it is absent. The output
    "translation" is the sum of the mean squared errors of y' and w', "cycle" that of x'. With the authors' weights:

        heads={"score": Regressor(), "translation": FusionOutput("translation"), "cycle": FusionOutput("cycle")},
        loss=WeightedLosses({
            "score": (On("score", AbsoluteError()), 1.0),
            "translation": (OutputLoss("translation"), 0.1), "cycle": (OutputLoss("cycle"), 0.1),
        })

    It equals the authors' code, which is not quite the paper: gates are clip(x / 5 + 1/2, 0, 1); E is the sum of LSTMs in both
    directions, whose memory is tanh(c); D is an LSTM with one gate for input and forgetting, without feedback of its output y',
    and with attention scores that are linear, so that the decoder's state cancels in their softmax and its context is the same
    at each step; the features of narrow modalities are padded with zeros to the widest. Its last linear layer is the head.

    Differences: padding is masked, where the code has zero vectors; the tokens are those of encoders, which targets do not
    change; and an absent modality is neither translated nor a target.

    source: the modality that is translated. targets: one or two others, in this order; ValueError if the model lacks one.
    width: of all states. dtype: of the matmuls.
    """

    source: str = "text"
    targets: tuple[str, ...] = ("video", "audio")
    width: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        del train
        positive(self, "width")
        names = self.source, *self.targets
        if not set(names) <= set(tokens) or len(set(names)) != len(names) or len(self.targets) not in (1, 2):
            given = f"MCTN.source is {self.source!r} and MCTN.targets is {self.targets}"
            raise ValueError(f"{given}; they must be two or three different ones of the modalities {sorted(tokens)}")
        widest, mask = max(tokens[name].x.shape[-1] for name in names), {name: tokens[name].mask for name in names}

        def padded(name):
            x = jnp.where(mask[name][..., None], tokens[name].x, 0).astype(jnp.float32)
            return jnp.pad(x, ((0, 0), (0, 0), (0, widest - x.shape[-1])))

        x, first = padded(self.source), self.targets[0]
        encode, decode = self._encoder("first", widest), self._decoder("first", widest)
        joint, source = encode(x, mask[self.source]), mask[self.source]
        there = decode(joint, source, mask[first].shape[1])
        back = decode(encode(there, mask[first]), mask[first], source.shape[1])
        both = any_token(tokens[self.source]) & any_token(tokens[first])
        translation = jnp.where(both, _error(there, padded(first), mask[first]), 0)
        cycle = jnp.where(both, _error(back, x, source), 0)
        for second in self.targets[1:]:
            joint = self._encoder("second", self.width)(joint, source)
            there = self._decoder("second", widest)(joint, source, mask[second].shape[1])
            translation += jnp.where(any_token(tokens[self.source]), _error(there, padded(second), mask[second]), 0)
        fused = self._summary(joint, source)
        return FusedTokens(fused[:, None], source.any(axis=1)[:, None], {"translation": translation, "cycle": cycle})

    def _dense(self, before: int, width: int, name: str, bias: bool = True) -> Callable:
        return DenseFunction(before, width, bias, self.dtype, name=name)()

    def _encoder(self, name: str, before: int) -> Callable:
        """(x [b n d], mask) -> [b n width]."""
        layer = lambda side, kind, d, bias: self._dense(d, 4 * self.width, f"{name}_{side}_{kind}", bias)
        both = {
            side: (layer(side, "input", before, True), layer(side, "recurrent", self.width, False))
            for side in ("forward", "backward")
        }

        def run(x, mask):
            each = (
                _states(_encoder_cell, inputs(x), recurrent, mask, self.width, reverse=side == "backward")
                for side, (inputs, recurrent) in both.items()
            )
            return sum(each)

        return run

    def _decoder(self, name: str, out: int) -> Callable:
        """(H [b n width], mask, number of steps m) -> [b m out]."""
        score = self._dense(self.width, 1, f"{name}_score", bias=False)
        inputs = self._dense(self.width, 3 * self.width, f"{name}_context")
        recurrent = self._dense(self.width, 3 * self.width, f"{name}_recurrent", bias=False)
        output = self._dense(self.width, out, f"{name}_output")

        def run(h, mask, steps):
            weight = masked_softmax(score(h)[..., 0], mask)
            z = inputs(jnp.einsum("bn,bnd->bd", weight, h))
            z = jnp.broadcast_to(z[:, None], (z.shape[0], steps, z.shape[1]))
            return jnp.tanh(output(_states(_decoder_cell, z, recurrent, jnp.ones(z.shape[:2], bool), self.width)))

        return run

    def _summary(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
        """The states of an LSTM, weighted by attention."""
        inputs = self._dense(self.width, 4 * self.width, "summary_input")
        recurrent = self._dense(self.width, 4 * self.width, "summary_recurrent", bias=False)
        h = _states(_keras_cell, inputs(x), recurrent, mask, self.width)
        scores = jnp.tanh(self._dense(self.width, 1, "summary_score")(h))[..., 0]
        return jnp.einsum("bn,bnd->bd", masked_softmax(scores, mask), h)


def _error(x: Float[Array, "b n d"], target: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, " b"]:
    """The mean squared error over the valid tokens, without a gradient for the target; 0 without any."""
    square = jnp.mean((x - lax.stop_gradient(target)) ** 2, axis=-1)
    return jnp.where(mask, square, 0).sum(axis=1) / jnp.maximum(mask.sum(axis=1), 1)
