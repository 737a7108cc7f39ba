"""Complete Whisper: segments, tasks, languages, timestamps and beams equal transformers' generate on random models."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.pretrained import load
from mmjax.pretrained.transcribe import Fallback, Transcriber
from mmjax.pretrained.whisper_decode import compression_ratio
from mmjax.types import Padded
from tests.parity.originals import published

pytestmark = pytest.mark.parity

TEXT = 20
NAMES = ["endoftext", "startoftranscript", "en", "cs", "nl", "translate", "transcribe", "startoflm", "startofprev", "nospeech"]
SPECIAL = [f"<|{name}|>" for name in [*NAMES, "notimestamps"]]
IDS = {name: TEXT + number for number, name in enumerate(SPECIAL)}
END, FIRST = IDS["<|endoftext|>"], TEXT + len(SPECIAL)
POSITIONS, BANDS = 12, 8  # a window of 0.24 s: 24 frames
VOCABULARY = FIRST + POSITIONS + 1
SUPPRESS = [3, 4, *range(END + 1, FIRST)]


@pytest.fixture(scope="module", params=[0, 1])
def models(request, tmp_path_factory):
    """(transformers' model, ours) with random weights and a tokenizer."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, models

    folder = tmp_path_factory.mktemp("whisper")
    numbers = {"layers": 1, "attention_heads": 2, "ffn_dim": 24}
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in numbers.items()}
    config = transformers.WhisperConfig(
        vocab_size=VOCABULARY, num_mel_bins=BANDS, d_model=16, max_source_positions=POSITIONS, max_target_positions=48,
        pad_token_id=END, bos_token_id=END, eos_token_id=END, decoder_start_token_id=IDS["<|startoftranscript|>"],
        suppress_tokens=SUPPRESS, begin_suppress_tokens=[5, END], dropout=0.0, **sizes,
    )  # fmt: skip
    theirs = transformers.WhisperForConditionalGeneration(config)
    published(theirs, folder, seed=request.param)
    settings = {
        "decoder_start_token_id": IDS["<|startoftranscript|>"], "eos_token_id": END, "pad_token_id": END, "bos_token_id": END,
        "suppress_tokens": SUPPRESS, "begin_suppress_tokens": [5, END], "no_timestamps_token_id": FIRST - 1,
        "prev_sot_token_id": IDS["<|startofprev|>"], "is_multilingual": True, "max_initial_timestamp_index": 3,
        "lang_to_id": {f"<|{code}|>": IDS[f"<|{code}|>"] for code in ("en", "cs", "nl")},
        "task_to_id": {task: IDS[f"<|{task}|>"] for task in ("translate", "transcribe")},
    }  # fmt: skip
    theirs.generation_config = transformers.GenerationConfig(**settings)
    theirs.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(settings))
    (folder / "preprocessor_config.json").write_text(json.dumps({"chunk_length": POSITIONS * 0.02, "feature_size": BANDS}))
    tokenizer = Tokenizer(models.WordLevel({f"w{number}": number for number in range(TEXT)}, unk_token="w0"))
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    assert tokenizer.token_to_id("<|endoftext|>") == END
    tokenizer.save(str(folder / "tokenizer.json"))
    return theirs, load(folder)


def recordings(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [4 * rng.normal(size=(length, BANDS)).astype(np.float32) for length in lengths]


def generated(theirs, frames, lengths, **settings):
    """transformers' segments of recordings [n bands], padded to the longest one: (start, end, ids)."""
    import torch

    longest = max(map(len, frames))
    x = torch.tensor(np.stack([np.pad(one, ((0, longest - len(one)), (0, 0))) for one in frames])).transpose(1, 2)
    mask = torch.tensor([[1] * length + [0] * (longest - length) for length in lengths])
    found = theirs.generate(
        x, attention_mask=mask, return_timestamps=settings.pop("return_timestamps", True), return_segments=True, **settings
    )
    return [
        [(float(segment["start"]), float(segment["end"]), segment["tokens"].tolist()) for segment in segments]
        for segments in found["segments"]
    ]


def assert_equal(ours, theirs):
    """At least one text has tokens."""
    assert [[list(segment.ids) for segment in segments] for segments in ours] == [[ids for *_, ids in one] for one in theirs]
    times = lambda one: [(start, end) for start, end, _ in one]
    for mine, other in zip(ours, theirs):
        np.testing.assert_allclose(np.array(times(mine)).reshape(-1, 2), np.array(times(other)).reshape(-1, 2), atol=1e-9)
    assert any(ids for one in theirs for *_, ids in one)


@pytest.mark.parametrize(("language", "task"), [("cs", "transcribe"), ("en", "translate"), (None, "transcribe")])
def test_short_form_without_timestamps(models, language, task):
    """Four windows; None detects the language."""
    theirs, weights = models
    frames = recordings([24] * 4)
    ours = Transcriber(weights, language, task, seconds=0.24, max_tokens=10).segments(frames, [24] * 4)
    settings = {"return_timestamps": False, "suppress_tokens": [*SUPPRESS, *range(FIRST, VOCABULARY)], "max_new_tokens": 10}
    expected = generated(theirs, frames, [24] * 4, language=language, task=task, **settings)
    assert [[list(segment.ids) for segment in one] for one in ours] == [[ids for *_, ids in one] for one in expected]


@pytest.mark.parametrize("beams", [1, 3])
def test_long_form(models, beams):
    """Three recordings of up to nine windows, advanced by their timestamps; in one batch and alone."""
    theirs, weights = models
    lengths = [200, 24, 61]
    frames = recordings(lengths, seed=1)
    transcribe = Transcriber(weights, "nl", timestamps=True, seconds=0.24, max_tokens=12, beams=beams)
    ours = transcribe.segments(frames, lengths)
    settings = {"language": "nl", "task": "transcribe", "max_new_tokens": 12, "num_beams": beams, "early_stopping": "never"}
    settings = settings if beams > 1 else {**settings, "early_stopping": None}
    for one, length, mine in zip(frames, lengths, ours):
        assert_equal([mine], generated(theirs, [one], [length], **settings))
        assert transcribe.segments([one], [length]) == [mine]
    assert len({segment.end - segment.start for one in ours for segment in one}) > 2


def test_previous_text(models):
    theirs, weights = models
    frames = recordings([150], seed=2)
    ours = Transcriber(weights, "cs", timestamps=True, seconds=0.24, max_tokens=10, condition=True).segments(frames, [150])
    settings = {"language": "cs", "task": "transcribe", "max_new_tokens": 10, "condition_on_prev_tokens": True}
    assert_equal(ours, generated(theirs, frames, [150], temperature=0.0, **settings))
    alone = Transcriber(weights, "cs", timestamps=True, seconds=0.24, max_tokens=10).segments(frames, [150])
    assert [segment.ids for segment in alone[0]] != [segment.ids for segment in ours[0]]


def test_silent_windows(models):
    """Windows whose text is unlikely and that probably have no speech are dropped."""
    theirs, weights = models
    frames = recordings([150], seed=3)
    counts = []
    for no_speech in (0.0, 0.01, 1.0):
        fallback = Fallback((0.0,), None, 0.0, no_speech)
        transcribe = Transcriber(weights, "cs", timestamps=True, seconds=0.24, max_tokens=10, fallback=fallback)
        ours = transcribe.segments(frames, [150])
        settings = {"temperature": 0.0, "logprob_threshold": 0.0, "no_speech_threshold": no_speech, "max_new_tokens": 10}
        expected = generated(theirs, frames, [150], language="cs", task="transcribe", **settings)
        assert [list(segment.ids) for segment in ours[0]] == [ids for *_, ids in expected[0]]
        counts.append(len(expected[0]))
    assert counts[0] < counts[-1]


@pytest.fixture
def tried(monkeypatch):
    """(ours, theirs): (temperature, rejected, dropped, ids) of every text of every window, in the order of decoding.

    Samples are equal on both sides: each is the first token at which the cumulative probability exceeds .6.
    """
    import torch
    from transformers.models.whisper.generation_whisper import WhisperGenerationMixin

    ours, theirs = [], []
    rejects, need_fallback = Fallback.rejects, WhisperGenerationMixin._need_fallback

    def recorded_rejects(self, decoded, vocabulary):
        rejected = rejects(self, decoded, vocabulary)
        ours.append((decoded.temperature, rejected, self.is_silent(decoded), list(decoded.ids)))
        return rejected

    def recorded_need_fallback(self, ids, *given):
        rejected, dropped = need_fallback(self, ids, *given)
        theirs.append((given[-1], bool(rejected), bool(dropped), [number for number in ids.tolist() if number != END]))
        return rejected, dropped

    def categorical(key, logits):
        return jnp.argmax(jnp.cumsum(jax.nn.softmax(logits)) > 0.6)

    monkeypatch.setattr(Fallback, "rejects", recorded_rejects)
    monkeypatch.setattr(WhisperGenerationMixin, "_need_fallback", recorded_need_fallback)
    monkeypatch.setattr(jax.random, "categorical", categorical)
    monkeypatch.setattr(torch, "multinomial", lambda p, num_samples: (p.cumsum(-1) > 0.6).int().argmax(-1, keepdim=True))
    return ours, theirs


def test_fallback(models, tried):
    """Every text that is tried, whether it is rejected or dropped, and the texts that are kept: by the compression ratio, by
    the log-probability, and by both, the probability of no speech and with the previous text as a prompt.

    transformers counts the end token as a part of the compressed text, ours does not; here no text is that near the limit.
    """
    theirs, weights = models
    temperatures, frames = (0.0, 0.4, 1.0), recordings([150], seed=5)
    first = Transcriber(weights, "cs", timestamps=True, seconds=0.24, max_tokens=12)
    for ratio, likely, no_speech in ((0.7, None, None), (None, -0.9, None), (0.7, -0.9, 0.003)):
        condition = no_speech is not None
        ours = replace(first, fallback=Fallback(temperatures, ratio, likely, no_speech), condition=condition)
        vars(ours)["decoder"] = first.decoder  # compiled once
        found = ours.segments(frames, [150])
        expected = generated(
            theirs, frames, [150], language="cs", task="transcribe", max_new_tokens=12, temperature=temperatures,
            compression_ratio_threshold=ratio, logprob_threshold=likely, no_speech_threshold=no_speech,
            condition_on_prev_tokens=condition,
        )  # fmt: skip
        assert tried[0] == tried[1]
        assert_equal(found, expected)
    kept, rejected, dropped = (False, False), (True, False), (False, True)
    assert {(0.0, *kept), (0.0, *rejected), (0.0, *dropped), (0.4, *rejected), (1.0, *kept), (1.0, *rejected)} <= {
        one[:3] for one in tried[0]
    }


def test_scores(models):
    """The mean log-probability, the probability of no speech and the compression ratio of a text."""
    import torch
    from transformers.models.whisper.generation_whisper import WhisperGenerationMixin

    theirs, weights = models
    frames = recordings([24], seed=4)
    transcribe = Transcriber(weights, "cs", timestamps=True, seconds=0.24, max_tokens=12)
    memory = transcribe.decoder.encode(Padded(np.stack(frames), np.array([24], np.int32)))
    keys = jax.random.split(jax.random.key(0), 1)
    prompt = transcribe.tokens.prompt("cs", "transcribe", timestamps=True)
    (found,) = transcribe.decoder.decode(memory, [prompt], Fallback((0.0,), None, None, None), keys)
    settings = {"language": "cs", "task": "transcribe", "max_new_tokens": 12, "temperature": 0.0, "logprob_threshold": -99.0}
    x = torch.tensor(np.stack(frames)).transpose(1, 2)
    result = theirs.generate(x, return_timestamps=True, return_segments=True, **settings)["segments"][0][0]["result"]
    sequence = result["sequences"][len(prompt) :]
    sequence = sequence[: len(found.ids) + 1]
    expected = WhisperGenerationMixin._retrieve_avg_logprobs(result["scores"], sequence, 0.0)
    np.testing.assert_allclose(found.log_probability, expected, rtol=1e-4)
    with torch.no_grad():
        logits = theirs(x, decoder_input_ids=torch.tensor([prompt])).logits[0, 0]
    np.testing.assert_allclose(found.no_speech, logits.softmax(-1)[FIRST - 2], rtol=1e-4)
    ratio = WhisperGenerationMixin._retrieve_compression_ratio(torch.tensor(found.ids), VOCABULARY)
    assert compression_ratio(found.ids, VOCABULARY) == ratio
