"""Whisper: weights are exchanged with transformers in both directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.search import beam, greedy
from mmjax.pretrained import WeightsError, load, save
from mmjax.types import Padded
from tests.parity.originals import assert_parity, published

pytestmark = pytest.mark.parity

SIZES = {  # width; encoder and decoder: depth, heads, hidden; bands, half the frames, tokens; vocabulary, activation
    "wide_encoder": (16, (2, 4, 24), (1, 2, 40), 8, 10, 9, 50, "gelu"),
    "deep_decoder": (12, (1, 2, 12), (3, 3, 30), 80, 7, 12, 33, "gelu"),
    "one_head": (8, (3, 1, 16), (2, 1, 8), 128, 5, 5, 20, "gelu_new"),
}


def original(sizes, kind):
    import transformers

    width, encoder, decoder, bands, frames, tokens, vocabulary, activation = sizes
    config = transformers.WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=bands,
        d_model=width,
        encoder_layers=encoder[0],
        encoder_attention_heads=encoder[1],
        encoder_ffn_dim=encoder[2],
        decoder_layers=decoder[0],
        decoder_attention_heads=decoder[1],
        decoder_ffn_dim=decoder[2],
        max_source_positions=frames,
        max_target_positions=tokens,
        activation_function=activation,
        pad_token_id=1,
        bos_token_id=1,
        eos_token_id=1,
        decoder_start_token_id=2,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    return getattr(transformers, kind)(config)


def random_inputs(sizes, batch=2):
    """Frames [batch n bands] and token ids [batch m], of full length."""
    rng = np.random.default_rng(3)
    bands, frames, tokens, vocabulary = sizes[3:7]
    return (
        rng.normal(size=(batch, 2 * frames, bands)).astype(np.float32),
        rng.integers(2, vocabulary, size=(batch, tokens)).astype(np.int32),
    )


def full(x):
    return Padded(x, jnp.full(x.shape[0], x.shape[1]))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_encoder_and_decoder(sizes, tmp_path):
    """Texts are padded; padding does not change the logits before it."""
    import torch

    theirs = original(sizes, "WhisperForConditionalGeneration")
    weights = load(published(theirs, tmp_path))
    assert not weights.unused
    frames, tokens = random_inputs(sizes)
    lengths = jnp.array([tokens.shape[1], 3])
    mask = np.arange(tokens.shape[1]) < np.asarray(lengths)[:, None]

    def our_outputs(x):
        memory = weights.module.apply(weights.variables, full(x), method="encode")
        given = {"frames": full(x), "tokens": Padded(jnp.asarray(tokens), lengths)}
        return {"encoder": memory.x, "logits": weights.module.apply(weights.variables, given)}

    def their_outputs(x):
        call = theirs(
            input_features=x.transpose(1, 2),
            decoder_input_ids=torch.tensor(tokens).long(),
            decoder_attention_mask=torch.tensor(mask.astype(int)),
        )
        return {"encoder": call.encoder_last_hidden_state, "logits": call.logits}

    assert_parity(our_outputs, their_outputs, frames, {"logits": mask})


def test_decoder_states(tmp_path):
    """WhisperModel, whose names have no prefix. Its states times the token embeddings are our logits."""
    import torch

    sizes = SIZES["wide_encoder"]
    theirs = original(sizes, "WhisperModel")
    weights = load(published(theirs, tmp_path))
    frames, tokens = random_inputs(sizes)

    def their_outputs(x):
        call = theirs(input_features=x.transpose(1, 2), decoder_input_ids=torch.tensor(tokens).long())
        return {"logits": call.last_hidden_state @ theirs.decoder.embed_tokens.weight.T}

    inputs = lambda x: {"frames": full(x), "tokens": full(jnp.asarray(tokens))}
    ours = lambda x: {"logits": weights.module.apply(weights.variables, inputs(x))}
    assert_parity(ours, their_outputs, frames)


def test_greedy_decoding(tmp_path):
    """The original without a cache, the most likely token each time, after a prompt of two. The texts differ in length."""
    import torch

    sizes = SIZES["deep_decoder"]
    theirs = original(sizes, "WhisperForConditionalGeneration")
    weights = load(published(theirs, tmp_path, seed=4))
    frames, tokens = random_inputs(sizes, batch=6)
    prompt, max_tokens = tokens[:, :2], 8
    expected = torch.tensor(prompt).long()
    for _ in range(max_tokens):
        logits = theirs(input_features=torch.tensor(frames).transpose(1, 2), decoder_input_ids=expected).logits
        expected = torch.cat([expected, logits[:, -1:].argmax(-1)], dim=1)
    expected = expected[:, 2:].numpy()
    end = int(expected[0, 3])  # any token can serve as the end
    lengths = [list(row).index(end) if end in row else max_tokens for row in expected]
    assert len(set(lengths)) > 1

    @jax.jit
    def decode(frames, prompt):
        run = lambda *given, method: weights.module.apply(weights.variables, *given, method=method)
        cache = run(run(full(frames), method="encode"), max_tokens + 2, method="init_cache")
        return greedy(lambda tokens, cache: run(tokens, cache, method="step"), cache, prompt, max_tokens, end)

    ours = decode(jnp.asarray(frames), jnp.asarray(prompt))
    np.testing.assert_array_equal(ours.length, lengths)
    for row, their_row, length in zip(np.asarray(ours.x), expected, lengths):
        np.testing.assert_array_equal(row[:length], their_row[:length])


@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
def test_beam_search(penalty, tmp_path):
    """transformers' generate with four beams, which stops when no beam can improve; some texts end early."""
    import torch
    from transformers.generation import GenerationMixin

    sizes = SIZES["deep_decoder"]
    theirs = original(sizes, "WhisperForConditionalGeneration")
    weights = load(published(theirs, tmp_path, seed=4))
    frames, tokens = random_inputs(sizes, batch=6)
    prompt, max_tokens, end = tokens[:, :2], 8, 7
    found = GenerationMixin.generate(
        theirs,
        input_features=torch.tensor(frames).transpose(1, 2),
        decoder_input_ids=torch.tensor(prompt).long(),
        num_beams=4,
        length_penalty=penalty,
        early_stopping="never",
        max_new_tokens=max_tokens,
        eos_token_id=end,
        pad_token_id=end,
        return_dict_in_generate=True,
        output_scores=True,
    )
    expected = [[*row, end] for row in found.sequences[:, 2:].tolist()]
    lengths = [row.index(end) for row in expected]

    @jax.jit
    def decode(frames, prompt):
        run = lambda *given, method: weights.module.apply(weights.variables, *given, method=method)
        cache = run(run(full(frames), method="encode"), max_tokens + 2, 4, method="init_cache")
        return beam(lambda tokens, cache: run(tokens, cache, method="step"), cache, prompt, max_tokens, end, 4, penalty)

    ours, scores = decode(jnp.asarray(frames), jnp.asarray(prompt))
    np.testing.assert_array_equal(ours.length, lengths)
    np.testing.assert_allclose(scores, found.sequences_scores, rtol=1e-5)
    for row, their_row, length in zip(np.asarray(ours.x), expected, lengths):
        np.testing.assert_array_equal(row[:length], their_row[:length])


@pytest.mark.parametrize("kind", ["WhisperForConditionalGeneration", "WhisperModel"])
def test_transformers_reads_saved_weights(kind, tmp_path):
    import torch
    import transformers

    theirs = original(SIZES["one_head"], kind)
    weights = load(published(theirs, tmp_path / "theirs"))
    save(weights, tmp_path / "ours")
    back = getattr(transformers, kind).from_pretrained(tmp_path / "ours")
    state = theirs.state_dict()
    for name, value in back.state_dict().items():
        assert torch.equal(value, state[name]), name
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path / "ours").variables, weights.variables)


def test_unsupported_settings_are_named(tmp_path):
    folder = published(original(SIZES["one_head"], "WhisperModel"), tmp_path)
    (folder / "preprocessor_config.json").write_text('{"hop_length": 200}')
    with pytest.raises(WeightsError, match="hop_length = 200"):
        load(folder)
