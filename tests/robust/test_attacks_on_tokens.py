"""Attacks on text: the estimate of a linear model is exact, so HotFlip is compared with all substitutions by brute force."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers

from mmjax.data.dataset import Column, identity
from mmjax.data.inputs import TextInput
from mmjax.data.text import TrainedTokenizer, Words
from mmjax.encoders import BERT, BagOfEmbeddings, TextRNN
from mmjax.nn import LSTM
from mmjax.robust.adversarial import AdversarialTraining
from mmjax.robust.attacks import FGSM, PGD, InTurn
from mmjax.robust.budgets import L2, Linf
from mmjax.robust.embeddings import Embeddings, ShiftedTokens, SoftTokens
from mmjax.robust.hotflip import HotFlip, Substitutions, estimates
from mmjax.robust.special_tokens import with_tokens
from mmjax.types import Batch, Padded

KEY = jax.random.key(0)
VOCABULARY, WIDTH, KEEP = 9, 4, (0, 1)
LENGTHS = np.array([5, 3, 2, 4], np.int32)
ENCODER = SoftTokens(BagOfEmbeddings(VOCABULARY, WIDTH))
WEIGHT = jnp.array([1.0, -2.0, 0.5, 1.5])


def batch():
    """Four texts; text 2 is absent."""
    ids = np.random.default_rng(2).integers(2, VOCABULARY, (4, 5)).astype(np.int32)
    ids[0, 0] = 1  # a token that is kept
    present = jnp.array([True, True, False, True])
    return Batch({"text": Padded(jnp.asarray(ids), jnp.asarray(LENGTHS))}, {"text": present}, {}, jnp.ones(4))


@pytest.fixture(scope="module")
def values():
    """The loss w . mean embedding: linear in the embeddings."""
    variables = jax.jit(ENCODER.init)(KEY, batch().inputs["text"])
    return lambda batch: ENCODER.apply(variables, batch.inputs["text"]).x[:, 0] @ WEIGHT


def run(attack, values):
    """The attacked batch, compiled."""
    return jax.jit(lambda batch: attack(values, batch, KEY))(batch())


def by_brute_force(values):
    """{(example, step, token): loss} of every allowed substitution."""
    ids, found = np.asarray(batch().inputs["text"].x), {}
    losses = jax.jit(lambda x: values(batch().replace(inputs={"text": Padded(x, jnp.asarray(LENGTHS))})))
    for step in range(5):
        for token in range(VOCABULARY):
            changed = ids.copy()
            changed[:, step] = token
            for example, loss in enumerate(np.asarray(losses(jnp.asarray(changed)))):
                found[example, step, token] = loss
    return found


@pytest.mark.parametrize(
    "encoder, width",
    [(ENCODER.encoder, 4), (TextRNN(VOCABULARY, 6, LSTM(3)), 6), (BERT(VOCABULARY, width=8, depth=1, heads=2, hidden=8), 8)],
)
def test_for_token_ids_the_encoder_is_itself(encoder, width):
    ids = batch().inputs["text"]
    variables = jax.jit(encoder.init)(KEY, ids)
    soft = SoftTokens(encoder)
    chex.assert_trees_all_equal_shapes(jax.eval_shape(soft.init, KEY, ids), variables)
    tokens = jax.jit(encoder.apply)(variables, ids)
    program = lambda module: str(jax.make_jaxpr(module.apply)(variables, ids))
    assert program(soft) == program(encoder)
    valid = np.asarray(tokens.mask)
    shifted = jax.jit(lambda change: soft.apply(variables, ShiftedTokens(ids, change)).x)
    moved = lambda size: np.asarray(shifted(jnp.full((4, 5, width), size)))
    np.testing.assert_allclose(moved(0.0)[valid], np.asarray(tokens.x)[valid], rtol=1e-5, atol=1e-6)
    change = jnp.zeros((4, 5, width)).at[1].set(jnp.sin(jnp.arange(width)))  # of one text
    differs = np.abs(np.where(valid[..., None], shifted(change) - tokens.x, 0)).max(axis=(1, 2))
    assert differs[1] > 1e-3 and (differs[[0, 2, 3]] < 1e-5).all()
    assert soft.vocabulary == VOCABULARY


def test_the_estimate_of_a_linear_model_is_exact(values):
    x, loss = batch().inputs["text"].x, np.asarray(values(batch()))
    found = np.asarray(jax.jit(lambda x: estimates(values, batch(), "text", x, VOCABULARY))(x))
    for (example, step, token), substituted in by_brute_force(values).items():
        if step < LENGTHS[example]:
            np.testing.assert_allclose(found[example, step, token], substituted - loss[example], atol=1e-5)


@pytest.fixture(scope="module")
def flipped(values):
    """count -> ids after HotFlip."""
    attack = lambda count: HotFlip({"text": Substitutions(count, VOCABULARY, 3, KEEP)})
    return {count: jax.jit(lambda batch: attack(count)(values, batch, KEY))(batch()) for count in (1, 2)}


def test_hotflip_finds_the_best_substitution(values, flipped):
    ids, after, losses = np.asarray(batch().inputs["text"].x), flipped[1].inputs["text"], by_brute_force(values)
    found = np.asarray(values(flipped[1]))
    for example in (0, 1, 3):
        steps = [step for step in range(LENGTHS[example]) if ids[example, step] not in (0, 1)]
        best = max(losses[example, step, token] for step in steps for token in range(2, VOCABULARY))
        np.testing.assert_allclose(found[example], best, rtol=1e-5)
    np.testing.assert_array_equal(after.length, LENGTHS)


@pytest.mark.parametrize("count", [1, 2])
def test_hotflip_stays_in_its_budget(count, values, flipped):
    ids, after = np.asarray(batch().inputs["text"].x), np.asarray(flipped[count].inputs["text"].x)
    replaced = ids != after
    valid = np.arange(5)[None] < LENGTHS[:, None]
    assert (replaced.sum(axis=1) == [count, count, 0, count]).all()  # the absent text remains
    assert not (replaced & ~valid).any()
    assert not np.isin([ids[replaced], after[replaced]], (0, 1)).any()
    if count == 2:
        assert (values(flipped[2]) > values(flipped[1]))[jnp.array([0, 1, 3])].all()


def test_best_change_of_embeddings(values):
    """The loss is the mean of w . e over n tokens: its gradient is w / n at each, with norm ||w|| / sqrt(n)."""
    for attack in (FGSM, lambda budgets: PGD(budgets, random_start=False)):
        after = run(attack({"text": Embeddings(0.5, WIDTH)}), values)
        rise = np.asarray(values(after) - values(batch()))
        expected = 0.5 * float(jnp.linalg.norm(WEIGHT)) / np.sqrt(LENGTHS)
        expected[2] = 0  # absent
        np.testing.assert_allclose(rise, expected, rtol=1e-4, atol=1e-6)
        change = np.asarray(after.inputs["text"].change)
        assert not change[np.arange(5)[None] >= LENGTHS[:, None]].any() and not change[2].any()
        np.testing.assert_array_equal(after.inputs["text"].ids.x, batch().inputs["text"].x)


def test_without_budget_the_batch_is_returned_as_it_is(values):
    same = batch()
    assert HotFlip({"text": Substitutions(0)})(values, same, KEY) is same
    assert PGD({"text": Embeddings(0.0, WIDTH)})(values, same, KEY) is same


def test_attacks_follow_each_other(values):
    both = InTurn((HotFlip({"text": Substitutions(1, VOCABULARY, keep=KEEP)}), FGSM({"text": Embeddings(0.5, WIDTH)})))
    assert (values(run(both, values)) > values(run(both.attacks[0], values)))[0]


@pytest.mark.parametrize(
    "attack, message",
    [
        (FGSM({"text": Linf(0.1)}), r"budgets.text: Linf changes arrays of floats \[b ...\], but the input is int32\[4, 5\]"),
        (PGD({"text": L2(0.1)}), "token ids need Embeddings or HotFlip"),
        (FGSM({"text": Substitutions(1, 9)}), "budgets.text is Substitutions.*, but this attack takes Linf, L2, "),
        (HotFlip({"text": L2(1.0)}), "budgets.text is L2.*, but this attack takes Substitutions"),
        (HotFlip({"image": Substitutions(1, 9)}), "budgets.image: there is no modality 'image'; the modalities are text"),
        (HotFlip({"text": Substitutions(1, 9)}), "budgets.text: Substitutions has no vocabulary or keep; name both"),
        (HotFlip({"text": Substitutions(1, 10, keep=KEEP)}), "Substitutions.vocabulary is 10, but the encoder has 9 token ids"),
        (FGSM({"text": Embeddings(0.1, 3)}), "Embeddings.width is 3, but the encoder's embeddings have 4 entries"),
    ],
)
def test_refusals(attack, message, values):
    with pytest.raises(ValueError, match=message):
        attack(values, batch(), KEY)


def test_special_tokens_come_from_the_tokenizer():
    """Of a trained tokenizer and of one like BERT's, at any depth of an attack or a gradient; fields that are given stay."""
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[CLS]": 1, "b": 2, "[SEP]": 3}, unk_token="a"))
    library.add_special_tokens(["[CLS]", "[SEP]", "[MASK]"])
    library.add_tokens(["frog"])  # added, but not special
    published, trained = TrainedTokenizer(library.to_str()), Words().train(["a cat", "a cat"])
    column = lambda tokenizer: Column(1, int, identity, parse=TextInput(tokenizer, 4))
    columns = {"text": column(published), "title": column(trained), "vector": Column(1, int, identity)}
    flip = lambda name, **fields: HotFlip({name: Substitutions(1, **fields)})
    fill = lambda value: with_tokens(value, columns)
    assert fill(flip("text")) == flip("text", vocabulary=6, keep=(1, 3, 4))
    assert fill(flip("title")) == flip("title", vocabulary=4, keep=(0, 1))
    assert fill(flip("text", keep=(2,))) == flip("text", vocabulary=6, keep=(2,))
    other = FGSM({"vector": L2(0.1)})
    nested = AdversarialTraining(InTurn((flip("title"), other)))
    assert fill(nested) == replace(nested, attack=InTurn((fill(flip("title")), other)))
    complete = flip("vector", vocabulary=3, keep=())
    assert fill(complete) is complete and fill(other) is other
    with pytest.raises(ValueError, match=r"budgets.vector: the data have no tokenizer of 'vector'; name Subst"):
        fill(flip("vector"))


def test_an_encoder_without_access_is_refused():
    for attack in (FGSM({"text": Embeddings(0.1, WIDTH)}), HotFlip({"text": Substitutions(1, VOCABULARY, keep=KEEP)})):
        with pytest.raises(ValueError, match=r"changes token embeddings; give the encoder as SoftTokens\(encoder\)"):
            attack(lambda batch: batch.inputs["text"].x.sum(axis=1), batch(), KEY)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Substitutions(-1, 9), "Substitutions.count is -1; it must be at least 0"),
        (lambda: Substitutions(1, 9, candidates=0), "Substitutions.candidates is 0; it must be positive"),
        (lambda: Substitutions(1, 9, keep=(9,)), r"Substitutions.keep is \(9,\); ids must be .* below vocabulary, 9"),
        (lambda: Embeddings(-0.1, 4), "Embeddings.epsilon is -0.1; it must be at least 0 and finite"),
        (lambda: Embeddings(0.1, 0), "Embeddings.width is 0; it must be positive"),
    ],
)
def test_invalid_budgets(make, message):
    with pytest.raises(ValueError, match=message):
        make()
