"""Likelihood: how probable are the texts under a language model? Bits per byte, nats per token and perplexity."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmjax.data.dataset import Dataset
from mmjax.data.token_bytes import token_bytes
from mmjax.metrics.likelihood import LIKELIHOOD_METRICS
from mmjax.nn.checks import positive
from mmjax.nn.factored_logits import FactoredLogits, label_log_p
from mmjax.tasks.likelihood_baselines import ngram_nats
from mmjax.tasks.subsets import subsets_of
from mmjax.tasks.units import listed, target_of
from mmjax.types import Batch, Metric, Outcomes, Subset, Tokens, Units

__all__ = ["SHOWN", "Likelihood", "bytes_of", "token_nats"]

SHOWN = 400  # tokens of a text in a report


def token_nats(output: FactoredLogits | Float[Array, "b m v"], target: Any) -> Float[Array, "b m"]:
    """- log p of each target id in nats, 0 where the target is missing (negative)."""
    valid = target >= 0
    return jnp.where(valid, -label_log_p(output, jnp.where(valid, target, 0)), 0)


def bytes_of(ids: Int[np.ndarray, "u m"], tokenizer: Any) -> Int[np.ndarray, " u"]:
    """The number of bytes that the ids of each row stand for; negative ones for none."""
    valid = ids >= 0
    return np.where(valid, token_bytes(tokenizer)[np.where(valid, ids, 0)], 0).sum(axis=1)


@dataclass(frozen=True)
class Likelihood:
    """Scores the log likelihood of target texts under a decoder, by teacher forcing; no text is generated.

    A unit is a row. The scored ids are those of the target that are not missing, with the end token, which has no bytes. Bytes
    are those of the scored ids (`token_bytes`), so a text that is cut counts as far as it is scored. Intervals are clustered by
    the metadata column "group", such as the document.

    output: the name of the decoder. target: the name of the scored ids; None: the decoder's own target. Another target selects
    spans: it has the ids of the decoder's target inside the span, and -1 elsewhere. order: of the baseline "ngram", an
    interpolated Kneser-Ney model of the training texts; "unigram" is the same with order 1.
    """

    output: str
    target: str | None = None
    order: int = 3

    def __post_init__(self):
        positive(self, "order")

    @property
    def name(self) -> str:
        """The name of the target."""
        return self.target or target_of(self.output)

    @property
    def metrics(self) -> dict[str, Metric]:
        return dict(LIKELIHOOD_METRICS)

    def check(self, outputs: Mapping[str, Any], data: Dataset) -> None:
        if self.output not in outputs:
            raise ValueError(f"Likelihood.output: the model has no output {self.output!r}; its outputs are {listed(outputs)}")
        own = target_of(self.output)
        if isinstance(outputs[self.output], Tokens) or own not in data.tokenizers:
            known = listed(data.tokenizers)
            raise ValueError(f"Likelihood.output: {self.output!r} is not a decoder of texts; the texts are {known}")
        for split in ("validation", "test"):
            targets = data.splits[split].targets
            if self.name not in targets or targets[self.name].shape != targets[own].shape:
                known = listed(targets)
                raise ValueError(f"Likelihood.target: {self.name!r} needs the shape of {own!r}; the targets are {known}")
            scored, ids = np.asarray(targets[self.name]), np.asarray(targets[own])
            if (scored[scored >= 0] != ids[scored >= 0]).any():
                raise ValueError(f"Likelihood.target: {self.name!r} must have the ids of {own!r}, or -1 where none is scored")
            if not self.units(data, split).weight.any():
                raise ValueError(f"Likelihood.target: no row of the {split} split has ids of {self.name!r}")

    def subsets(self, modalities: Sequence[str]) -> tuple[Subset, ...]:
        return subsets_of(modalities)

    def units(self, data: Dataset, split: str) -> Units:
        """target: {"text": str[u]}, the scored texts, which are the same for all tokenizers that change no text."""
        rows = data.splits[split]
        tokenizer = data.tokenizers[target_of(self.output)]
        ids = np.asarray(rows.targets[self.name])
        valid = ids >= 0
        text = np.array([tokenizer.text(of[known]) for of, known in zip(ids, valid)], dtype=np.str_)
        weight = np.where(valid.any(axis=1), np.asarray(rows.weight), 0).astype(np.float32)
        metadata = {column: np.asarray(values) for column, values in data.metadata[split].items()}
        row = np.arange(len(rows))
        return Units({"text": text}, weight, metadata["group"], metadata, row, row, tokenizer)

    def predict(
        self, apply: Callable, tokens: Mapping[str, Tokens], present: Mapping[str, Any], batch: Batch
    ) -> dict[str, Array]:
        """{"ids": the scored ids Int[b m], -1 elsewhere; "nats": - log p of each, Float[b m], 0 elsewhere}."""
        ids = batch.targets[self.name]
        return {"ids": ids, "nats": token_nats(apply(tokens, present)[self.output], ids)}

    def outcomes(self, predicted: Mapping[str, np.ndarray], units: Units) -> Outcomes:
        """{"nats": Float32[u], "tokens": Int[u], "bytes": Int[u]}."""
        ids = np.asarray(predicted["ids"])[units.entry]
        nats = np.asarray(predicted["nats"], np.float64)[units.entry].sum(axis=1)
        return {
            "nats": nats.astype(np.float32),
            "tokens": (ids >= 0).sum(axis=1),
            "bytes": bytes_of(ids, units.tokenizer),
        }

    def baselines(self, data: Dataset) -> dict[str, dict[str, np.ndarray]]:
        """The predictions of the n-gram models "unigram" and "ngram"."""
        own = target_of(self.output)
        tokenizer, scored = data.tokenizers[own], np.asarray(data.splits["test"].targets[self.name])
        train, test = (np.asarray(data.splits[split].targets[own]) for split in ("train", "test"))
        train, test = (np.where(ids < tokenizer.vocabulary, ids, -1) for ids in (train, test))  # without vectors in the text
        orders = {"unigram": 1, "ngram": self.order}
        nats = {name: ngram_nats(train, test, tokenizer.vocabulary, order, tokenizer.end) for name, order in orders.items()}
        return {name: {"ids": scored, "nats": np.where(scored >= 0, of, 0)} for name, of in nats.items()}

    def details(self, units: Units) -> dict[str, Metric]:
        del units
        return {}

    def panels(self, outcomes: Outcomes, units: Units) -> list[dict[str, Any]]:
        del outcomes, units
        return []

    def show(self, predicted: Mapping[str, np.ndarray], units: Units, unit: int) -> dict[str, Any]:
        """The text, and as "predicted" its tokens with their bits, such as "the(1.2)"; "score" is its bits per byte. Means over
        seeds."""
        ids = np.asarray(predicted["ids"])[0, units.entry[unit]]
        nats = np.asarray(predicted["nats"], np.float64)[:, units.entry[unit]].mean(axis=0)
        bits, known = nats[ids >= 0] / math.log(2), ids[ids >= 0]
        pieces = [units.tokenizer.text([number]).strip() or "_" for number in known[:SHOWN].tolist()]
        count = int(bytes_of(ids[None], units.tokenizer)[0])
        return {
            "target": str(units.target["text"][unit]),
            "predicted": " ".join(f"{piece}({one:.1f})" for piece, one in zip(pieces, bits)),
            "correct": None,
            "score": float(bits.sum() / count) if count else None,
        }

    def answers(self, predicted: Mapping[str, np.ndarray], classes: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """{"predicted": Float[n m]}, nats, averaged over seeds."""
        del classes
        return {"predicted": np.asarray(predicted["nats"]).mean(axis=0)}
