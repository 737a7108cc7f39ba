"""Gated cross-attention is the language model at first, sees the last image alone, and equals itself step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import Factored, Flamingo, LanguageModel, LastImage
from mmjax.decoders.flamingo import GatedCrossBlock
from mmjax.decoders.generator import Generator
from mmjax.nn.search import beam, greedy
from mmjax.types import Padded, Tokens

V, LENGTH, MARKER, WIDTH = 20, 10, 18, 5  # the memory is narrower than the model
LANGUAGE = LanguageModel(V, width=8, depth=2, heads=2, kv_heads=1, hidden=12, windows=(3, None), end=19)
MODEL = Flamingo(LANGUAGE, heads=2, hidden=6)
BY_IMAGE = MODEL.clone(images=LastImage(MARKER, vectors=2))


def padded(*rows):
    """Rows of ids; beyond their length markers."""
    x = np.full((len(rows), LENGTH), MARKER, np.int32)
    for number, row in enumerate(rows):
        x[number, : len(row)] = row
    return Padded(jnp.asarray(x), jnp.array([len(row) for row in rows]))


IDS = padded([3, MARKER, 9, 4, MARKER, 1], [MARKER, 5, 2])


@pytest.fixture(scope="module")
def memory():
    return Tokens(jax.random.normal(jax.random.key(1), (2, 4, WIDTH)), jnp.ones((2, 4), bool))


@pytest.fixture(scope="module")
def variables(memory):
    """Random numbers, so the gates are open."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), IDS, memory)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def closed(variables):
    """With the gates of initialisation."""
    initial = lambda path, x: np.zeros_like(x) if path[-1].key in ("gate1", "gate2") else x
    return jax.tree_util.tree_map_with_path(initial, variables)


def test_at_first_it_is_the_language_model(closed, memory):
    """Bit by bit, with any image; the gates learn at once, and the layers behind them do not."""
    both = jax.jit(lambda v, x: (MODEL.apply(v, IDS, x), LANGUAGE.apply({"params": v["params"]["language"]}, IDS)))
    found, expected = both(closed, memory)
    np.testing.assert_array_equal(found[IDS.mask], expected[IDS.mask])
    assert set(closed["params"]) == {"language", "cross0", "cross1"}
    gradient = jax.jit(jax.grad(lambda v: jnp.square(MODEL.apply(v, IDS, memory))[:, :3].sum()))(closed)["params"]
    for layer in (gradient["cross0"], gradient["cross1"]):
        assert layer["gate1"] and layer["gate2"] and not layer["query"]["kernel"].any()


def test_each_token_sees_the_last_image(variables, memory):
    """Vectors 0 and 1 are the first image, 2 and 3 the second one. Later tokens see an image through earlier tokens."""

    by_vector = jax.jit(jax.jacrev(lambda x: BY_IMAGE.apply(variables, IDS, memory.replace(x=x), method="states")))
    found = np.abs(by_vector(memory.x)).max(axis=(2, 5)) > 0  # [row, token, row, vector]
    assert not found[0, :, 1].any() and not found[1, :, 0].any()
    expected = [[False] * 4] + [[True, True, False, False]] * 3 + [[True] * 4] * 2
    assert found[0, :6, 0].tolist() == expected and found[1, :3, 1].tolist() == [expected[1]] * 3


def test_gates_begin_closed():
    layer, x = GatedCrossBlock(8, 2, 6), jnp.ones((1, 2, 8))
    given = x, (jnp.ones((1, 2, 3, 4)),) * 2, jnp.ones((1, 3), bool)
    found, own = jax.jit(layer.init_with_output)(jax.random.key(0), *given)
    assert not own["params"]["gate1"].any() and not own["params"]["gate2"].any()
    np.testing.assert_array_equal(found, x)


def test_images_by_hand():
    """No image yet, the first, the second, a third without vectors."""
    found = LastImage(7, 2).visible(jnp.array([[0, 1, 2, 3]]), 4)
    assert found[0].tolist() == [[False] * 4, [True, True, False, False], [False, False, True, True], [False] * 4]


@pytest.mark.slow
def test_padded_prompts_give_what_they_give_alone(variables, memory):
    """Texts of different lengths: cached steps equal the whole text, by greedy search; beams are those of other orders."""
    model = BY_IMAGE
    prompts = padded([3, MARKER, 9, 4], [MARKER, 6])
    prompts = prompts.replace(x=prompts.x[:, :4])
    masked = Tokens(memory.x.at[1, 1].set(jnp.nan), memory.mask.at[1, 1].set(False))

    @jax.jit
    def run(prompts, memory):
        step = lambda ids, cache: model.apply(variables, ids, cache, method="step")
        caches = [model.apply(variables, memory, 4 + 4, beams, method="init_cache") for beams in (1, 2)]
        return greedy(step, caches[0], prompts, 4, 19).x, beam(step, caches[1], prompts, 4, 19, 2)[0].x

    found, by_beam = run(prompts, masked)
    reversed_rows = jax.tree.map(lambda x: x[::-1], run(*jax.tree.map(lambda x: x[::-1], (prompts, masked))))
    np.testing.assert_array_equal(found, reversed_rows[0])
    np.testing.assert_array_equal(by_beam, reversed_rows[1])
    full = jax.jit(lambda ids, memory: model.apply(variables, ids, memory))
    for row in range(2):
        ids = prompts.x[row, : prompts.length[row]].tolist()
        for token in found[row].tolist():
            whole = full(padded(ids, ids), masked)
            assert int(whole[row, len(ids) - 1].argmax()) == token
            if token == 19:
                break
            ids.append(token)


@pytest.mark.slow
@pytest.mark.parametrize("vectors", [None, 3])
def test_the_generator_gives_the_texts_of_greedy_search(variables, memory, vectors):
    """Also of one prompt alone. The vectors beyond `vectors` are a prefix. Without a memory, texts are those of masked ones."""
    wide = memory.replace(x=jnp.concatenate([memory.x, memory.x[..., :3]], axis=-1))  # as wide as the model, for the prefix
    own = lambda path, x: x if x.shape != (WIDTH, 8) else np.concatenate([x, x[:3]])
    model, weights = BY_IMAGE.clone(vectors=vectors), jax.tree_util.tree_map_with_path(own, variables)
    prompts = [[3, MARKER, 9, 4], [MARKER, 6]]
    generator = Generator.of(Factored(model), weights)
    step = lambda ids, cache: model.apply(weights, ids, cache, method="step")
    given = padded(*prompts)
    given = given.replace(x=given.x[:, :4])
    search = jax.jit(lambda memory: greedy(step, model.apply(weights, memory, 4 + 5, method="init_cache"), given, 5, 19).x)
    generated = lambda rows, memory: generator.advance(generator.start([prompts[row] for row in rows], 5, memory=memory), 5).ids
    expected = search(wide)
    np.testing.assert_array_equal(generated([0, 1], wide)[:, :5], expected)
    for row in range(2):
        alone = generated([row], Tokens(wide.x[row : row + 1], wide.mask[row : row + 1]))
        np.testing.assert_array_equal(alone[0, :5], expected[row])
    masked = Tokens(jnp.full_like(wide.x, jnp.nan), jnp.zeros_like(wide.mask))
    np.testing.assert_array_equal(generated([0, 1], None)[:, :5], search(masked))


@pytest.mark.slow
def test_the_other_vectors_are_a_prefix(closed, variables):
    """At first, of the language model; with open gates it sees the image, and cached steps equal the whole text."""
    model = MODEL.clone(vectors=1)
    memory = Tokens(jax.random.normal(jax.random.key(2), (2, 3, 8)), jnp.ones((2, 3), bool).at[1, 1].set(False))
    ids = Padded(IDS.x[:, :3], jnp.array([3, 3]))

    @jax.jit
    def run(v, memory):
        sized = {name: {**of, **{k: {"kernel": jnp.ones((8, 8)) / 4} for k in ("key", "value") if k in of}}
                 for name, of in v["params"].items()}  # fmt: skip
        v = {"params": sized}
        cache = model.apply(v, memory, 3, method="init_cache")
        return model.apply(v, ids, memory), model.apply(v, ids.x, cache, method="step")[0]

    found, stepped = run(variables, memory)
    np.testing.assert_allclose(found, stepped, atol=1e-5)
    rest = jax.tree.map(lambda leaf: leaf[:, 1:], memory)
    expected = jax.jit(lambda v: LANGUAGE.apply({"params": v["params"]["language"]}, ids, rest))(closed)
    np.testing.assert_allclose(run(closed, memory)[0], expected, atol=1e-5)
    other = run(variables, memory.replace(x=memory.x.at[:, 0].add(1.0)))[0]
    assert (np.abs(other - found).max(axis=(1, 2)) > 1e-3).all()


def test_wrappers_and_bad_values(variables, memory):
    wrapped = jax.eval_shape(Factored(MODEL).init, jax.random.key(0), IDS, memory)
    assert jax.tree.map(np.shape, wrapped) == jax.tree.map(np.shape, variables)
    for model, message in (
        (MODEL.clone(heads=3), r"GatedCrossBlock\.heads is 3; it must divide GatedCrossBlock\.width, which is 8"),
        (MODEL.clone(every=0), r"Flamingo\.every is 0; it must be a positive integer"),
        (Flamingo(MODEL), r"Flamingo\.language is Flamingo; it must be LanguageModel"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(model.init, jax.random.key(0), IDS, memory)
    with pytest.raises(ValueError, match=r"LastImage\.vectors is 0; it must be a positive integer"):
        LastImage(MARKER, 0)
