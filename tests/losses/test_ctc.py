"""The CTC loss against a sum over all alignments, and the examples that have no loss."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mmjax.losses import CTC, On, WeightedLosses, cross_entropy
from mmjax.types import Batch, Tokens

VOCABULARY, FRAMES = 3, 4
RANDOM = np.random.default_rng(0)
# (ids of a text, valid frames). The last three have no loss or do not fit.
CASES = [
    ([1, 0, -1, -1], [1, 1, 1, 1]),
    ([1, 2, 0, -1], [1, 1, 1, 1]),
    ([2, 2, 0, -1], [0, 1, 1, 1]),
    ([1, 2, 1, 0], [1, 1, 1, 0]),
    ([2, 1, -1, 1], [1, 0, 1, 1]),
    ([0, -1, -1, -1], [1, 1, 0, 1]),
    ([1, 2, 0, 1], [1, 1, 0, 0]),
    ([1, 2, 1, 2], [1, 1, 1, 1]),
    ([-1, -1, -1, -1], [1, 1, 1, 1]),
    ([1, 1, 1, 0], [1, 1, 1, 1]),
    ([2, 0, -1, -1], [0, 0, 0, 0]),
]
TEXTS = jnp.array([ids for ids, _ in CASES])
MASK = jnp.array([frames for _, frames in CASES], bool)
LOGITS = jnp.asarray(2 * RANDOM.normal(size=(len(TEXTS), FRAMES, VOCABULARY)), jnp.float32)


def labelling(alignment, blank=0):
    """Merges repetitions, then removes blanks."""
    return tuple(label for label, _ in itertools.groupby(alignment) if label != blank)


def text(ids):
    """The ids before the end token or -1."""
    return tuple(itertools.takewhile(lambda token: token > 0, ids))


def by_alignments(logits, ids, valid):
    """(- log of the summed probability of all alignments of one example, its gradient by the logits [n v]).

    The derivative by a logit is the probability of its label in that frame minus its share of the alignments.
    """
    frames = np.flatnonzero(valid)
    p = special.softmax(np.float64(logits[frames]), axis=-1)
    alignments = itertools.product(range(VOCABULARY), repeat=len(frames))
    fitting = np.array([a for a in alignments if labelling(a) == text(ids)])
    share = p[np.arange(len(frames))[None], fitting].prod(axis=1)
    gradient = np.zeros((FRAMES, VOCABULARY))
    gradient[frames] = p - np.einsum("a,atv->tv", share / share.sum(), np.eye(VOCABULARY)[fitting])
    return -np.log(share.sum()), gradient


@jax.jit
def values_and_gradient(logits):
    """Of plain CTC for all examples."""
    run = lambda logits: CTC()(Tokens(logits, MASK), TEXTS)
    values, vjp = jax.vjp(run, logits)
    return values, vjp(jnp.ones_like(values))[0]


def test_equals_the_sum_over_all_alignments():
    values, gradient = values_and_gradient(LOGITS)
    for row, (ids, valid) in enumerate(CASES[:8]):
        expected, by_logits = by_alignments(np.asarray(LOGITS[row]), ids, valid)
        np.testing.assert_allclose(values[row], expected, rtol=1e-5, err_msg=str(row))
        np.testing.assert_allclose(gradient[row], by_logits, atol=1e-6, err_msg=str(row))


def test_examples_without_loss():
    """A missing text and a model without a valid token have no loss. A text that does not fit has an infinite one, which
    `zero_infinity` makes 0. Their gradients are 0."""
    values, gradient = values_and_gradient(LOGITS)
    np.testing.assert_array_equal(values[8:], [0, np.inf, 0])
    np.testing.assert_array_equal(gradient[8:], np.zeros((3, FRAMES, VOCABULARY)))
    finite = jax.jit(CTC(zero_infinity=True))(Tokens(LOGITS, MASK), TEXTS)
    np.testing.assert_array_equal(finite, values.at[9].set(0))


def test_masked_logits_may_be_nan():
    spoiled = jnp.where(MASK[..., None], LOGITS, jnp.nan)
    chex.assert_trees_all_equal(values_and_gradient(spoiled), values_and_gradient(LOGITS))


def test_per_id_divides_by_the_length_of_the_text():
    values = values_and_gradient(LOGITS)[0]
    per_id = jax.jit(CTC(per_id=True))(Tokens(LOGITS, MASK), TEXTS)
    lengths = np.array([1, 2, 2, 3, 2, 1, 2, 4, 1, 3, 1])  # an empty text counts as one id
    np.testing.assert_allclose(per_id, values / lengths, rtol=1e-6)


def test_ids_beyond_the_vocabulary_give_nan():
    values = jax.jit(CTC())(Tokens(LOGITS, MASK), TEXTS.at[0, 0].set(VOCABULARY))
    assert np.isnan(values[0]) and not np.isnan(values[1:]).any()


def test_joint_training_of_ctc_and_a_decoder():
    """Watanabe et al. (2017), equation 7: 0.3 CTC + 0.7 cross-entropy, two losses with weights."""
    rows = np.arange(8)
    logits = jnp.asarray(RANDOM.normal(size=(8, 4, VOCABULARY)), jnp.float32)
    outputs = {"speech.text": Tokens(LOGITS[rows], MASK[rows]), "text": logits}
    batch = Batch({}, {"speech": jnp.arange(8) > 0}, {"text": TEXTS[rows]}, jnp.ones(8))
    joint = WeightedLosses({"ctc": (On("speech.text", CTC()), 0.3), "attention": (On("text"), 0.7)})
    values, attention = jax.jit(lambda: (joint(outputs, batch), On("text")(outputs, batch)))()
    np.testing.assert_allclose(values["ctc"], 0.3 * np.where(rows > 0, values_and_gradient(LOGITS)[0][rows], 0), rtol=1e-5)
    np.testing.assert_allclose(values["attention"], 0.7 * attention, rtol=1e-6)


def test_wrong_outputs_and_targets():
    batch = Batch({}, {}, {"text": TEXTS}, jnp.ones(len(TEXTS)))
    tokens = {"text": Tokens(LOGITS, MASK)}
    with pytest.raises(ValueError, match=r"output 'text': CTC cannot compare an output of shape \(11, 4, 3\) with"):
        On("text", CTC())({"text": LOGITS}, batch)
    with pytest.raises(ValueError, match=r"CTC cannot compare Tokens with a target int32\(11,\)"):
        On("text", CTC())(tokens, batch.replace(targets={"text": TEXTS[:, 0]}))
    for loss in (cross_entropy, On("text")):
        with pytest.raises(ValueError, match=r"output 'text': CrossEntropy cannot compare Tokens: .* use On\(name, CTC\(\)\)"):
            loss(tokens, batch)
