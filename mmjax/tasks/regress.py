"""Regression: each row, or each labelled step, has a number."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro

from mmjax.data.dataset import Dataset
from mmjax.metrics import regression
from mmjax.tasks import panels
from mmjax.tasks.baselines import has_text, text_examples, tfidf_ridge, weighted_median
from mmjax.tasks.subsets import subsets_of
from mmjax.tasks.units import at_entries, find_output, find_target, modality_of, target_of, target_units
from mmjax.types import Batch, Metric, Outcomes, Subset, Tokens, Units

__all__ = ["MAX_POINTS", "METRICS", "Regress"]

METRICS = {
    "mae": Metric(regression.absolute_error, higher_is_better=False, bounds=(0, None)),
    "rmse": Metric(regression.root_squared_error, higher_is_better=False, bounds=(0, None)),
    "pearson": Metric(regression.pearson, bounds=(-1, 1)),
    "spearman": Metric(regression.spearman, bounds=(-1, 1)),
    "r2": Metric(regression.r2, bounds=(None, 1)),
}
MAX_POINTS = 1000  # points of the scatter plot


@dataclass(frozen=True)
class Regress:
    """Scores numbers [b 1] or [b], or [b m 1] or [b m] for m steps, against targets Float[n] or Float[n m]; NaN is missing.

    output: the name of the numbers, in units of the target. target: the name of the targets; None: the last part of the
    output's name. extra: further metrics of the outcomes in `metrics.regression`, such as `metrics.sentiment.SENTIMENT`.

    A unit is a row with a target, or a step with a target; the steps of a row share its weight. If a prediction is NaN, so are
    the metrics. The output of a unimodal head is scored for the complete input only.
    """

    output: str
    target: str | None = None
    extra: tyro.conf.Suppress[Mapping[str, Metric]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the target."""
        return self.target or target_of(self.output)

    @property
    def metrics(self) -> dict[str, Metric]:
        return METRICS | dict(self.extra)

    def check(self, outputs: Mapping[str, Any], data: Dataset) -> None:
        shape = find_output("Regress.output", self.output, outputs)
        target = find_target("Regress.target", self.name, data)
        if not np.issubdtype(target.dtype, np.floating) or target.ndim > 2:
            given = f"{target.dtype}{list(target.shape)}"
            raise ValueError(f"Regress.target: {self.name!r} is {given}; it must be Float[n], or Float[n m] for m steps")
        if shape[1:] not in (target.shape[1:], (*target.shape[1:], 1)):
            wanted = ", ".join(["b", *map(str, target.shape[1:]), "1"])
            raise ValueError(
                f"Regress.output: {self.output!r} has the shape {list(shape)}; target {self.name!r} needs [{wanted}]"
            )
        for split in data.splits:
            if not np.isfinite(find_target("Regress.target", self.name, data, split)).any():
                raise ValueError(f"Regress.target: {self.name!r} is missing in every row of the {split} split")

    def subsets(self, modalities: Sequence[str]) -> tuple[Subset, ...]:
        return (tuple(sorted(modalities)),) if modality_of(self.output) else subsets_of(modalities)

    def units(self, data: Dataset, split: str) -> Units:
        """target: {"target": Float32[u]}."""
        target = find_target("Regress.target", self.name, data, split)
        return target_units(data, split, ~np.isnan(target), {"target": target.astype(np.float32)})

    def predict(self, apply: Callable, tokens: Mapping[str, Tokens], present: Mapping[str, Any], batch: Batch) -> Any:
        """Float32[b *m]."""
        predicted = apply(tokens, present)[self.output].astype(jnp.float32)
        return predicted.reshape(batch.targets[self.name].shape)

    def evidence(self, outputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Any:
        """The number, its mean over steps: what attributions explain, Float[b]."""
        del reference
        return outputs[self.output].reshape(len(outputs[self.output]), -1).mean(axis=1)

    def outcomes(self, predicted: np.ndarray, units: Units) -> Outcomes:
        """The outcomes of `metrics.regression`."""
        return {"target": units.target["target"], "predicted": at_entries(predicted, units, 0).astype(np.float32)}

    def baselines(self, data: Dataset) -> dict[str, np.ndarray]:
        """The mean and the median of the training targets; a ridge regression on TF-IDF if the metadata have texts."""
        train, validation, test = (self.units(data, split) for split in ("train", "validation", "test"))
        entries = find_target("Regress.target", self.name, data).shape

        def filled(values: Any) -> np.ndarray:
            predicted = np.zeros(int(np.prod(entries)), np.float32)
            predicted[test.entry] = values
            return predicted.reshape(entries)

        target = train.target["target"]
        found = {
            "mean": filled(np.average(target, weights=train.weight)),
            "median": filled(weighted_median(target, train.weight)),
        }
        if has_text(train):
            examples = text_examples(train, "target"), text_examples(validation, "target")
            found["tfidf_ridge"] = filled(tfidf_ridge(*examples, test.metadata["text"].tolist()))
        return found

    def details(self, units: Units) -> dict[str, Metric]:
        return {}

    def panels(self, outcomes: Outcomes, units: Units) -> list[dict[str, Any]]:
        """A scatter plot: targets, and predictions averaged over seeds, for up to MAX_POINTS evenly spaced units."""
        shown = np.unique(np.linspace(0, len(units.entry) - 1, MAX_POINTS).astype(int))
        x, y = np.asarray(outcomes["target"])[0, shown], np.asarray(outcomes["predicted"])[:, shown].mean(axis=0)
        names = [str(name) for name in units.metadata["id"][shown]]
        return [panels.points("Predictions", x, y, names, x_label="target", y_label="predicted", diagonal=True)]

    def show(self, predicted: np.ndarray, units: Units, unit: int) -> dict[str, Any]:
        """The mean prediction over seeds."""
        value = float(predicted.reshape(len(predicted), -1)[:, units.entry[unit]].mean())
        return {"target": f"{units.target['target'][unit]:.3g}", "predicted": f"{value:.3g}", "correct": None, "score": None}

    def answers(self, predicted: np.ndarray, classes: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
        """{"predicted": Float32[n *m]}."""
        return {"predicted": predicted.mean(axis=0)}
