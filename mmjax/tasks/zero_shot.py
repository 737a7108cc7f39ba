"""Zero-shot classification: texts describe each class, and an input gets the class with the most similar texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import tyro
from jaxtyping import Array, Float

from mmjax.data.class_prompts import LANGUAGE, PROMPT
from mmjax.data.dataset import Dataset
from mmjax.metrics import classification
from mmjax.tasks.baselines import majority_class
from mmjax.tasks.classify import METRICS, class_details, class_outcomes, confusion_panels, show_class
from mmjax.tasks.defaults import each_seed
from mmjax.tasks.embeddings import embed, modalities_of
from mmjax.tasks.subsets import subsets_of
from mmjax.tasks.units import find_classes, find_output, find_target, modality_of, target_units
from mmjax.types import Batch, Metric, Outcomes, Subset, Tokens, Units

__all__ = ["ZeroShot"]


@dataclass(frozen=True)
class ZeroShot:
    """Scores dot products of an embedding with class embeddings, as in CLIP (Radford et al., 2021, section 3.1.4).

    query: the name of an output [b d], such as "image.embedding", or "embedding" of the fused tokens, which is computed from
    every modality except the one of the prompts. prompts: the name of the text output [b d], such as "text.embedding". The
    embedding of a class is the normalised mean of the normalised embeddings of its prompts, which are additional rows of the
    data: `data=ClassPrompts(Stamps(), templates=("a picture of {}",))`. With `languages=TEMPLATES`, it is the normalised mean
    of its embeddings in each language, whatever the number of templates; "accuracy/fr" and so on, for each language alone,
    are details.
    target: the name of the classes, Int[n]. temperature: divides the dot products before the softmax; it changes the
    probabilities and the calibration error only. fused: the modalities of the fused tokens; name them if the data have
    modalities without an encoder. extra: further metrics of the outcomes in `metrics.classification`.

    A unit is a row of positive weight with a class and with a modality of the query. The prompts are units of weight 0.
    """

    query: str
    prompts: str
    target: str = "label"
    temperature: float = 0.01
    fused: tuple[str, ...] | None = None
    extra: tyro.conf.Suppress[Mapping[str, Metric]] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, Metric]:
        return METRICS | dict(self.extra)

    def _query_modalities(self, known: Sequence[str]) -> tuple[str, ...]:
        return modalities_of(self.query, self.prompts, self.fused, known)

    def check(self, outputs: Mapping[str, Any], data: Dataset) -> None:
        shapes = find_output("ZeroShot.query", self.query, outputs), find_output("ZeroShot.prompts", self.prompts, outputs)
        if len(shapes[0]) != 2 or shapes[0] != shapes[1] or not modality_of(self.prompts):
            raise ValueError(
                f"ZeroShot: {self.query!r} has the shape {list(shapes[0])} and {self.prompts!r} {list(shapes[1])}; both must "
                "be [b, d] with the same d, and the prompts must be of one modality, such as 'text.embedding'"
            )
        if self.temperature <= 0:
            raise ValueError(f"ZeroShot.temperature is {self.temperature}; it must be above 0")
        classes = find_classes("ZeroShot.target", self.target, data)
        for split in ("validation", "test"):
            if PROMPT not in data.splits[split].targets:
                raise ValueError("ZeroShot: the data have no prompts; wrap them, as in data=ClassPrompts(Stamps())")
            prompted = np.unique(data.splits[split].targets[PROMPT])
            if np.setdiff1d(np.arange(len(classes)), prompted).size:
                raise ValueError(f"ZeroShot: some of the {len(classes)} classes of {self.target!r} have no prompts")

    def subsets(self, modalities: Sequence[str]) -> tuple[Subset, ...]:
        return (tuple(sorted(modalities)),) if modality_of(self.query) else subsets_of(self._query_modalities(modalities))

    def units(self, data: Dataset, split: str) -> Units:
        """target: {"label": Int[u], "name": str[u], "prompt": Bool[u]}."""
        rows, names = data.splits[split], np.array(find_classes("ZeroShot.target", self.target, data))
        label, prompt = (find_target("ZeroShot.target", name, data, split) for name in (self.target, PROMPT))
        pointer = np.stack([rows.pointer[name] for name in self._query_modalities(tuple(data.columns))])
        query = (label >= 0) & (pointer >= 0).any(axis=0) & (rows.weight > 0)
        label = np.where(prompt >= 0, prompt, label)
        target = {"label": label, "name": names[np.maximum(label, 0)], "prompt": prompt >= 0}
        return target_units(data, split, query | (prompt >= 0), target)

    def predict(self, apply: Callable, tokens: Mapping[str, Tokens], present: Mapping[str, Any], batch: Batch) -> Any:
        """{"query", "prompt"}: Float32[b d]."""
        arguments = apply, tokens, present, batch
        return {
            "query": embed(self.query, self._query_modalities(tuple(batch.present)), *arguments),
            "prompt": embed(self.prompts, (modality_of(self.prompts),), *arguments),
        }

    def _logits(self, predicted: Mapping[str, np.ndarray], units: Units, classes: np.ndarray | None = None) -> np.ndarray:
        """Logits Float32[u c] of all units; those of the prompts are not used. classes: [c d]; None for all languages."""
        if classes is None:
            classes = _unit(self._classes(predicted, units).mean(axis=0))
        return (predicted["query"][units.entry] @ classes.T / self.temperature).astype(np.float32)

    def _classes(self, predicted: Mapping[str, np.ndarray], units: Units) -> np.ndarray:
        """The embeddings of the classes in each of l languages, [l c d], of unit length."""
        prompt = units.target["prompt"]
        labels, embedding = units.target["label"][prompt], _unit(predicted["prompt"][units.entry[prompt]])
        spoken = _spoken(units)
        means = [
            [embedding[(labels == k) & (spoken == language)].mean(axis=0) for k in range(int(labels.max()) + 1)]
            for language in np.unique(spoken)
        ]
        return _unit(np.array(means))

    def outcomes(self, predicted: Mapping[str, np.ndarray], units: Units) -> Outcomes:
        """The outcomes of `metrics.classification`; and with several languages, "spoken" Int32[u l], the prediction by each."""
        found = class_outcomes(self._logits(predicted, units), units)
        classes = self._classes(predicted, units)
        if len(classes) == 1:
            return found
        alone = [class_outcomes(self._logits(predicted, units, one), units)["predicted"] for one in classes]
        return found | {"spoken": np.stack(alone, axis=1)}

    def baselines(self, data: Dataset) -> dict[str, dict[str, np.ndarray]]:
        """The most frequent class of the training split."""
        count = len(find_classes("ZeroShot.target", self.target, data))
        label = find_target("ZeroShot.target", self.target, data, "train")
        majority = majority_class(label[label >= 0], np.asarray(data.splits["train"].weight)[label >= 0])
        prompt = find_target("ZeroShot.target", PROMPT, data)
        query = np.zeros((len(prompt), count), np.float32)
        query[:, majority] = 1
        return {"majority": {"query": query, "prompt": np.eye(count, dtype=np.float32)[np.maximum(prompt, 0)]}}

    def details(self, units: Units) -> dict[str, Metric]:
        """Those of each class; and with several languages, the accuracy by the prompts of each: "accuracy/fr"."""
        languages = np.unique(_spoken(units))
        alone = {f"accuracy/{name}": Metric(_accuracy_in(number)) for number, name in enumerate(languages)}
        return (alone if len(alone) > 1 else {}) | class_details(units)

    def panels(self, outcomes: Outcomes, units: Units) -> list[dict[str, Any]]:
        return confusion_panels(outcomes, units)

    def show(self, predicted: Mapping[str, np.ndarray], units: Units, unit: int) -> dict[str, Any]:
        seeds = range(len(predicted["query"]))
        logits = [self._logits({name: values[seed] for name, values in predicted.items()}, units)[unit] for seed in seeds]
        return show_class(np.stack(logits), units, unit)

    def answers(self, predicted: Mapping[str, np.ndarray], classes: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
        """{"query", "prompt"}: the embeddings of each seed, Float32[n s d]."""
        return each_seed(predicted)


def _spoken(units: Units) -> np.ndarray:
    """The language of each prompt; "" if the data do not say."""
    prompt = units.target["prompt"]
    return units.metadata[LANGUAGE][prompt] if LANGUAGE in units.metadata else np.full(int(prompt.sum()), "")


@cache
def _accuracy_in(language: int) -> Callable:
    """Accuracy by the prompts of one language. language: its number."""

    def value(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        return classification.accuracy({**outcomes, "predicted": outcomes["spoken"][:, language]}, weight)

    return value


def _unit(x: np.ndarray) -> np.ndarray:
    """Vectors of length 1 along the last axis; zeros remain zeros."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
