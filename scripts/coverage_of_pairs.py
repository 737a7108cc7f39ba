#!/usr/bin/env python3
"""How often do the intervals of `mmjax.evaluate.statistics.of_pairs` contain the truth? Simulated scores of swapped inputs.

    python scripts/coverage_of_pairs.py                       every regime
    python scripts/coverage_of_pairs.py "20 groups" --tables 200    the regimes with these words in their name

A table holds the scores of test units whose input of one modality comes from a unit of another class, chosen as in the audit
`conflict`. The score of a unit is the sum of an effect of its group, an effect of the group of the input, and noise; both
effects of one group are correlated. The truth is the mean of their distribution. The intervals by groups count the group of the
unit alone. docs/audits.md contains the output.
"""

import argparse
import math
import time
from dataclasses import dataclass

import numpy as np

from mmjax.audit.swaps import partners
from mmjax.evaluate.statistics import Estimate, estimates, of_pairs
from mmjax.metrics import weighted
from mmjax.types import Metric

CLASSES = 8
TRUTH = 1.0
METRIC = {"mean": Metric(lambda outcomes, weight: weighted.mean(outcomes["score"], weight), bounds=(None, None))}


@dataclass(frozen=True)
class Regime:
    """sizes: units of each group. correlation: of the effects that a group has on its own units and on those that get its
    inputs. Both have variance 1, noise .25."""

    sizes: tuple[int, ...]
    correlation: float


SIZES = {
    "20 groups of 6": (6,) * 20,
    "40 groups of 1 to 12": tuple(np.random.default_rng(1).integers(1, 13, 40).tolist()),
    "100 groups of 3": (3,) * 100,
}
REGIMES = {f"{name}, correlation {r:g}": Regime(sizes, r) for name, sizes in SIZES.items() for r in (-0.8, 0.0, 0.8)}


def table(random: np.random.Generator, regime: Regime) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scores Float[u], groups Int[u], groups of the inputs Int[u])."""
    group = np.repeat(np.arange(len(regime.sizes)), regime.sizes)
    partner = partners(random.integers(0, CLASSES, len(group)), np.ones(len(group), bool), int(random.integers(2**31)))
    source = np.where(partner >= 0, group[partner], group)
    own, other = random.normal(size=(2, len(regime.sizes)))
    given = regime.correlation * own + math.sqrt(1 - regime.correlation**2) * other
    return TRUTH + own[group] + given[source] + random.normal(scale=0.5, size=len(group)), group, source


def simulate(regime: Regime, count: int, seed: int = 0) -> dict[str, float]:
    """{"pairs" and "groups": share of the intervals with the truth}."""
    random, held = np.random.default_rng(seed), {"pairs": 0, "groups": 0}
    for _ in range(count):
        score, group, source = table(random, regime)
        weight, outcomes = np.ones(len(score)), {"score": np.float32(score)[None]}
        of = lambda groups, w=weight, o=outcomes: estimates(METRIC, o, w, groups)["mean"]
        held["pairs"] += _holds(of_pairs(of(np.arange(len(score))), weight, group, source))
        held["groups"] += _holds(of(group))
    return {name: number / count for name, number in held.items()}


def _holds(estimate: Estimate) -> bool:
    return estimate.low <= TRUTH <= estimate.high


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("words", nargs="*", help="only regimes whose name contains one of these")
    options.add_argument("--tables", type=int, default=1000, help="simulated tables of each regime (default: 1000)")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    chosen = {name: regime for name, regime in REGIMES.items() if not given.words or any(w in name for w in given.words)}
    if not chosen:
        options.error(f"no regime contains {' or '.join(given.words)}; the regimes are: {'; '.join(REGIMES)}")
    started = time.time()
    print("Intervals of 95 % that contain the truth, %\n\n| regime | both groups | own groups |\n|---|---|---|")
    for name, regime in chosen.items():
        found = simulate(regime, given.tables, given.seed)
        print(f"| {name} | {100 * found['pairs']:.1f} | {100 * found['groups']:.1f} |", flush=True)
    print(f"\n{given.tables} tables of each regime, seed {given.seed}; {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
