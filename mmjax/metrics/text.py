"""The metrics of generated text by name, as pairs of host and device functions.

`TEXT_METRICS["cider_d"].statistics(hypotheses, references)` are the outcomes of the units, on the host;
`TEXT_METRICS["cider_d"].metric` is a metric of these outcomes. `text_outcomes` computes several metrics, each statistic once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.metrics.bleu import bleu, bleu_statistics
from mmjax.metrics.chrf import chrf, chrf_plus_plus, chrf_statistics
from mmjax.metrics.cider import cider, cider_d, cider_d_statistics, cider_statistics
from mmjax.metrics.edits import cer, cer_statistics, wer, wer_statistics
from mmjax.metrics.meteor import meteor_exact_stem, meteor_statistics
from mmjax.metrics.rouge import (
    rouge_l,
    rouge_l_coco,
    rouge_l_coco_statistics,
    rouge_l_statistics,
    rouge_l_stem,
    rouge_l_stem_statistics,
)
from mmjax.metrics.ter import ter, ter_statistics
from mmjax.metrics.text_normal import lower_without_punctuation
from mmjax.metrics.texts import check_texts
from mmjax.metrics.weighted import mean
from mmjax.types import Metric, Outcomes

__all__ = [
    "TEXT_METRICS", "Normalized", "OfNormalized", "TextMetric", "TextStatistics", "exact_match", "exact_match_statistics",
    "normalized", "text_outcomes", "unit_scores",
]


@runtime_checkable
class TextStatistics(Protocol):
    """(u hypotheses, u lists of at least one reference) -> outcomes [u ...]. Runs on the host.

    Raises ValueError, naming the unit, for other inputs. A hypothesis may be the empty string.
    """

    def __call__(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes: ...


@dataclass(frozen=True)
class TextMetric:
    """A metric of generated text.

    statistics: texts -> outcomes. metric: of these outcomes. Metrics of one family share their statistics. Names of outcomes
    differ between families.
    """

    statistics: TextStatistics
    metric: Metric


def text_outcomes(metrics: Iterable[TextMetric], hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
    """The outcomes of several metrics; statistics that metrics share are computed once."""
    functions = dict.fromkeys(metric.statistics for metric in metrics)
    return {name: values for function in functions for name, values in function(hypotheses, references).items()}


@partial(jax.jit, static_argnums=0)
def unit_scores(metric: Metric, outcomes: Outcomes) -> Float[Array, " u"]:
    """The metric of each unit alone; NaN where it is undefined. outcomes: of all units, since CIDEr depends on all of them."""
    return jax.vmap(lambda unit: metric.value({name: x[None] for name, x in unit.items()}, jnp.ones(1)))(dict(outcomes))


def exact_match_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
    """{"exact_match": Bool[u]}: the hypothesis equals a reference; white space at the ends does not count."""
    check_texts(hypotheses, references)
    found = [own.strip() in {text.strip() for text in of_unit} for own, of_unit in zip(hypotheses, references)]
    return {"exact_match": np.asarray(found, bool)}


def exact_match(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The share of hypotheses that equal a reference; NaN if all weights are 0."""
    return mean(outcomes["exact_match"], weight)


@dataclass(frozen=True)
class Normalized:
    """`TextStatistics` of normalised texts. name: the prefix of the outcomes' names. normalizer: text -> text."""

    name: str
    normalizer: Callable[[str], str]
    statistics: TextStatistics

    def __call__(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
        check_texts(hypotheses, references)
        texts = [self.normalizer(text) for text in hypotheses]
        outcomes = self.statistics(texts, [[self.normalizer(text) for text in of_unit] for of_unit in references])
        return {f"{self.name}_{outcome}": values for outcome, values in outcomes.items()}


@dataclass(frozen=True)
class OfNormalized:
    """The value of a metric of `Normalized` statistics. name: the prefix of the outcomes' names."""

    name: str
    value: Callable[[Outcomes, Array], Array]

    def __call__(self, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        prefix = f"{self.name}_"
        return self.value({key.removeprefix(prefix): x for key, x in outcomes.items() if key.startswith(prefix)}, weight)


def normalized(name: str, normalizer: Callable[[str], str], metric: TextMetric) -> TextMetric:
    """The metric of normalised hypotheses and references, for instance
    `normalized("whisper", whisper_basic, TEXT_METRICS["wer"])`. name: the prefix of the outcomes' names."""
    value = OfNormalized(name, metric.metric.value)
    return TextMetric(Normalized(name, normalizer, metric.statistics), metric.metric._replace(value=value))


_RATE = (0.0, None)
_RAW = {
    "wer": TextMetric(wer_statistics, Metric(wer, higher_is_better=False, bounds=_RATE)),
    "cer": TextMetric(cer_statistics, Metric(cer, higher_is_better=False, bounds=_RATE)),
    "exact_match": TextMetric(exact_match_statistics, Metric(exact_match)),
}

TEXT_METRICS: Mapping[str, TextMetric] = MappingProxyType(
    {f"bleu{n}": TextMetric(bleu_statistics, Metric(bleu(n))) for n in (1, 2, 3, 4)}
    | {
        "chrf": TextMetric(chrf_statistics, Metric(chrf)),
        "chrf++": TextMetric(chrf_statistics, Metric(chrf_plus_plus)),
        "ter": TextMetric(ter_statistics, Metric(ter, higher_is_better=False, bounds=_RATE)),
        "rouge_l": TextMetric(rouge_l_statistics, Metric(rouge_l)),
        "rouge_l_stem": TextMetric(rouge_l_stem_statistics, Metric(rouge_l_stem)),
        "rouge_l_coco": TextMetric(rouge_l_coco_statistics, Metric(rouge_l_coco)),
        "meteor_exact_stem": TextMetric(meteor_statistics, Metric(meteor_exact_stem)),
        "cider": TextMetric(cider_statistics, Metric(cider, bounds=(0.0, 10.0))),
        "cider_d": TextMetric(cider_d_statistics, Metric(cider_d, bounds=(0.0, 10.0))),
    }
    | _RAW
    | {f"{name}_lower": normalized("lower", lower_without_punctuation, metric) for name, metric in _RAW.items()}
)
"""{name: metric}. CIDEr is in 0..10; error rates start at 0 and may exceed 1; all others, BLEU and chrF too, are in 0..1.

`*_lower`: of texts in lower case without punctuation (`text_normal.lower_without_punctuation`).
"""
