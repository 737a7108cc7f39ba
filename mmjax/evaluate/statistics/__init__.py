"""Intervals and verdicts for any `Metric`, from the variance over groups of test units and over training seeds.

    ours = estimates(task.metrics, outcomes, units.weight, units.group)     # outcomes of all seeds: [s u ...]
    other = estimates(task.metrics, baseline, units.weight, units.group)    # a baseline has one seed
    gap = difference(ours["accuracy"], other["accuracy"])                   # gap.verdict: "better", "worse", ...

The gradient of a metric with respect to the weights is each unit's influence on it (Efron's infinitesimal jackknife). Sums of
influence over groups give the variance due to the test set; the spread over seeds gives the variance due to training. The
two-way formula of Cameron, Gelbach and Miller (2011) combines them without counting their interaction twice.
docs/statistics.md explains the method and shows how often its verdicts are wrong.
"""

from mmjax.evaluate.statistics.combinations import against_zero, combination
from mmjax.evaluate.statistics.differences import Difference, difference, holm
from mmjax.evaluate.statistics.estimates import INTERVAL, Estimate, estimates
from mmjax.evaluate.statistics.pairs import of_pairs

__all__ = [
    "INTERVAL", "Difference", "Estimate", "against_zero", "combination", "difference", "estimates", "holm", "of_pairs",
]  # fmt: skip
