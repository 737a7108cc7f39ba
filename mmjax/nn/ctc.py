"""Connectionist temporal classification (CTC): the probability of a labelling, summed over its alignments to frames.

Graves et al., "Connectionist temporal classification: labelling unsegmented sequence data with recurrent neural networks", ICML
2006. An alignment gives each frame a label or the blank; merging repetitions and then removing blanks gives the labelling.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

__all__ = ["LOWEST", "ctc_log_probability", "labels_before_end"]

LOWEST = -1e30
"""The log-probability of what is impossible; finite, so that gradients are."""


def labels_before_end(ids: Int[Array, "b m"], end: int) -> tuple[Int[Array, "b m"], Int[Array, " b"]]:
    """(labels, their number): the ids before the first one that is `end` or negative; `end` after them."""
    valid = jnp.cumprod((ids >= 0) & (ids != end), axis=1).astype(bool)
    return jnp.where(valid, ids, end), jnp.sum(valid, axis=1)


def ctc_log_probability(
    logits: Float[Array, "b n v"], mask: Bool[Array, "b n"], labels: Int[Array, "b m"], count: Int[Array, " b"], blank: int = 0
) -> Float[Array, " b"]:
    """log p(labels | frames) in nats, float32; -inf, with gradient 0, if no alignment exists (equations 3 to 8).

    logits: of each frame; those where `mask` is False are skipped and may be NaN. labels: ids other than the blank, of which
    the first `count` are the labelling. An id of v or more gives NaN.

    The n labels with blanks between and around them make 2 n + 1 states. A frame stays, advances by one state, or skips the
    blank between two different labels.
    """
    log_p = jax.nn.log_softmax(jnp.where(mask[..., None], logits.astype(jnp.float32), 0))
    states = jnp.full((labels.shape[0], 2 * labels.shape[1] + 1), blank, labels.dtype).at[:, 1::2].set(labels)
    log_p = jnp.maximum(jnp.take_along_axis(log_p, states[:, None], axis=2), LOWEST)  # of each state, [b n 2m+1]
    skips = (states != blank) & (states != jnp.pad(states, ((0, 0), (2, 0)), constant_values=blank)[:, :-2])
    after = lambda alpha, by: jnp.pad(alpha, ((0, 0), (by, 0)), constant_values=LOWEST)[:, : alpha.shape[1]]

    def advance(state, frame):
        (alpha, scale), (log_p, valid) = state, frame
        sources = alpha, after(alpha, 1), jnp.where(skips, after(alpha, 2), LOWEST)
        new = jnp.where(valid[:, None], jax.nn.logsumexp(jnp.stack(sources), axis=0) + log_p, alpha)
        top = lax.stop_gradient(jnp.max(new, axis=1))
        top = jnp.where(top < 0.1 * LOWEST, 0, top)
        return (new - top[:, None], scale + top), None  # near 0, where float32 is precise

    start = jnp.full(states.shape, LOWEST, jnp.float32).at[:, 0].set(0.0)  # before the first frame
    frames = log_p.swapaxes(0, 1), mask.T
    (alpha, scale), _ = lax.scan(advance, (start, jnp.zeros(len(start))), frames)
    last = jnp.take_along_axis(alpha, 2 * count[:, None], axis=1)[:, 0]
    before = jnp.take_along_axis(alpha, jnp.maximum(2 * count - 1, 0)[:, None], axis=1)[:, 0]
    total = jnp.logaddexp(last, jnp.where(count > 0, before, LOWEST))
    return jnp.where(total < 0.1 * LOWEST, -jnp.inf, total + scale)  # also true of sums with LOWEST, and false of NaN
