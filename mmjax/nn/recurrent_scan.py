"""Recurrences over time with hand-written gradients: input projections z [n b g] -> hidden states [n b h], float32.

The recurrent kernel's gradient is one matmul over all steps. Automatic differentiation accumulates it step by step, which is
as fast for a single small model, but takes a third longer or more under `vmap` over seeds (5 GRUs of 128 units, on a CPU).
Initial states are zeros. Where the mask is False, a step copies the previous state.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

__all__ = ["gru_scan", "lstm_scan", "rnn_scan"]


def _gates(z: Float[Array, "b g"]) -> tuple[Array, Array, Array, Array]:
    """Input, forget, cell and output gate from their pre-activations, in the order of torch."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    return nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)


def _recur(h: Float[Array, "b h"], kernel: Float[Array, "h g"]) -> Float[Array, "b g"]:
    return jnp.matmul(h.astype(kernel.dtype), kernel, preferred_element_type=jnp.float32)


def _kernel_gradient(
    states: Float[Array, "n b h"], dz: Float[Array, "n b g"], kernel: Float[Array, "h g"]
) -> Float[Array, "h g"]:
    """The sum over steps of outer products h_{t-1} dz_t, as one matmul. The first step has h = 0 and contributes nothing.

    dz: gradients with respect to the recurrent products h_{t-1} U.
    """
    h, dz = (x.reshape(-1, x.shape[-1]).astype(kernel.dtype) for x in (states[:-1], dz[1:]))
    return jnp.matmul(h.T, dz, preferred_element_type=jnp.float32).astype(kernel.dtype)


@jax.custom_vjp
def lstm_scan(
    z: Float[Array, "n b g"], kernel: Float[Array, "h g"], mask: Bool[Array, "n b"]
) -> Float[Array, "n b h"]:
    """The hidden states of an LSTM (Hochreiter and Schmidhuber, 1997; forget gate of Gers et al., 2000):

        i, f, o = sigmoid(z_t + h_{t-1} U),  g = tanh(z_t + h_{t-1} U),  c_t = f c_{t-1} + i g,  h_t = o tanh(c_t)

    z: input projections with the bias, in the order i, f, g, o.
    """
    return _lstm_forward(z, kernel, mask)[0]


def _lstm_forward(z, kernel, mask):
    def step(carry, inputs):
        h, c = carry
        z_t, valid = inputs
        i, f, g, o = _gates(z_t + _recur(h, kernel))
        new_c = f * c + i * g
        tanh_c = jnp.tanh(new_c)
        carry = jnp.where(valid, o * tanh_c, h), jnp.where(valid, new_c, c)
        return carry, (carry[0], (c, jnp.concatenate([i, f, g, o], axis=-1), tanh_c))

    zeros = jnp.zeros((z.shape[1], kernel.shape[0]), jnp.float32)
    _, (states, saved) = lax.scan(step, (zeros, zeros), (z, mask[..., None]))
    return states, (states, saved, kernel, mask)


def _lstm_backward(residuals, d_states):
    states, saved, kernel, mask = residuals
    transposed = lax.optimization_barrier(kernel.T)  # transposed once, not at every step

    def step(carry, inputs):
        dh, dc = carry
        d_state, (c, gates, tanh_c), valid = inputs
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        dh = dh + d_state
        new_dh, new_dc = jnp.where(valid, dh, 0), jnp.where(valid, dc, 0)
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
        back = jnp.matmul(dz.astype(kernel.dtype), transposed, preferred_element_type=jnp.float32)
        return (back + jnp.where(valid, 0, dh), new_dc * f + jnp.where(valid, 0, dc)), dz

    zeros = jnp.zeros_like(d_states[0])
    _, dz = lax.scan(step, (zeros, zeros), (d_states, saved, mask[..., None]), reverse=True)
    return dz, _kernel_gradient(states, dz, kernel), None


lstm_scan.defvjp(_lstm_forward, _lstm_backward)


@jax.custom_vjp
def gru_scan(
    z: Float[Array, "n b g"], kernel: Float[Array, "h g"], bias: Float[Array, " h"], mask: Bool[Array, "n b"]
) -> Float[Array, "n b h"]:
    """The hidden states of a GRU (Cho et al., 2014, equations 5 to 8), in the variant of cuDNN and torch:

        r, u = sigmoid(z_t + h_{t-1} U),  n = tanh(z_t + r * (h_{t-1} U + bias)),  h_t = (1 - u) n + u h_{t-1}

    The reset gate multiplies the recurrent product and its bias; in the paper it multiplies h_{t-1} before the product.
    z: input projections with their bias, in the order r, u, n.
    """
    return _gru_forward(z, kernel, bias, mask)[0]


def _gru_forward(z, kernel, bias, mask):
    def step(h, inputs):
        z_t, valid = inputs
        (z_r, z_u, z_n), (h_r, h_u, h_n) = jnp.split(z_t, 3, axis=-1), jnp.split(_recur(h, kernel), 3, axis=-1)
        r, u, h_n = nn.sigmoid(z_r + h_r), nn.sigmoid(z_u + h_u), h_n + bias[None]
        n = jnp.tanh(z_n + r * h_n)
        new = jnp.where(valid, (1 - u) * n + u * h, h)
        return new, (new, (h, r, u, n, h_n))

    zeros = jnp.zeros((z.shape[1], kernel.shape[0]), jnp.float32)
    _, (states, saved) = lax.scan(step, zeros, (z, mask[..., None]))
    return states, (states, saved, kernel, mask)


def _gru_backward(residuals, d_states):
    states, saved, kernel, mask = residuals
    transposed = lax.optimization_barrier(kernel.T)  # transposed once, not at every step

    def step(dh, inputs):
        d_state, (h, r, u, n, h_n), valid = inputs
        dh = dh + d_state
        new_dh = jnp.where(valid, dh, 0)
        dn = new_dh * (1 - u) * (1 - n * n)
        dr, du = dn * h_n * r * (1 - r), new_dh * (h - n) * u * (1 - u)
        dz = jnp.concatenate([dr, du, dn * r], axis=-1)  # gradient of h_{t-1} U
        back = jnp.matmul(dz.astype(kernel.dtype), transposed, preferred_element_type=jnp.float32)
        return back + new_dh * u + jnp.where(valid, 0, dh), (dz, dn)

    _, (dz, dn) = lax.scan(step, jnp.zeros_like(d_states[0]), (d_states, saved, mask[..., None]), reverse=True)
    gates, new = jnp.split(dz, [2 * kernel.shape[0]], axis=-1)
    return jnp.concatenate([gates, dn], axis=-1), _kernel_gradient(states, dz, kernel), new.sum(axis=(0, 1)), None


gru_scan.defvjp(_gru_forward, _gru_backward)


@jax.custom_vjp
def rnn_scan(z: Float[Array, "n b h"], kernel: Float[Array, "h h"], mask: Bool[Array, "n b"]) -> Float[Array, "n b h"]:
    """The hidden states of a simple recurrent network (Elman, 1990): h_t = tanh(z_t + h_{t-1} U). z includes the bias."""
    return _rnn_forward(z, kernel, mask)[0]


def _rnn_forward(z, kernel, mask):
    def step(h, inputs):
        z_t, valid = inputs
        new = jnp.where(valid, jnp.tanh(z_t + _recur(h, kernel)), h)
        return new, new

    zeros = jnp.zeros((z.shape[1], kernel.shape[0]), jnp.float32)
    _, states = lax.scan(step, zeros, (z, mask[..., None]))
    return states, (states, kernel, mask)


def _rnn_backward(residuals, d_states):
    states, kernel, mask = residuals
    transposed = lax.optimization_barrier(kernel.T)  # transposed once, not at every step

    def step(dh, inputs):
        d_state, h, valid = inputs
        dh = dh + d_state
        dz = jnp.where(valid, dh * (1 - h * h), 0)
        back = jnp.matmul(dz.astype(kernel.dtype), transposed, preferred_element_type=jnp.float32)
        return back + jnp.where(valid, 0, dh), dz

    _, dz = lax.scan(step, jnp.zeros_like(d_states[0]), (d_states, states, mask[..., None]), reverse=True)
    return dz, _kernel_gradient(states, dz, kernel), None


rnn_scan.defvjp(_rnn_forward, _rnn_backward)
