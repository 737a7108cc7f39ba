"""Recurrent layers. The input is projected in one matmul outside the scan; the recurrent kernel's gradient is one too."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


def _gates(z: Float[Array, "b g"]) -> tuple[Array, Array, Array, Array]:
    """Input, forget, cell and output gate from their pre-activations, in torch's order."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    return nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)


def _recur(h: Float[Array, "b h"], kernel: Float[Array, "h g"]) -> Float[Array, "b g"]:
    return jnp.matmul(h.astype(kernel.dtype), kernel, preferred_element_type=jnp.float32)


@jax.custom_vjp
def lstm_scan(
    z: Float[Array, "n b g"], kernel: Float[Array, "h g"], mask: Bool[Array, "n b"]
) -> Float[Array, "n b h"]:
    """All hidden states of an LSTM (Hochreiter and Schmidhuber, 1997; forget gate by Gers et al., 2000), from zero states.

        i, f, o = sigmoid(z_t + h_{t-1} U),  g = tanh(z_t + h_{t-1} U),  c_t = f c_{t-1} + i g,  h_t = o tanh(c_t)

    z: float32 input projections with the bias. Where mask is False the state is carried on unchanged.
    The derivative is written out because automatic differentiation adds up the kernel's gradient step by step.
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
        return carry, (carry[0], (h, c, jnp.concatenate([i, f, g, o], axis=-1), tanh_c))

    zeros = jnp.zeros((z.shape[1], kernel.shape[0]), jnp.float32)
    _, (states, saved) = lax.scan(step, (zeros, zeros), (z, mask[..., None]))
    return states, (saved, kernel, mask)


def _lstm_backward(residuals, d_states):
    (h, c, gates, tanh_c), kernel, mask = residuals

    def step(carry, now):
        dh, dc = carry
        d_state, c, gates, tanh_c, there = now
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
        back = jnp.matmul(dz.astype(kernel.dtype), kernel.T, preferred_element_type=jnp.float32)
        return (back + jnp.where(there, 0, dh), new_dc * f + jnp.where(there, 0, dc)), dz

    zeros = jnp.zeros_like(d_states[0])
    _, dz = lax.scan(step, (zeros, zeros), (d_states, c, gates, tanh_c, mask[..., None]), reverse=True)
    width = kernel.shape[0]
    d_kernel = jnp.matmul(
        h.reshape(-1, width).astype(kernel.dtype).T,
        dz.reshape(-1, 4 * width).astype(kernel.dtype),
        preferred_element_type=jnp.float32,
    )
    return dz, d_kernel.astype(kernel.dtype), None


lstm_scan.defvjp(_lstm_forward, _lstm_backward)


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

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b n h"]:
        width = 4 * self.features
        z = nn.Dense(width, name="input", dtype=self.dtype, bias_init=_lstm_bias)(x)
        kernel = self.param("recurrent", nn.initializers.orthogonal(), (self.features, width))
        states = lstm_scan(z.astype(jnp.float32).swapaxes(0, 1), kernel.astype(self.dtype), mask.T)
        return states.swapaxes(0, 1)
