"""Generation: a decoder writes a text, which is compared with reference texts. Captions, speech recognition, translation."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from mmjax.data.dataset import Dataset
from mmjax.metrics.text import TEXT_METRICS, TextMetric, text_outcomes, unit_scores
from mmjax.tasks.items import items_of
from mmjax.tasks.search import Beam, CTCBeam, CTCGreedy, Greedy, JointBeam, Sample, Search
from mmjax.tasks.subsets import subsets_of
from mmjax.tasks.text_baselines import text_baselines
from mmjax.tasks.units import listed, target_of
from mmjax.types import Batch, Declared, Metric, Outcomes, Subset, Tokens, Units

__all__ = ["Generate", "normal_form", "texts_of"]


@dataclass(frozen=True)
class Generate:
    """Scores the texts of a decoder against the texts in the metadata column of its target.

    References and baselines are compared in the normal form of the tokenizer: a tokenizer in lower case cannot write capitals.

    output: the name of the decoder, or of a CTC head. target: the name of the texts; None: the last part of the output's name.
    search: how a text is found. scores: names of `mmjax.metrics.text.TEXT_METRICS`; the first one is the headline metric. per:
    modalities, such as ("image",): rows with the same items of these are one unit, whose references are the texts of all of
    them; () for a unit per row with its own text. nearest: modalities whose nearest training item gives the text of a baseline;
    None for all modalities of numbers or texts.
    """

    output: str
    target: str | None = None
    search: Declared[Search] = Greedy()
    scores: tuple[str, ...] = ("cider_d", "bleu4", "exact_match_lower")
    per: tuple[str, ...] = ()
    nearest: tuple[str, ...] | None = None
    known: ClassVar[Mapping[str, TextMetric]] = TEXT_METRICS

    @property
    def name(self) -> str:
        """The name of the target."""
        return self.target or target_of(self.output)

    @property
    def metrics(self) -> dict[str, Metric]:
        return {name: self.known[name].metric for name in self.scores}

    def check(self, outputs: Mapping[str, Any], data: Dataset) -> None:
        if self.output not in outputs:
            raise ValueError(f"Generate.output: the model has no output {self.output!r}; its outputs are {listed(outputs)}")
        of_frames = isinstance(outputs[self.output], Tokens)
        if isinstance(self.search, (Greedy, Beam, JointBeam, Sample)) and of_frames:
            raise ValueError(f"Generate.search: {self.output!r} is the output of a CTC head; give CTCGreedy() or CTCBeam()")
        if isinstance(self.search, (CTCGreedy, CTCBeam)) and not of_frames:
            others = "Greedy(), Beam(), Sample() or JointBeam()"
            raise ValueError(f"Generate.search: {self.output!r} is not the output of a CTC head; give {others}")
        if isinstance(self.search, JointBeam):
            _check_joint(self.search.ctc, self.output, outputs)
        kind, unknown = type(self).__name__, sorted(set(self.scores) - set(self.known))
        if unknown or not self.scores:
            given = f"{unknown[0]!r} is unknown" if unknown else "it is empty"
            raise ValueError(f"{kind}.scores: {given}; the metrics of texts are {', '.join(self.known)}")
        if self.name not in data.tokenizers:
            raise ValueError(
                f"Generate.target: {self.name!r} has no tokenizer; the targets that are texts are {listed(data.tokenizers)}"
            )
        tokenizer = data.tokenizers[self.name]
        if of_frames:
            _check_frames(self, outputs[self.output].x.shape, tokenizer, data)
        _check_round_trip(self.name, tokenizer, data)
        for field, names in (("per", self.per), ("nearest", self.nearest or ())):
            for name in names:
                if name not in data.columns:
                    raise ValueError(f"Generate.{field}: the data have no modality {name!r}; they have {listed(data.columns)}")
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
        tokenizer = data.tokenizers[self.name]
        texts = ["" if text is None else normal_form(tokenizer, str(text)) for text in metadata[self.name]]
        weight = np.where([bool(text) for text in texts], np.asarray(rows.weight), 0).astype(np.float32)
        if not self.per:
            row = np.arange(len(rows))
            reference = np.array(texts, dtype=np.str_)[:, None]
            kept = {column: np.asarray(values) for column, values in metadata.items()}
            return Units({"reference": reference}, weight, kept["group"], kept, row, row, tokenizer)
        items = items_of(data, split, self.per)
        references = [dict[str, None]() for _ in items.row]  # ordered, without repetitions
        for item, text, of_row in zip(items.of_row, texts, weight):
            if item >= 0 and of_row > 0:
                references[item][text] = None
        width = max(map(len, references), default=0)
        reference = np.array([[*found, *[""] * (width - len(found))] for found in references], dtype=np.str_)
        total = np.where([bool(found) for found in references], items.weight, 0).astype(np.float32)
        kept = dict(items.metadata)
        return Units({"reference": reference}, total, kept["group"], kept, items.row, items.row, tokenizer)

    def predict(self, apply: Callable, tokens: Mapping[str, Tokens], present: Mapping[str, Any], batch: Batch) -> Any:
        """Token ids Int32[b m], -1 beyond the end."""
        return self.search(apply, self.output, tokens, present).astype(jnp.int32)

    def outcomes(self, predicted: np.ndarray, units: Units) -> Outcomes:
        """The outcomes of all metrics in `mmjax.metrics.text`. predicted: token ids [n m], or texts str[n]."""
        texts = texts_of(predicted, units.tokenizer)
        references = [[text for text in found if text] or [""] for found in units.target["reference"].tolist()]
        hypotheses = [texts[entry] for entry in units.entry]
        return text_outcomes([self.known[name] for name in self.scores], hypotheses, references)

    def baselines(self, data: Dataset) -> dict[str, np.ndarray]:
        return text_baselines(data, self.name, data.columns if self.nearest is None else self.nearest)

    def details(self, units: Units) -> dict[str, Metric]:
        del units
        return {}

    def panels(self, outcomes: Outcomes, units: Units) -> list[dict[str, Any]]:
        del outcomes, units
        return []

    def show(self, predicted: np.ndarray, units: Units, unit: int) -> dict[str, Any]:
        """The text that most seeds give; "score" is the value of the headline metric for this unit, with the statistics of the
        whole split where the metric has some (the idf of CIDEr)."""
        of_seeds = tuple(_texts(of.tobytes(), of.dtype, of.shape, units.tokenizer) for of in predicted)
        chosen = _chosen(of_seeds, tuple(units.entry.tolist()))
        references = tuple(map(tuple, units.target["reference"].tolist()))
        score = float(_scores(self.known[self.scores[0]], chosen, references)[unit])
        known = [reference for reference in references[unit] if reference]
        return {
            "target": " | ".join(known),
            "predicted": chosen[unit],
            "correct": chosen[unit] in known,
            "score": score if np.isfinite(score) else None,
        }

    def written(
        self, predicted: np.ndarray, units: Units, chosen: Sequence[int]
    ) -> tuple[Int[np.ndarray, "k m"], Bool[np.ndarray, "s k"]]:
        """(token ids of the texts that `show` gives for k units, Int[k m]; the seeds that wrote these texts, Bool[s k])."""
        entries = np.asarray(units.entry)[list(chosen)]
        texts = np.array([[units.tokenizer.text(ids) for ids in of[entries]] for of in predicted], dtype=object)
        by = texts == np.array([_most_common(of_unit) for of_unit in texts.T.tolist()], dtype=object)
        return predicted[by.argmax(axis=0), entries], by

    def answers(self, predicted: np.ndarray, classes: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """{"predicted": str[n], the text that most seeds give, the first of several}."""
        of_seeds = [texts_of(of_seed, classes[self.name]) for of_seed in predicted]
        return {"predicted": np.array([_most_common(texts) for texts in zip(*of_seeds)])}


def normal_form(tokenizer: Any, text: str) -> str:
    """The text as its token ids give it back: normalised as the tokenizer does, for instance in lower case; single spaces."""
    normalizer = tokenizer.library.normalizer
    normal = text if normalizer is None else normalizer.normalize_str(text)
    return " ".join(normal.replace("\u2581", " ").split())  # some normalizers write spaces as U+2581


def texts_of(predicted: np.ndarray, tokenizer: Any) -> list[str]:
    """Token ids Int[n m] or texts -> n texts in the tokenizer's normal form."""
    if predicted.dtype.kind in "UO":
        return [normal_form(tokenizer, str(text)) for text in predicted]
    return [tokenizer.text(ids) for ids in predicted]


def _check_joint(ctc: str, output: str, outputs: Mapping[str, Any]) -> None:
    """ValueError unless `ctc` is the output of a CTC head with as many logits as the decoder."""
    heads = [name for name, value in outputs.items() if isinstance(value, Tokens)]
    if ctc not in heads:
        raise ValueError(f"JointBeam.ctc: the model has no CTC head {ctc!r}; its CTC heads are {listed(heads)}")
    of_ctc, of_decoder = outputs[ctc].x.shape[-1], outputs[output].shape[-1]
    if of_ctc != of_decoder:
        raise ValueError(f"JointBeam.ctc: {ctc!r} has {of_ctc} logits, but the decoder {output!r} has {of_decoder}")


def _check_frames(task: Generate, shape: tuple[int, ...], tokenizer: Any, data: Dataset) -> None:
    """ValueError if the logits of a CTC head [b n vocabulary] do not fit the texts."""
    frames, vocabulary = shape[1:]
    if vocabulary < tokenizer.vocabulary:
        raise ValueError(f"Generate.output: {task.output!r} has {vocabulary} logits for {tokenizer.vocabulary} token ids")
    if isinstance(task.search, (CTCGreedy, CTCBeam)) and task.search.blank != tokenizer.end:
        raise ValueError(f"Generate.search: the blank is {task.search.blank}; it must be the end token {tokenizer.end}")
    ids = np.asarray(data.splits["train"].targets[task.name])
    labels = (ids >= 0) & (ids != tokenizer.end)
    repeated = (labels[:, 1:] & (ids[:, 1:] == ids[:, :-1])).sum(axis=1)  # a blank must part equal labels
    long = np.flatnonzero(labels.sum(axis=1) + repeated > frames)
    if len(long):
        raise ValueError(
            f"Generate.target: {len(long)} training texts, such as that of row {long[0]}, need more than the {frames} frames "
            f"of {task.output!r}; limit target_tokens, or keep more frames"
        )


def _check_round_trip(name: str, tokenizer: Any, data: Dataset) -> None:
    """ValueError if the token ids of most texts lose the words."""
    texts = [normal_form(tokenizer, str(text)) for text in data.metadata["train"].get(name, ())[:50]]
    words = lambda text: re.findall(r"[^\W\d_]+", text)
    given = [text for text in texts if words(text)]
    back = [tokenizer.text(tokenizer.ids(text)) for text in given]
    more = [(text, again) for text, again in zip(given, back) if len(words(again)) > len(words(text))]
    if 2 * len(more) > len(given):
        text, again = more[0]
        raise ValueError(
            f"Generate.target: the tokenizer of {name!r} does not give words back ({text[:40]!r} becomes {again[:40]!r}); use "
            "Subwords(), Words() or Characters()"
        )


def _most_common(texts: Sequence[str]) -> str:
    return Counter(texts).most_common(1)[0][0]


# `show` is called for each example; what it needs of the whole split is computed once.
@lru_cache(maxsize=64)
def _texts(data: bytes, dtype: Any, shape: tuple[int, ...], tokenizer: Any) -> tuple[str, ...]:
    return tuple(texts_of(np.frombuffer(data, dtype).reshape(shape), tokenizer))


@lru_cache(maxsize=8)
def _chosen(of_seeds: tuple[tuple[str, ...], ...], entries: tuple[int, ...]) -> tuple[str, ...]:
    """The text of each unit that most seeds give."""
    return tuple(_most_common([texts[entry] for texts in of_seeds]) for entry in entries)


@lru_cache(maxsize=8)
def _scores(metric: TextMetric, hypotheses: tuple[str, ...], references: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """The metric of each unit."""
    given = [[text for text in of_unit if text] or [""] for of_unit in references]
    return np.asarray(unit_scores(metric.metric, metric.statistics(hypotheses, given)))
