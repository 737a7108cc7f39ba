"""A captioner from arrays to predictions of files, its searches and its mistakes."""

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
from mmjax.tasks import Generate
from mmjax.tasks.search import Beam, CTCBeam, CTCGreedy, Greedy, JointBeam, Sample
from mmjax.train.optim import Adam

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
PLACES = ("left", "right")
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
    ngram = partial(kneser_ney, ((3, 4), (3, 5)), 60)
    joint = JointBeam("caption_ctc", 0.4, beams=2, max_tokens=5, scorer=ngram)
    searches = {
        "caption": (Greedy(5), Beam(2, 5, early_stopping=True), Sample(5, top_k=3), joint),
        "caption_ctc": (CTCGreedy(), CTCBeam(2, ngram, max_tokens=5)),
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
        ("caption", JointBeam("other"), "JointBeam.ctc: the model has no CTC head 'other'; its CTC heads are caption_ctc"),
    ):
        wrong = {"caption": Generate(output, "caption", search=search, scores=task.scores)}
        with pytest.raises(ExperimentError, match=message):
            check(dataclasses.replace(joint, tasks=wrong), data)
    other = WeightedLosses({"caption": On("caption"), "ctc": (On("caption_ctc", CTC(blank=5), target="caption"), 0.3)})
    with pytest.raises(ExperimentError, match="loss: the blank of CTC on 'caption_ctc' is 5; it must be the end token 0"):
        check(dataclasses.replace(joint, loss=other), data)
    for name, message in (("caption_ctc0", "'caption_ctc' has 5 logits for"), ("caption3", "has 5 logits, but the decoder")):
        few = dataclasses.replace(joint, heads={"caption_ctc": TokenLogits(5)}, tasks={"x": tasks[name]})
        with pytest.raises(ExperimentError, match=message):
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
