"""Searches, rules and filters equal those of transformers, token by token, on random tiny Whisper models."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.rules import Chain, ForbidSequences, MinTokens, NoRepeat, RepetitionPenalty, Suppress, WithPrompt
from mmjax.nn.sample import keep_min_p, keep_top_k, keep_top_p
from mmjax.nn.search import allow_all, beam, greedy
from mmjax.pretrained import load
from mmjax.types import Padded
from tests.parity.originals import randomised

pytestmark = pytest.mark.parity

VOCABULARY, FRAMES, ROWS, PROMPT, MAX_TOKENS, END, MODELS = 16, 6, 25, 2, 10, 3, 8
BATCHES = 8  # of ROWS prompts: 200 cases
PENALTIES = (-0.5, 0.0, 0.6, 1.0, 2.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """[(original, its weights)]: one architecture with different random weights."""
    import torch
    import transformers

    config = transformers.WhisperConfig(
        vocab_size=VOCABULARY,
        num_mel_bins=8,
        d_model=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=24,
        max_source_positions=FRAMES // 2,
        max_target_positions=PROMPT + MAX_TOKENS,
        pad_token_id=END,
        bos_token_id=1,
        eos_token_id=END,
        decoder_start_token_id=2,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    found = []
    for seed in range(MODELS):
        original = transformers.WhisperForConditionalGeneration(config)
        decoder = randomised(original, seed).model.decoder
        with torch.no_grad():  # a higher logit of the end, so that texts have many lengths
            decoder.layer_norm.bias += 0.6 * decoder.embed_tokens.weight[END]
        original.save_pretrained(folder := tmp_path_factory.mktemp(f"whisper{seed}"))
        found.append((original, load(folder)))
    return found


def random_inputs(case):
    """(frames [b n bands], prompts [b p]), and the same for the original."""
    import torch

    rng = np.random.default_rng(case)
    frames = rng.normal(size=(ROWS, FRAMES, 8)).astype(np.float32)
    prompt = rng.integers(4, VOCABULARY, size=(ROWS, PROMPT)).astype(np.int32)
    theirs = {"input_features": torch.tensor(frames).transpose(1, 2), "decoder_input_ids": torch.tensor(prompt).long()}
    return (Padded(jnp.asarray(frames), jnp.full(ROWS, FRAMES)), jnp.asarray(prompt)), theirs


def generated(original, inputs, **settings):
    """The texts of transformers' `generate`, up to the end, and their scores."""
    from transformers.generation import GenerationMixin

    found = GenerationMixin.generate(
        original, **inputs, max_new_tokens=MAX_TOKENS, return_dict_in_generate=True, output_scores=True, **settings
    )
    texts = [[*row, END] for row in found.sequences[:, PROMPT:].tolist()]
    scores = found.sequences_scores.numpy() if settings.get("num_beams", 1) > 1 else None
    return [text[: text.index(END)] for text in texts], scores


def listed(found):
    return [row[:length].tolist() for row, length in zip(np.asarray(found.x), np.asarray(found.length))]


@cache
def searcher(module, beams, early_stopping, returned, make_rule):
    """(variables, frames, prompt, length penalty) -> texts and scores, compiled."""

    def run(variables, frames, prompt, penalty):
        apply = lambda *given, method: module.apply(variables, *given, method=method)
        start = apply(apply(frames, method="encode"), PROMPT + MAX_TOKENS, beams, method="init_cache")
        step, rule = (lambda ids, cache: apply(ids, cache, method="step")), make_rule(prompt)
        if beams == 1:
            return greedy(step, start, prompt, MAX_TOKENS, END, rule), None
        return beam(step, start, prompt, MAX_TOKENS, END, beams, penalty, rule, early_stopping, returned)

    return jax.jit(run)


def free(prompt):
    return allow_all


@pytest.mark.parametrize(("beams", "returned"), [(2, 2), (3, 1), (5, 4)])
@pytest.mark.parametrize("early_stopping", ["never", False, True], ids=str)
def test_beam_search(models, early_stopping, beams, returned):
    """200 cases for each of nine settings."""
    lengths = set()
    for case in range(BATCHES):
        original, weights = models[case % MODELS]
        given, theirs = random_inputs(case)
        penalty = PENALTIES[case % len(PENALTIES)]
        run = searcher(models[0][1].module, beams, early_stopping, returned, free)
        found, scores = run(weights.variables, *given, jnp.float32(penalty))
        settings = {"num_beams": beams, "num_return_sequences": returned, "length_penalty": penalty}
        texts, expected = generated(original, theirs, early_stopping=early_stopping, **settings)
        assert listed(found) == texts, case
        np.testing.assert_allclose(scores, expected, rtol=1e-4, err_msg=str(case))
        lengths |= {len(text) for text in texts}
    assert len(lengths) > 4, lengths  # texts of many lengths


def test_the_stopping_rules_differ(models):
    """Otherwise the test above would compare one rule three times."""
    texts = {}
    for early_stopping in ("never", False, True):
        run = searcher(models[0][1].module, 3, early_stopping, 1, free)
        found = [run(models[case % MODELS][1].variables, *random_inputs(case)[0], jnp.float32(1))[0] for case in range(BATCHES)]
        texts[str(early_stopping)] = [listed(texts) for texts in found]
    assert texts["never"] != texts["False"] != texts["True"] != texts["never"]


def test_greedy_search(models):
    lengths = set()
    for case in range(BATCHES):
        original, weights = models[case % MODELS]
        given, theirs = random_inputs(case)
        found, _ = searcher(models[0][1].module, 1, "never", 1, free)(weights.variables, *given, jnp.float32(0))
        texts, _ = generated(original, theirs, num_beams=1)
        assert listed(found) == texts, case
        lengths |= {len(text) for text in texts}
    assert len(lengths) > 3, lengths


BAD = ((5,), (6, 7), (8, 9, 10), (11, 11))


def all_rules(prompt):
    """As in transformers, repetitions of the prompt count too."""
    seen = Chain((RepetitionPenalty(1.3), NoRepeat(2), ForbidSequences(BAD)))
    return Chain((WithPrompt(seen, prompt), MinTokens(3, END), Suppress((4,)), Suppress((12, 13), steps=1)))


@pytest.mark.parametrize("beams", [1, 3])
def test_search_with_rules(models, beams):
    for case in range(BATCHES):
        original, weights = models[case % MODELS]
        given, theirs = random_inputs(case)
        found, _ = searcher(models[0][1].module, beams, False, 1, all_rules)(weights.variables, *given, jnp.float32(1))
        texts, _ = generated(
            original,
            theirs,
            num_beams=beams,
            early_stopping=False,
            repetition_penalty=1.3,
            no_repeat_ngram_size=2,
            bad_words_ids=[list(word) for word in BAD],
            min_new_tokens=3,
            suppress_tokens=[4],
            begin_suppress_tokens=[12, 13],
        )
        assert listed(found) == texts, case


def processors():
    """[(ours: (logits, ids, count) -> logits, theirs)]."""
    from transformers.generation import logits_process as theirs

    plain = lambda keep, setting: lambda logits, ids, count: keep(logits, setting)
    found = [(RepetitionPenalty(penalty), theirs.RepetitionPenaltyLogitsProcessor(penalty)) for penalty in (1.5, 0.7)]
    found += [(NoRepeat(size), theirs.NoRepeatNGramLogitsProcessor(size)) for size in (1, 2, 3, 4)]
    found += [(MinTokens(5, END), theirs.MinNewTokensLengthLogitsProcessor(0, 5, END))]
    found += [(ForbidSequences(BAD), theirs.NoBadWordsLogitsProcessor([list(word) for word in BAD], END))]
    found += [(Suppress((4, 9)), theirs.SuppressTokensLogitsProcessor([4, 9]))]
    found += [(plain(keep_top_k, k), theirs.TopKLogitsWarper(k)) for k in (1, 5, 99)]
    found += [(plain(keep_top_p, p), theirs.TopPLogitsWarper(p)) for p in (0.0, 0.3, 0.8, 1.0)]
    found += [(plain(keep_min_p, p), theirs.MinPLogitsWarper(p)) for p in (0.0, 0.1, 0.5, 1.0)]
    return found


def test_rules_and_filters():
    """Random logits and few token ids, so that n-grams repeat; every number of generated tokens."""
    import torch

    rng = np.random.default_rng(0)
    changed = []
    for ours, theirs in processors():
        run, change = jax.jit(ours), 0
        for count in range(1, 13):
            logits = rng.normal(size=(20, VOCABULARY)).astype(np.float32) * 2
            ids = rng.integers(5, 12, size=(20, 14)).astype(np.int32)
            expected = theirs(torch.tensor(ids[:, :count]).long(), torch.tensor(logits)).numpy()
            found = run(jnp.asarray(logits), jnp.asarray(ids), jnp.int32(count))
            np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=type(theirs).__name__)
            change += (expected != logits).sum()
        changed.append(bool(change))
    assert changed.count(False) == 3  # k = 99, p = 1 and p = 0 keep everything


def test_the_order_of_filters():
    """`sample` applies its filters in the order of transformers' `generate`."""
    import transformers

    config = transformers.GenerationConfig(do_sample=True, temperature=0.5, top_k=5, top_p=0.9, min_p=0.1)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=9))
    found = model._get_logits_processor(config, input_ids_seq_length=1)
    names = [type(one).__name__ for one in found]
    assert names == ["TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper"]
