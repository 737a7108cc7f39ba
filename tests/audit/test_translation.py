"""Test texts in other languages, for a model that knows the words "no" and "yes" and follows a vector if it knows neither."""

import json
from dataclasses import dataclass

import flax.linen as nn
import numpy as np
import pytest

from mmjax.audit.audit import NotApplicable
from mmjax.audit.translation import translations
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.inputs import TextInput, VectorInput
from mmjax.data.text import Words
from mmjax.describe import as_json
from mmjax.types import Tokens
from tests.audit.tiny import Linear, audited_cell

LABEL = np.array([0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1])
HAS_VECTOR = np.arange(12) % 3 == 1  # the labels 1, 1, 1, 0
WORDS = {"en": ("no", "yes"), "de": ("nein", "ja"), "opposite": ("yes", "no")}
PARSE = TextInput(Words().train(WORDS["en"] * 3), 2)


@dataclass(frozen=True)
class Answers:
    test_text_language: str | None = None

    def load(self):
        if (language := self.test_text_language or "en") not in WORDS:
            raise DataError(f"there are no texts in {language!r}; the languages are {', '.join(WORDS)}")
        vectors = 0.1 * np.eye(2, dtype=np.float32)[LABEL]
        columns = {
            "text": Column(12, lambda number: PARSE(WORDS[language][LABEL[number]]), identity, parse=PARSE),
            "vector": Column(12, vectors.__getitem__, identity, parse=VectorInput(2)),
        }
        pointer = {"text": np.arange(12), "vector": np.where(HAS_VECTOR, np.arange(12), -1)}
        rows = Rows(pointer, {"label": LABEL}, np.ones(12, np.float32))
        metadata = {"id": np.arange(12).astype(str), "group": np.arange(12)}
        splits = {name: rows for name in ("train", "test")}
        return Dataset(columns, splits, dict.fromkeys(splits, metadata), "", classes={"label": WORDS["en"]})


class Lookup(nn.Module):
    """A token for each word."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return Tokens(nn.Embed(8, 2)(x.x), x.mask)


@pytest.fixture(scope="module")
def audited():
    table = np.zeros((1, 8, 2), np.float32)  # unknown words say nothing
    table[0, [int(PARSE(word).x[0]) for word in WORDS["en"]]] = np.eye(2)
    kernel = np.eye(2, dtype=np.float32)[None]
    params = {"encoders_text": {"Embed_0": {"embedding": table}}, "encoders_vector": {"Dense_0": {"kernel": kernel}}}
    encoders = {"text": Lookup(), "vector": Linear(2)}
    return audited_cell(Answers().load(), encoders, {"params": params}, 1, as_json(Answers()))


def test_scores_are_those_of_the_answers_to_the_other_texts(audited):
    """In German, the 4 rows with a vector and the 3 of the others with the first class are right."""
    found = translations(audited, ("de", "opposite"))
    assert {name: one.mean for name, one in found.estimates.items()} == pytest.approx(
        {"as trained": 1.0, "de": (4 + 3) / 12, "opposite": 0.0}
    )
    assert found.conclusions[1] == "With test texts in opposite, accuracy is 0.000 instead of 1.000 (worse)."
    assert found.panels[0]["names"] == ["as trained", "de", "opposite"] and "12 units" in found.note
    json.dumps(found.to_json(), allow_nan=False)


def test_some_rows_are_the_same_ones_in_each_language(audited):
    """Of five rows, those of the first class or with a vector are right in German."""
    found = translations(audited, ("de",), rows=5)
    chosen = np.sort(np.random.default_rng(0).permutation(12)[:5])
    assert found.estimates["de"].mean == pytest.approx(np.mean((LABEL[chosen] == 0) | HAS_VECTOR[chosen]))
    assert "5 units" in found.note


def test_an_unknown_language_is_an_error_of_the_data(audited):
    with pytest.raises(DataError, match="there are no texts in 'fr'; the languages are en, de, opposite"):
        translations(audited, ("fr",))


def test_data_without_texts_have_no_translations():
    one = Answers().load()
    data = Dataset({"vector": one.columns["vector"]}, one.splits, one.metadata, "", classes=one.classes)
    params = {"encoders_vector": {"Dense_0": {"kernel": np.eye(2, dtype=np.float32)[None]}}}
    audited = audited_cell(data, {"vector": Linear(2)}, {"params": params}, 1, as_json(Answers()))
    with pytest.raises(NotApplicable, match="no texts in other languages"):
        translations(audited)
