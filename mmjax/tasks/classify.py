"""Classification: each row, or each labelled step, belongs to one class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro

from mmjax.data.dataset import Dataset
from mmjax.metrics import classification
from mmjax.tasks import panels
from mmjax.tasks.baselines import has_text, majority_class, text_examples, tfidf_svm
from mmjax.tasks.subsets import subsets_of
from mmjax.tasks.units import at_entries, find_classes, find_output, find_target, modality_of, target_of, target_units
from mmjax.types import Batch, Metric, Outcomes, Subset, Tokens, Units

__all__ = [
    "DETAILS", "MAX_DETAILS", "METRICS", "Classify", "class_details", "class_names", "class_outcomes", "confusion_panels",
    "show_class",
]

METRICS = {
    "accuracy": Metric(classification.accuracy),
    "f1_macro": Metric(classification.f1_macro),
    "ece": Metric(classification.calibration_error, higher_is_better=False),
    "precision_macro": Metric(classification.precision_macro),
    "recall_macro": Metric(classification.recall_macro),
    "f1_micro": Metric(classification.accuracy),
    "precision_micro": Metric(classification.accuracy),
    "recall_micro": Metric(classification.accuracy),
}
DETAILS = {"precision": classification.precision, "recall": classification.recall, "f1": classification.f1}
MAX_DETAILS = 100  # with more classes, results have no scores by class and no confusion matrix


@dataclass(frozen=True)
class Classify:
    """Scores logits [b c], or [b m c] for m steps, against classes Int[n] or Int[n m]; negative classes are missing.

    output: the name of the logits, such as "label" or "image.label". target: the name of the classes; None: the last part of
    the output's name ("label" in both cases). extra: further metrics of the outcomes in `metrics.classification`.

    A unit is a row with a class, or a step with a class; the steps of a row share its weight. Logits that contain NaN count as
    a wrong prediction with probability 1. The output of a unimodal head is scored for the complete input only.
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
        shape = find_output("Classify.output", self.output, outputs)
        label = find_target("Classify.target", self.name, data)
        classes = find_classes("Classify.target", self.name, data)
        if not np.issubdtype(label.dtype, np.integer):
            raise ValueError(f"Classify.target: {self.name!r} has dtype {label.dtype}; classes must be integers")
        for split in data.splits:
            largest = find_target("Classify.target", self.name, data, split).max(initial=-1)
            if largest >= len(classes):
                known = f"{len(classes)} classes are known"
                raise ValueError(f"Classify.target: {self.name!r} has class {largest} in the {split} split; {known}")
        if len(shape) != label.ndim + 1 or shape[1:-1] != label.shape[1:] or shape[-1] != len(classes):
            wanted = ["b", *map(str, label.shape[1:]), str(len(classes))]
            raise ValueError(
                f"Classify.output: {self.output!r} has the shape {list(shape)}; target {self.name!r} with {len(classes)} "
                f"classes needs [{', '.join(wanted)}]"
            )

    def subsets(self, modalities: Sequence[str]) -> tuple[Subset, ...]:
        return (tuple(sorted(modalities)),) if modality_of(self.output) else subsets_of(modalities)

    def units(self, data: Dataset, split: str) -> Units:
        """target: {"label": Int[u], "name": str[u], the name of the class}."""
        label = find_target("Classify.target", self.name, data, split)
        names = np.array(find_classes("Classify.target", self.name, data))
        return target_units(data, split, label >= 0, {"label": label, "name": names[np.maximum(label, 0)]})

    def predict(self, apply: Callable, tokens: Mapping[str, Tokens], present: Mapping[str, Any], batch: Batch) -> Any:
        """Float32 logits [b *m c]."""
        return apply(tokens, present)[self.output].astype(jnp.float32)

    def evidence(self, outputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Any:
        """The logit of the class that `reference` predicts, its mean over steps: what attributions explain, Float[b]."""
        chosen = jnp.argmax(reference[self.output], axis=-1, keepdims=True)
        return jnp.take_along_axis(outputs[self.output], chosen, axis=-1).reshape(len(chosen), -1).mean(axis=1)

    def outcomes(self, predicted: np.ndarray, units: Units) -> Outcomes:
        """The outcomes of `metrics.classification`."""
        return class_outcomes(at_entries(predicted, units, 1), units)

    def baselines(self, data: Dataset) -> dict[str, np.ndarray]:
        """The most frequent class of the training split; a linear SVM on TF-IDF if the metadata have texts."""
        classes = len(find_classes("Classify.target", self.name, data))
        train, validation, test = (self.units(data, split) for split in ("train", "validation", "test"))
        entries = find_target("Classify.target", self.name, data).shape

        def logits(predicted: Any) -> np.ndarray:
            """Logits of all entries; the softmax is 1 for the predicted class of each unit."""
            values = np.zeros((int(np.prod(entries)), classes), np.float32)
            values[test.entry] = np.where(np.arange(classes) == np.asarray(predicted)[:, None], 0, -1e4)
            return values.reshape(*entries, classes)

        majority = majority_class(train.target["label"], train.weight)
        found = {"majority": logits(np.full(len(test.entry), majority))}
        if has_text(train):
            texts = test.metadata["text"].tolist()
            examples = text_examples(train, "label"), text_examples(validation, "label")
            found["tfidf_svm"] = logits(tfidf_svm(*examples, texts))
        return found

    def details(self, units: Units) -> dict[str, Metric]:
        return class_details(units)

    def panels(self, outcomes: Outcomes, units: Units) -> list[dict[str, Any]]:
        return confusion_panels(outcomes, units)

    def show(self, predicted: np.ndarray, units: Units, unit: int) -> dict[str, Any]:
        logits = predicted.reshape(predicted.shape[0], -1, predicted.shape[-1])[:, units.entry[unit]]
        return show_class(logits, units, unit)

    def answers(self, predicted: np.ndarray, classes: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
        """{"predicted": str[n *m], "probability": Float32[n *m c]}."""
        probability = _probability(predicted).mean(axis=0)
        return {"predicted": np.array(classes[self.name])[probability.argmax(axis=-1)], "probability": probability}


def class_outcomes(logits: np.ndarray, units: Units) -> dict[str, np.ndarray]:
    """Logits Float[u c] -> the outcomes of `metrics.classification`."""
    probability = _probability(logits)
    best = probability.argmax(axis=1)
    highest = np.take_along_axis(probability, best[:, None], axis=1)[:, 0]
    valid = ~np.isnan(probability).any(axis=1)
    return {
        "label": units.target["label"].astype(np.int32),
        "predicted": np.where(valid, best, -1).astype(np.int32),
        "probability": np.where(valid, highest, 1).astype(np.float32),
    }


def class_details(units: Units) -> dict[str, Metric]:
    """Precision, recall and F1 of each class that occurs: "f1/animals"; none for more than MAX_DETAILS classes."""
    classes = class_names(units)
    if len(classes) > MAX_DETAILS:
        return {}
    return {
        f"{name}/{classes[k]}": Metric(classification.of_class(score, k))
        for k in sorted(classes)
        for name, score in DETAILS.items()
    }


def confusion_panels(outcomes: Outcomes, units: Units) -> list[dict[str, Any]]:
    """The confusion matrix, averaged over seeds; its last column counts predictions of classes that no unit has."""
    classes = class_names(units)
    if len(classes) > MAX_DETAILS:
        return []
    order = sorted(classes)
    code = lambda values: np.where(np.isin(values, order), np.searchsorted(order, values), len(order))
    matrices = [
        classification.confusion_matrix(code(label), code(predicted), units.weight, len(order) + 1)
        for label, predicted in zip(outcomes["label"], outcomes["predicted"])
    ]
    values, names = np.mean(matrices, axis=0)[:-1], [classes[k] for k in order]
    if values[:, -1].any():
        columns = [*names, "other"]
    else:
        columns, values = names, values[:, :-1]
    return [panels.matrix("Confusion matrix", names, columns, values, row_label="true", column_label="predicted")]


def show_class(logits: np.ndarray, units: Units, unit: int) -> dict[str, Any]:
    """The class with the highest mean probability over seeds, from logits Float[s c]; "score" is this probability."""
    probability = np.nan_to_num(_probability(logits).mean(axis=0))
    best = int(probability.argmax())
    return {
        "target": str(units.target["name"][unit]),
        "predicted": class_names(units).get(best, f"class {best}"),
        "correct": best == int(units.target["label"][unit]),
        "score": float(probability[best]),
    }


def class_names(units: Units) -> dict[int, str]:
    """{class: name} of the classes that occur among the units."""
    labels, first = np.unique(units.target["label"], return_index=True)
    return {int(label): str(units.target["name"][unit]) for label, unit in zip(labels, first)}


def _probability(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis; NaN if a logit is NaN."""
    logits = np.asarray(logits, np.float32)
    with np.errstate(invalid="ignore"):  # infinite logits
        power = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return power / power.sum(axis=-1, keepdims=True)
