"""Language models: transformers' causal models with random weights, three unusual configurations of each family.

Each test compares logits and gradients with respect to the token embeddings, the tokens of greedy search, steps with a cache,
a batch of prompts of different lengths, and weights that transformers reads back.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import GPT2, empty_prefix
from mmjax.decoders.generator import Generator
from mmjax.pretrained import load, save
from mmjax.types import Padded
from tests.parity.originals import assert_same, randomised

pytestmark = pytest.mark.parity

LENGTH, TOKENS = 12, 32
VOCABULARY = {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 59, "pad_token_id": 0}
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {"short_factor": [1.0, 1.5, 2.0], "long_factor": [2.0, 3.0, 4.0]}


def sizes(width, depth, heads, kv_heads, hidden, **more):
    names = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads, "intermediate_size": hidden}
    return VOCABULARY | names | {"num_key_value_heads": kv_heads, "max_position_embeddings": 64} | more


def rope(theta=100.0, **more):
    return {"rope_type": "default", "rope_theta": theta} | more


BOTH = {"sliding_attention": rope(20.0), "full_attention": rope(1000.0, rope_type="linear", factor=8.0)}
CASES = {
    "llama": {
        "llama3": sizes(12, 2, 3, 1, 20, rope_parameters=rope(**LLAMA3, original_max_position_embeddings=16)),
        "biases": sizes(8, 1, 2, 2, 9, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, head_dim=6),
        "yarn": sizes(
            16, 2, 4, 2, 24, rope_parameters=rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
        ),
        "linear": sizes(16, 1, 2, 1, 7, rope_parameters=rope(rope_type="linear", factor=3.0), hidden_act="gelu"),
        "dynamic": sizes(8, 1, 1, 1, 8, rope_parameters=rope(rope_type="dynamic", factor=3.0), rms_norm_eps=0.1),
    },
    "mistral": {
        "window": sizes(12, 2, 3, 1, 20, sliding_window=5),
        "no_window": sizes(8, 1, 2, 2, 9, sliding_window=None, head_dim=10),
        "tied": sizes(16, 2, 4, 2, 24, sliding_window=1, tie_word_embeddings=True),
    },
    "qwen2": {
        "plain": sizes(12, 2, 3, 1, 20),
        "some_windows": sizes(8, 3, 2, 2, 9, use_sliding_window=True, sliding_window=4, max_window_layers=2),
        "tied": sizes(16, 1, 4, 2, 24, tie_word_embeddings=True, rope_parameters=rope(1e6)),
    },
    "qwen3": {
        "plain": sizes(12, 2, 3, 1, 20, head_dim=8),
        "biases": sizes(8, 1, 2, 2, 9, head_dim=4, attention_bias=True, tie_word_embeddings=True),
        "alternating": sizes(
            16, 2, 4, 2, 24, head_dim=4, use_sliding_window=True, sliding_window=3, max_window_layers=0,
            layer_types=["full_attention", "sliding_attention"],
        ),
    },
    "phi3": {
        "plain": sizes(12, 2, 3, 1, 20),
        "longrope": sizes(
            16, 1, 2, 2, 9, original_max_position_embeddings=48,
            rope_parameters=rope(**LONG | {"rope_type": "longrope"}, partial_rotary_factor=0.75),
        ),
        "partial_window": sizes(16, 2, 2, 1, 24, sliding_window=4, rope_parameters=rope(partial_rotary_factor=0.5)),
    },
    "gemma": {
        "plain": sizes(12, 2, 3, 1, 20, head_dim=8),
        "biases": sizes(8, 1, 2, 2, 9, head_dim=4, attention_bias=True),
        "untied": sizes(16, 2, 4, 2, 24, head_dim=2, tie_word_embeddings=False, hidden_act="silu"),
    },
    "gemma2": {
        "plain": sizes(12, 3, 3, 1, 20, head_dim=8, sliding_window=4, query_pre_attn_scalar=10, attn_logit_softcapping=0.5),
        "no_caps": sizes(8, 1, 2, 2, 9, head_dim=4, attn_logit_softcapping=None, final_logit_softcapping=None),
        "low_caps": sizes(16, 2, 4, 2, 24, head_dim=2, sliding_window=2, final_logit_softcapping=1.0, hidden_activation="gelu"),
    },
    "gemma3_text": {
        "two_ropes": sizes(12, 3, 3, 1, 20, head_dim=8, sliding_window=4, sliding_window_pattern=2, rope_parameters=BOTH),
        "one_layer": sizes(8, 1, 2, 2, 9, head_dim=4, query_pre_attn_scalar=5, final_logit_softcapping=2.0),
        "types": sizes(
            16, 2, 4, 2, 24, head_dim=2, sliding_window=3, attention_bias=True,
            layer_types=["full_attention", "sliding_attention"],
        ),
    },
    "gpt2": {
        "plain": VOCABULARY | {"n_embd": 12, "n_layer": 2, "n_head": 3, "n_positions": 64},
        "wide": VOCABULARY | {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 50, "n_inner": 40},
        "relu": VOCABULARY
        | {"n_embd": 16, "n_layer": 2, "n_head": 8, "n_positions": 64, "activation_function": "relu"}
        | {"layer_norm_epsilon": 0.1},
    },
}  # fmt: skip


def original(family, case):
    import transformers

    config = transformers.CONFIG_MAPPING[family](**CASES[family][case], attn_implementation="eager")
    return randomised(transformers.AutoModelForCausalLM.from_config(config), seed=len(case))


def inputs(rows=2):
    return np.random.default_rng(3).integers(2, 59, (rows, LENGTH)).astype(np.int32)


def programs(module, variables):
    """(logits and the gradient of their weighted sum with respect to the token embeddings; an empty cache; one step)."""

    def weighted(embedding, variables, ids, weights):
        params = variables["params"] | {"word": {"embedding": embedding}}
        logits = module.apply({"params": params}, Padded(ids, jnp.full(ids.shape[0], ids.shape[1])))
        return (logits * weights).sum(), logits

    empty = module.apply(variables, empty_prefix(2), LENGTH + TOKENS, method="init_cache")
    step = jax.jit(lambda variables, ids, cache: module.apply(variables, ids, cache, method="step"))
    return jax.jit(jax.value_and_grad(weighted, has_aux=True)), empty, step


def our_tokens(step, cache, prompts):
    """The most likely token each time, from prompts Padded."""
    padding = LENGTH - prompts.length
    shifted = jnp.stack([jnp.roll(row, pad) for row, pad in zip(prompts.x, padding.tolist())])
    logits, cache = step(shifted, cache.pad_left(padding))
    tokens = []
    for _ in range(TOKENS):
        tokens.append(logits[:, -1:].argmax(-1))
        logits, cache = step(tokens[-1], cache)
    return np.concatenate(tokens, axis=1)


def their_tokens(theirs, prompt):
    """The most likely token each time, without a cache and without padding."""
    import torch

    ids = torch.tensor(prompt[None]).long()
    with torch.no_grad():
        for _ in range(TOKENS):
            ids = torch.cat([ids, theirs(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
    return ids[0, len(prompt) :].tolist()


def compare(family, case, tmp_path):
    import torch
    import transformers

    theirs = original(family, case)
    theirs.save_pretrained(tmp_path / "theirs")
    weights = load(tmp_path / "theirs")
    assert (weights.module.prompt, weights.module.end) == ((1,), 59)
    ids, variables = inputs(), weights.variables
    whole, empty, step = programs(weights.module, variables)

    expected = theirs(input_ids=torch.tensor(ids).long()).logits
    random = np.random.default_rng(1).normal(size=expected.shape).astype(np.float32)
    theirs.zero_grad()
    (expected * torch.from_numpy(random)).sum().backward()
    (_, logits), gradient = whole(variables["params"]["word"]["embedding"], variables, ids, random)
    assert_same(logits, expected.detach(), "logits")
    assert_same(gradient, theirs.get_input_embeddings().weight.grad, "gradient")

    cached, cache = [], empty
    for token in range(LENGTH):
        new, cache = step(variables, ids[:, token : token + 1], cache)
        cached.append(new)
    np.testing.assert_allclose(np.concatenate(cached, axis=1), logits, atol=1e-5 * np.abs(logits).max())

    prompts = Padded(jnp.asarray(ids), jnp.array([LENGTH, 5]))
    found = our_tokens(lambda ids, cache: step(variables, ids, cache), empty, prompts)
    for row, length in enumerate(prompts.length.tolist()):
        assert found[row].tolist() == their_tokens(theirs, ids[row, :length])

    save(weights, tmp_path / "ours")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert type(back) is type(theirs)
    state = theirs.state_dict()
    for name, value in back.state_dict().items():
        assert torch.equal(value, state[name]), name



def of(family):
    return pytest.mark.parametrize("case", CASES[family])


@of("llama")
def test_llama(case, tmp_path):
    compare("llama", case, tmp_path)


@of("mistral")
def test_mistral(case, tmp_path):
    compare("mistral", case, tmp_path)


@of("qwen2")
def test_qwen2(case, tmp_path):
    compare("qwen2", case, tmp_path)


@of("qwen3")
def test_qwen3(case, tmp_path):
    compare("qwen3", case, tmp_path)


@of("phi3")
def test_phi3(case, tmp_path):
    compare("phi3", case, tmp_path)


@of("gemma")
def test_gemma(case, tmp_path):
    compare("gemma", case, tmp_path)


@of("gemma2")
def test_gemma2(case, tmp_path):
    compare("gemma2", case, tmp_path)


@of("gemma3_text")
def test_gemma3(case, tmp_path):
    compare("gemma3_text", case, tmp_path)


@of("gpt2")
def test_gpt2(case, tmp_path):
    compare("gpt2", case, tmp_path)


@pytest.mark.parametrize("family", CASES)
def test_padding_on_the_right(family, tmp_path):
    """A batch with padding at the end has the logits of transformers, with the same padding and row by row, and `Generator`
    continues each prompt with the most likely tokens of transformers."""
    import torch

    theirs = original(family, next(iter(CASES[family])))
    theirs.save_pretrained(tmp_path)
    module, variables, _ = load(tmp_path)
    ids, length = inputs(3), np.array([LENGTH, 5, 8])
    padded = np.arange(LENGTH) >= length[:, None]
    logits = jax.jit(module.apply)(variables, Padded(jnp.where(padded, -1, ids), jnp.asarray(length)))
    mask, given = torch.tensor(~padded).long(), torch.tensor(np.where(padded, 0, ids)).long()
    with torch.no_grad():
        together = theirs(input_ids=given, attention_mask=mask).logits
        for row, count in enumerate(length):
            alone = theirs(input_ids=given[row : row + 1, :count]).logits[0]
            assert_same(logits[row, :count], together[row, :count], "logits of a padded batch")
            assert_same(logits[row, :count], alone, "logits of a row alone")
    found = Generator.of(module, variables)(Padded(ids, length), TOKENS)
    for row, count in enumerate(length):
        expected = their_tokens(theirs, ids[row, :count])
        until = expected.index(59) if 59 in expected else TOKENS
        assert found.x[row, : int(found.length[row])].tolist() == expected[:until]


def test_gpt2_is_a_module_of_its_own(tmp_path):
    original("gpt2", "plain").save_pretrained(tmp_path)
    assert isinstance(load(tmp_path).module, GPT2)
