"""Whisper's rules, windows and command, on hand-derived cases and a tiny random model."""

import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax import transcribe as command
from mmjax.pretrained import WeightsError, load
from mmjax.pretrained.transcribe import Transcriber
from mmjax.pretrained.whisper_decode import Decoded, Fallback, compression_ratio
from mmjax.pretrained.whisper_rules import LoopGuard, WhisperRule, suppressing, timestamps_in_pairs
from mmjax.pretrained.whisper_tokens import WhisperTokens
from mmjax.pretrained.whisper_windows import Segment, previous_prompt, segments_of, window_advance
from tests.pretrained.tiny import image_folder, whisper_folder

# Text 0 to 3, end 4, start 5, previous 6, no speech 7, no timestamps 8, timestamps 9 (0.00 s) to 14 (0.10 s).
TOKENS = WhisperTokens(15, 20, 5, 4, 6, 8, {"en": 5}, {}, (4, 5, 6, 7, 8), (3,), (2,), max_initial=1)


def allowed(rule, *rows, favourite=0, count=None, size=15):
    """The ids that a rule allows after each row, if the id `favourite` is by far the most likely. size: number of ids."""
    count = len(rows[0]) if count is None else count
    ids = np.full((2, 8), 4, np.int32)  # of one shape, which is compiled once
    for row, given in zip(ids, rows):
        row[: len(given)] = given
    logits = np.zeros((2, size), np.float32)
    logits[:, favourite] = 20
    found = rule(logits, ids, np.int32(count))
    return [set(np.flatnonzero(np.isfinite(row)).tolist()) for row in np.asarray(found)[: len(rows)]]


def test_timestamps_come_in_pairs():
    """First 0.00 or 0.02; then text; after text anything later; a timestamp after text is repeated, or the text ends."""
    rule = jax.jit(timestamps_in_pairs(TOKENS))
    text, special = {0, 1, 2, 3}, {5, 6, 7}
    assert allowed(rule, []) == [{9, 10}]
    assert allowed(rule, [9]) == [text | {4} | special]
    assert allowed(rule, [9, 1]) == [text | {4} | special | {10, 11, 12, 13, 14}]
    assert allowed(rule, [9, 1, 12], favourite=4) == [{4} | special | {12, 13, 14}]
    assert allowed(rule, [9, 1, 12, 12], [9, 1, 12, 13]) == [text | {4} | special] * 2
    assert allowed(rule, [9, 1, 12, 12, 2]) == [text | {4} | special | {13, 14}]


def test_timestamps_together_beat_single_tokens():
    """Five timestamps of e^0 exceed a text token of e^1.5 = 4.48, but not one of e^1.7 = 5.47."""
    rule = jax.jit(timestamps_in_pairs(TOKENS))
    ids = jnp.full((2, 8), 4).at[:, :2].set(jnp.array([9, 1]))
    logits = jnp.full((2, 15), -30.0).at[:, 10:].set(0.0).at[:, 2].set(jnp.array([1.5, 1.7]))
    found = np.isfinite(np.asarray(rule(logits, ids, jnp.int32(2))))
    assert not found[0, :9].any() and found[0, 10:].all() and found[1, 2]


def test_suppressed_tokens():
    assert allowed(jax.jit(suppressing(TOKENS, False)), []) == [{0, 1, 4}]
    assert allowed(jax.jit(suppressing(TOKENS, False)), [0]) == [{0, 1, 2, 4}]
    assert allowed(suppressing(TOKENS, True), [0]) == [{0, 1, 2, 4, *range(9, 15)}]


def test_the_rules_of_a_published_model(tmp_path):
    """Of the 24 ids, 0 is suppressed, 1 and the end token 10 cannot be first, and the rest are special; a guard ends loops."""
    source = str(whisper_folder(tmp_path / "tiny"))
    plain, guarded = (jax.jit(WhisperRule(source, guard)) for guard in (None, LoopGuard(3, 3, 1)))
    text = {*range(1, 10), 10}
    assert allowed(plain, [], size=24) == [text - {1, 10}] and allowed(plain, [3, 3, 3], size=24) == [text]
    assert allowed(guarded, [3, 3], size=24) == [text] and allowed(guarded, [3, 3, 3], size=24) == [{10}]


def test_the_loop_guard_ends_loops():
    """Two tokens three times are a loop, whatever their timestamps; two times are not."""
    guard = LoopGuard(repeats=3, tokens=4, longest=2)
    rule = jax.jit(guard.rule(4, 9))
    loop, other = [1, 2, 1, 2, 1, 2], [0, 2, 1, 2, 1, 2]
    assert allowed(rule, loop, other) == [{4}, set(range(15))]
    assert allowed(rule, [3, 3, 3, 3], [3, 3, 3, 1]) == [{4}, set(range(15))]  # four tokens are needed
    assert allowed(rule, [3, 3, 3]) == [set(range(15))]
    assert allowed(rule, [1, 9, 1, 10, 1, 12]) == [{4}]
    assert guard.without_loops([0, *loop, 1, 3], 9) == [0, 1, 2, 3]
    assert guard.without_loops([1, 9, 1, 10, 1, 12, 2], 9) == [1, 9, 2] and guard.without_loops(other, 9) == other
    with pytest.raises(ValueError, match=r"LoopGuard\.repeats is 1"):
        LoopGuard(repeats=1)


def test_segments_end_where_two_timestamps_meet():
    """0.00 a 0.04 | 0.06 b 0.10: the second one is complete only if it ends with a timestamp. The window begins at 1 s."""
    assert segments_of([9, 0, 11, 12, 1, 14], 9, 100, 30) == [Segment(1.0, 1.04, (9, 0, 11)), Segment(1.06, 1.1, (12, 1, 14))]
    assert window_advance([9, 0, 11, 12, 1, 14], 9, 30) == 30
    assert segments_of([9, 0, 11, 12, 1], 9, 100, 30) == [Segment(1.0, 1.04, (9, 0, 11, 12))]
    assert window_advance([9, 0, 11, 12, 1], 9, 30) == 4  # frames of 10 ms, to 0.04 s
    assert segments_of([9, 0, 1], 9, 100, 30) == [Segment(1.0, pytest.approx(1.3), (9, 0, 1))]
    assert segments_of([], 9, 0, 7) == [Segment(0.0, 0.06, ())] and window_advance([], 9, 7) == 7


def test_previous_text():
    """Of two timestamps at the end, one; half of 20 positions, less one."""
    segments = [Segment(0, 1, (9, 0, 11, 11)), Segment(1, 2, (11, 1, 14))]
    assert previous_prompt(segments, TOKENS) == [6, 9, 0, 11, 11, 1, 14] and previous_prompt([], TOKENS) == []
    assert previous_prompt([Segment(0, 1, tuple([0, 1] * 8))], TOKENS) == [6, 1, 0, 1, 0, 1, 0, 1, 0, 1]


def test_rejected_texts():
    """Thirty equal ids compress well. Unlikely text without speech is dropped rather than decoded again."""
    fallback = Fallback(compression_ratio=1.35, log_probability=-1.0, no_speech=0.6)
    text = Decoded((1, 2, 3), 0.0, -0.5, 0.1, False)
    assert not fallback.rejects(text, 100) and fallback.rejects(text._replace(log_probability=-1.1), 100)
    assert compression_ratio([5] * 30, 100) > 2 and fallback.rejects(text._replace(ids=(5,) * 30), 100)
    silent = text._replace(log_probability=-1.1, no_speech=0.7)
    assert fallback.is_silent(silent) and not fallback.rejects(silent, 100)
    with pytest.raises(ValueError, match=r"Fallback\.temperatures is \(\)"):
        Fallback(())


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return load(whisper_folder(tmp_path_factory.mktemp("transcribe") / "tiny"))


def test_batches_give_what_single_recordings_give(weights):
    """With timestamps, several windows, and samples at higher temperatures; an empty recording has no text."""
    random = np.random.default_rng(0)
    recordings = [(random.normal(size=size).astype(np.float32), 16_000) for size in (3000, 0, 900)]
    fallback = Fallback((0.0, 1.0), None, 0.0, None)  # every text is rejected once
    transcribe = Transcriber(weights, timestamps=True, seconds=0.08, max_tokens=6, fallback=fallback, guard=LoopGuard())
    done = []
    together = transcribe.transcripts(recordings, lambda *seconds: done.append(seconds))
    assert together == [transcribe.transcripts([recording])[0] for recording in recordings]
    assert together[1].segments == () and len(together[0].segments) > 2 and together[0].language in ("en", "cs")
    assert done[-1] == pytest.approx((0.25, 0.25))
    assert together[0].text.replace(" ", "") == "".join(together[0].texts).replace(" ", "") != ""


def test_wrong_settings(weights):
    with pytest.raises(ValueError, match=r"Transcriber.seconds is 30.0; it must be at most 0.08"):
        Transcriber(weights, seconds=30.0)
    with pytest.raises(WeightsError, match="language is 'xx'; the languages of this model are en, cs"):
        Transcriber(weights, "xx", seconds=0.08)([])
    with pytest.raises(WeightsError, match="task is 'sing'; it must be one of transcribe, translate"):
        Transcriber(weights, task="sing", seconds=0.08)([])
    english = dataclasses.replace(TOKENS, languages={})
    with pytest.raises(WeightsError, match="language is 'cs', but this model only transcribes English"):
        english.check("cs", "transcribe")


def test_the_command(weights, tmp_path, capsys, monkeypatch):
    import soundfile

    file = tmp_path / "a.wav"
    soundfile.write(file, np.random.default_rng(0).normal(size=900).astype(np.float32) / 10, 16_000)
    settings = ["--weights", str(weights.folder), "--seconds", "0.08", "--timestamps", "--language", "cs"]
    command.main([str(file), *settings])
    assert capsys.readouterr().out.startswith("[00:00.0")
    with pytest.raises(SystemExit, match="error: language is 'xx'; the languages"):
        command.main([str(file), *settings, "--language", "xx"])
    with pytest.raises(SystemExit, match=r"error: nowhere\.wav: no such file"):
        command.main(["nowhere.wav"])
    with pytest.raises(SystemExit, match="a folder; name its files"):
        command.main([str(tmp_path)])
    other = image_folder(tmp_path / "other")
    with pytest.raises(SystemExit, match=r"other: a \w+; the weights must be of a Whisper model"):
        command.main([str(file), "--weights", str(other)])
    monkeypatch.setattr(Transcriber, "transcripts", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(SystemExit, match="130"):
        command.main([str(file), *settings])
    assert command.stamp(83.5) == "01:23.50"
