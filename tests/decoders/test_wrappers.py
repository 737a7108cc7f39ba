"""Factored logits equal plain ones without their memory, and packed rows equal their texts one by one."""

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import GPT2, Factored, Flamingo, Interleaved, LanguageModel, PackedDecoder, empty_prefix
from mmjax.losses import CrossEntropy, On
from mmjax.losses.combine import zero_invalid
from mmjax.model import teacher_ids
from mmjax.nn.factored_logits import FactoredLogits, label_log_p
from mmjax.nn.rotary import Rope
from mmjax.types import Batch, Padded, Tokens

MODEL = LanguageModel(
    23, width=8, depth=2, heads=2, kv_heads=1, hidden=12, windows=(3, None), local_rope=Rope(100.0), tied=False, logit_cap=3.0
)
MODELS = {"language_model": MODEL, "gpt2": GPT2(23, width=8, depth=1, heads=2, hidden=12, positions=24)}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_factored_cross_entropy_equals_the_plain_one(smoothing, cap):
    """Value and gradients, with missing targets, an example without any, and a chunk that does not divide the length."""
    random = np.random.default_rng(0)
    states, table = (
        jnp.asarray(random.normal(size=(3, 7, 5)), jnp.float32),
        jnp.asarray(random.normal(size=(11, 5)), jnp.float32),
    )
    target = random.integers(0, 11, (3, 7))
    target[0, 4:], target[2] = -1, -1
    criterion = CrossEntropy(smoothing)

    @partial(jax.jit, static_argnums=0)
    def both(plain, states, table):
        def loss(states, table):
            factored = FactoredLogits(states, table, cap, chunk=3)
            values = criterion(factored.computed() if plain else factored, jnp.asarray(target))
            return jnp.sum(values * jnp.array([1.0, 2.0, 3.0])), values

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(states, table)

    expected, found = both(True, states, table), both(False, states, table)
    chex.assert_trees_all_close(found, expected, atol=1e-5, rtol=1e-5)
    spoiled = jnp.where((target >= 0)[..., None], states, jnp.nan)
    chex.assert_trees_all_equal(both(False, spoiled, table), found)


def test_log_p_by_hand():
    """States 1 and 0 with the table (0, log 3): p = (1/4, 3/4) and (1/2, 1/2)."""
    factored = FactoredLogits(jnp.array([[[1.0], [0.0]]]), jnp.log(jnp.array([[1.0], [3.0]])))
    assert factored.shape == (1, 2, 2) and factored[:, 1:].shape == (1, 1, 2)
    np.testing.assert_allclose(label_log_p(factored, jnp.array([[1, 0]])), np.log([[3 / 4, 1 / 2]]), rtol=1e-6)
    of_label, mean = factored.log_p(jnp.array([[0, 2]]))
    assert np.isnan(of_label[0, 1])  # id 2 is out of range
    np.testing.assert_allclose(mean, [[(np.log(1 / 4) + np.log(3 / 4)) / 2, np.log(1 / 2)]], rtol=1e-6)
    zeroed = zero_invalid(factored, jnp.array([False]))
    assert not zeroed.states.any() and zeroed.table is factored.table


def test_no_array_of_tokens_and_vocabulary_exists():
    """4 x 64 tokens and 20,000 ids: the logits take 20.5 MB, a chunk of 4 x 4 tokens 1.3 MB, the table and its gradient 0.6 MB
    each."""
    shape = lambda *of: jax.ShapeDtypeStruct(of, jnp.float32)

    def temporary(criterion_of):
        loss = lambda states, table, target: jnp.sum(CrossEntropy()(criterion_of(states, table), target))
        arguments = shape(4, 64, 8), shape(20_000, 8), jax.ShapeDtypeStruct((4, 64), jnp.int32)
        compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*arguments).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    logits = 4 * 64 * 20_000 * 4
    assert temporary(lambda states, table: FactoredLogits(states, table).computed()) >= logits
    assert temporary(lambda states, table: FactoredLogits(states, table, chunk=4)) < logits / 3


def test_factored_wraps_a_decoder():
    """The same parameters, the same logits, and real ones from `step`."""
    ids, prefix = Padded(jnp.array([[0, 5, 6]]), jnp.array([3])), Tokens(jnp.ones((1, 2, 8)), jnp.ones((1, 2), bool))
    factored = Factored(MODEL, chunk=2)
    assert (factored.prompt, factored.end, factored.vocabulary) == (MODEL.prompt, MODEL.end, 23)
    variables = jax.jit(factored.init)(jax.random.key(0), ids, prefix)
    expected = jax.jit(MODEL.apply)(variables, ids, prefix)

    @jax.jit
    def both(variables):
        cache = factored.apply(variables, prefix, 3, method="init_cache")
        return factored.apply(variables, ids, prefix), factored.apply(variables, ids.x, cache, method="step")[0]

    output, stepped = both(variables)
    assert isinstance(output, FactoredLogits) and output.shape == expected.shape
    chex.assert_trees_all_close((output.computed(), stepped), (expected, expected), atol=1e-5)
    batch = Batch({}, {}, {"text": jnp.array([[5, 6, 0]])}, jnp.ones(1))
    losses = [On("text", CrossEntropy())({"text": given}, batch) for given in (output, expected)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    with pytest.raises(ValueError, match="class_weights"):
        CrossEntropy(class_weights=(1.0,) * 23)(output, batch.targets["text"])
    with pytest.raises(ValueError, match=r"Int\[b m\] token ids"):
        CrossEntropy()(output, jnp.ones((1, 3, 23)))


TEXTS = ([5, 6, 7, 0], [8, 9, 0], [10, 11, 12, 13, 0])


@pytest.mark.parametrize("name", MODELS)
def test_a_packed_row_equals_its_texts_one_by_one(name):
    """Three texts and the beginning of a fourth; no gradient from one text to another."""
    model = MODELS[name]
    packed = PackedDecoder(model)
    target = jnp.array([[token for text in TEXTS for token in text] + [14, 15, -1, -1]])
    variables = jax.jit(packed.init)(jax.random.key(1), teacher_ids(target, packed.prompt))
    chex.assert_trees_all_equal_shapes(variables, jax.eval_shape(model.init, jax.random.key(1), teacher_ids(target, (0,))))
    logits = jax.jit(packed.apply)(variables, teacher_ids(target, packed.prompt), empty_prefix(1))
    one = jax.jit(lambda text: model.apply(variables, teacher_ids(text, model.prompt)))
    padded = np.full((4, 5), -1)
    for row, text in zip(padded, (*TEXTS, [14, 15])):
        row[: len(text)] = text
    single, start = np.asarray(one(jnp.asarray(padded))), 0
    for row, text in enumerate((*TEXTS, [14, 15])):
        np.testing.assert_allclose(logits[0, start : start + len(text)], single[row, : len(text)], atol=1e-5)
        start += len(text)

    def of_text(variables, first, last):
        return jnp.sum(packed.apply(variables, teacher_ids(target, packed.prompt))[0, first:last] ** 2)

    gradient = jax.jit(jax.grad(of_text), static_argnums=(1, 2))(variables, 4, 7)["params"]["word"]["embedding"]
    used = np.flatnonzero(np.abs(gradient).max(axis=1) > 0)
    # The prompt and the second text, whose end is not an input. GPT-2's output layer is its embedding.
    assert used.tolist() == [0, 8, 9] if name == "language_model" else len(used) == 23


def test_packed_rows_have_no_prefix_and_a_prompt_of_one_token():
    ids = Padded(jnp.zeros((1, 3), jnp.int32), jnp.array([3]))
    prefix = Tokens(jnp.ones((1, 2, 8)), jnp.ones((1, 2), bool))
    with pytest.raises(ValueError, match="cannot have vectors before the text, but there are 2"):
        jax.eval_shape(PackedDecoder(MODEL).init, jax.random.key(0), ids, prefix)
    with pytest.raises(ValueError, match=r"has the prompt \(1, 2\); it must be one token"):
        jax.eval_shape(PackedDecoder(dataclasses.replace(MODEL, prompt=(1, 2))).init, jax.random.key(0), ids)


@pytest.mark.parametrize("model", [Flamingo(MODEL), Interleaved(MODEL, (1,))])
def test_packed_rows_have_no_images(model):
    ids = Padded(jnp.zeros((1, 3), jnp.int32), jnp.array([3]))
    with pytest.raises(ValueError, match=rf"PackedDecoder\.model is {type(model).__name__}, whose images belong to no text"):
        jax.eval_shape(PackedDecoder(model).init, jax.random.key(0), ids, empty_prefix(1))
