"""Differences between groups of units, as metrics: of any metric, and of the rates of predicted classes.

Outcomes: those of the task and {"member": Int[u]}, the group of each unit, negative for units of none. A value is the largest
minus the smallest of the groups that have units, so it is at least 0 and noise makes it larger. Definitions as in Fairlearn,
whose numbers of a binary label these equal; with more classes, each class is one against the rest.

    demographic parity difference   of P(predicted = k) between groups
    equalized odds difference       of P(predicted = k | label = k) or of P(predicted = k | label != k), whichever is larger
                                    (Hardt, Price and Srebro, "Equality of opportunity in supervised learning", NeurIPS 2016)
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.metrics.weighted import ratio
from mmjax.types import Metric, Outcomes

__all__ = ["Rates", "demographic_parity", "equalized_odds", "gap", "group_rates", "worst"]


class Rates(NamedTuple):
    """Rates of each group and class, Float[g k]; NaN if the group has no such units.

    selected: P(predicted = k). true_positive: P(predicted = k | label = k). false_positive: P(predicted = k | label != k).
    """

    selected: Float[Array, "g k"]
    true_positive: Float[Array, "g k"]
    false_positive: Float[Array, "g k"]


def group_rates(outcomes: Outcomes, weight: Float[Array, " u"], groups: int, classes: int) -> Rates:
    """The rates of the groups 0..groups-1 and the classes 0..classes-1, from outcomes {"label", "predicted", "member"}."""
    member = jnp.where(outcomes["member"] < 0, groups, outcomes["member"])
    predicted = jnp.where(outcomes["predicted"] < 0, classes, outcomes["predicted"])
    table = jnp.zeros((groups + 1, classes + 1, classes + 1)).at[member, outcomes["label"], predicted].add(weight)[:groups]
    label, chosen, hit = (of[:, :classes] for of in (table.sum(2), table.sum(1), jnp.diagonal(table, axis1=1, axis2=2)))
    total = table.sum((1, 2))[:, None]
    rate = partial(ratio, empty=jnp.nan)
    return Rates(rate(chosen, jnp.broadcast_to(total, chosen.shape)), rate(hit, label), rate(chosen - hit, total - label))


@cache
def demographic_parity(groups: int, classes: int) -> Metric:
    """The largest demographic parity difference of a class."""
    return Metric(partial(_parity, groups, classes), higher_is_better=False)


@cache
def equalized_odds(groups: int, classes: int) -> Metric:
    """The largest equalized odds difference of a class."""
    return Metric(partial(_odds, groups, classes), higher_is_better=False)


@cache
def gap(metric: Metric, groups: int) -> Metric:
    """The largest difference of a metric between two groups."""
    low, high = metric.bounds
    span = None if low is None or high is None else high - low
    return Metric(partial(_gap, metric.value, groups), False, metric.smooth, (0.0, span))


@cache
def worst(metric: Metric, groups: int) -> Metric:
    """The metric of the group for which it is worst."""
    return metric._replace(value=partial(_worst, metric.value, groups, metric.higher_is_better))


def _parity(groups: int, classes: int, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    return jnp.max(_range(group_rates(outcomes, weight, groups, classes).selected))


def _odds(groups: int, classes: int, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    rates = group_rates(outcomes, weight, groups, classes)
    return jnp.maximum(jnp.max(_range(rates.true_positive)), jnp.max(_range(rates.false_positive)))


def _gap(value: Callable, groups: int, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    return _range(_by_group(value, groups, outcomes, weight))


def _worst(value: Callable, groups: int, higher: bool, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    values = _by_group(value, groups, outcomes, weight)
    return _smallest(values) if higher else -_smallest(-values)


def _by_group(value: Callable, groups: int, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, " g"]:
    others = {name: of for name, of in outcomes.items() if name != "member"}
    one = lambda group: value(others, jnp.where(outcomes["member"] == group, weight, 0))
    return jax.vmap(one)(jnp.arange(groups))


def _range(values: Float[Array, "g ..."]) -> Float[Array, "..."]:
    """The largest minus the smallest over the first axis, without NaN; 0 if all are NaN."""
    found = -_smallest(-values) - _smallest(values)
    return jnp.where(jnp.isnan(found), 0, found)


def _smallest(values: Float[Array, "g ..."]) -> Float[Array, "..."]:
    """The minimum over the first axis of the values that are not NaN; NaN if all are. Only the smallest has a gradient."""
    place = jnp.argmin(jnp.where(jnp.isnan(values), jnp.inf, values), axis=0)
    return jnp.take_along_axis(values, place[None], axis=0)[0]
