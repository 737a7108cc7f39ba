"""A language model with vectors in its text equals a prefix, the text without absent images, and itself step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import Factored, Interleaved, LanguageModel, PrefixLM, both_ways_in_images
from mmjax.encoders import LoRA
from mmjax.nn.rotary import GridRope
from mmjax.nn.search import beam, greedy
from mmjax.types import Padded, Tokens

V, LENGTH, VECTORS = 20, 12, 5
MODEL = LanguageModel(V, width=8, depth=2, heads=2, kv_heads=1, hidden=12, windows=(3, None), end=19)
CAUSAL = Interleaved(MODEL, (0,))


def padded(*rows):
    """Rows of ids; beyond their length other ids."""
    x = np.full((len(rows), LENGTH), 7, np.int32)
    for number, row in enumerate(rows):
        x[number, : len(row)] = row
    return Padded(jnp.asarray(x), jnp.array([len(row) for row in rows]))


@pytest.fixture(scope="module")
def variables():
    return MODEL.init(jax.random.key(0), padded([0]))


@pytest.fixture(scope="module")
def memory():
    return Tokens(jax.random.normal(jax.random.key(1), (2, VECTORS, 8)), jnp.ones((2, VECTORS), bool))


@pytest.fixture(scope="module")
def logits(variables):
    """(ids, memory) -> NumPy logits of the causal model."""
    run = jax.jit(lambda ids, memory: CAUSAL.apply(variables, ids, memory))
    return lambda *given: np.asarray(run(*given))


def test_vectors_before_the_text_are_a_prefix(variables, memory, logits):
    text = [3, 9, 4, 1]
    prefix = MODEL.apply(variables, padded(text, text), memory)
    found = logits(padded(*[[*range(V, V + VECTORS), *text]] * 2), memory)
    np.testing.assert_allclose(found[:, VECTORS : VECTORS + 4], prefix[:, :4], atol=1e-5)


def test_absent_and_missing_vectors_are_the_text_without_them(memory, logits):
    """Vectors 1 and 2 are masked and NaN, vector 5 does not exist; in the second row vectors stand in another order."""
    bad = Tokens(memory.x.at[:, 1:3].set(jnp.nan), memory.mask.at[:, 1:3].set(False))
    found = logits(padded([3, V + 1, V + 2, 9, V, V + 5, 4], [V + 4, V + 1, 3, V, V + 2]), bad)
    short = logits(padded([3, 9, V, 4], [V + 4, 3, V]), memory)
    np.testing.assert_allclose(found[0, [0, 3, 4, 6]], short[0, :4], atol=1e-5)
    np.testing.assert_allclose(found[1, [0, 2, 3]], short[1, :3], atol=1e-5)
    assert np.isfinite(found).all()


def attended(variables, memory, model, row):
    """[n n], which tokens influence the logits after a token: by a gradient that is not zero."""
    ids = padded(row, row)
    embedding = variables["params"]["word"]["embedding"]

    def value(table, x, token):
        params = {"params": variables["params"] | {"word": {"embedding": table}}}
        return jnp.square(model.apply(params, ids, memory.replace(x=x), method="states")[0, token]).sum()

    gradients = jax.jit(jax.vmap(jax.grad(value, argnums=(0, 1)), in_axes=(None, None, 0)))
    by_word, by_vector = gradients(embedding, memory.x, jnp.arange(len(row)))
    size = np.concatenate([np.abs(by_word).sum(2), np.abs(by_vector[:, 0]).sum(2)], axis=1)
    return size[:, row] > 0


def test_images_attend_to_themselves_in_both_directions(variables, memory):
    """All ids differ. The vectors at 1 to 3 and at 5 to 6 are two images; the window of the first block is 3."""
    row = [3, V, V + 1, V + 2, 4, V + 3, V + 4, 5]
    expected = np.tril(np.ones((8, 8), bool))
    expected[1:4, 1:4] = expected[5:7, 5:7] = True
    found = attended(variables, memory, Interleaved(MODEL, (0,), both_ways_in_images), row)
    np.testing.assert_array_equal(found, expected)


def test_the_prefix_attends_in_both_directions(variables, memory):
    """Up to the first separator, 9; the second text has no separator."""
    row = [V, V + 1, 3, 9, 4, 5]
    expected = np.tril(np.ones((6, 6), bool))
    expected[:4, :4] = True
    model = Interleaved(MODEL, (0,), PrefixLM(9))
    np.testing.assert_array_equal(attended(variables, memory, model, row), expected)
    none = attended(variables, memory, model, [V, V + 1, 3, 8, 4, 5])
    np.testing.assert_array_equal(none, np.tril(np.ones((6, 6), bool)))


@pytest.mark.parametrize("both_ways", [both_ways_in_images, PrefixLM(9)])
def test_padded_prompts_give_what_they_give_alone(both_ways, variables, memory):
    """Texts of different lengths with and without vectors: cached steps equal the whole text, in batches and alone."""
    model = Interleaved(MODEL, (0,), both_ways)
    prompts = padded([3, V, V + 1, 9, 4, V + 4, 9], [5, 9, 6])
    prompts = prompts.replace(x=prompts.x[:, :7])

    @jax.jit
    def run(prompts, memory):
        step = lambda ids, cache: model.apply(variables, ids, cache, method="step")
        caches = [model.apply(variables, memory, 7 + 4, beams, method="init_cache") for beams in (1, 2)]
        return greedy(step, caches[0], prompts, 4, 19).x, beam(step, caches[1], prompts, 4, 19, 2)[0].x

    found, by_beam = run(prompts, memory)
    reversed_rows = jax.tree.map(lambda x: x[::-1], run(*jax.tree.map(lambda x: x[::-1], (prompts, memory))))
    np.testing.assert_array_equal(by_beam, reversed_rows[1])
    np.testing.assert_array_equal(found, reversed_rows[0])
    full = jax.jit(lambda ids, memory: model.apply(variables, ids, memory))
    for row in range(2):
        ids = prompts.x[row, : prompts.length[row]].tolist()
        for token in found[row].tolist():
            whole = full(padded(ids, ids), memory)
            assert int(whole[row, len(ids) - 1].argmax()) == token
            if token == 19:
                break
            ids.append(token)


def test_places_of_an_image():
    """A word, an image of 2 x 2 vectors, a word: (time, row, column). The first vector of the second text is absent."""
    model = Interleaved(MODEL.clone(rope=GridRope(100.0, (1, 1, 0))), (0,), places=True)
    image = jnp.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 2]])
    place = jnp.array([[[0, 0, 1], *image.tolist(), [0, 0, 1]]] * 2)
    valid = jnp.ones((2, 6), bool).at[1, 4].set(False)
    found, after = model.apply({}, place, valid, jnp.array([0, 10]), method="_positions")
    expected = [[0, 0, 0], [1, 1, 1], [1, 1, 2], [1, 2, 1], [1, 2, 2], [3, 3, 3]]
    assert found[0].tolist() == expected and after.tolist() == [4, 12]
    assert (found[1, :4] - 10).tolist() == expected[:4] and found[1, 5].tolist() == [11, 11, 11]


def test_a_text_without_images_has_the_logits_of_one_position(variables, logits):
    ids = padded([3, 9, 4, 1], [5, 2])
    model = Interleaved(MODEL.clone(rope=GridRope(MODEL.rope.theta, (1, 1, 0))), (0,), places=True)
    empty = Tokens(jnp.zeros((2, VECTORS, 8)), jnp.zeros((2, VECTORS), bool))
    found = jax.jit(lambda ids: model.apply(variables, ids))(ids)
    np.testing.assert_allclose(np.asarray(found)[ids.mask], logits(ids, empty)[ids.mask], atol=1e-5)


def test_wrappers_have_the_parameters_of_the_model(variables, memory, logits):
    ids = padded([3, V, V + 1, 9], [5])
    model = LoRA(Factored(CAUSAL), rank=2)
    wrapped = jax.eval_shape(model.init, jax.random.key(0), ids, memory)["params"]
    assert jax.tree.map(np.shape, wrapped["base"]) == jax.tree.map(np.shape, variables["params"])
    low_rank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), wrapped["lora"])
    found = model.apply({"params": {"base": variables["params"], "lora": low_rank}}, ids, memory).computed()
    np.testing.assert_allclose(found[ids.mask], logits(ids, memory)[ids.mask], atol=1e-5)


def test_bad_prompts():
    with pytest.raises(ValueError, match=r"Interleaved\.prompt is \(\); it must have at least one token id"):
        Interleaved(MODEL, ()).init(jax.random.key(0), padded([0]))
    with pytest.raises(ValueError, match=r"Interleaved\.prompt is \(-1,\); its entries must be non-negative"):
        Interleaved(MODEL, (-1,)).init(jax.random.key(0), padded([0]))
