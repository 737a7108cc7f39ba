"""Multi-label classification: each of several labels applies to a row or does not."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from mmjax.data.dataset import Dataset
from mmjax.metrics import multilabel
from mmjax.tasks import panels
from mmjax.tasks.baselines import has_text, label_frequencies, text_examples, tfidf_labels
from mmjax.tasks.subsets import subsets_of
from mmjax.tasks.units import at_entries, find_classes, find_output, find_target, modality_of, target_of, target_units
from mmjax.types import Batch, Metric, Outcomes, Subset, Tokens, Units

__all__ = ["MAX_DETAILS", "METRICS", "MultiLabelClassify", "label_names"]

METRICS = {
    "f1_micro": Metric(multilabel.f1_micro),
    "f1_macro": Metric(multilabel.f1_macro),
    "f1_samples": Metric(multilabel.f1_samples),
    "map": Metric(multilabel.mean_average_precision),
}
MAX_DETAILS = 100  # with more labels, results have no scores by label


@dataclass(frozen=True)
class MultiLabelClassify:
    """Scores logits [b l] against labels Int[n l]: 1 if a label applies, 0 if not, -1 if unknown.

    output: the name of the logits. target: the name of the labels; None: the last part of the output's name. threshold: a label
    is predicted if its probability, the sigmoid of its logit, is above it. extra: further metrics of the outcomes in
    `metrics.multilabel`.

    A unit is a row with at least one known label. A NaN logit counts as a wrong prediction with the worst score. The output of
    a unimodal head is scored for the complete input only.
    """

    output: str
    target: str | None = None
    threshold: float = 0.5
    extra: tyro.conf.Suppress[Mapping[str, Metric]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the target."""
        return self.target or target_of(self.output)

    @property
    def metrics(self) -> dict[str, Metric]:
        return METRICS | dict(self.extra)

    def check(self, outputs: Mapping[str, Any], data: Dataset) -> None:
        shape = find_output("MultiLabelClassify.output", self.output, outputs)
        target = find_target("MultiLabelClassify.target", self.name, data)
        count = len(find_classes("MultiLabelClassify.target", self.name, data))
        if not np.issubdtype(target.dtype, np.integer) or target.shape[1:] != (count,):
            raise ValueError(
                f"MultiLabelClassify.target: {self.name!r} is {target.dtype}{list(target.shape)}; for {count} labels it must "
                f"be Int[n {count}]"
            )
        if shape[1:] != (count,):
            raise ValueError(
                f"MultiLabelClassify.output: {self.output!r} has the shape {list(shape)}; target {self.name!r} needs "
                f"[b, {count}]"
            )
        if not 0 < self.threshold < 1:
            raise ValueError(f"MultiLabelClassify.threshold is {self.threshold}; it must be between 0 and 1")

    def subsets(self, modalities: Sequence[str]) -> tuple[Subset, ...]:
        return (tuple(sorted(modalities)),) if modality_of(self.output) else subsets_of(modalities)

    def units(self, data: Dataset, split: str) -> Units:
        """target: {"target": Int8[u l], "names": str[u], the names of the labels that apply, one per line}."""
        target = find_target("MultiLabelClassify.target", self.name, data, split)
        labels = np.array(find_classes("MultiLabelClassify.target", self.name, data))
        names = np.array(["\n".join(labels[row == 1]) for row in target])
        return target_units(data, split, (target >= 0).any(axis=1), {"target": target.astype(np.int8), "names": names})

    def predict(self, apply: Callable, tokens: Mapping[str, Tokens], present: Mapping[str, Any], batch: Batch) -> Any:
        """Float32 logits [b l]."""
        return apply(tokens, present)[self.output].astype(jnp.float32)

    def evidence(self, outputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Any:
        """The logit of the label that `reference` finds most probable: what attributions explain, Float[b]."""
        chosen = jnp.argmax(reference[self.output], axis=-1, keepdims=True)
        return jnp.take_along_axis(outputs[self.output], chosen, axis=-1)[:, 0]

    def outcomes(self, predicted: np.ndarray, units: Units) -> Outcomes:
        """The outcomes of `metrics.multilabel`; the score is the logit."""
        logits, target = at_entries(predicted, units, 1), units.target["target"]
        undefined, applies = np.isnan(logits), target == 1
        return {
            "target": target,
            "predicted": np.where(undefined, ~applies, logits > self._logit_threshold),
            "score": np.where(undefined, np.where(applies, -np.inf, np.inf), logits).astype(np.float32),
        }

    @property
    def _logit_threshold(self) -> float:
        return math.log(self.threshold / (1 - self.threshold))

    def baselines(self, data: Dataset) -> dict[str, np.ndarray]:
        """The label frequencies of the training split; linear SVMs on TF-IDF, one per label, if the metadata have texts."""
        train, validation, test = (self.units(data, split) for split in ("train", "validation", "test"))
        predicted = np.zeros(find_target("MultiLabelClassify.target", self.name, data).shape, np.float32)
        frequency = np.clip(label_frequencies(train.target["target"], train.weight), 1e-6, 1 - 1e-6)
        found = {"prior": predicted + np.log(frequency / (1 - frequency)).astype(np.float32)}
        if has_text(train):
            examples = text_examples(train, "target"), text_examples(validation, "target")
            found["tfidf_svm"] = predicted.copy()
            margin = tfidf_labels(*examples, test.metadata["text"].tolist())
            found["tfidf_svm"][test.entry] = margin + self._logit_threshold  # the decision of an SVM is at 0
        return found

    def details(self, units: Units) -> dict[str, Metric]:
        """F1 and average precision of each label that occurs: "f1/animals", "ap/animals"; none for more than MAX_DETAILS."""
        labels = label_names(units)
        if len(labels) > MAX_DETAILS:
            return {}
        values = {"f1": multilabel.f1_of_label, "ap": multilabel.average_precision_of_label}
        return {f"{name}/{label}": Metric(value(k)) for k, label in labels.items() for name, value in values.items()}

    def panels(self, outcomes: Outcomes, units: Units) -> list[dict[str, Any]]:
        """A scatter plot with a point for each label that occurs: its frequency and its mean average precision over seeds."""
        labels = label_names(units)
        if not labels or len(labels) > MAX_DETAILS:
            return []
        weight, chosen = jnp.asarray(units.weight), list(labels)
        arguments = [jnp.asarray(outcomes[name])[:, :, chosen] for name in ("target", "score")]
        precision = jax.jit(jax.vmap(multilabel.average_precisions, in_axes=(0, 0, None)))(*arguments, weight)[0].mean(axis=0)
        frequency = label_frequencies(units.target["target"], units.weight)[chosen]
        names = list(labels.values())
        return [panels.points("Average precision by label", frequency, precision, names, "frequency", "average precision")]

    def show(self, predicted: np.ndarray, units: Units, unit: int) -> dict[str, Any]:
        """The labels whose mean logit over seeds is above the threshold; correct if all known labels agree."""
        chosen = predicted[:, units.entry[unit]].mean(axis=0) > self._logit_threshold
        target, names = units.target["target"][unit], label_names(units)
        return {
            "target": str(units.target["names"][unit]).replace("\n", ", "),
            "predicted": ", ".join(names.get(int(k), f"label {k}") for k in np.flatnonzero(chosen)),
            "correct": bool((chosen == (target == 1))[target >= 0].all()),
            "score": None,
        }

    def answers(self, predicted: np.ndarray, classes: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
        """{"predicted": str[n], the labels joined by ", ", "probability": Float32[n l]}, from the mean logit."""
        logits, names = predicted.mean(axis=0), np.array(classes[self.name])
        labels = [", ".join(names[row]) for row in logits > self._logit_threshold]
        return {"predicted": np.array(labels, str), "probability": 1 / (1 + np.exp(-logits))}


def label_names(units: Units) -> dict[int, str]:
    """{label: name} of the labels that apply to at least one unit."""
    applies, names = units.target["target"] == 1, {}
    for k in np.flatnonzero(applies.any(axis=0)).tolist():
        unit = int(applies[:, k].argmax())
        names[k] = str(units.target["names"][unit]).split("\n")[int(applies[unit, :k].sum())]
    return names
