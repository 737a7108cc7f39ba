"""Recurrent layers: x [b n d] and mask Bool[b n] -> hidden states [b n features], float32.

Initial states are zeros, and a masked step copies the previous state, so padding may be at either end. The input is projected
in one matmul outside the scan.

Wherever a module has a field for a recurrent layer, it takes any module with these two methods:

    __call__(x [b n d], mask Bool[b n], *, train) -> states [b n h]
    last(states [b n h], length Int[b]) -> [b h], the state after the whole sequence
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.nn.checks import positive
from mmjax.nn.pooling import last_state
from mmjax.nn.recurrent_scan import gru_scan, lstm_scan, rnn_scan
from mmjax.types import Padded, Tokens

__all__ = ["GRU", "LSTM", "RNN", "Bidirectional", "Stack", "read"]


def _lstm_bias(key, shape, dtype=jnp.float32) -> Float[Array, " g"]:
    """Ones for the forget gate, which then starts open (Jozefowicz et al., 2015); zeros for the other gates."""
    del key
    width = shape[0] // 4
    return jnp.zeros(shape, dtype).at[width : 2 * width].set(1)


class LSTM(nn.Module):
    """An LSTM layer (`lstm_scan`). Gates are in the order i, f, g, o.

    features: number of units. dtype: of the matmuls; states and gates are float32.
    """

    features: int
    dtype: Any = jnp.float32

    last = staticmethod(last_state)

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n h"]:
        positive(self, "features")
        width = 4 * self.features
        z = nn.Dense(width, name="input", dtype=self.dtype, bias_init=_lstm_bias)(x.swapaxes(0, 1))
        kernel = self.param("recurrent", nn.initializers.orthogonal(), (self.features, width))
        states = lstm_scan(z.astype(jnp.float32), kernel.astype(self.dtype), mask.T)
        return states.swapaxes(0, 1)


class GRU(nn.Module):
    """A layer of gated recurrent units (`gru_scan`). Gates are in the order r, u, n.

    features: number of units. dtype: of the matmuls; states and gates are float32.
    """

    features: int
    dtype: Any = jnp.float32

    last = staticmethod(last_state)

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n h"]:
        positive(self, "features")
        width = 3 * self.features
        z = nn.Dense(width, name="input", dtype=self.dtype)(x.swapaxes(0, 1))
        kernel = self.param("recurrent", nn.initializers.orthogonal(), (self.features, width))
        bias = self.param("recurrent_bias", nn.initializers.zeros_init(), (self.features,))
        return gru_scan(z.astype(jnp.float32), kernel.astype(self.dtype), bias, mask.T).swapaxes(0, 1)


class RNN(nn.Module):
    """A simple recurrent layer, h_t = tanh(x_t W + h_{t-1} U + b) (Elman, 1990).

    features: number of units. dtype: of the matmuls; states are float32.
    """

    features: int
    dtype: Any = jnp.float32

    last = staticmethod(last_state)

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n h"]:
        positive(self, "features")
        z = nn.Dense(self.features, name="input", dtype=self.dtype)(x.swapaxes(0, 1))
        kernel = self.param("recurrent", nn.initializers.orthogonal(), (self.features, self.features))
        return rnn_scan(z.astype(jnp.float32), kernel.astype(self.dtype), mask.T).swapaxes(0, 1)


class Bidirectional(nn.Module):
    """A layer over the sequence and a copy of it over the reversed sequence, with separate parameters (Schuster and Paliwal,
    1997): states [b n 2 * features], the forward states first.

    In the reversed sequence the padding comes first and leaves the zero state unchanged, so the backward states do not depend
    on the padding and are zero beyond the length.
    """

    layer: nn.Module

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n h"]:
        forward = self.layer.copy(name="forward")(x, mask, train=train)
        backward = self.layer.copy(name="backward")(jnp.flip(x, axis=1), jnp.flip(mask, axis=1), train=train)
        return jnp.concatenate([forward, jnp.flip(backward, axis=1)], axis=-1)

    @staticmethod
    def last(states: Float[Array, "b n h"], length: Int[Array, " b"]) -> Float[Array, "b h"]:
        """The forward state at the last valid step and the backward state at the first step."""
        forward, backward = jnp.split(states, 2, axis=-1)
        return jnp.concatenate([last_state(forward, length), backward[:, 0]], axis=-1)


class Stack(nn.Module):
    """Layers in sequence: each takes the states of the previous one as input."""

    layers: tuple[nn.Module, ...]

    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n h"]:
        for layer in self.layers:
            x = layer(x, mask, train=train)
        return x

    def last(self, states: Float[Array, "b n h"], length: Int[Array, " b"]) -> Float[Array, "b h"]:
        """The last state of the last layer."""
        return self.layers[-1].last(states, length)


def read(layer: nn.Module, x: Padded, every_step: bool = False, *, train: bool = False) -> Tokens:
    """A recurrent layer's state after the whole sequence as a single token; with `every_step`, one token per step."""
    states = layer(x.x, x.mask, train=train)
    if every_step:
        return Tokens(states, x.mask)
    return Tokens(layer.last(states, x.length)[:, None], (x.length > 0)[:, None])
