#!/usr/bin/env python3
"""How often are the verdicts of `mmjax.evaluate.statistics` wrong? Simulated tables of two equally good models.

    python scripts/coverage.py                              every regime; about 13 minutes on two cores
    python scripts/coverage.py "12 groups" --tables 500     the regimes with these words in their name

A table holds the outcomes of two models with several seeds on grouped test units. Both models draw their effects from the same
distribution, so every "better" or "worse" is false; 5 % should be. The tables are scored by `estimates` and `difference`, as a
report scores them. The last regimes have a true difference and show the power. docs/statistics.md contains the output.
"""

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from mmjax.evaluate.statistics import difference, estimates
from mmjax.metrics import classification, regression, retrieval
from mmjax.types import Metric

CLASSES = 4
AT_ONCE = 50  # tables generated together
MANY_SEEDS, MANY_UNITS = 101, 20_000  # of the large sample whose metric is the true value
DRAWS = 400  # of the former bootstrap


def bleu(outcomes, weight):
    """Corpus BLEU without smoothing, from matches and candidates [u 4] of 1 to 4 words, and both lengths [u]."""
    match, total = (jnp.maximum(weight @ outcomes[name], 1e-9) for name in ("match", "total"))
    length, reference = (weight @ outcomes[name] for name in ("length", "reference"))
    return jnp.exp(jnp.mean(jnp.log(match / total)) + jnp.minimum(0, 1 - reference / length))


def pearson(outcomes, weight):
    return regression.pearson({"predicted": outcomes["value"], "target": outcomes["target"]}, weight)


METRICS = {
    "accuracy": Metric(classification.accuracy),
    "macro F1": Metric(classification.f1_macro),
    "R@1": Metric(retrieval.recall_at(1)),
    "BLEU": Metric(bleu),
    "Pearson": Metric(pearson, bounds=(-1, 1)),
    "median rank": Metric(retrieval.median_rank, higher_is_better=False, smooth=False, bounds=(1, None)),
}


@dataclass(frozen=True)
class Regime:
    """Standard deviations are on the logit scale of a correct answer.

    sizes: units of each group. group, unit: of the difficulty of groups and units, for both models. own: of the difficulty of
    a group for one model. seed: of a training. level: the mean logit; gain: the advantage of the first model. shared: the
    correlation of the effects of one seed number in both models. folds: the groups are divided into so many folds, each with
    trainings of its own. fixed: the second model is a baseline without seeds.
    """

    sizes: tuple[int, ...]
    seeds: int = 5
    group: float = 1.0
    unit: float = 1.0
    own: float = 0.5
    seed: float = 0.2
    level: float = 0.6
    gain: float = 0.0
    shared: float = 0.0
    folds: int = 1
    fixed: bool = False

    @property
    def fold_of_group(self) -> np.ndarray:
        return np.arange(len(self.sizes)) * self.folds // len(self.sizes)


S40 = tuple(np.random.default_rng(1).integers(1, 9, 40).tolist())
S12 = tuple(np.random.default_rng(2).integers(2, 15, 12).tolist())
SKEWED = (60, *[6] * 15)
SEEDS = Regime(S40, own=0.3, seed=0.6)
GROUPS = Regime(S40, group=0.5, unit=0.3, own=1.5, seed=0.0)
REGIMES = {
    "40 groups, 5 seeds, seeds dominate": SEEDS,
    "40 groups, 3 seeds, seeds dominate": replace(SEEDS, seeds=3),
    "40 groups, 2 seeds, seeds dominate": replace(SEEDS, seeds=2),
    "40 groups, 5 seeds, moderate": Regime(S40),
    "40 groups, 2 seeds, moderate": Regime(S40, seeds=2),
    "40 groups, 2 seeds, seeds matter more": Regime(S40, seeds=2, seed=0.3),
    "40 groups, no effect of seeds and models": Regime(S40, own=0.0, seed=0.0),
    "40 groups, groups dominate": GROUPS,
    "12 groups, equal": replace(GROUPS, sizes=(8,) * 12),
    "12 groups, unequal": replace(GROUPS, sizes=S12),
    "12 groups, unequal, 3 seeds, moderate": Regime(S12, seeds=3, seed=0.3),
    "6 groups, equal": replace(GROUPS, sizes=(15,) * 6),
    "16 groups, one with 40 % of the units": replace(GROUPS, sizes=SKEWED),
    "300 single units, moderate": Regime((1,) * 300, seeds=3),
    "scores near 1, 5 seeds": Regime(S40, level=6.0),
    "scores near 1, 1 seed": Regime(S40, seeds=1, level=5.0, seed=0.0),
    "scores near 1, 300 single units, 1 seed": Regime((1,) * 300, seeds=1, level=6.0, seed=0.0),
    "scores near 0, 3 seeds": Regime(S40, seeds=3, level=-4.0),
    "5 joined folds, 3 seeds": Regime(S40, seeds=3, seed=0.3, folds=5),
    "5 joined folds, 2 seeds, seeds dominate": replace(SEEDS, seeds=2, folds=5),
    "5 joined folds, 3 seeds, seeds dominate": replace(SEEDS, seeds=3, folds=5),
    "3 joined folds, 2 seeds": Regime(S40, seeds=2, own=0.3, seed=0.3, folds=3),
    "5 joined folds, 5 seeds, seeds dominate": replace(SEEDS, folds=5),
    "1 seed": Regime(S40, seeds=1, seed=0.0),
    "5 seeds against a fixed baseline": Regime(S40, fixed=True),
    "10 seeds, seeds dominate": replace(SEEDS, seeds=10),
    "10 seeds, correlated between models (.5)": replace(SEEDS, seeds=10, shared=0.5),
    "5 seeds, correlated between models (.9)": replace(SEEDS, shared=0.9),
    "5 seeds, correlated between models (.5)": replace(SEEDS, shared=0.5),
    "3 seeds, correlated between models (.5)": replace(SEEDS, seeds=3, shared=0.5),
    "power: 40 groups, 5 seeds": Regime(S40, gain=0.8),
    "power: 40 groups, 5 seeds, correlated (.5)": Regime(S40, gain=0.8, shared=0.5, seed=0.4),
    "power: 40 groups, 3 seeds": Regime(S40, gain=0.8, seeds=3),
    "power: 12 groups, 3 seeds": Regime((12,) * 12, seeds=3, gain=0.8),
    "power: near 1, 5 seeds": Regime(S40, level=4.0, gain=1.6),
    "power: 5 joined folds, 3 seeds": Regime(S40, seeds=3, seed=0.3, folds=5, gain=0.6),
    "power: 5 joined folds, 2 seeds": replace(SEEDS, seeds=2, folds=5, gain=0.8),
}


def tables(random: np.random.Generator, count: int, regime: Regime, seed_effect=None) -> dict[str, np.ndarray]:
    """Outcomes [count 2 s u ...] of `count` tables. seed_effect: Float[s], instead of random effects."""
    group = np.repeat(np.arange(len(regime.sizes)), regime.sizes)
    shape = (count, 2, regime.seeds, len(group))
    normal = lambda *size: random.normal(size=size)
    common = normal(count, 1, 1, len(regime.sizes))[..., group] * regime.group + normal(count, 1, 1, len(group)) * regime.unit
    own = normal(count, 2, 1, len(regime.sizes))[..., group] * regime.own
    seed = _seed_effects(normal, count, regime)[..., regime.fold_of_group[group]]
    seed = regime.seed * (seed if seed_effect is None else seed_effect[None, None, :, None])
    seed = seed * np.array([1.0, 0.0])[None, :, None, None] if regime.fixed else seed
    advantage = np.array([regime.gain, 0.0])[None, :, None, None]
    z = regime.level + common + own + advantage + seed
    label = random.integers(0, CLASSES, (count, 1, 1, len(group)))
    wrong = (label + random.integers(1, CLASSES, shape)) % CLASSES
    reference = random.poisson(8, label.shape) + 4
    length = np.maximum(4, reference + random.integers(-2, 3, shape))
    total = np.maximum(length[..., None] - np.arange(4), 1)
    target = normal(*label.shape) + common / 2
    outcomes = {
        "label": label,
        "predicted": np.where(random.random(shape) < _sigmoid(z), label, wrong),
        "rank": 1 + np.minimum(random.exponential(1, shape) * np.exp(2 - z), 999).astype(np.int32),
        "match": random.binomial(total, _sigmoid(z / 2 + 0.4)[..., None] ** (1 + np.arange(4) / 2)).astype(np.float32),
        "total": total.astype(np.float32),
        "length": length.astype(np.float32),
        "reference": reference.astype(np.float32),
        "target": target.astype(np.float32),
        "value": (target + (normal(*shape) + own) * np.exp(-seed - advantage / 2)).astype(np.float32),
    }
    return {name: np.broadcast_to(values, (*shape, *values.shape[4:])) for name, values in outcomes.items()}


def _seed_effects(normal, count: int, regime: Regime) -> np.ndarray:
    """Float[count 2 s folds], of variance 1."""
    size = (count, 2, regime.seeds, regime.folds)
    shared = normal(count, 1, *size[2:]) * math.sqrt(regime.shared)
    return normal(*size) * math.sqrt(1 - regime.shared) + shared


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def true_values(regime: Regime) -> dict[str, float]:
    """Each metric of the second model, averaged over seeds, on a sample of many groups. Seed effects are normal quantiles."""
    copies = math.ceil(MANY_UNITS / sum(regime.sizes))
    large = replace(regime, sizes=regime.sizes * copies, seeds=1)
    quantiles = ndtri((np.arange(MANY_SEEDS) + 0.5) / MANY_SEEDS)
    score = jax.jit(lambda o: {name: metric.value(o, jnp.ones(len(o["label"]))) for name, metric in METRICS.items()})
    found = []
    for quantile in quantiles:
        outcomes = tables(np.random.default_rng(1), 1, large, np.array([quantile]))
        found.append(score({name: values[0, 1, 0] for name, values in outcomes.items()}))
    return {name: float(np.mean([values[name] for values in found])) for name in METRICS}


def former_rule(random: np.random.Generator, hit: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """hit Bool[2 s u] -> the percentile interval of the difference in accuracy by the pigeonhole bootstrap (Owen, 2007).

    It draws groups and seeds with replacement, one fewer than there are. Earlier versions of mmjax used it.
    """
    size = np.bincount(group)
    hits = np.stack([np.bincount(group, row, len(size)) for row in hit.reshape(-1, hit.shape[-1])]).reshape(*hit.shape[:2], -1)
    draw = lambda n: random.multinomial(max(n - 1, 1), np.full(n, 1 / n), DRAWS)
    groups, seeds = draw(len(size)), draw(hit.shape[1])
    accuracy = np.einsum("rk,msk->rms", groups, hits) / (groups @ size)[:, None, None]
    mean = np.einsum("rs,rms->rm", seeds / seeds.sum(axis=1, keepdims=True), accuracy)
    return tuple(np.percentile(mean[:, 0] - mean[:, 1], [2.5, 97.5]))


def simulate(regime: Regime, count: int, metrics: Mapping[str, Metric], seed: int = 0, truth=None) -> dict[str, dict]:
    """{metric: {"verdicts": share of tables with a verdict, "width": median, "missed": share of intervals of one model's
    score that miss the true value}}, and for "former" the former rule for accuracy."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(regime.sizes)), regime.sizes)
    weight, fold = np.ones(len(group)), regime.fold_of_group[group] if regime.folds > 1 else None
    verdict, width, missed = ({name: [] for name in (*metrics, "former")} for _ in range(3))
    for start in range(0, count, AT_ONCE):
        block = tables(random, min(AT_ONCE, count - start), regime)
        for i in range(len(block["label"])):
            seeds = (regime.seeds, 1 if regime.fixed else regime.seeds)
            a, b = (
                estimates(metrics, {n: x[i, m, : seeds[m]] for n, x in block.items()}, weight, group, fold) for m in (0, 1)
            )
            for name in metrics:
                gap = difference(a[name], b[name])
                verdict[name].append(gap.verdict in ("better", "worse"))
                width[name].append(gap.high - gap.low)
                if truth:
                    missed[name].append(not b[name].low - 1e-6 <= truth[name] <= b[name].high + 1e-6)
            low, high = former_rule(random, block["label"][i] == block["predicted"][i], group)
            verdict["former"].append(low > 1e-6 or high < -1e-6)
            width["former"].append(high - low)
    median = lambda values: float(np.median(values))
    mean = lambda values: float(np.mean(values)) if values else math.nan
    return {n: {"verdicts": mean(verdict[n]), "width": median(width[n]), "missed": mean(missed[n])} for n in verdict}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("words", nargs="*", help="only regimes whose name contains one of these")
    options.add_argument("--tables", type=int, default=2000, help="simulated tables of each regime (default: 2000)")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    chosen = {name: regime for name, regime in REGIMES.items() if not given.words or any(w in name for w in given.words)}
    if not chosen:
        options.error(f"no regime contains {' or '.join(given.words)}; the regimes are: {'; '.join(REGIMES)}")
    started, lines = time.time(), {"verdicts": [], "missed": [], "width": []}
    for name, regime in chosen.items():
        truth = None if regime.folds > 1 or regime.gain or regime.shared else true_values(regime)
        found = simulate(regime, given.tables, METRICS, given.seed, truth)
        row = lambda key, show, names: f"| {name} | {' | '.join(show(found[n][key]) for n in names)} |"
        percent, everything = lambda x: f"{100 * x:.1f}", (*METRICS, "former")
        lines["verdicts"].append(row("verdicts", percent, everything))
        lines["width"].append(row("width", lambda x: f"{x:.3f}", everything))
        if truth:
            lines["missed"].append(row("missed", percent, METRICS))
        print(lines["verdicts"][-1], flush=True)
    error = 196 * math.sqrt(0.05 * 0.95 / given.tables)
    former = " accuracy, former rule |"
    for key, title, last in (
        ("verdicts", f"Tables with a verdict, %. A rate of 5 % has a simulation error of +- {error:.1f}.", former),
        ("width", "Median width of the interval of the difference.", former),
        ("missed", "Intervals of one score that miss the true value, %.", ""),
    ):
        header = f"| regime | {' | '.join(METRICS)} |{last}"
        print(f"\n{title}\n\n{header}\n|{'---|' * (header.count('|') - 1)}", *lines[key], sep="\n")
    print(f"\n{given.tables} tables of each regime, seed {given.seed}; {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
