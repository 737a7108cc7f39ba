"""Sentiment scores in [-3, 3], as in CMU-MOSI and CMU-MOSEI: `Regress("score", extra=SENTIMENT)`.

Outcomes as in `metrics.regression`; a NaN among the predictions of positive weight makes every metric NaN.

The definitions are those of the published evaluation code of MulT (Tsai et al., ACL 2019, `src/eval_metrics.py`) and MMSA (Mao
et al., ACL 2022). There are several conventions of binary accuracy, and papers often do not say which one they report. MMSA
reports two, "Has0" (`acc2_nonneg` here) and "Non0" (`acc2_nonzero`). MulT excludes zeros on request; if it includes them, it
compares positive with non-positive scores, a third convention that is not offered here. Acc-5 and Acc-7 clip both scores to
[-2, 2] or [-3, 3] and round them to integers, halves to even (`numpy.round`): 0.5 becomes 0 and 1.5 becomes 2.

A name stands for one definition. A changed definition gets a new name.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.metrics.weighted import mean
from mmjax.types import Metric, Outcomes

__all__ = ["SENTIMENT", "acc2_nonneg", "acc2_nonzero", "acc5", "acc7"]


def _agreement(rule: Callable[[Any], Any], outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The weighted share of units with rule(predicted) == rule(target)."""
    predicted = outcomes["predicted"]
    agree = rule(predicted) == rule(outcomes["target"])
    return mean(jnp.where(jnp.isnan(predicted), jnp.nan, agree), weight)


def acc2_nonneg(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Accuracy of all units in two classes: negative and non-negative."""
    return _agreement(lambda x: x >= 0, outcomes, weight)


def acc2_nonzero(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Accuracy of the units with a target other than 0 in two classes: positive, and not positive (0 included)."""
    return _agreement(lambda x: x > 0, outcomes, jnp.where(outcomes["target"] == 0, 0, weight))


def acc5(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Accuracy of the scores rounded to -2..2."""
    return _agreement(lambda x: jnp.round(jnp.clip(x, -2, 2)), outcomes, weight)


def acc7(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Accuracy of the scores rounded to -3..3."""
    return _agreement(lambda x: jnp.round(jnp.clip(x, -3, 3)), outcomes, weight)


SENTIMENT = {metric.__name__: Metric(metric) for metric in (acc2_nonneg, acc2_nonzero, acc5, acc7)}
