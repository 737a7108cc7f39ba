"""Generation: a decoder writes a text, which is compared with reference texts. Captions, speech recognition, translation."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Dataset
from mmjax.metrics.text import TEXT_METRICS, text_outcomes
from mmjax.tasks.items import items_of
from mmjax.tasks.search import Greedy, Search
from mmjax.tasks.subsets import subsets_of
from mmjax.tasks.text_baselines import text_baselines
from mmjax.tasks.units import find_output, listed, target_of
from mmjax.types import Batch, Declared, Metric, Outcomes, Subset, Tokens, Units

__all__ = ["Generate", "texts_of"]


@dataclass(frozen=True)
class Generate:
    """Scores the texts of a decoder against the texts in the metadata column of its target.

    output: the name of the decoder, or of a CTC head. target: the name of the texts; None: the last part of the output's name.
    search: how a text is found. metrics: names of `mmjax.metrics.text.TEXT_METRICS`; the first one is the headline metric. per:
    modalities, such as ("image",): rows with the same items of these are one unit, whose references are the texts of all of
    them; () for a unit per row with its own text.
    """

    output: str
    target: str | None = None
    search: Declared[Search] = Greedy()
    scores: tuple[str, ...] = ("cider_d", "bleu4", "exact_match_lower")
    per: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the target."""
        return self.target or target_of(self.output)

    @property
    def metrics(self) -> dict[str, Metric]:
        return {name: TEXT_METRICS[name].metric for name in self.scores}

    def check(self, outputs: Mapping[str, Any], data: Dataset) -> None:
        find_output("Generate.output", self.output, outputs)
        unknown = sorted(set(self.scores) - set(TEXT_METRICS))
        if unknown or not self.scores:
            given = f"{unknown[0]!r} is unknown" if unknown else "it is empty"
            raise ValueError(f"Generate.scores: {given}; the metrics of texts are {', '.join(TEXT_METRICS)}")
        if self.name not in data.tokenizers:
            raise ValueError(
                f"Generate.target: {self.name!r} has no tokenizer; the targets that are texts are {listed(data.tokenizers)}"
            )
        for name in self.per:
            if name not in data.columns:
                raise ValueError(f"Generate.per: the data have no modality {name!r}; they have {listed(data.columns)}")
        for split in ("validation", "test"):
            if not self.units(data, split).weight.any():
                raise ValueError(f"Generate.target: no row of the {split} split has a text {self.name!r}")

    def subsets(self, modalities: Sequence[str]) -> tuple[Subset, ...]:
        return subsets_of(modalities)

    def units(self, data: Dataset, split: str) -> Units:
        """target: {"reference": str[u r]}, the reference texts, "" where a unit has fewer."""
        rows, metadata = data.splits[split], data.metadata[split]
        if len(metadata.get(self.name, ())) != len(rows):
            raise ValueError(f"Generate.target: the {split} split needs a metadata column {self.name!r} with a text per row")
        texts = [" ".join(str(text).split()) for text in metadata[self.name]]
        weight = np.where([bool(text) for text in texts], np.asarray(rows.weight), 0).astype(np.float32)
        if not self.per:
            row = np.arange(len(rows))
            reference = np.array(texts, dtype=np.str_)[:, None]
            kept = {column: np.asarray(values) for column, values in metadata.items()}
            return Units({"reference": reference}, weight, kept["group"], kept, row, row, data.tokenizers[self.name])
        items = items_of(data, split, self.per)
        references = [dict[str, None]() for _ in items.row]  # ordered, without repetitions
        for item, text, of_row in zip(items.of_row, texts, weight):
            if item >= 0 and of_row > 0:
                references[item][text] = None
        width = max(map(len, references), default=0)
        reference = np.array([[*found, *[""] * (width - len(found))] for found in references], dtype=np.str_)
        total = np.where([bool(found) for found in references], items.weight, 0).astype(np.float32)
        kept, tokenizer = dict(items.metadata), data.tokenizers[self.name]
        return Units({"reference": reference}, total, kept["group"], kept, items.row, items.row, tokenizer)

    def predict(self, apply: Callable, tokens: Mapping[str, Tokens], present: Mapping[str, Any], batch: Batch) -> Any:
        """Token ids Int32[b m], -1 beyond the end."""
        return self.search(apply, self.output, tokens, present).astype(jnp.int32)

    def outcomes(self, predicted: np.ndarray, units: Units) -> Outcomes:
        """The outcomes of all metrics in `mmjax.metrics.text`. predicted: token ids [n m], or texts str[n]."""
        texts = texts_of(predicted, units.tokenizer)
        references = [[text for text in found if text] or [""] for found in units.target["reference"].tolist()]
        hypotheses = [texts[entry] for entry in units.entry]
        return text_outcomes([TEXT_METRICS[name] for name in self.scores], hypotheses, references)

    def baselines(self, data: Dataset) -> dict[str, np.ndarray]:
        return text_baselines(data, self.name)

    def details(self, units: Units) -> dict[str, Metric]:
        del units
        return {}

    def panels(self, outcomes: Outcomes, units: Units) -> list[dict[str, Any]]:
        del outcomes, units
        return []

    def show(self, predicted: np.ndarray, units: Units, unit: int) -> dict[str, Any]:
        """The text that most seeds give; "score" is its value of the headline metric for this unit alone."""
        entry = units.entry[unit]
        text = _most_common(texts_of(predicted[:, entry], units.tokenizer))
        references = [reference for reference in units.target["reference"][unit].tolist() if reference]
        headline = TEXT_METRICS[self.scores[0]]
        outcomes = jax.tree.map(jnp.asarray, dict(headline.statistics([text], [references or [""]])))
        score = float(headline.metric.value(outcomes, jnp.ones(1, jnp.float32)))
        return {
            "target": " | ".join(references),
            "predicted": text,
            "correct": text in references,
            "score": score if np.isfinite(score) else None,
        }

    def answers(self, predicted: np.ndarray, classes: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """{"predicted": str[n], the text that most seeds give, the first of several}."""
        of_seeds = [texts_of(of_seed, classes[self.name]) for of_seed in predicted]
        return {"predicted": np.array([_most_common(texts) for texts in zip(*of_seeds)])}


def texts_of(predicted: np.ndarray, tokenizer: Any) -> list[str]:
    """Token ids Int[n m] -> n texts; texts as they are."""
    if predicted.dtype.kind in "UO":
        return [str(text) for text in predicted]
    return [tokenizer.text(ids) for ids in predicted]


def _most_common(texts: Sequence[str]) -> str:
    return Counter(texts).most_common(1)[0][0]
