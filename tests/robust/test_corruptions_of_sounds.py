"""Corruptions of sounds, series and texts, and of whole batches and data sets."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.inputs import ImageInput, SeriesInput, SoundInput, TextInput
from mmjax.robust.corruptions import (
    SERIES,
    SOUND,
    ChannelNoise,
    Contrast,
    Corruption,
    DroppedWords,
    FeatureNoise,
    LostPackets,
    MuLaw,
    Typos,
    WhiteNoise,
    changed,
    corrupted,
    suite,
)
from mmjax.robust.corruptions.sound import inverse_mdct, mdct, mu_law
from mmjax.robust.corruptions.text import misspelled, neighbours
from mmjax.types import Batch, Padded

RATE, LENGTH = 16_000, 3000
TIME = np.arange(4000) / RATE
WAVE = np.float32(0.3 * np.sin(2 * np.pi * 440 * TIME) + 0.1 * np.sin(2 * np.pi * 5000 * TIME))
CLIP = Padded(jnp.asarray(WAVE), jnp.int32(LENGTH))


@pytest.fixture(scope="module")
def sounds():
    """{name: [the clip at severity 0, 1, 5]}, by one program; the padding is NaN."""

    @jax.jit
    def run(clip, severity):
        return {name: changed(change, jax.random.key(0), clip, severity) for name, change in SOUND.items()}

    clip = CLIP.replace(x=jnp.where(jnp.arange(4000) < LENGTH, CLIP.x, jnp.nan))
    found = [run(clip, severity) for severity in (0, 1, 5)]
    return {name: [np.asarray(of[name].x) for of in found] for name in SOUND}


def test_sounds_at_severity_0_and_their_padding_stay(sounds):
    for name, (none, _, strong) in sounds.items():
        np.testing.assert_array_equal(none[:LENGTH], WAVE[:LENGTH], err_msg=name)
        assert np.isnan(strong[LENGTH:]).all() and np.abs(strong[:LENGTH]).max() <= 1, name


def test_severity_5_of_sounds_is_worse_than_1(sounds):
    for name, (none, mild, strong) in sounds.items():
        error = [np.square(of[:LENGTH] - none[:LENGTH]).mean() for of in (mild, strong)]
        assert error[1] > error[0], name


def test_noise_has_the_signal_to_noise_ratio_of_its_level(sounds):
    for noisy, decibels in ((sounds["white_noise"][1], 20), (sounds["white_noise"][2], 0)):
        power = np.square(noisy - WAVE)[:LENGTH].mean() / np.square(WAVE[:LENGTH]).mean()
        assert -10 * np.log10(power) == pytest.approx(decibels, abs=0.3)


def test_low_pass_removes_the_frequencies_above_its_cut(sounds):
    low = np.float32(0.3 * np.sin(2 * np.pi * 440 * TIME))
    middle = slice(200, LENGTH - 200)  # the clip ends within a period
    assert np.abs(sounds["low_pass"][2] - low)[middle].max() < 0.02
    assert np.abs(sounds["low_pass"][1] - WAVE)[middle].max() < 0.02  # 6 kHz keeps both tones


def test_mu_law_is_that_of_g711():
    x = np.linspace(-1, 1, 101)
    companded = np.sign(x) * np.log(1 + 255 * np.abs(x)) / np.log(256)
    quantised = np.round((companded + 1) / 2 * 255) / 255 * 2 - 1
    wanted = np.sign(quantised) * (256 ** np.abs(quantised) - 1) / 255
    np.testing.assert_allclose(mu_law(jnp.asarray(x, jnp.float32), 8), wanted, atol=2e-6)
    assert MuLaw().levels[0] == (8.0,)


def test_the_cosine_transform_reconstructs_and_follows_its_definition():
    x, hop = np.float32(np.random.default_rng(0).normal(size=70)), 16
    found = mdct(jnp.asarray(x), hop)
    np.testing.assert_allclose(inverse_mdct(found, 70), x, atol=1e-5)
    frame = x[:32] * np.sin(np.pi / 32 * (np.arange(32) + 0.5))  # the second frame starts at the first sample
    n, k = np.arange(32), 5
    assert float(found[1, k]) == pytest.approx((frame * np.cos(np.pi / 16 * (n + 0.5 + 8) * (k + 0.5))).sum(), abs=1e-4)


def test_low_rate_keeps_the_power_of_few_coefficients(sounds):
    none, mild, _ = sounds["low_rate"]
    lost = np.square(none - mild)[:LENGTH].mean() / np.square(none[:LENGTH]).mean()
    assert lost < 0.05  # two tones need few coefficients


def test_reverberation_is_a_convolution_that_keeps_the_power():
    """An impulse becomes the room's response: direct sound, then a tail that falls by 60 dB in the reverberation time."""
    room = jax.jit(replace(SOUND["reverberation"], levels=((0.1, 0.0),) * 5).__call__)
    impulse = Padded(jnp.zeros(4000).at[0].set(0.5), jnp.int32(4000))
    response = np.asarray(room(jax.random.key(0), impulse, 3).x, np.float64)
    assert np.square(response).sum() == pytest.approx(0.25, rel=1e-3)
    tail = response[1:] / response[0]
    half = np.square(tail[:800]).sum() / np.square(tail[800:1600]).sum()  # 0.05 s, half of the reverberation time: 30 dB
    assert 10 * np.log10(half) == pytest.approx(30, abs=2)
    assert np.square(tail).sum() == pytest.approx(1, rel=0.02)  # direct to reverberant 0 dB, but for what the clip cuts off
    wet = np.asarray(room(jax.random.key(0), CLIP, 3).x)[:LENGTH]
    full = signal.fftconvolve(np.where(np.arange(4000) < LENGTH, WAVE, 0), response)[:LENGTH]
    np.testing.assert_allclose(wet / np.sqrt(np.square(wet).mean()), full / np.sqrt(np.square(full).mean()), atol=0.01)


def test_lost_packets_are_silent():
    lost = np.asarray(LostPackets(levels=((0.5,),) * 5)(jax.random.key(1), CLIP, 1).x)[:3840].reshape(-1, 320)
    silent = (lost == 0).all(axis=1)
    assert 0 < silent.sum() < 12
    np.testing.assert_array_equal(lost[~silent], WAVE[:3840].reshape(-1, 320)[~silent])


def test_series_lose_channels_and_steps_but_no_padding():
    x = Padded(jnp.arange(1.0, 25).reshape(6, 4), jnp.int32(5))
    run = jax.jit(changed, static_argnums=0)
    sensors = np.asarray(run(SERIES["dropped_sensors"], jax.random.key(2), x, 5).x)
    off = (sensors[:5] == 0).all(axis=0)
    assert 0 < off.sum() < 4
    np.testing.assert_array_equal(sensors[:5, ~off], np.asarray(x.x)[:5, ~off])
    np.testing.assert_array_equal(sensors[5], np.asarray(x.x)[5])
    steps = run(SERIES["dropped_steps"], jax.random.key(1), x, 4)
    kept = np.asarray(steps.x)[: int(steps.length)]
    assert 0 < len(kept) < 5 and {tuple(row) for row in kept} <= {tuple(row) for row in np.asarray(x.x)[:5].tolist()}
    noise = np.asarray(FeatureNoise(deviation=(2.0,))(jax.random.key(0), jnp.full(4000, 50.0), 3)) - 50  # 10 dB
    assert noise.std() == pytest.approx(2 * 10**-0.5, rel=0.1)
    long = Padded(jnp.asarray(np.random.default_rng(0).normal(size=(4000, 2)) * [1, 10] + 5, jnp.float32), jnp.int32(4000))
    noise = np.asarray(run(ChannelNoise(), jax.random.key(0), long, 3).x) - np.asarray(long.x)
    np.testing.assert_allclose(noise.std(axis=0), np.array([1, 10]) * 10**-0.5, rtol=0.1)


def test_typos_change_one_place_of_a_word():
    random, kinds = np.random.default_rng(0), set()
    for _ in range(60):
        word = misspelled(random, "Lantern")
        kinds.add(len(word) - 7)
        if len(word) == 7:
            changed_letters = [i for i in range(7) if word[i] != "Lantern"[i]]
            assert len(changed_letters) in (1, 2)
            if len(changed_letters) == 1:
                assert word[changed_letters[0]].lower() in neighbours("Lantern"[changed_letters[0]])
        else:
            longer, shorter = sorted((word, "Lantern"), key=len, reverse=True)
            assert any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))
    assert kinds == {-1, 0, 1}
    assert misspelled(random, "cat") == "cat"
    assert sorted(neighbours("s")) == sorted("awedxz") and neighbours("é") == []
    assert all(letter in neighbours(other) for letter in "qwertyuiopasdfghjklzxcvbnm" for other in neighbours(letter))


def test_words_are_lost_but_never_all():
    text = " ".join(f"word{k}" for k in range(400))
    kept = DroppedWords().text(np.random.default_rng(0), text, 3).split()
    assert len(kept) == pytest.approx(280, abs=40) and kept == sorted(kept, key=lambda word: int(word[4:]))
    assert DroppedWords(levels=((1.0,),) * 5).text(np.random.default_rng(0), "a b c", 1) in "a b c".split()
    assert Typos(levels=((0.0,),) * 5).text(np.random.default_rng(0), "two  words", 1) == "two words"


def test_a_batch_is_corrupted_in_original_units():
    """Contrast c of pixels p = 2 z + 1 around their mean is that of z around its mean."""
    z = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0, (2, 4, 4, 3)), jnp.float32)
    batch = Batch({"image": z}, {"image": jnp.ones(2, bool)}, {}, jnp.ones(2))
    found = jax.jit(Corruption(Contrast(), 2, "image", 1.0, 2.0).__call__)(batch, jax.random.key(0)).inputs["image"]
    mean = np.asarray(z).mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found, (z - mean) * 0.3 + mean, atol=1e-5)
    assert Corruption(Contrast(), 0)(batch, jax.random.key(0)) is batch
    with pytest.raises(ValueError, match="severity is 6; it must be 0"):
        Corruption(Contrast(), 6)


class Letters:
    """A tokenizer of single letters."""

    def encode(self, text, size):
        ids = np.array([ord(letter) for letter in text][:size] + [0] * max(size - len(text), 0), np.int32)
        return Padded(ids, np.int32(min(len(text), size)))


def test_the_items_of_test_rows_are_corrupted_before_preprocessing():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 8, 8, 4), np.uint8)
    texts, read_text = ["plain words here", "other words there"], TextInput(Letters(), 20)
    columns = {
        "image": Column(4, images.__getitem__, identity, parse=ImageInput(8)),
        "text": Column(2, lambda k: read_text(texts[k]), identity, texts.__getitem__, parse=read_text),
    }
    rows = Rows({"image": np.array([3, -1, 1, 3]), "text": np.array([1, 0, -1, 1])}, {}, np.ones(4, np.float32))
    data = Dataset(columns, {"test": rows}, {"test": {}}, "")
    found = corrupted(data, {"image": Contrast(), "text": DroppedWords(levels=((0.6,),) * 5)}, 2)
    image, pointer = found.columns["image"], found.splits["test"].pointer["image"]
    assert pointer.tolist() == [1, -1, 0, 1] and image.count == 2
    original = images[3].astype(np.float32)
    mean = original[..., :3].mean(axis=(0, 1))
    np.testing.assert_allclose(image.read(1)[..., :3], np.round((original[..., :3] - mean) * 0.3 + mean), atol=1)
    np.testing.assert_array_equal(image.read(1)[..., 3], images[3][..., 3])
    assert image.read(1).dtype == np.uint8
    shorter = found.columns["text"].read(0)
    assert 0 < int(shorter.length) < len(texts[0])
    same = corrupted(data, {"image": Contrast(), "text": Typos()}, 0)
    np.testing.assert_array_equal(same.columns["image"].read(1), images[3])
    assert int(same.columns["text"].read(0).length) == len(texts[0])
    with pytest.raises(ValueError, match="severity is 7"):
        corrupted(data, {}, 7)


def test_a_suite_fits_the_items_of_a_column():
    sound = Column(1, lambda k: Padded(np.zeros(5, np.int16), np.int32(5)), identity, parse=SoundInput(8000, 5))
    assert suite(sound)["low_pass"].rate == 8000 and suite(sound)["white_noise"] == WhiteNoise()
    large = Column(1, lambda k: np.zeros((80, 80, 3), np.uint8), identity, parse=ImageInput(80))
    assert suite(large)["contrast"].levels[0] == (0.4,)
    series = Column(1, lambda k: Padded(np.zeros((5, 2), np.float32), np.int32(5)), identity, parse=SeriesInput(5, 2))
    assert set(suite(series)) == {"channel_noise", "dropped_sensors", "dropped_steps"}
    vectors = np.float32(np.random.default_rng(0).normal(size=(300, 2)) * [1, 10] + 100)  # the mean is no signal
    of_vectors = suite(Column(300, vectors.__getitem__, identity))
    assert list(of_vectors) == ["feature_noise", "dropped_entries"]
    np.testing.assert_allclose(of_vectors["feature_noise"].deviation, vectors.std(axis=0), rtol=1e-4)
    assert suite(Column(1, lambda k: Padded(np.zeros(5, np.int32), np.int32(5)), identity)) == {}
