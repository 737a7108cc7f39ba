"""Multiple choice by likelihood: scores by hand and by lm-evaluation-harness's formulas, and questions from JSONL files."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.byte_level import ByteLevel
from mmjax.data.check import check_dataset
from mmjax.data.choices import QuestionFiles, choice_ids, read_questions
from mmjax.data.decode import DataError
from mmjax.decoders import LanguageModel
from mmjax.encoders import NoTokens
from mmjax.experiment import Experiment, ExperimentError
from mmjax.experiment.check import check
from mmjax.fusion import Append
from mmjax.losses import CrossEntropy, On
from mmjax.tasks import Choose
from mmjax.tasks.choose import VARIANTS, chosen
from mmjax.types import Batch

DOCS = {
    "train": [
        {"question": f"What is {n} and 1?", "choices": [str(n + 1), str(n), "none of them"], "answer": n % 2} for n in range(5)
    ],
    "validation": [{"question": "Which is red?", "choices": ["a rose", "ice"], "answer": "a rose"}],
    "test": [
        {"question": "Which is cold?", "choices": ["fire", "snow", "a hot day"], "answer": 1},
        {"question": "Which is small?", "choices": {"text": ["an ant", "a whale"], "label": ["A", "B"]}, "answer": "A"},
    ],
}


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    for split, docs in DOCS.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    files = {split: folder / f"{split}.jsonl" for split in DOCS}
    return QuestionFiles(**files, tokenizer=ByteLevel(270), tokens=64)


def test_choices_by_hand():
    """Options "ab" and "é" (1 character, 2 bytes) with 4 and 3 nats, 4 tokens and 1 token; alone 3 and 1 nats. Sum: 3 < 4.
    Per token 1 < 3, per byte 2 > 1.5, per character 2 < 3. Minus the prior 1 < 2. Alone 1 < 3."""
    given = np.array([[4.0, 3.0]]), np.array([[3.0, 1.0]]), np.array([[4, 1]]), [["ab", "é"]]
    found = {variant: int(chosen(variant, *given)[0]) for variant in VARIANTS}
    expected = {"sum": 1, "per_token": 0, "per_byte": 1, "per_character": 0, "against_prior": 0, "without_question": 1}
    assert found == expected


def test_scores_of_the_harness():
    """acc, acc_norm and acc_mutual_info as lm-evaluation-harness computes them from log likelihoods, on random ones."""
    random = np.random.default_rng(0)
    words = ["yes", "no", "an ant", "a blue whale", "snow"]
    options = [list(random.permutation(words)[:4]) for _ in range(60)]
    conditional, alone = -random.exponential(3, (60, 4)), -random.exponential(3, (60, 4))
    given = -conditional, -alone, np.ones((60, 4)), options
    lengths = np.array([[float(len(text)) for text in of] for of in options])
    assert chosen("sum", *given).tolist() == [int(np.argmax(of)) for of in conditional]
    by_length = [int(np.argmax(of / length)) for of, length in zip(conditional, lengths)]
    assert chosen("per_character", *given).tolist() == chosen("per_byte", *given).tolist() == by_length
    assert chosen("against_prior", *given).tolist() == [int(np.argmax(a - b)) for a, b in zip(conditional, alone)]


def test_the_rows_of_questions(questions):
    data = questions.load()
    check_dataset(data)
    test = data.metadata["test"]
    assert test["text"][1] == "Question: Which is cold?\nAnswer: snow" and test["text"][4] == "snow"
    assert test["given"].tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 0, 0] and test["answer"].tolist() == [1] * 6 + [0] * 4
    target = data.splits["test"].targets
    scored = [data.tokenizers["text"].text(of[of >= 0]) for of in target["choice"]]
    assert scored[:4] == [" fire", " snow", " a hot day", "fire"]
    assert (target["choice"][target["choice"] >= 0] == target["text"][target["choice"] >= 0]).all()
    assert data.training_weight.sum() == 5  # a right choice each
    units = Choose().units(data, "test")
    assert units.target["rows"].tolist() == [[0, 1, 2], [6, 7, -1]] and units.target["alone"].tolist() == [
        [3, 4, 5],
        [8, 9, -1],
    ]
    assert units.target["options"].tolist() == [["fire", "snow", "a hot day"], ["an ant", "a whale", ""]]


def test_outcomes_and_baselines(questions):
    data, task = questions.load(), Choose()
    units = task.units(data, "test")
    nats = np.array([2.0, 3, 9, 5, 8, 9, 4, 7, 1, 2])
    found = task.outcomes({"nats": nats, "tokens": np.array([1, 2, 9, 1, 1, 1, 2, 2, 1, 1])}, units)
    # Question 1: sum 2 3 9; per token 2 1.5 1; per character 2/4 3/4 1; against the prior -3 -5 0; alone 5 8 9; right is 1.
    # Question 2: sum 4 7; per token 2 3.5; per character 4/6 7/7; against the prior 3 5; alone 1 2; right is 0.
    expected = {
        "sum": [0, 1],
        "per_token": [0, 1],
        "per_character": [0, 1],
        "against_prior": [1, 1],
        "without_question": [0, 1],
    }
    assert {name: of.tolist() for name, of in found.items() if name != "per_byte"} == expected
    metric = task.metrics["against_prior"].value
    assert float(metric(jax.tree.map(jnp.asarray, dict(found)), jnp.array([1.0, 3.0]))) == 1
    assert float(task.metrics["sum"].value(jax.tree.map(jnp.asarray, dict(found)), jnp.array([1.0, 3.0]))) == 0.75
    choices = {name: task.choices(of, units, "per_byte").tolist() for name, of in task.baselines(data).items()}
    assert choices["majority"] == [0, 0]  # right are 0, 1, 0, 1, 0
    assert choices["shortest"] == [0, 0] and set(choices) == {"majority", "shortest", "ngram_alone"}
    shown = task.show({name: np.stack([of, of]) for name, of in {"nats": nats, "tokens": np.ones(10)}.items()}, units, 0)
    assert shown == {"target": "snow", "predicted": "fire", "correct": False, "score": 0.0}


def test_a_model_scores_the_choice_alone(questions):
    """Uniform logits over the vocabulary: nats are log 270 times the tokens of the choice."""
    data = questions.load()
    model = LanguageModel(270, width=8, depth=0, heads=2, kv_heads=1, hidden=8, positions=128)
    experiment = Experiment(
        data=questions,
        encoders={"text": NoTokens()},
        fusion=Append(),
        decoders={"text": model},
        loss=On("text", CrossEntropy(), target="choice"),
        tasks={"choose": Choose()},
        batch=4,
    )
    check(experiment, data)
    with pytest.raises(ExperimentError, match="'f1' is unknown; the variants are sum, per_token"):
        check(dataclasses.replace(experiment, tasks={"choose": Choose(scores=("f1",))}), data)
    rows = jax.tree.map(jnp.asarray, data.splits["test"])
    batch = Batch({}, {}, rows.targets, rows.weight)
    predicted = Choose().predict(lambda *_: {"text": jnp.zeros((10, 64, 270))}, {}, {}, batch)
    np.testing.assert_allclose(predicted["nats"], math.log(270) * np.asarray(predicted["tokens"]), rtol=1e-5)
    assert np.asarray(predicted["tokens"]).tolist() == (data.splits["test"].targets["choice"] >= 0).sum(axis=1).tolist()


def test_white_space_before_a_choice_belongs_to_it():
    tokenizer = ByteLevel(260).train(["ab"])
    start, ids = choice_ids(tokenizer, "A: ", "b c")
    assert tokenizer.text(ids[:start]) == "A:" and tokenizer.text(ids[start:]) == " b c"
    assert choice_ids(tokenizer, "", "b")[0] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: it is not JSON"),
        ("[1]", "line 1: it is list; give an object"),
        ('{"question": "a"}', "there is no field 'choices'; the fields are 'question'"),
        ('{"question": "a", "choices": ["b"], "answer": 0}', "'choices' must be a list of at least two texts"),
        ('{"question": "a", "choices": ["b", "c"], "answer": 2}', "'answer' is 2; it must be a number from 0 to 1"),
        ('{"q": "a", "choices": ["b", "c"], "answer": 1}', "the prompt names 'question'; the fields are 'q'"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, message):
    (tmp_path / "q.jsonl").write_text(line)
    with pytest.raises(DataError, match=message):
        read_questions(tmp_path / "q.jsonl", "Question: {question}\nAnswer:", "choices", "answer")
