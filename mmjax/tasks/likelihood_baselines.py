"""The likelihood of texts under n-gram models of the training texts."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Int

from mmjax.nn.ngram import kneser_ney

__all__ = ["ngram_nats", "texts_in"]


def texts_in(ids: Int[np.ndarray, "n m"], end: int) -> Iterator[Int[np.ndarray, " k"]]:
    """The texts of rows that hold one or several of them, each with its end token unless it was cut."""
    for row in ids:
        known = row[row >= 0]
        ends = np.flatnonzero(known == end) + 1
        yield from (text for text in np.split(known, ends) if len(text))


def ngram_nats(
    train: Int[np.ndarray, "n m"], test: Int[np.ndarray, "k l"], vocabulary: int, order: int, end: int
) -> Float[np.ndarray, "k l"]:
    """- log p in nats of the ids of each test row, 0 where they are negative, by `kneser_ney` of the training texts."""
    model = kneser_ney(texts_in(train, end), vocabulary, order, end, ended=False)

    @jax.jit
    def row(model, ids):
        def step(state, token):
            valid = token >= 0
            known = jnp.where(valid, token, 0)
            nats = jnp.where(valid, -model.log_p_of(state, known), 0)
            return jnp.where(valid, model.advance(state, known), state), nats

        return lax.scan(step, model.start(), ids)[1]

    return np.stack([np.asarray(row(model, ids)) for ids in jnp.asarray(test)])
