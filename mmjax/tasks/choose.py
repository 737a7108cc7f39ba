"""Multiple choice by likelihood: the answer is the choice that a language model finds most probable after the question."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.data.dataset import Dataset
from mmjax.metrics.weighted import mean
from mmjax.tasks.defaults import TaskDefaults
from mmjax.tasks.likelihood import token_nats
from mmjax.tasks.likelihood_baselines import ngram_nats
from mmjax.tasks.units import listed
from mmjax.types import Batch, Metric, Outcomes, Tokens, Units

__all__ = ["COLUMNS", "VARIANTS", "Choose", "chosen"]

VARIANTS = ("sum", "per_token", "per_byte", "per_character", "against_prior", "without_question")
COLUMNS = ("question", "option", "number", "given", "answer")


def chosen(variant: str, nats: Any, prior: Any, tokens: Any, options: Any) -> np.ndarray:
    """The number of the chosen option of each question, Int[u], the first of equal ones.

    nats: - log p of the options after the question; prior: without it; tokens: of the options, each [u k], with an infinite
    number of nats where a question has fewer options. options: their texts, str[u k], without the delimiter before them.
    """
    length = lambda count: np.maximum([[count(text) for text in of] for of in options], 1)
    with np.errstate(invalid="ignore"):
        score = {
            "sum": lambda: nats,
            "per_token": lambda: nats / np.maximum(tokens, 1),
            "per_byte": lambda: nats / length(lambda text: len(text.encode())),
            "per_character": lambda: nats / length(len),
            "against_prior": lambda: np.where(np.isinf(nats), np.inf, nats - prior),
            "without_question": lambda: prior,
        }[variant]()
    return np.argmin(score, axis=1)


def _accuracy(variant: str, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    return mean(outcomes[variant], weight)


@dataclass(frozen=True)
class Choose(TaskDefaults):
    """Accuracy of the choice of the highest likelihood, for the rows of `data.choices.QuestionFiles`. A unit is a question.

    Variants of the score, each with its accuracy: "sum", log p(choice | question), lm-evaluation-harness's acc; "per_token",
    the same / number of tokens; "per_byte", / number of UTF-8 bytes of the choice, acc_norm as the harness documents it;
    "per_character", / number of characters, acc_norm as it computes it (equal for ASCII); "against_prior", minus log p(choice)
    without the question (acc_mutual_info; Holtzman et al., 2021, "Surface form competition"); "without_question",
    log p(choice) alone, which shows what the choices give away.

    output: the name of the decoder. target: the ids of the choice. scores: of VARIANTS; the first one is the headline metric.
    """

    output: str = "text"
    target: str = "choice"
    scores: tuple[str, ...] = VARIANTS

    @property
    def metrics(self) -> dict[str, Metric]:
        return {name: Metric(partial(_accuracy, name)) for name in self.scores}

    def check(self, outputs: Mapping[str, Any], data: Dataset) -> None:
        if self.output not in outputs:
            raise ValueError(f"Choose.output: the model has no output {self.output!r}; its outputs are {listed(outputs)}")
        unknown = sorted(set(self.scores) - set(VARIANTS))
        if unknown or not self.scores:
            given = f"{unknown[0]!r} is unknown" if unknown else "it is empty"
            raise ValueError(f"Choose.scores: {given}; the variants are {', '.join(VARIANTS)}")
        for split in ("validation", "test"):
            missing = [name for name in COLUMNS if name not in data.metadata[split]]
            if missing or self.target not in data.splits[split].targets:
                what = f"metadata column {missing[0]!r}" if missing else f"target {self.target!r}"
                raise ValueError(f"Choose: the data have no {what}; give questions, such as data.choices.QuestionFiles")

    def units(self, data: Dataset, split: str) -> Units:
        """target: {"answer": Int[u], "rows": Int[u k], the rows with the question, "alone": Int[u k], those without, -1 where a
        question has fewer choices, "options": str[u k]}."""
        rows, metadata = data.splits[split], data.metadata[split]
        number, given = np.asarray(metadata["number"]), np.asarray(metadata["given"])
        question = np.cumsum((number == 0) & (given == 1)) - 1  # its rows are adjacent, those with the question first
        shape = int(question[-1]) + 1, int(number.max()) + 1
        places, options = {0: np.full(shape, -1), 1: np.full(shape, -1)}, np.full(shape, "", dtype=object)
        for row, (n, k, of) in enumerate(zip(question, number, given)):
            places[int(of)][n, k], options[n, k] = row, str(metadata["option"][row])
        first = places[1][:, 0]
        kept = {column: np.asarray(values)[first] for column, values in metadata.items()}
        target = {"answer": kept["answer"], "rows": places[1], "alone": places[0], "options": options.astype(np.str_)}
        weight = np.asarray(rows.weight)[first].astype(np.float32)
        return Units(target, weight, kept["group"], kept, first, first, data.tokenizers[self.output])

    def predict(
        self, apply: Callable, tokens: Mapping[str, Tokens], present: Mapping[str, Any], batch: Batch
    ) -> dict[str, Array]:
        """{"nats": - log p of the choice of each row, Float[b]; "tokens": their number, Int[b]}."""
        ids = batch.targets[self.target]
        nats = token_nats(apply(tokens, present)[self.output], ids)
        return {"nats": jnp.sum(nats, axis=1), "tokens": jnp.sum(ids >= 0, axis=1)}

    def choices(self, predicted: Mapping[str, np.ndarray], units: Units, variant: str) -> np.ndarray:
        """The chosen option of each question, Int[u]."""
        at = lambda values, place: np.where(place >= 0, np.asarray(values, np.float64)[np.maximum(place, 0)], np.inf)
        nats, alone = (at(predicted["nats"], units.target[name]) for name in ("rows", "alone"))
        tokens = np.asarray(predicted["tokens"])[np.maximum(units.target["rows"], 0)]
        return chosen(variant, nats, alone, tokens, units.target["options"].tolist())

    def outcomes(self, predicted: Mapping[str, np.ndarray], units: Units) -> Outcomes:
        """{variant: Float32[u], 1 for a right choice}."""
        answer = units.target["answer"]
        return {name: (self.choices(predicted, units, name) == answer).astype(np.float32) for name in self.scores}

    def baselines(self, data: Dataset) -> dict[str, dict[str, np.ndarray]]:
        """Choices without a model of the question: "majority", the most frequent right number in training; "shortest", by
        characters; "ngram_alone", a trigram model of the right training choices, without the question."""
        train, units = self.units(data, "train"), self.units(data, "test")
        options = units.target["options"]
        length = np.array([[len(text) or np.inf for text in of] for of in options.tolist()])
        common = np.bincount(train.target["answer"]).argmax()
        fixed = lambda choice: _as_predictions(units, choice, len(data.splits["test"]))
        tokenizer = data.tokenizers[self.output]
        right = train.target["alone"][np.arange(len(train.row)), train.target["answer"]]
        known, asked = (np.asarray(data.splits[split].targets[self.target]) for split in ("train", "test"))
        nats = ngram_nats(known[right], asked, tokenizer.vocabulary, 3, tokenizer.end)
        return {
            "majority": fixed(np.full(len(units.row), common)),
            "shortest": fixed(length.argmin(axis=1)),
            "ngram_alone": {"nats": nats.sum(axis=1), "tokens": (asked >= 0).sum(axis=1)},
        }

    def show(self, predicted: Mapping[str, np.ndarray], units: Units, unit: int) -> dict[str, Any]:
        """The choice of most seeds by the headline variant."""
        of_seeds = [
            self.choices({name: values[seed] for name, values in predicted.items()}, units, self.scores[0])[unit]
            for seed in range(len(predicted["nats"]))
        ]
        choice, answer = int(np.bincount(of_seeds).argmax()), int(units.target["answer"][unit])
        options = units.target["options"][unit]
        return {
            "target": str(options[answer]),
            "predicted": str(options[choice]),
            "correct": choice == answer,
            "score": float(np.mean(np.array(of_seeds) == answer)),
        }


def _as_predictions(units: Units, choice: np.ndarray, rows: int) -> dict[str, np.ndarray]:
    """The predictions of rows that make every variant choose these options, except for "without_question", which takes the
    first option: a choice has 0 nats, others many."""
    nats = np.full(rows, 1e6)
    nats[units.target["alone"][units.target["alone"] >= 0]] = 0
    nats[units.target["rows"][np.arange(len(choice)), choice]] = 0
    return {"nats": nats, "tokens": np.ones(rows, np.int64)}
