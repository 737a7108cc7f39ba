"""One-run privacy auditing (Steinke, Nasr and Jagielski, NeurIPS 2023): a lower bound on epsilon from membership guesses.

m canaries are put into the training set, each independently with probability 1/2. After training, each canary has a score; the
auditor guesses that the highest scores were included and the lowest were not, and abstains from the rest. For an (epsilon,
delta)-private training, the number of correct guesses is limited (theorem 3.1), so many correct ones refute small epsilons.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["PrivacyAudit", "audit", "p_value"]


class PrivacyAudit(NamedTuple):
    """The result of an audit.

    epsilon: the largest epsilon that is refuted at the given confidence, 0 if none is: a lower bound. guesses, correct: their
    numbers. canaries: their number m. confidence: 1 - the probability that the bound exceeds the true epsilon.
    """

    epsilon: float
    guesses: int
    correct: int
    canaries: int
    confidence: float


def audit(scores: np.ndarray, included: np.ndarray, guesses: int, delta: float, confidence: float = 0.95) -> PrivacyAudit:
    """The audit of one training run.

    scores: Float[m], higher for canaries that seem to have been trained on, such as minus their loss. included: Bool[m].
    guesses: how many canaries are guessed, half of them as included and half as not; it must be chosen before looking at the
    scores. delta: of the claimed guarantee. ValueError if there are more guesses than canaries, or guesses is odd or below 2.
    """
    scores, included = np.asarray(scores), np.asarray(included, bool)
    if not 2 <= guesses <= len(scores) or guesses % 2:
        raise ValueError(f"guesses is {guesses}; it must be even, at least 2 and at most {len(scores)}, the canaries")
    order = np.argsort(scores, kind="stable")
    correct = int((~included[order[: guesses // 2]]).sum() + included[order[-(guesses // 2) :]].sum())
    refuted = lambda epsilon: p_value(len(scores), guesses, correct, epsilon, delta) < 1 - confidence
    low, high = 0.0, 1.0
    if not refuted(low):
        return PrivacyAudit(0.0, guesses, correct, len(scores), confidence)
    while refuted(high):
        low, high = high, 2 * high
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return PrivacyAudit(low, guesses, correct, len(scores), confidence)


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """The largest probability of at least `correct` right guesses under (epsilon, delta)-privacy (theorem 3.1).

        beta + 2 m delta alpha,   beta = P[W >= v],   alpha = max over i in 1..m of P[v > W >= v - i] / i,

    with W ~ Binomial(guesses, e^epsilon / (1 + e^epsilon)), m canaries and v correct guesses.
    """
    from scipy.stats import binom

    law = guesses, 1 / (1 + np.exp(-epsilon))
    within = np.cumsum(binom.pmf(correct - np.arange(1, correct + 1), *law))  # P[v > W >= v - i]
    alpha = float(np.max(within / np.arange(1, correct + 1), initial=0.0))
    return min(1.0, float(binom.sf(correct - 1, *law)) + 2 * canaries * delta * alpha)
