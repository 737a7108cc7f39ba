"""Likelihood of texts: metrics derived by hand, bytes of scored tokens, baselines, and a text-only model from data to a run."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax.chat import __main__ as chat
from mmjax.data import from_arrays
from mmjax.data.byte_level import ByteLevel
from mmjax.data.custom import Captions, Images
from mmjax.data.documents import Documents, PackedDocuments, packed_rows, windows
from mmjax.data.text import Characters, Subwords, Words
from mmjax.data.token_bytes import token_bytes
from mmjax.decoders import Factored, LanguageModel, PackedDecoder
from mmjax.encoders import NoTokens
from mmjax.experiment import Experiment, ExperimentError
from mmjax.experiment.check import check
from mmjax.fusion import Append
from mmjax.losses import CrossEntropy, On
from mmjax.metrics.likelihood import LIKELIHOOD_METRICS
from mmjax.nn.ngram import kneser_ney
from mmjax.tasks import Generate, Likelihood
from mmjax.tasks.likelihood import token_nats
from mmjax.tasks.likelihood_baselines import ngram_nats, texts_in
from mmjax.tasks.search import Greedy
from mmjax.train.optim import Adam
from mmjax.types import Batch

TEXTS = ("the cat sat on the mat", "the dog sat on the log", "a cat and a dog")


def texts_data(count=24):
    """Texts without images, of which every third is a test text; groups of two."""
    texts = [f"{TEXTS[row // 3 % 3]} {row}" for row in range(count)]
    split = ["train", "test", "validation"] * (count // 3)
    images = [np.full((4, 4, 3), row, np.uint8) for row in range(count)]
    kinds = {"image": Images(size=4), "words": Captions()}
    return from_arrays({"image": images}, {"words": texts}, split=split, kinds=kinds)


DATA = Documents(texts_data(), column="words", document_tokenizer=ByteLevel(270), window_tokens=32)
MODEL = LanguageModel(270, width=16, depth=1, heads=2, kv_heads=1, hidden=24, positions=64)
BASE = Experiment(
    data=DATA,
    encoders={"text": NoTokens()},
    fusion=Append(),
    decoders={"text": MODEL},
    loss=On("text", CrossEntropy()),
    tasks={"text": Likelihood("text"), "written": Generate("text", search=Greedy(8), scores=("cer",), nearest=())},
    steps=60,
    evaluate_every=60,
    optim=Adam(lr=1e-2),
    batch=8,
)


def values(outcomes, weight):
    given = jax.tree.map(jnp.asarray, dict(outcomes))
    return {name: float(metric.value(given, jnp.asarray(weight))) for name, metric in LIKELIHOOD_METRICS.items()}


def test_metrics_by_hand():
    """Weights 1, 2, 0: 3 + 2 * 2 = 7 nats, 4 + 2 * 3 = 10 tokens, 5 + 2 * 8 = 21 bytes."""
    outcomes = {"nats": np.array([3.0, 2.0, np.nan]), "tokens": np.array([4, 3, 9]), "bytes": np.array([5, 8, 9])}
    found = values(outcomes, np.array([1.0, 2.0, 0.0], np.float32))
    expected = {"bits_per_byte": 7 / (21 * math.log(2)), "nats_per_token": 0.7, "perplexity": math.exp(0.7)}
    assert found == pytest.approx(expected, rel=1e-6)
    assert not any(metric.higher_is_better for metric in LIKELIHOOD_METRICS.values())
    assert math.isnan(values({name: of[:0] for name, of in outcomes.items()}, np.zeros(0, np.float32))["bits_per_byte"])


def test_uniform_logits_by_hand():
    """5 ids (padding, unknown, a, b, é). "aé" and its end are 3 tokens and 1 + 2 bytes: 3 log 5 nats, log2 5 bits per byte. A
    text cut after "a" has 1 token and 1 byte."""
    tokenizer = Characters().train(["aab", "é"])
    ids = np.array([[*tokenizer.ids("aé"), 0], [*tokenizer.ids("a"), -1, -1]])
    counts = np.where(ids >= 0, token_bytes(tokenizer)[ids], 0).sum(axis=1)
    assert tokenizer.vocabulary == 5 and counts.tolist() == [3, 1]
    nats = np.asarray(token_nats(jnp.zeros((2, 3, 5)), jnp.asarray(ids)))
    np.testing.assert_allclose(nats, np.log(5) * (ids >= 0), rtol=1e-6)
    outcomes = {"nats": nats.sum(axis=1), "tokens": (ids >= 0).sum(axis=1), "bytes": counts}
    assert values(outcomes, np.array([1.0, 0.0], np.float32))["bits_per_byte"] == pytest.approx(math.log2(5), rel=1e-6)
    assert values(outcomes, np.array([0.0, 1.0], np.float32))["perplexity"] == pytest.approx(5, rel=1e-6)


@pytest.mark.parametrize("text", ["Naïve  cafés,\n\t42 🐟!", "the cat", " the"])
def test_bytes_of_a_text_are_the_sum_over_its_tokens(text):
    byte_level = ByteLevel(300).train([*TEXTS, text])
    ids = byte_level.ids(text)
    assert byte_level.text(ids) == text and token_bytes(byte_level)[ids].sum() == len(text.encode())
    assert byte_level.text(byte_level.ids("日本")) == "日本"  # no unknown tokens
    count = lambda tokenizer, text: int(token_bytes(tokenizer)[tokenizer.ids(text)].sum())
    assert count(Subwords(60).train(TEXTS), "the cat") == len(" the cat")  # SentencePiece writes a space before a text
    assert count(Words(60).train(TEXTS * 2), "the zebra cat") == len("thecat")  # an unknown word has no bytes


def test_ngram_by_hand():
    """Texts "a", "a", "b": a 2, b 1, end 3 of 6; D = 1 / 3, so p(a) = (5 / 3 + 1 / 4) / 6 = 23 / 72, p(b) = 11 / 72, p(end) =
    35 / 72, and 3 / 72 for the unknown token. A text that was cut has no end: a 2, b 1, end 2 of 5, D = 1 / 5."""
    train = np.array([[2, 0, 2, 0], [3, 0, -1, -1]])
    assert [text.tolist() for text in texts_in(train, 0)] == [[2, 0], [2, 0], [3, 0]]
    nats = ngram_nats(train, np.array([[2, 3, 0, -1], [1, -1, -1, -1]]), 4, 1, 0)
    np.testing.assert_allclose(nats, -np.log([[23 / 72, 11 / 72, 35 / 72, 1], [3 / 72, 1, 1, 1]]), rtol=1e-5)
    cut = ngram_nats(np.array([[2, 0, 2, 0], [3, -1, -1, -1]]), np.array([[0]]), 4, 1, 0)
    np.testing.assert_allclose(cut, -np.log([[(2 - 1 / 5) / 5 + 3 / 25 / 4]]), rtol=1e-5)


def test_log_p_of_a_token_is_that_of_the_distribution():
    draws = np.random.default_rng(0).integers(1, 9, (30, 6))
    model = kneser_ney(draws.tolist(), 9, order=3)

    @jax.jit
    def both(state, token):
        return model.scores(state, 9)[token], model.log_p_of(state, token), model.advance(state, token)

    state = model.start()
    for token in np.random.default_rng(1).integers(0, 9, 20):
        of_all, one, state = both(state, token)
        assert float(one) == pytest.approx(float(of_all), abs=1e-6)


def test_windows_and_packed_rows_by_hand():
    row, ids = windows({3: [5, 6, 7, 0], 8: [9, 0]}, 3)
    assert row.tolist() == [3, 3, 8] and ids.tolist() == [[5, 6, 7], [0, -1, -1], [9, 0, -1]]
    first, packed = packed_rows(ids, 0, 5)  # the cut window 5 6 7 ends its row, the others share one
    assert first.tolist() == [0, 2] and packed.tolist() == [[5, 6, 7, -1, -1], [9, 0, 0, -1, -1]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("texts") / "run"
    packed = dataclasses.replace(
        BASE,
        data=PackedDocuments(DATA, row_tokens=64),
        decoders={"text": Factored(PackedDecoder(MODEL), chunk=16)},
        tasks={"text": Likelihood("text")},
    )
    return mmjax.run({"model": BASE, "packed": packed}, seeds=2, out=out, quiet=True), out


def test_a_text_only_model_trains_scores_and_writes(run):
    results, out = run
    scores = {row["cell"]: row for row in results.table("text")}
    data = DATA.load()
    assert scores["model"]["bits_per_byte"] < scores["unigram"]["bits_per_byte"] - 0.5
    assert scores["packed"]["bits_per_byte"] < scores["unigram"]["bits_per_byte"] - 0.5
    assert scores["ngram"]["bits_per_byte"] < scores["unigram"]["bits_per_byte"]
    assert scores["model"]["perplexity"] == pytest.approx(math.exp(scores["model"]["nats_per_token"]), rel=0.02)
    cell = mmjax.load_run(out)["model"]
    written = cell.predict({"text": [""]})
    assert written["written"]["predicted"][0].startswith(("the ", "a "))
    shown = json.loads((out / "cells/model/all/examples.json").read_text())["text"]
    assert "(" in shown[0]["text"]["predicted"] and shown[0]["text"]["score"] > 0
    assert data.metadata["test"]["text"][0] == data.metadata["test"]["words"][0]


def test_a_trained_cell_continues_texts_in_the_terminal(run, capsys, monkeypatch):
    """As the task "written" does from nothing; a packed model is the model inside."""
    monkeypatch.setattr("mmjax.experiment.cli.prepare_jax", lambda: None)  # which changes the cache of this process
    results, out = run
    chat.main([str(out), "--cell", "model", "--prompt", "", "--max-tokens", "8"])
    of_seeds = results["model"].predict({"text": [""]}, each_seed=True)["written"]
    assert capsys.readouterr().out == f"{of_seeds[0]['predicted'][0]}\n"
    chat.main([str(out), "--cell", "packed", "--prompt", "the cat", "--max-tokens", "8"])
    assert capsys.readouterr().out.startswith(" sat")
    for cell, message in ((["--cell", "gone"], "--cell is gone; the cells of"), ([], "are model, packed; name one with")):
        with pytest.raises(SystemExit, match=message):
            chat.main([str(out), "--prompt", "the", *cell])


def test_units_are_rows_clustered_by_document():
    data = dataclasses.replace(DATA, window_tokens=7).load()
    units = Likelihood("text").units(data, "test")
    rows = len(data.splits["test"])
    assert rows > 8 and len(set(data.metadata["test"]["id"])) == rows
    texts = {}
    for name, text in zip(data.metadata["test"]["id"], data.metadata["test"]["text"]):
        texts[name.split("/")[0]] = texts.get(name.split("/")[0], "") + text
    assert set(texts.values()) == set(data.metadata["test"]["words"].tolist())
    ids = data.splits["test"].targets["text"]
    outcomes = Likelihood("text").outcomes({"ids": ids, "nats": np.ones(ids.shape)}, units)
    assert outcomes["bytes"].sum() == sum(len(text) for text in texts.values())
    assert outcomes["tokens"].sum() == (ids >= 0).sum()
    assert len(set(units.group.tolist())) == len(texts)


def with_span(data, name="span"):
    """The last 4 ids of each row as a further target."""
    splits = {}
    for split, rows in data.splits.items():
        ids = np.asarray(rows.targets["text"])
        length = (ids >= 0).sum(axis=1, keepdims=True)
        place = np.arange(ids.shape[1])[None]
        span = np.where((place >= length - 4) & (place < length), ids, -1)
        splits[split] = rows.replace(targets={**rows.targets, name: span})
    return dataclasses.replace(data, splits=splits)


def test_loss_and_likelihood_of_a_span():
    """The ids outside the span are read, but not scored."""
    data = with_span(DATA.load())
    rows = jax.tree.map(lambda leaf: jnp.asarray(leaf[:4]), data.splits["test"])
    batch = Batch({"text": jnp.zeros((4, 0))}, {"text": jnp.ones(4, bool)}, rows.targets, rows.weight)
    outputs = jax.jit(BASE.model.init_with_output)(jax.random.key(0), batch)[0]
    nats = np.asarray(token_nats(outputs["text"], batch.targets["text"]))
    scored = np.asarray(batch.targets["span"]) >= 0
    loss = np.asarray(On("text", CrossEntropy(), target="span")(outputs, batch))
    np.testing.assert_allclose(loss, (nats * scored).sum(axis=1) / 4, rtol=1e-5)
    task = Likelihood("text", target="span")
    task.check({"text": outputs["text"]}, data)
    predicted = task.predict(lambda *_: outputs, {}, {}, batch)
    np.testing.assert_allclose(predicted["nats"], nats * scored, rtol=1e-6)
    outcomes = [task.outcomes(of, task.units(data, "test")) for of in task.baselines(data).values()]
    ends = [
        text[-len(span) :] == span for text, span in zip(data.metadata["test"]["text"], task.units(data, "test").target["text"])
    ]
    assert all(ends) and all((of["tokens"] == 4).all() and (of["bytes"] < 16).all() for of in outcomes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": {"text": Likelihood("words")}}, "the model has no output 'words'; its outputs are text"),
        ({"tasks": {"text": Likelihood("text", target="span")}}, "'span' needs the shape of 'text'; the targets are text"),
    ],
)
def test_mistakes_name_the_field(change, message):
    with pytest.raises(ExperimentError, match=message):
        check(dataclasses.replace(BASE, **change), DATA.load())
