"""Generation by hand, and a captioner from arrays to predictions of files."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax.data import from_arrays
from mmjax.data.custom import Captions, Images
from mmjax.data.dataset import Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.feed import HostFeed
from mmjax.data.text import BPE, Words
from mmjax.data.text_target import TextTarget
from mmjax.decoders import Decoder
from mmjax.encoders import CNN
from mmjax.evaluate.predict import predict_subsets
from mmjax.experiment import Experiment, ExperimentError
from mmjax.experiment.check import check
from mmjax.fusion import JoinTokens
from mmjax.heads import TokenLogits
from mmjax.losses import CTC, CrossEntropy, On, WeightedLosses
from mmjax.nn.ngram import kneser_ney
from mmjax.results.cell import Cell
from mmjax.robust.wrong_pairs import WrongPairs
from mmjax.tasks import Generate
from mmjax.tasks.search import Beam, CTCBeam, CTCGreedy, Greedy, Sample
from mmjax.tasks.text_baselines import nearest
from mmjax.train.optim import Adam
from mmjax.types import Batch

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
PLACES = ("left", "right")
TEXTS = ["a red dog", "a red dog", "two cats", "two cats sleep"]


def tokenizer():
    return Words().train([*TEXTS, *TEXTS])


def units_of(per=(), pointer=(0, 0, 1, 2), texts=TEXTS):
    rows = Rows({"image": np.array(pointer)}, {"caption": np.zeros((4, 1), np.int32)}, np.float32([1, 1, 1, 2]))
    metadata = {"id": np.array(list("abcd")), "group": np.arange(4), "caption": np.array(texts)}
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    data = Dataset({}, splits, dict.fromkeys(splits, metadata), "", tokenizers={"caption": tokenizer()})
    return Generate("caption", per=per).units(data, "test")


def test_units_are_rows_or_items():
    units = units_of()
    assert units.target["reference"].tolist() == [[text] for text in TEXTS] and units.weight.tolist() == [1, 1, 1, 2]
    units = units_of(per=("image",), texts=["a red dog", "one dog", "two cats", ""])
    assert units.target["reference"].tolist() == [["a red dog", "one dog"], ["two cats", ""], ["", ""]]
    assert units.weight.tolist() == [2, 1, 0] and units.row.tolist() == [0, 2, 3]


def test_outcomes_of_ids_and_of_texts():
    units, words = units_of(), tokenizer()
    task = Generate("caption", scores=("exact_match_lower", "wer"))
    texts = ["a red dog", "a dog", "", "two cats"]
    ids = np.full((4, 5), -1)
    for row, text in enumerate(texts):
        found = words.ids(text)
        ids[row, : len(found)] = found
    by_ids, by_text = task.outcomes(ids, units), task.outcomes(np.array(texts), units)
    weight = jnp.asarray(units.weight)
    for outcomes in (by_ids, by_text):
        outcomes = jax.tree.map(jnp.asarray, dict(outcomes))
        scores = {name: float(metric.value(outcomes, weight)) for name, metric in task.metrics.items()}
        # errors 0, 1, 2 and 1 (of weight 2); words 3, 3, 2 and 3 (of weight 2)
        assert scores == pytest.approx({"exact_match_lower": 1 / 5, "wer": (0 + 1 + 2 + 2) / (3 + 3 + 2 + 6)})
    assert task.show(ids[None], units, 1) == {"target": "a red dog", "predicted": "a dog", "correct": False, "score": 0.0}
    three = np.stack([ids, ids, np.full_like(ids, -1)])
    assert task.answers(three, {"caption": words})["predicted"].tolist() == texts


def test_the_nearest_example_ignores_scale_and_constant_features():
    known = np.float32([[1, 0, 7], [0, 1, 7], [-1, -1, 7]])
    asked = np.float32([[5, 0, 7], [-3, -2, 9], [0, 9, 0]])
    assert nearest(known, asked).tolist() == [0, 2, 1]


def test_wrong_pairs_move_only_present_inputs():
    unused = lambda batch: batch.weight
    x = jnp.arange(6.0)[:, None]
    present = {"image": jnp.array([True, True, False, True, True, True]), "text": jnp.ones(6, bool)}
    batch = Batch({"image": x, "text": x}, present, {}, jnp.float32([1, 1, 1, 1, 0, 1]))
    for shift in (1, 2, 17):
        moved = WrongPairs(("image",), shift)(unused, batch, jax.random.key(0))
        found = np.asarray(moved.inputs["image"][:, 0])
        live = [0, 1, 3, 5]
        assert sorted(found[live]) == live and (found[live] != live).all()
        assert found[2] == 2 and found[4] == 4
        np.testing.assert_array_equal(moved.inputs["text"], x)
    with pytest.raises(ValueError, match=r"WrongPairs.modalities is .'sound'.; the modalities are image, text"):
        WrongPairs(("sound",))(unused, batch, jax.random.key(0))


def pictures(count=48):
    """Images of a coloured half, and their descriptions."""
    images, captions = np.zeros((count, 8, 8, 3), np.uint8), []
    for row in range(count):
        colour, place = list(COLOURS)[row % 4], PLACES[row // 4 % 2]
        half = slice(0, 4) if place == "left" else slice(4, 8)
        images[row, :, half] = np.array(COLOURS[colour]) * (200 + row) // 255
        captions.append(f"A {colour} bar on the {place}.")
    return images, captions


@pytest.fixture(scope="module")
def captioner():
    images, captions = pictures()
    split = ["train", "test", "validation"] * 16
    kinds = {"image": Images(size=8), "caption": Captions()}
    data = from_arrays({"image": list(images)}, {"caption": captions}, split=split, kinds=kinds)
    return Experiment(
        data=data,
        encoders={"image": CNN(widths=(8,), dropout=0.0)},
        fusion=JoinTokens(width=16),
        decoders={"caption": Decoder(60, width=16, depth=1, heads=2, hidden=32, positions=16)},
        loss=On("caption", CrossEntropy()),
        tasks={"caption": Generate("caption", search=Greedy(12), scores=("exact_match_lower", "wer"))},
        select="loss",
        steps=150,
        evaluate_every=50,
        optim=Adam(lr=1e-2),
        batch=16,
    )


@pytest.fixture(scope="module")
def run(captioner, tmp_path_factory):
    out = tmp_path_factory.mktemp("captions") / "run"
    task = Generate("caption", search=Beam(2, 12), scores=("exact_match_lower",))
    cells = {"captions": dataclasses.replace(captioner, tasks={**captioner.tasks, "beams": task})}
    return mmjax.run(cells, seeds=2, out=out, quiet=True), out


def test_a_captioner_learns_and_describes_files(run, tmp_path):
    """From arrays to the caption of a PNG file, through the run folder."""
    from PIL import Image

    results, out = run
    for task in ("caption", "beams"):
        scores = {row["cell"]: row["exact_match_lower"] for row in results.table(task)}
        assert scores["captions"] > 0.9 and scores["most_common"] < 0.2, task
    images, captions = pictures()
    for row in (1, 4):
        Image.fromarray(images[row]).save(tmp_path / f"{row}.png")
    cell = mmjax.load_run(out)["captions"]
    answer = cell.predict({"image": [tmp_path / "1.png", tmp_path / "4.png", None]})["caption"]["predicted"]
    assert answer.tolist()[:2] == [captions[1].lower(), captions[4].lower()]
    function = jax.export.deserialize(bytearray(cell.export(tmp_path / "captioner").read_bytes()))
    opaque = np.concatenate([images[:3], np.full_like(images[:3, ..., :1], 255)], axis=-1)
    found = function.call({"image": jnp.asarray(opaque)}, {"image": jnp.ones(3, bool)})["caption"]
    assert [cell.classes["caption"].text(np.asarray(ids)) for ids in found[0]] == [text.lower() for text in captions[:3]]


def test_the_run_keeps_the_attention_of_the_shown_texts(run):
    """The image is a grid of 4 x 4 tokens, the only memory, so that the weights of each word sum to 1."""
    shown = json.loads((run[1] / "cells/captions/all/examples.json").read_text())
    for task in ("caption", "beams"):
        assert len(shown[task]) == 16
        for entry in shown[task]:
            (answer,) = entry.values()
            assert answer["attention"]["words"] == answer["predicted"].split()
            (image,) = answer["attention"]["maps"].values()
            weights = np.array(image["weights"])
            assert image["tokens"] is None and weights.shape == (len(answer["predicted"].split()), 16)
            np.testing.assert_allclose(weights.sum(axis=1), 1, atol=0.01)
            assert np.ptp(weights, axis=1).max() > 0.05  # not uniform


def test_the_seeds_that_wrote_the_shown_text():
    """Two of three seeds write "two cats" for the first unit; all write "a red dog" for the second one."""
    words, units = tokenizer(), units_of(texts=TEXTS)
    texts = [["two cats", "a red dog"], ["a dog", "a red dog"], ["two cats", "a red dog"]]
    predicted = np.full((3, 4, 4), -1)
    for seed, of in enumerate(texts):
        for row, text in zip((0, 2), of):
            predicted[seed, row, : len(words.ids(text))] = words.ids(text)
    ids, by = Generate("caption").written(predicted, units, [0, 2])
    assert by.T.tolist() == [[True, False, True], [True, True, True]]
    assert [words.text(of) for of in ids] == ["two cats", "a red dog"]


def test_baselines_of_captions(captioner):
    """Every kind of image is in the training split, in a slightly different colour."""
    data = captioner.data.load()
    task = captioner.tasks["caption"]
    baselines = task.baselines(data)
    assert sorted(baselines) == ["most_common", "nearest_image"]
    outcomes = {name: task.outcomes(predicted, task.units(data, "test")) for name, predicted in baselines.items()}
    value = lambda of: task.metrics["exact_match_lower"].value(jax.tree.map(jnp.asarray, dict(of)), jnp.ones(16))
    exact = {name: float(value(of)) for name, of in outcomes.items()}
    assert exact["nearest_image"] == 1.0 and exact["most_common"] == 2 / 16


def test_mistakes_are_named(captioner):
    data = captioner.data.load()

    def message(**changes):
        with pytest.raises(ExperimentError) as error:
            check(dataclasses.replace(captioner, **changes), data)
        return str(error.value)

    task = captioner.tasks["caption"]
    decoder = captioner.decoders["caption"]
    of = lambda **fields: {"tasks": {"caption": dataclasses.replace(task, **fields)}}
    assert "Generate.scores: 'cider_x' is unknown; the metrics of texts are" in message(**of(scores=("cider_x",)))
    assert "Generate.per: the data have no modality 'sound'; they have image" in message(**of(per=("sound",)))
    assert "the model has no output 'title'" in message(**of(output="title"))
    assert "decoders.title: the data need a target 'title' of token ids" in message(decoders={"title": decoder})
    other = decoder.clone(end=3)
    assert "decoders.caption.end is 3, but texts of 'caption' end with the token 0" in message(decoders={"caption": other})
    small = decoder.clone(vocabulary=5)
    assert "decoders.caption.vocabulary is 5, but the tokenizer has" in message(decoders={"caption": small})
    short = decoder.clone(positions=4)
    assert "Decoder.positions is 4" in message(decoders={"caption": short})
    assert "tasks.caption: Decoder.positions is 16, but the cache is to hold 33" in message(**of(search=Greedy(32)))
    lossy = dataclasses.replace(data, tokenizers={"caption": BPE(30).train(data.metadata["train"]["caption"])})
    with pytest.raises(ExperimentError, match="the tokenizer of 'caption' does not give words back"):
        check(captioner, lossy)
    assert "fusion is None, but the heads and decoders caption need fused tokens" in message(fusion=None)


def test_a_column_of_texts_becomes_a_target(captioner):
    @dataclasses.dataclass(frozen=True)
    class Given:
        def load(self):
            data = captioner.data.load()
            metadata = {
                split: {**of, "note": np.array(["", *(f"note {row % 3}" for row in range(1, 16))])}
                for split, of in data.metadata.items()
            }
            return dataclasses.replace(data, metadata=metadata)

    data = TextTarget(Given(), column="note", target="note", target_tokenizer=Words()).load()
    assert [len(rows) for rows in data.splits.values()] == [15] * 3 and data.dropped["rows without note"] == 3
    note, zero = data.tokenizers["note"].ids("note 0")
    assert data.splits["test"].targets["note"][2].tolist() == [note, zero, 0]
    assert data.metadata["test"]["id"].tolist() == Given().load().metadata["test"]["id"].tolist()[1:]
    assert data.media(0)["image"] == Given().load().media(1)["image"] != Given().load().media(0)["image"]
    with pytest.raises(DataError, match=r"TextTarget.column: the data have no metadata column 'title'; they have caption"):
        TextTarget(Given(), column="title").load()


def test_searches_of_decoders_and_of_ctc(captioner):
    """Every search gives ids of the right shape with untrained parameters; wrong pairs of output and search are named."""
    data = captioner.data.load()
    task = captioner.tasks["caption"]
    heads = {"caption_ctc": TokenLogits(60)}
    loss = WeightedLosses({"caption": On("caption", CrossEntropy()), "ctc": On("caption_ctc", CTC(), target="caption")})
    searches = {
        "caption": (Greedy(5), Beam(2, 5, early_stopping=True), Sample(5, top_k=3)),
        "caption_ctc": (CTCGreedy(), CTCBeam(2, partial(kneser_ney, ((3, 4), (3, 5)), 60), max_tokens=5)),
    }
    tasks = {
        f"{output}{number}": Generate(output, "caption", search=search, scores=("cer",))
        for output, of in searches.items()
        for number, search in enumerate(of)
    }
    joint = dataclasses.replace(captioner, heads=heads, loss=loss, tasks=tasks)
    check(joint, data)
    batch = HostFeed(data, data.splits["test"], joint.encoders)(np.arange(3))
    variables = joint.model.init(jax.random.key(0), batch)
    subsets = {name: (("image",),) for name in tasks}
    found = jax.jit(predict_subsets(joint.model, tasks, subsets))(variables, batch)
    for name, ids in found.items():
        length = 5 if name != "caption_ctc0" else 16
        assert ids.shape == (1, 3, length) and ids.dtype == jnp.int32 and (ids >= -1).all() and (ids < 60).all()
        ended = np.cumsum(np.asarray(ids) < 0, axis=-1) > 0
        assert (np.asarray(ids)[ended] == -1).all() and (np.asarray(ids)[~ended] > 0).all(), name
    for output, search, message in (
        ("caption", CTCGreedy(), "is not the output of a CTC head; give Greedy"),
        ("caption_ctc", Greedy(), "is the output of a CTC head; give CTCGreedy"),
        ("caption_ctc", CTCGreedy(blank=5), "the blank is 5; it must be the end token 0"),
    ):
        wrong = {"caption": Generate(output, "caption", search=search, scores=task.scores)}
        with pytest.raises(ExperimentError, match=message):
            check(dataclasses.replace(joint, tasks=wrong), data)
    few = dataclasses.replace(joint, heads={"caption_ctc": TokenLogits(5)}, tasks={"x": tasks["caption_ctc0"]})
    with pytest.raises(ExperimentError, match="'caption_ctc' has 5 logits for"):
        check(few, data)


def test_folds_have_tokenizers_of_their_own(run, monkeypatch):
    """Three folds answer "two cats sleep", "two cats sleep" and "two dogs" in their own token ids."""
    first = mmjax.load_run(run[1])["captions"].models[0]
    texts = ["two cats sleep", "two cats sleep", "two dogs"]
    tokenizers = [Words().train([text] * 2 + [f"dogs sleep {k}"] * 2 * (k + 1)) for k, text in enumerate(texts)]
    parts = [
        dataclasses.replace(first, classes={"caption": tokenizer}, tasks={"caption": first.tasks["caption"]}, seeds=(0,))
        for tokenizer in tokenizers
    ]
    ids = [np.array([[[*tokenizer.ids(text), -1]]], np.int32) for tokenizer, text in zip(tokenizers, texts)]
    assert ids[0].tolist() != ids[1].tolist()
    monkeypatch.setattr("mmjax.results.cell._predictions", lambda model, *rest: {"caption": ids[parts.index(model)]})
    cell = Cell("captions", (Path("0"), Path("1"), Path("2")))
    cell.__dict__.update(models=tuple(parts), _functions=[None] * 3)
    assert cell.predict({"image": [None]})["caption"]["predicted"].tolist() == ["two cats sleep"]
    each = [answer["predicted"].tolist() for answer in cell.predict({"image": [None]}, each_seed=True)["caption"]]
    assert each == [[text] for text in texts]


def test_references_have_the_form_that_the_tokenizer_writes():
    """A perfect model has a perfect score with capitals, full-width letters and several spaces in the reference."""
    texts = ["A Red  Dog", "A Red  Dog", "Two \uff23ats", "Two cats sleep"]
    units, words = units_of(texts=texts), tokenizer()
    assert units.target["reference"][:, 0].tolist() == ["a red dog", "a red dog", "two cats", "two cats sleep"]
    task = Generate("caption", scores=("exact_match", "wer"))
    ids = np.full((4, 5), -1)
    for row, text in enumerate(texts):
        ids[row, : len(words.ids(text))] = words.ids(text)
    for predicted in (ids, np.array(texts)):
        outcomes = jax.tree.map(jnp.asarray, dict(task.outcomes(predicted, units)))
        scores = {name: float(metric.value(outcomes, jnp.ones(4))) for name, metric in task.metrics.items()}
        assert scores == {"exact_match": 1.0, "wer": 0.0}
