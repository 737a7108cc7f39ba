"""Dialogues with images in one row have the losses and gradients of each alone; questions have no loss."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.decode import DataError
from mmjax.data.dialogues import Dialogue, packed_dialogues
from mmjax.decoders import Factored, Interleaved, LanguageModel, PrefixLM, both_ways_in_images
from mmjax.decoders.interleaved import BEGIN
from mmjax.decoders.prefix import segmented, slots
from mmjax.losses import CrossEntropy
from mmjax.model import teacher_ids
from mmjax.nn.rotary import GridRope, Rope
from mmjax.tasks.likelihood import token_nats
from mmjax.types import Tokens

V, END, WIDTH = 20, 19, 8
LANGUAGE = LanguageModel(V, width=WIDTH, depth=2, heads=2, kv_heads=1, hidden=12, windows=(4, None), end=END)
MODELS = {
    "both_ways": Interleaved(LANGUAGE, (BEGIN,), both_ways_in_images),
    "places": Interleaved(LANGUAGE.clone(rope=GridRope(100.0, (1, 1, 0))), (BEGIN,), places=True),
    "factored": Factored(Interleaved(LANGUAGE.clone(rope=Rope(100.0)), (BEGIN,))),
}


def dialogue(*parts):
    """Texts of questions, answers (a set of one tuple) and vectors (floats)."""
    ids, answer = [], []
    for part in parts:
        is_answer, part = isinstance(part, set), part.pop() if isinstance(part, set) else part
        own = [V + int(one) if isinstance(one, float) else one for one in part]
        ids, answer = ids + own, answer + (own if is_answer else [-1] * len(own))
    return Dialogue(ids, answer, sum(token >= V for token in ids))


# An end token ends an answer, so it occurs several times in a dialogue.
DIALOGUES = [
    dialogue((3, 0.0, 1.0, 4), {(5, END)}, (6,), {(7, 8, END)}),
    dialogue((9, 4), {(10, END)}),
    dialogue((2.0, 3.0, 11, 0.0, 1.0), {(12, END)}, (4,)),
]
VECTORS = [2, 0, 4]
WINDOW = 24


@pytest.fixture(scope="module")
def images():
    """Of each dialogue, [3 4 ..]; vector 1 of the last one is absent."""
    x = jax.random.normal(jax.random.key(1), (3, 4, WIDTH + 3)).at[..., WIDTH:].set(jnp.array([0, 1, 2]))
    mask = (jnp.arange(4)[None] < jnp.array(VECTORS)[:, None]).at[2, 1].set(False)
    return Tokens(x, mask)


def packed(images):
    """The dialogues in the order 0, 2, 1, and their vectors."""
    x = jnp.concatenate([images.x[number, :count] for number, count in enumerate(VECTORS) if count])
    mask = jnp.concatenate([images.mask[number, :count] for number, count in enumerate(VECTORS) if count])
    return Tokens(x[None], mask[None])


def drawn(model, ids, memory):
    random, shapes = np.random.default_rng(0), jax.eval_shape(model.init, jax.random.key(0), ids, memory)
    return jax.tree.map(lambda leaf: 0.5 * random.normal(size=leaf.shape).astype(np.float32), shapes)


def rows_of(tokens=WINDOW, vectors=6):
    return packed_dialogues(DIALOGUES, V, BEGIN, tokens, vectors)


def test_rows_by_hand():
    assert [of.vectors for of in DIALOGUES] == VECTORS
    first, second = rows_of(20, 6)
    assert first.numbers == [0, 2] and second.numbers == [1]
    moved = [V + 4, V + 5, 11, V + 2, V + 3, 12, END, 4]
    assert first.ids.tolist() == [3, V, V + 1, 4, 5, END, 6, 7, 8, END, BEGIN, *moved, -1]
    assert first.answer.tolist() == [-1, -1, -1, -1, 5, END, -1, 7, 8, END, *[-1] * 6, 12, END, -1, -1]
    assert second.ids.tolist() == [9, 4, 10, END, *[-1] * 16] and second.answer.tolist() == [-1, -1, 10, END, *[-1] * 16]
    assert [len(row.numbers) for row in rows_of(40, 4)] == [2, 1]  # a third dialogue has no room for its vectors
    with pytest.raises(DataError, match="dialogue 0 has 10 tokens and 2 vectors; a packed row has 9 and 6"):
        rows_of(9)


@pytest.mark.parametrize("name", ["both_ways", *(pytest.param(n, marks=pytest.mark.slow) for n in MODELS if n != "both_ways")])
def test_a_packed_row_has_the_losses_and_gradients_of_its_dialogues(name, images):
    model = MODELS[name]
    if name != "places":
        images = images.replace(x=images.x[..., :WIDTH])
    (row,) = rows_of()
    alone, answers = np.full((2, 3, WINDOW), -1, np.int32)
    for number, of in enumerate(DIALOGUES):
        alone[number, : len(of.ids)], answers[number, : len(of.ids)] = of.ids, of.answer
    one_row = jnp.asarray(row.ids)[None], jnp.asarray(row.answer)[None]
    variables = drawn(model, teacher_ids(jnp.asarray(alone), (BEGIN,)), images)

    @partial(jax.jit, static_argnums=0)
    def run(in_one_row, variables, images):
        def loss(variables, x):
            of = images.replace(x=x)
            (ids, answer), memory = (one_row, packed(of)) if in_one_row else ((jnp.asarray(alone), jnp.asarray(answers)), of)
            output = model.apply(variables, teacher_ids(ids, (BEGIN,)), memory)
            nats = token_nats(output, answer)
            return nats.sum(), (nats, CrossEntropy()(output, answer))

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables, images.x)

    spoiled = images.replace(x=jnp.where(images.mask[..., None], images.x, jnp.nan))
    ((total, (nats, mean)), gradients) = run(True, variables, spoiled)
    ((expected, (each, means)), wanted) = run(False, variables, spoiled)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    chex.assert_trees_all_close(gradients, wanted, atol=2e-5)
    chex.assert_tree_all_finite(gradients)
    assert np.abs(wanted[1][0, :2]).max() > 1e-3 and not np.asarray(wanted[1])[~images.mask].any()
    # Nine tokens of answers, and their mean.
    assert np.flatnonzero(nats[0]).tolist() == np.flatnonzero(row.answer >= 0).tolist() and (row.answer >= 0).sum() == 9
    count = (answers >= 0).sum(axis=1)
    np.testing.assert_allclose(mean[0], (means * count).sum() / count.sum(), rtol=1e-6)
    np.testing.assert_allclose(mean[0], each.sum() / 9, rtol=1e-6)


def test_positions_restart():
    """By hand; the third slot is padding. Rotations depend on differences, so logits do not show it."""
    valid, segments = jnp.array([[0, 1, 0, 1, 0, 1, 1]], bool), jnp.array([[1, 1, 1, 1, 2, 2, 2]])
    assert segmented(slots(valid, 0, 7), segments).positions[0, [1, 3, 5, 6]].tolist() == [0, 1, 0, 1]
    place, first = jnp.array([[[0, 0, 1]] * 4 + [[0, 0, 1], [1, 2, 3], [0, 0, 1]]]), jnp.zeros(1, jnp.int32)
    found, _ = MODELS["places"].apply({}, place, valid, first, segments != jnp.roll(segments, 1, 1), method="_positions")
    assert found[0, [1, 3, 5, 6]].tolist() == [[0, 0, 0], [1, 1, 1], [0, 1, 2], [3, 3, 3]]


@pytest.mark.slow
def test_nothing_attends_to_another_dialogue(images):
    """By the gradient of each token's states with respect to vectors and words, which all differ."""
    model, images = MODELS["both_ways"], images.replace(x=images.x[..., :WIDTH])
    (row,) = rows_of()
    ids, memory = teacher_ids(jnp.asarray(row.ids)[None], (BEGIN,)), packed(images)
    variables = drawn(model, ids, memory)
    table = variables["params"]["word"]["embedding"]

    @jax.jit
    def by_input(x, table):
        def value(x, table):
            params = {**variables["params"], "word": {"embedding": table}}
            return model.apply({"params": params}, ids, memory.replace(x=x), method="states")[0].sum(axis=-1)

        return jax.jacrev(value, argnums=(0, 1))(x, table)

    by_vector, by_word = (np.abs(found).max(axis=-1) > 0 for found in by_input(memory.x, table))
    starts = np.flatnonzero(np.asarray(ids.x[0]) == BEGIN)
    assert row.numbers == [0, 2, 1] and starts.tolist() == [0, 11, 20]
    inside = lambda number: slice(starts[number], [*starts, WINDOW][number + 1])
    assert by_vector[inside(0), 0, :2].any() and not by_vector[inside(0), 0, 2:].any()
    assert by_vector[inside(1), 0, 2:].any() and not by_vector[inside(1), 0, :2].any()
    assert not by_vector[inside(2), 0].any()
    words = [{3, 4, 5, 6, 7, 8, END}, {11, 12, END, 4}, {9, 4, 10}]
    for number, own in enumerate(words):
        assert set(np.flatnonzero(by_word[inside(number)].any(axis=0)).tolist()) <= own


def test_a_prefix_and_several_texts_exclude_each_other():
    model, ids = Interleaved(LANGUAGE, (BEGIN,), PrefixLM(9)), teacher_ids(jnp.array([[1]]), (BEGIN,))
    with pytest.raises(ValueError, match=r"PrefixLM, which has one text per row, but Interleaved\.prompt has BEGIN"):
        jax.eval_shape(model.init, jax.random.key(0), ids)
