"""Generation by two programs equals the searches of `nn`, for any batch and padding; texts are streamed in valid pieces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.decoders import Factored, LanguageModel, PackedDecoder, empty_prefix
from mmjax.decoders import generator as code
from mmjax.decoders.generator import Generator, size_class
from mmjax.decoders.products import BFloat16Bits, bfloat16_bits, int8_kernels, product
from mmjax.decoders.text_stream import settled, stream
from mmjax.encoders import LoRA
from mmjax.fusion import Append
from mmjax.nn.grammar import Follow, Grammar
from mmjax.nn.rules import Chain, MinTokens, NoRepeat, RepetitionPenalty, WithPrompt
from mmjax.nn.sample import NextToken, sample
from mmjax.nn.search import greedy
from mmjax.types import Padded

END, TOKENS = 256, 9
MODEL = LanguageModel(257, width=8, depth=1, heads=2, kv_heads=1, hidden=8, windows=(5, None), positions=80, end=END)
RULE = Chain((RepetitionPenalty(1.3), NoRepeat(2), MinTokens(4, END)))
LENGTHS = np.array([1, 7, 3, 19])


@pytest.fixture(scope="module")
def example():
    """Parameters so large that texts wander, and four prompts of different lengths."""
    random = np.random.default_rng(0)
    prompts = Padded(random.integers(0, 256, (4, 19)).astype(np.int32), LENGTHS)
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), prompts)
    return jax.tree.map(lambda leaf: random.normal(0, 0.7, leaf.shape).astype(np.float32), shapes), prompts


@pytest.fixture(scope="module")
def searched(example):
    """(greedy texts, random texts) of `nn.search` and `nn.sample` for the same prompts."""
    variables, prompts = example
    step = lambda ids, cache: MODEL.apply(variables, ids, cache, method="step")

    @jax.jit
    def both(prompts):
        cache = MODEL.apply(variables, empty_prefix(4), 19 + TOKENS, method="init_cache")
        return (
            greedy(step, cache, prompts, TOKENS, END, RULE),
            sample(step, cache, prompts, TOKENS, END, jax.random.key(5), 1.5, top_k=40, rule=RULE),
        )

    return both(jax.tree.map(jnp.asarray, prompts))


def same(found, expected):
    np.testing.assert_array_equal(found.x, expected.x)
    np.testing.assert_array_equal(found.length, expected.length)


def test_equals_the_searches_also_in_steps_and_for_wrapped_models(example, searched):
    variables, prompts = example
    generator = Generator.of(MODEL, variables, NextToken(rule=RULE))
    same(generator(prompts, TOKENS), searched[0])
    same(Generator.of(MODEL, variables, NextToken(1.5, top_k=40, rule=RULE))(prompts, TOKENS, jax.random.key(5)), searched[1])
    assert len({tuple(row) for row in np.asarray(searched[0].x).tolist()}) == 4

    state = generator.start(prompts, TOKENS)
    for tokens in (3, 1, 2, 50):
        state = generator.advance(state, tokens)
    np.testing.assert_array_equal(state.ids[:, :TOKENS], searched[0].x)
    assert state.ended.all() and int(state.count) == TOKENS

    wrapped = LoRA(Factored(PackedDecoder(MODEL)), rank=1, kernels="block0/down")
    lora = {"block0": {"down": {"a": np.ones((8, 1), np.float32), "b": np.ones((1, 8), np.float32)}}}
    base = jax.tree.map(np.array, variables["params"])
    base["block0"]["down"]["kernel"] -= 16.0  # alpha A B
    same(Generator.of(wrapped, {"params": {"base": base, "lora": lora}}, NextToken(rule=RULE))(prompts, TOKENS), searched[0])


def test_a_rule_that_sees_the_prompt(example):
    """Equal to the search whose rule has the prompts, and another text than that of a rule without them."""
    variables, prompts = example
    step, penalty = lambda ids, cache: MODEL.apply(variables, ids, cache, method="step"), RepetitionPenalty(0.2)

    @jax.jit
    def searched(prompts):
        cache = MODEL.apply(variables, empty_prefix(4), 19 + TOKENS, method="init_cache")
        return greedy(step, cache, prompts, TOKENS, END, Chain((WithPrompt(penalty, prompts), MinTokens(4, END))))

    expected = searched(jax.tree.map(jnp.asarray, prompts))
    seen = NextToken(prompt_rule=penalty, rule=MinTokens(4, END))
    same(Generator.of(MODEL, variables, seen)(prompts, TOKENS), expected)
    unseen = Generator.of(MODEL, variables, NextToken(rule=Chain((penalty, MinTokens(4, END)))))(prompts, TOKENS)
    assert (np.asarray(unseen.x) != np.asarray(expected.x)).any()


def test_a_batch_gives_what_each_prompt_gives_alone_by_the_same_programs(example, searched):
    """Prompts of 1 to 19 tokens use one pair of programs."""
    variables, prompts = example
    generator = Generator.of(MODEL, variables, NextToken(rule=RULE))
    alone = lambda row: generator([prompts.x[row, : LENGTHS[row]].tolist()], TOKENS)
    first = alone(0)
    programs = code._start._cache_size(), code._advance._cache_size()
    for row, found in enumerate([first, *map(alone, range(1, 4))]):
        np.testing.assert_array_equal(found.x[0], searched[0].x[row])
    assert programs == (code._start._cache_size(), code._advance._cache_size())


def test_size_classes():
    assert [size_class(n) for n in (1, 32, 33, 64, 65, 80, 81, 113, 129, 257)] == [32, 32, 64, 64, 80, 80, 96, 128, 160, 320]
    assert len({size_class(n) for n in range(129, 257)}) == 4


@pytest.mark.parametrize(("rows", "dtype"), [(1, "float32"), (3, "float32"), (1, "bfloat16"), (3, "bfloat16")])
def test_products_by_hand(rows, dtype):
    """Integers times powers of two are exact, also after the rounding to int8 and in bfloat16."""
    random = np.random.default_rng(rows)
    x = random.integers(-8, 9, (rows, 1, 16)).astype(np.float32)
    integers = random.integers(-120, 121, (16, 3))
    integers[0] = 127  # so that the scales are those below
    scale = np.array([0.5, 2.0, 1.0], np.float32)
    kernel = jnp.asarray(integers * scale, dtype)
    made = int8_kernels({"layer": {"kernel": kernel, "bias": jnp.zeros(3)}})["layer"]["kernel"]
    np.testing.assert_array_equal(made.values, integers)
    np.testing.assert_array_equal(made.scale, scale[None])
    bits = bfloat16_bits({"kernel": kernel})["kernel"]  # float32 stays as it is
    assert isinstance(bits, BFloat16Bits) == (dtype == "bfloat16")
    for one in (kernel, made, bits) if rows == 1 else (kernel, made):
        found = jax.jit(product)(jnp.asarray(x, dtype), one)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, x @ (integers * scale), rtol=1e-6)
        np.testing.assert_array_equal(jax.jit(product)(jnp.asarray(x, dtype).swapaxes(0, 1), one), found.swapaxes(0, 1))


def test_int8_weights_give_the_texts_of_the_dequantised_model(example):
    variables, prompts = example
    found = Generator.of(MODEL, variables, NextToken(rule=RULE)).with_int8()(prompts, TOKENS)
    flat = flatten_dict(variables, sep="/")
    rounded = {path: np.round(x / (s := np.abs(x).max(0) / 127)) * s if "kernel" in path else x for path, x in flat.items()}
    expected = Generator.of(MODEL, unflatten_dict(rounded, sep="/"), NextToken(rule=RULE))(prompts, TOKENS)
    same(found, expected)


def test_bfloat16_is_near_float32(example):
    """The first tokens agree where the best logit leads by more than the rounding; matrices are stored once, in bfloat16."""
    variables, prompts = example
    half = Generator.of(MODEL.clone(dtype=jnp.bfloat16), variables)
    assert {x.dtype.name for x in jax.tree.leaves(half.params) if x.ndim > 1} == {"bfloat16"}
    for row in (0, 3):  # alone, with a single row in each product
        alone = Padded(prompts.x[row : row + 1], LENGTHS[row : row + 1])
        logits = np.sort(MODEL.apply(variables, alone)[0, LENGTHS[row] - 1])
        assert logits[-1] - logits[-2] > 0.1
        assert half(alone, 3).x[0, 0] == Generator.of(MODEL, variables)(alone, 3).x[0, 0]


TEXTS = ["aé😀 STOP", "bSTO!xyz", "cSTOP...", "d\xff"]


def written(logits, ids, count):
    """The rule that writes TEXTS byte by byte; the last one has an invalid byte in the place of \xff, and is cut."""
    raw = [text.encode() if "\xff" not in text else b"d\xff" + b"z" * 20 for text in TEXTS]
    table = jnp.array([[*text[:20], *[END] * (20 - len(text))] for text in raw])
    token = jax.lax.dynamic_index_in_dim(table, count, 1, keepdims=False)
    return jnp.where(jnp.arange(257)[None] == token[:, None], 0.0, -jnp.inf)


@pytest.mark.parametrize("tokens", [1, 4])
def test_pieces_are_valid_and_end_before_a_stop_string(example, tokens):
    variables, prompts = example
    decode = lambda ids: bytes(ids).decode(errors="replace")
    generator = Generator.of(MODEL, variables, NextToken(rule=written))
    pieces = list(stream(generator, decode, prompts, 14, stop=("STOP", "nothing"), tokens=tokens))
    assert ["".join(column) for column in zip(*pieces)] == ["aé😀 ", "bSTO!xyz", "c", "d�" + "z" * 12]
    if tokens == 1:
        first = [piece[0] for piece in pieces[:9]]
        assert first == ["a", "", "é", "", "", "", "😀", " ", ""]  # no piece before the last byte of a character
        assert [piece[1] for piece in pieces[:6]] == ["b", "", "", "", "STO!", "x"]  # held back until it is no stop string
        assert [piece[3] for piece in pieces[:4]] == ["d", "", "�z", "z"]


def test_settled():
    assert settled("ab", ("bc", "abd")) == ("", False)
    assert settled("ab", ("bc",)) == ("a", False)
    assert settled("ab", ("bc",), complete=True) == ("ab", False)
    assert settled("xabc", ("bc", "abc")) == ("x", True)
    assert settled("x��") == ("x", False)
    assert settled("x�", complete=True) == ("x�", False)


def test_a_grammar_masks_tokens(example):
    """Only 7 8 END and 9 END are texts."""
    variables, prompts = example
    follow = Follow(Grammar(((0, 7, 1), (1, 8, 2), (2, END, 2), (0, 9, 2)), END), TOKENS)
    found = Generator.of(MODEL, variables, NextToken(rule=follow))(prompts, TOKENS)
    texts = {tuple(row[:length].tolist()) for row, length in zip(np.asarray(found.x), found.length)}
    assert texts <= {(7, 8), (9,)}


def test_errors(example):
    variables, prompts = example
    generator = Generator.of(MODEL, variables, NextToken(1.0))
    for call, message in (
        (lambda: generator(prompts, 62), "a prompt has 19 tokens and max_tokens is 62; together they may be 80, the positions"),
        (lambda: generator(prompts, 0), "a prompt has 1 tokens and max_tokens is 0; both must be at least 1"),
        (lambda: generator(prompts, 9), "the temperature is 1.0, so key must be given"),
        (lambda: next(stream(generator, str, prompts, 9, stop=("",))), r"stop is \(''\,\); a stop string must not be empty"),
        (lambda: Generator.of(LoRA(Append()), {"params": {"base": {}, "lora": {}}}), "Append is not a language model"),
        (lambda: NextToken(-1.0), "NextToken.temperature is -1.0; it must be at least 0, which is greedy search"),
        (lambda: NextToken(top_p=2.0), "NextToken.top_p is 2.0; it must be 0 to 1"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            call()
