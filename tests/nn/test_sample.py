"""Samples have the distribution that the filters define; a sequence does not depend on its batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmjax.nn.sample import keep_min_p, keep_top_k, keep_top_p, sample
from mmjax.nn.search import greedy

END = 0
LIKELY = np.array([[0.1, 0.2, 0.05, 0.4, 0.25]])  # probabilities after any token
LOGITS = jnp.log(jnp.array(LIKELY, jnp.float32))


@pytest.mark.parametrize(
    ("keep", "setting", "kept"),
    [
        (keep_top_k, 2, [3, 4]),
        (keep_top_k, 9, [0, 1, 2, 3, 4]),
        (keep_top_p, 0.0, [3]),
        (keep_top_p, 0.6, [3, 4]),  # 0.4 + 0.25
        (keep_top_p, 0.7, [1, 3, 4]),  # 0.65 is not enough
        (keep_top_p, 1.0, [0, 1, 2, 3, 4]),
        (keep_min_p, 0.45, [1, 3, 4]),  # at least 0.18
        (keep_min_p, 0.0, [0, 1, 2, 3, 4]),
        (keep_min_p, 1.0, [3]),
    ],
)
def test_filters(keep, setting, kept):
    found = keep(LOGITS, setting)
    assert np.flatnonzero(np.isfinite(found[0])).tolist() == kept
    np.testing.assert_array_equal(found[0, jnp.array(kept)], LOGITS[0, jnp.array(kept)])


def chain(ids, cache):
    """After token t, the probabilities of LIKELY, rotated by t."""
    logits = jax.vmap(jax.vmap(lambda token: jnp.roll(LOGITS[0], token)))(ids)
    return logits, cache


WITHOUT_3 = lambda logits, ids, count: jnp.where(jnp.arange(5)[None] == 3, -jnp.inf, logits)
ROTATED = np.array([np.roll(LIKELY[0], token) for token in range(5)])  # after token t


def largest_3(table):
    return np.where(table < np.sort(table)[:, 2:3], 0, table)


@pytest.mark.parametrize(
    ("settings", "table"),
    [
        ({"temperature": 0.5}, ROTATED**2),
        ({"rule": WITHOUT_3, "top_k": 3}, largest_3(np.where(np.arange(5)[None] == 3, 0, ROTATED))),
        ({"temperature": 2.0, "top_k": 4, "top_p": 0.6, "min_p": 0.1}, np.where(ROTATED < 0.2, 0, ROTATED) ** 0.5),
    ],
)
def test_distribution(settings, table):
    """Chi-square test of pairs of tokens against the exact distribution; table [t u] is proportional to the probability of u
    after t. Over 40 keys the p-values are uniform (Kolmogorov-Smirnov test, p = 0.41); 0.0002 for key 0 is the smallest.

    The last case: the four most likely tokens have square roots 0.316, 0.447, 0.5 and 0.632, in sum 1.896. The two most likely
    have 0.597 of it, less than 0.6, the three most likely 0.83.
    """
    rows = 4000
    run = jax.jit(lambda prompt, key: sample(chain, 0, prompt, 2, -1, key, **settings))
    found = np.asarray(run(jnp.zeros((rows, 1), jnp.int32), jax.random.key(1)).x)
    table = table / table.sum(axis=1, keepdims=True)
    pairs = table[0][:, None] * table
    counts = np.zeros((5, 5))
    np.add.at(counts, (found[:, 0], found[:, 1]), 1)
    assert not counts[pairs == 0].any()
    assert stats.chisquare(counts[pairs > 0], rows * pairs[pairs > 0]).pvalue > 0.01


def test_samples_end_and_do_not_depend_on_the_batch():
    """With a key for each row, a row alone has the same sequence. Some end early; beyond the end there is `end`."""
    prompt, keys = jnp.arange(1, 5)[:, None], jax.random.split(jax.random.key(2), 4)
    run = jax.jit(lambda prompt, keys: sample(chain, 0, prompt, 8, END, keys))
    found = run(prompt, keys)
    assert 0 < found.length.min() < 8
    beyond = ~np.asarray(found.mask)
    assert (np.asarray(found.x)[beyond] == END).all() and (np.asarray(found.x)[~beyond] != END).all()
    for row in range(4):
        np.testing.assert_array_equal(run(prompt[row : row + 1], keys[row : row + 1]).x[0], found.x[row])


def test_a_low_temperature_is_greedy():
    prompt = jnp.arange(5)[:, None]
    found = jax.jit(lambda: (sample(chain, 0, prompt, 6, END, jax.random.key(0), 1e-3), greedy(chain, 0, prompt, 6, END)))()
    jax.tree.map(np.testing.assert_array_equal, *found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: keep_top_k(LOGITS, 0), "keep_top_k: k is 0; it must be positive"),
        (lambda: keep_top_p(LOGITS, 1.5), "keep_top_p: p is 1.5; it must be 0 to 1"),
        (lambda: keep_min_p(LOGITS, -0.1), "keep_min_p: p is -0.1; it must be 0 to 1"),
        (lambda: sample(chain, 0, jnp.zeros((1, 1), int), 2, END, jax.random.key(0), 0.0), "sample: temperature is 0.0; it"),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
