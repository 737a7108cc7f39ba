"""Class prompts: rows of weight 0 with a text alone, after the rows of the data."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mmjax.data.class_prompts import ClassPrompts
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.emoji.table import LANGUAGES
from mmjax.data.prompt_templates import TEMPLATES
from mmjax.data.splits import check_splits
from mmjax.describe import as_json, from_json

NAMES = ["cat", "bus"]


@dataclass(frozen=True)
class Given:
    """Three rows per split; the second has no text."""

    readable: bool = True
    folds = 5

    def load(self) -> Dataset:
        pointer = {"image": np.arange(3, dtype=np.int32), "text": np.array([0, -1, 1], np.int32)}
        targets = {"label": np.array([0, 1, 1]), "score": np.ones((3, 2), np.float32)}
        metadata = lambda part: {
            "id": np.array([f"{part}{i}" for i in range(3)]),
            "group": np.arange(3) + 10 * len(part),
            "text": np.array(["cat", "", "bus"]),
            "page": np.arange(3),
        }
        column = Column(2, NAMES.__getitem__, identity, NAMES.__getitem__, "names", str.upper if self.readable else None)
        splits = ("train", "validation", "test")
        return Dataset(
            columns={"image": Column(3, lambda i: np.float32(i), identity), "text": column},
            splits={split: Rows(pointer, targets, np.ones(3, np.float32)) for split in splits},
            metadata={split: metadata(split) for split in splits},
            fingerprint="given",
            classes={"label": ("wild_cat", "bus")},
            media=lambda row: {"id": f"test{row}"},
        )


DATA = ClassPrompts(Given(), templates=("a {}", "the {}"))
PROMPTS = ["a wild cat", "the wild cat", "a bus", "the bus"]


def test_prompts_follow_the_rows_of_validation_and_test():
    dataset = DATA.load()
    assert check_splits(dataset)
    assert len(dataset.splits["train"]) == 3 and dataset.splits["train"].targets["prompt"].tolist() == [-1] * 3
    for split in ("validation", "test"):
        rows = dataset.splits[split]
        assert rows.targets["prompt"].tolist() == [-1, -1, -1, 0, 0, 1, 1]
        assert rows.targets["label"].tolist() == [0, 1, 1, -1, -1, -1, -1]
        assert np.isnan(rows.targets["score"]).sum(axis=1).tolist() == [0, 0, 0, 2, 2, 2, 2]
        assert rows.weight.tolist() == [1, 1, 1, 0, 0, 0, 0]
        assert rows.pointer["image"].tolist() == [0, 1, 2, -1, -1, -1, -1]
        assert rows.pointer["text"].tolist() == [0, -1, 1, 2, 3, 4, 5]
        assert dataset.metadata[split]["text"].tolist() == ["cat", "", "bus", *PROMPTS]
        assert dataset.metadata[split]["page"].tolist() == [0, 1, 2, -1, -1, -1, -1]
        assert len(set(dataset.metadata[split]["group"])) == 4  # the prompts are one group


def test_the_column_reads_known_and_new_texts():
    column = DATA.load().columns["text"]
    assert column.count == 6
    assert [column.read(i) for i in range(6)] == [*NAMES, *map(str.upper, PROMPTS)]
    assert [column.original(i) for i in range(6)] == [*NAMES, *PROMPTS]


def test_every_choice_changes_the_fingerprints():
    values = [DATA, replace(DATA, templates=("a {}",)), replace(DATA, data=Given(), target="label", templates=("{}",))]
    loaded = [value.load() for value in values]
    assert len({dataset.fingerprint for dataset in loaded} | {"given"}) == 4
    assert len({dataset.columns["text"].fingerprint for dataset in loaded} | {"names"}) == 4


def test_languages_have_templates_and_names_of_their_own():
    value = ClassPrompts(Given(), languages={"en": ("a {}",), "fr": ("un {}", "le {}")}, names={"fr": ("chat", "bus")})
    dataset = value.load()
    assert check_splits(dataset)
    texts = ["a wild cat", "un chat", "le chat", "a bus", "un bus", "le bus"]
    for split in ("validation", "test"):
        assert dataset.metadata[split]["text"].tolist()[3:] == texts
        assert dataset.metadata[split]["prompt_language"].tolist() == ["", "", "", *["en", "fr", "fr"] * 2]
        assert dataset.splits[split].targets["prompt"].tolist() == [-1, -1, -1, 0, 0, 0, 1, 1, 1]
    assert dataset.metadata["train"]["prompt_language"].tolist() == ["", "", ""]
    assert from_json(json.loads(json.dumps(as_json(TEMPLATES)))) == TEMPLATES
    swapped = replace(value, languages={"en": ("a {}",), "de": ("un {}", "le {}")}, names={"de": ("chat", "bus")})
    assert swapped.load().fingerprint != dataset.fingerprint


def test_templates_are_shipped_for_the_languages_of_the_data():
    assert set(LANGUAGES) <= set(TEMPLATES) and len(TEMPLATES) >= 12
    for language, templates in TEMPLATES.items():
        assert len(templates) == len(set(templates)) == 4, language
        assert all(template.count("{}") == 1 and len(template) < 40 for template in templates)
    assert len(set().union(*TEMPLATES.values())) == 4 * len(TEMPLATES)  # no language is a copy of another
    prompts = ClassPrompts(Given(), languages=TEMPLATES).load().metadata["test"]["text"]
    assert "wild catの画像" in prompts and "это bus" in prompts


def test_media_of_rows_and_of_prompts():
    media = DATA.load().media
    assert media(2) == {"id": "test2"}
    assert media(4) == {"id": "test prompt 1", "caption": "the wild cat"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (replace(DATA, target="kind"), "ClassPrompts.target is 'kind'; the targets with classes are label"),
        (replace(DATA, modality="image"), "ClassPrompts.modality is 'image'; the modalities that can read new texts are text"),
        (replace(DATA, data=Given(readable=False)), "the modalities that can read new texts are none"),
    ],
)
def test_errors_name_the_field(value, message):
    with pytest.raises(DataError, match=message):
        value.load()


def test_errors_name_the_language():
    with pytest.raises(DataError, match=r"ClassPrompts.languages\['fr'\] is \('un',\); each template needs a '\{\}'"):
        ClassPrompts(Given(), languages={"en": ("a {}",), "fr": ("un",)})
    with pytest.raises(DataError, match=r"ClassPrompts.names has 'de'; the languages with templates are \['en'\]"):
        ClassPrompts(Given(), languages={"en": ("a {}",)}, names={"de": ("Katze", "Bus")})
    with pytest.raises(DataError, match=r"names\['en'\] has 1 names; 'label' has 2 classes: wild cat, bus"):
        ClassPrompts(Given(), languages={"en": ("a {}",)}, names={"en": ("cat",)}).load()


def test_templates_need_a_place_for_the_class():
    with pytest.raises(DataError, match="each template needs"):
        ClassPrompts(Given(), templates=("a picture",))


def test_prompts_can_be_the_data_of_an_experiment():
    """Data are keys of a dict there, so that cells share them."""
    given = {"en": ("a {}",)}
    assert {ClassPrompts("data", languages=given): 1}[ClassPrompts("data", languages=dict(given))] == 1
    assert ClassPrompts("data", languages=given) != ClassPrompts("data")
