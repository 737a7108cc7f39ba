"""Dialogues as data: packed training rows with the images of all their dialogues, and a model that takes them."""

import dataclasses
import json

import numpy as np
import pytest

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.image import to_unit
from mmjax.decoders import Factored, Flamingo, Interleaved, LanguageModel
from mmjax.decoders.interleaved import BEGIN
from mmjax.encoders import EachImage, ViT
from mmjax.experiment import Experiment, ExperimentError
from mmjax.experiment.load import load_and_check
from mmjax.fusion import MLPConnector
from mmjax.losses import CrossEntropy, On
from mmjax.pretrained.dialogue_data import Dialogues
from mmjax.tasks import Likelihood
from tests.pretrained.tiny import language_folder

pytest.importorskip("tokenizers")
TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
TALKS = ["<image>a?|Bc", "d?|E|f?|G", "<image>h?|i|j?|kl", "m?|" + "n" * 60]


@dataclasses.dataclass(frozen=True)
class Talks:
    """Four dialogues in each split, the first and the third about an image; the last one is long."""

    talks: tuple[str, ...] = tuple(TALKS)

    def load(self):
        role = lambda number: ("user", "assistant")[number % 2]
        messages = [[{"role": role(n), "content": text} for n, text in enumerate(talk.split("|"))] for talk in self.talks]
        written = np.array([json.dumps(x) for x in messages])
        named = lambda n: {"id": np.array([f"{one}{n}" for one in "abcd"]), "group": 4 * n + np.arange(4), "messages": written}
        rows = [Rows({"image": np.array([3 * n, -1, 3 * n + 1, -1])}, {}, np.ones(4, np.float32)) for n in range(3)]
        splits = dict(zip(("train", "validation", "test"), rows))
        column = Column(9, lambda i: np.full((8, 8, 4), i, np.uint8), to_unit)
        metadata = dict(zip(splits, map(named, range(3))))
        return Dataset({"image": column}, splits, metadata, "talks", media=lambda row: {"id": str(row)})


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = language_folder(tmp_path_factory.mktemp("language"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return str(folder)


@pytest.fixture(scope="module")
def talks(source):
    return Dialogues(Talks(), vectors=4, source=source, row_tokens=40, row_images=3)


def test_rows(talks):
    """14 ids: "u:", 4 vectors, "a?\\na:Bc\\n". 18: "u:d?\\na:E\\nu:f?\\na:G\\n". 23: "u:", 4, "h?\\na:i\\nu:j?\\na:kl\\n"."""
    data = talks.load()
    assert data.dropped == {"dialogues of more than 40 tokens": 3}
    train, test = data.splits["train"], data.splits["test"]
    assert train.targets["text"].shape == (2, 40) and test.targets["text"].shape == (3, 40)
    assert data.metadata["train"]["id"].tolist() == ["c0", "b0"]
    assert data.metadata["test"]["id"].tolist() == ["a2", "b2", "c2"]
    assert data.metadata["train"]["answer"].tolist() == ["i\nkl\nBc\n", "E\nG\n"] and train.weight.tolist() == [8.0, 4.0]
    ids, vocabulary = train.targets["text"][0], data.sizes["text"]["vocabulary"]
    vectors = [vocabulary + number for number in range(8)]
    assert ids[ids >= vocabulary].tolist() == [*vectors[:4], BEGIN, *vectors[4:]]
    assert train.pointer["image"].tolist() == [0, -1] and test.pointer["image"][1] == -1
    images = data.columns["image"].read(0)
    assert images.x.shape == (3, 8, 8, 4) and images.x[:, 0, 0, 0].tolist() == [1, 0, 0] and images.length == 2
    assert data.columns["image"].read(int(test.pointer["image"][2])).x[:, 0, 0, 0].tolist() == [7, 0, 0]
    assert data.media(2) == {"id": "2"}


@pytest.mark.slow
def test_models_that_keep_dialogues_apart_take_them(talks, source):
    language = LanguageModel(259, width=8, depth=1, heads=2, kv_heads=1, hidden=12, positions=64, end=2)
    fits = Experiment(
        data=talks,
        encoders={"image": EachImage(ViT(patch=4, width=8, depth=1, heads=2, hidden=8, class_token=False))},
        fusion=MLPConnector(8),
        decoders={"text": Factored(Interleaved(language, (BEGIN,)))},
        loss=On("text", CrossEntropy(), target="answer"),
        tasks={"text": Likelihood("text", target="answer")},
        batch=2,
    )
    load_and_check({"packed": fits})
    for decoder in (Factored(Interleaved(language, (1,))), Flamingo(language), language):
        with pytest.raises(ExperimentError, match=r"decoders\.text: rows have several dialogues, which only an Interleaved"):
            load_and_check({"packed": dataclasses.replace(fits, decoders={"text": decoder})})


@dataclasses.dataclass(frozen=True)
class Leaky(Talks):
    """The last dialogues of the splits are of one group."""

    def load(self):
        data = super().load()
        metadata = {split: {**of, "group": np.append(of["group"][:3], 99)} for split, of in data.metadata.items()}
        return dataclasses.replace(data, metadata=metadata)


def test_groups_are_checked_before_packing(source):
    """A packed row has the group of its first dialogue alone, which hides those of the others."""
    with pytest.raises(DataError, match="group 99 is in the splits 'train' and 'validation'"):
        Dialogues(Leaky(), vectors=4, source=source).load()


@pytest.mark.parametrize(
    ("talks", "message"),
    [
        (("a?|B",) * 4, r"row 0 \(a0\) of the train split: the dialogue has 0 times '<image>', but there are 1 inputs for it"),
        (("<image>" + "n" * 60,) * 4, "row_tokens is 40 and row_images 4, but all dialogues of the train split are larger"),
    ],
)
def test_mistakes_are_named(talks, message, source):
    with pytest.raises(DataError, match=message):
        Dialogues(Talks(tuple(talk.replace("<image>", "", n % 2) for n, talk in enumerate(talks))), vectors=4, source=source,
                  row_tokens=40).load()  # fmt: skip
