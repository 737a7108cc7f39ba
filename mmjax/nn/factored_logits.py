"""Logits over a large vocabulary that are not computed as an array: the states and the table whose product they are.

The logits of 4,096 tokens over 262,144 ids take 4.3 GB in float32, and the gradient as much again. The log probability of one
id per token needs a chunk of them at a time.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int

from mmjax.types import Declared

__all__ = ["FactoredLogits", "label_log_p", "soft_cap"]


def soft_cap(x: Float[Array, "*n"], cap: float | None) -> Float[Array, "*n"]:
    """cap tanh(x / cap), which keeps logits in (-cap, cap) (Gemma Team, 2024, "Gemma 2", section 2); None for x."""
    return x if cap is None else cap * jnp.tanh(x / cap)


@struct.dataclass
class FactoredLogits:
    """The logits soft_cap(states table^T), [b m v], as an output of a decoder: `CrossEntropy` and `Likelihood` take them.

    states: Float[b m d]. table: Float[v d], in the dtype of the product; logits are float32. cap: of `soft_cap`. chunk: tokens
    of each example whose logits exist at the same time.
    """

    states: Declared[Float[Array, "b m d"]]
    table: Declared[Float[Array, "v d"]]
    cap: float | None = struct.field(pytree_node=False, default=None)
    chunk: int = struct.field(pytree_node=False, default=128)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the logits."""
        return (*self.states.shape[:-1], self.table.shape[0])

    def __getitem__(self, key: slice | tuple[slice, ...]) -> "FactoredLogits":
        """The logits of some examples and tokens."""
        return self.replace(states=self.states[key])

    def with_states(self, states: Float[Array, "b m d"]) -> "FactoredLogits":
        """The logits of other states."""
        return self.replace(states=states)

    def computed(self) -> Float[Array, "b m v"]:
        """All logits as an array."""
        return _logits(self.states, self.table, self.cap)

    def log_p(self, label: Int[Array, "b m"]) -> tuple[Float[Array, "b m"], Float[Array, "b m"]]:
        """(log p of the label of each token, the mean of log p over the vocabulary), in nats; NaN for a label out of range.

        The gradient computes the logits of a chunk once more.
        """
        batch, length, width = self.states.shape
        chunk = min(self.chunk, length)
        padding = -length % chunk
        states = jnp.pad(self.states, ((0, 0), (0, padding), (0, 0))).reshape(batch, -1, chunk, width).swapaxes(0, 1)
        labels = jnp.pad(label, ((0, 0), (0, padding))).reshape(batch, -1, chunk).swapaxes(0, 1)

        @jax.checkpoint
        def one(table, states, labels):
            logits = _logits(states, table, self.cap)
            normalizer = jax.nn.logsumexp(logits, axis=-1)
            of_label = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
            return of_label - normalizer, jnp.mean(logits, axis=-1) - normalizer

        _, found = lax.scan(lambda table, given: (table, one(table, *given)), self.table, (states, labels))
        joined = lambda x: x.swapaxes(0, 1).reshape(batch, -1)[:, :length]
        return joined(found[0]), joined(found[1])


def _logits(states: Float[Array, "b m d"], table: Float[Array, "v d"], cap: float | None) -> Float[Array, "b m v"]:
    y = jnp.einsum("bmd,vd->bmv", states.astype(table.dtype), table, preferred_element_type=jnp.float32)
    return soft_cap(y, cap)


def label_log_p(output: FactoredLogits | Float[Array, "b m v"], label: Int[Array, "b m"]) -> Float[Array, "b m"]:
    """log p of the label of each token in nats, of logits or factored logits. label: in 0 .. v - 1."""
    if isinstance(output, FactoredLogits):
        return output.log_p(label)[0]
    output = output.astype(jnp.float32)
    of_label = jnp.take_along_axis(output, label[..., None], axis=-1)[..., 0]
    return of_label - jax.nn.logsumexp(output, axis=-1)
