"""Recurrent layers, x [b n d] and mask Bool[b n] -> states [b n features], float32, from zero states.

Where the mask is False the state is carried on unchanged, so padding may come at either end. The input is projected in one
matmul outside the scan, and the recurrent kernel's gradient is one too: automatic differentiation would add it up step by
step, which costs nothing for a single small model, and a third or more under `vmap` over seeds (5 GRUs of 128, on a CPU).

`layer.last(states, length)` is the state after the whole sequence; a layer of one's own that has these two methods is an
equal of ours wherever a recurrent layer is a field.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mmjax.nn.pooling import last_state
from mmjax.types import Padded, Tokens


def _gates(z: Float[Array, "b g"]) -> tuple[Array, Array, Array, Array]:
    """Input, forget, cell and output gate from their pre-activations, in torch's order."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    return nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)


def _recur(h: Float[Array, "b h"], kernel: Float[Array, "h g"]) -> Float[Array, "b g"]:
    return jnp.matmul(h.astype(kernel.dtype), kernel, preferred_element_type=jnp.float32)


def _kernel_gradient(
    states: Float[Array, "n b h"], dz: Float[Array, "n b g"], kernel: Float[Array, "h g"]
) -> Float[Array, "h g"]:
    """Of all steps at once, from all states and the gradients of what the kernel gave: each step's is of the state before it,
    the first's of zeros."""
    h, dz = (x.reshape(-1, x.shape[-1]).astype(kernel.dtype) for x in (states[:-1], dz[1:]))
    return jnp.matmul(h.T, dz, preferred_element_type=jnp.float32).astype(kernel.dtype)


@jax.custom_vjp
def lstm_scan(
    z: Float[Array, "n b g"], kernel: Float[Array, "h g"], mask: Bool[Array, "n b"]
) -> Float[Array, "n b h"]:
    """All hidden states of an LSTM (Hochreiter and Schmidhuber, 1997; forget gate by Gers et al., 2000), from zero states.

        i, f, o = sigmoid(z_t + h_{t-1} U),  g = tanh(z_t + h_{t-1} U),  c_t = f c_{t-1} + i g,  h_t = o tanh(c_t)

    z: float32 input projections with the bias. Where mask is False the state is carried on unchanged.
    """
    return _lstm_forward(z, kernel, mask)[0]


def _lstm_forward(z, kernel, mask):
    def step(carry, now):
        h, c = carry
        z_t, there = now
        i, f, g, o = _gates(z_t + _recur(h, kernel))
        new_c = f * c + i * g
        tanh_c = jnp.tanh(new_c)
        carry = jnp.where(there, o * tanh_c, h), jnp.where(there, new_c, c)
        return carry, (carry[0], (c, jnp.concatenate([i, f, g, o], axis=-1), tanh_c))

    zeros = jnp.zeros((z.shape[1], kernel.shape[0]), jnp.float32)
    _, (states, saved) = lax.scan(step, (zeros, zeros), (z, mask[..., None]))
    return states, (states, saved, kernel, mask)


def _lstm_backward(residuals, d_states):
    states, saved, kernel, mask = residuals
    turned = lax.optimization_barrier(kernel.T)  # once, not at every step

    def step(carry, now):
        dh, dc = carry
        d_state, (c, gates, tanh_c), there = now
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        dh = dh + d_state
        new_dh, new_dc = jnp.where(there, dh, 0), jnp.where(there, dc, 0)
        new_dc = new_dc + new_dh * o * (1 - tanh_c * tanh_c)
        dz = jnp.concatenate(
            [
                new_dc * g * i * (1 - i),
                new_dc * c * f * (1 - f),
                new_dc * i * (1 - g * g),
                new_dh * tanh_c * o * (1 - o),
            ],
            axis=-1,
        )
        back = jnp.matmul(dz.astype(kernel.dtype), turned, preferred_element_type=jnp.float32)
        return (back + jnp.where(there, 0, dh), new_dc * f + jnp.where(there, 0, dc)), dz

    zeros = jnp.zeros_like(d_states[0])
    _, dz = lax.scan(step, (zeros, zeros), (d_states, saved, mask[..., None]), reverse=True)
    return dz, _kernel_gradient(states, dz, kernel), None


lstm_scan.defvjp(_lstm_forward, _lstm_backward)


@jax.custom_vjp
def gru_scan(
    z: Float[Array, "n b g"], kernel: Float[Array, "h g"], bias: Float[Array, " h"], mask: Bool[Array, "n b"]
) -> Float[Array, "n b h"]:
    """All hidden states of gated recurrent units (Cho et al., 2014, equations 5 to 8), in the variant of cuDNN and torch:

        r, u = sigmoid(z_t + h_{t-1} U),  n = tanh(z_t + r * (h_{t-1} U + bias)),  h_t = (1 - u) n + u h_{t-1}

    The reset gate multiplies the recurrent product with its own bias; in the paper it multiplies h_{t-1} before the product.
    z: float32 input projections with their bias, in torch's order r, u, n.
    """
    return _gru_forward(z, kernel, bias, mask)[0]


def _gru_forward(z, kernel, bias, mask):
    def step(h, now):
        z_t, there = now
        (z_r, z_u, z_n), (h_r, h_u, h_n) = jnp.split(z_t, 3, axis=-1), jnp.split(_recur(h, kernel), 3, axis=-1)
        r, u, h_n = nn.sigmoid(z_r + h_r), nn.sigmoid(z_u + h_u), h_n + bias[None]
        n = jnp.tanh(z_n + r * h_n)
        new = jnp.where(there, (1 - u) * n + u * h, h)
        return new, (new, (h, r, u, n, h_n))

    zeros = jnp.zeros((z.shape[1], kernel.shape[0]), jnp.float32)
    _, (states, saved) = lax.scan(step, zeros, (z, mask[..., None]))
    return states, (states, saved, kernel, mask)


def _gru_backward(residuals, d_states):
    states, saved, kernel, mask = residuals
    turned = lax.optimization_barrier(kernel.T)  # once, not at every step

    def step(dh, now):
        d_state, (h, r, u, n, h_n), there = now
        dh = dh + d_state
        new_dh = jnp.where(there, dh, 0)
        dn = new_dh * (1 - u) * (1 - n * n)
        dr, du = dn * h_n * r * (1 - r), new_dh * (h - n) * u * (1 - u)
        dz = jnp.concatenate([dr, du, dn * r], axis=-1)  # of the recurrent product
        back = jnp.matmul(dz.astype(kernel.dtype), turned, preferred_element_type=jnp.float32)
        return back + new_dh * u + jnp.where(there, 0, dh), (dz, dn)

    _, (dz, dn) = lax.scan(step, jnp.zeros_like(d_states[0]), (d_states, saved, mask[..., None]), reverse=True)
    gates, new = jnp.split(dz, [2 * kernel.shape[0]], axis=-1)
    return jnp.concatenate([gates, dn], axis=-1), _kernel_gradient(states, dz, kernel), new.sum(axis=(0, 1)), None


gru_scan.defvjp(_gru_forward, _gru_backward)


@jax.custom_vjp
def rnn_scan(z: Float[Array, "n b h"], kernel: Float[Array, "h h"], mask: Bool[Array, "n b"]) -> Float[Array, "n b h"]:
    """All hidden states of a simple recurrent network (Elman, 1990): h_t = tanh(z_t + h_{t-1} U), z float32 with the bias."""
    return _rnn_forward(z, kernel, mask)[0]


def _rnn_forward(z, kernel, mask):
    def step(h, now):
        z_t, there = now
        new = jnp.where(there, jnp.tanh(z_t + _recur(h, kernel)), h)
        return new, new

    zeros = jnp.zeros((z.shape[1], kernel.shape[0]), jnp.float32)
    _, states = lax.scan(step, zeros, (z, mask[..., None]))
    return states, (states, kernel, mask)


def _rnn_backward(residuals, d_states):
    states, kernel, mask = residuals
    turned = lax.optimization_barrier(kernel.T)  # once, not at every step

    def step(dh, now):
        d_state, h, there = now
        dh = dh + d_state
        dz = jnp.where(there, dh * (1 - h * h), 0)
        back = jnp.matmul(dz.astype(kernel.dtype), turned, preferred_element_type=jnp.float32)
        return back + jnp.where(there, 0, dh), dz

    _, dz = lax.scan(step, jnp.zeros_like(d_states[0]), (d_states, states, mask[..., None]), reverse=True)
    return dz, _kernel_gradient(states, dz, kernel), None


rnn_scan.defvjp(_rnn_forward, _rnn_backward)


def _lstm_bias(key, shape, dtype=jnp.float32) -> Float[Array, " g"]:
    """Zeros, but one for the forget gate: it starts open (Jozefowicz et al., 2015)."""
    del key
    width = shape[0] // 4
    return jnp.zeros(shape, dtype).at[width : 2 * width].set(1)


class LSTM(nn.Module):
    """A layer of LSTM cells over [b n d]: all hidden states [b n features], float32. Gates in the order i, f, g, o.

    dtype: of the matmuls; the states and the gates are float32.
    """

    features: int
    dtype: Any = jnp.float32

    last = staticmethod(last_state)

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n h"]:
        width = 4 * self.features
        z = nn.Dense(width, name="input", dtype=self.dtype, bias_init=_lstm_bias)(x.swapaxes(0, 1))
        kernel = self.param("recurrent", nn.initializers.orthogonal(), (self.features, width))
        states = lstm_scan(z.astype(jnp.float32), kernel.astype(self.dtype), mask.T)
        return states.swapaxes(0, 1)


class GRU(nn.Module):
    """A layer of gated recurrent units over [b n d] (`gru_scan` has the equations): all hidden states [b n features], float32.

    dtype: of the matmuls; the states and the gates are float32.
    """

    features: int
    dtype: Any = jnp.float32

    last = staticmethod(last_state)

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n h"]:
        width = 3 * self.features
        z = nn.Dense(width, name="input", dtype=self.dtype)(x.swapaxes(0, 1))
        kernel = self.param("recurrent", nn.initializers.orthogonal(), (self.features, width))
        bias = self.param("recurrent_bias", nn.initializers.zeros_init(), (self.features,))
        return gru_scan(z.astype(jnp.float32), kernel.astype(self.dtype), bias, mask.T).swapaxes(0, 1)


class RNN(nn.Module):
    """A simple recurrent layer over [b n d], h_t = tanh(x_t W + h_{t-1} U + b) (Elman, 1990): all hidden states [b n features].

    dtype: of the matmuls; the states are float32.
    """

    features: int
    dtype: Any = jnp.float32

    last = staticmethod(last_state)

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n h"]:
        z = nn.Dense(self.features, name="input", dtype=self.dtype)(x.swapaxes(0, 1))
        kernel = self.param("recurrent", nn.initializers.orthogonal(), (self.features, self.features))
        return rnn_scan(z.astype(jnp.float32), kernel.astype(self.dtype), mask.T).swapaxes(0, 1)


class Bidirectional(nn.Module):
    """The layer over the sequence and, with parameters of its own, over the sequence reversed (Schuster and Paliwal, 1997).

    States [b n 2 * features], the forward ones first. Reversed, the padding comes before the first real step, and the zero
    state is carried through it: so the backward states at real steps do not know of it, and beyond the length they are zero.
    """

    layer: nn.Module

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n h"]:
        forward = self.layer.copy(name="forward")(x, mask, train=train)
        backward = self.layer.copy(name="backward")(jnp.flip(x, axis=1), jnp.flip(mask, axis=1), train=train)
        return jnp.concatenate([forward, jnp.flip(backward, axis=1)], axis=-1)

    @staticmethod
    def last(states: Float[Array, "b n h"], length: Int[Array, " b"]) -> Float[Array, "b h"]:
        """The forward state at the last real step, and the backward state at the first: each has read the whole sequence."""
        forward, backward = jnp.split(states, 2, axis=-1)
        return jnp.concatenate([last_state(forward, length), backward[:, 0]], axis=-1)


class Stack(nn.Module):
    """Layers one upon another, each over the states of the one below."""

    layers: tuple[nn.Module, ...]

    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n h"]:
        for layer in self.layers:
            x = layer(x, mask, train=train)
        return x

    def last(self, states: Float[Array, "b n h"], length: Int[Array, " b"]) -> Float[Array, "b h"]:
        """That of the topmost layer."""
        return self.layers[-1].last(states, length)


def read(layer: nn.Module, x: Padded, every_step: bool = False, *, train: bool = False) -> Tokens:
    """A recurrent layer's state after the whole sequence as the one token, or its state at every step as a token."""
    states = layer(x.x, x.mask, train=train)
    if every_step:
        return Tokens(states, x.mask)
    return Tokens(layer.last(states, x.length)[:, None], (x.length > 0)[:, None])
