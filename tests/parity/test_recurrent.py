"""Recurrent layers against torch's on packed sequences, with the same random weights: outputs at valid steps and input
gradients; and log-mel frames. torch is imported within functions, so that the file can always be collected.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.mel import LogMel
from mmjax.nn.recurrent import GRU, LSTM, RNN, Bidirectional
from mmjax.types import Padded
from tests.parity.originals import assert_same, randomised

pytestmark = pytest.mark.parity


def weights(model):
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def recurrent(w, suffix, gru):
    """torch has two biases, which we add. The GRU's recurrent bias of the new state is separate: the reset gate scales it."""
    bias, other = w[f"bias_ih_l0{suffix}"], w[f"bias_hh_l0{suffix}"].copy()
    ours = {"recurrent": w[f"weight_hh_l0{suffix}"].T}
    if gru:
        start = len(bias) // 3 * 2
        ours["recurrent_bias"] = other[start:].copy()
        other[start:] = 0
    return ours | {"input": {"kernel": w[f"weight_ih_l0{suffix}"].T, "bias": bias + other}}


@pytest.mark.parametrize(("features", "width", "lengths"), [(3, 5, [6, 2, 4]), (7, 4, [1, 9]), (2, 8, [5, 5, 1, 3])])
@pytest.mark.parametrize("both", [False, True], ids=["one_way", "both_ways"])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_recurrent(kind, both, features, width, lengths):
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    original = randomised(getattr(torch.nn, kind.__name__)(features, width, batch_first=True, bidirectional=both), width)
    w = weights(original)
    layer = Bidirectional(kind(width)) if both else kind(width)
    params = recurrent(w, "", kind is GRU)
    if both:
        params = {"forward": params, "backward": recurrent(w, "_reverse", kind is GRU)}
    params = jax.tree.map(jnp.asarray, params)
    rng = np.random.default_rng(0)
    x = Padded(jnp.asarray(rng.normal(size=(len(lengths), max(lengths), features)), jnp.float32), jnp.array(lengths))
    mask = np.asarray(x.mask)
    weight = (rng.normal(size=(*mask.shape, width * (1 + both))) * mask[..., None]).astype(np.float32)
    last_weight = rng.normal(size=(len(lengths), width * (1 + both))).astype(np.float32)

    theirs_x = torch.tensor(np.asarray(x.x), requires_grad=True)
    packed, state = original(pack_padded_sequence(theirs_x, lengths, batch_first=True, enforce_sorted=False))
    states = pad_packed_sequence(packed, batch_first=True)[0]
    last = (state[0] if kind is LSTM else state).transpose(0, 1).flatten(1)
    ((states * torch.tensor(weight)).sum() + (last * torch.tensor(last_weight)).sum()).backward()

    def value(values):
        states = layer.apply({"params": params}, values, x.mask)
        last = layer.last(states, x.length)
        return (states * weight).sum() + (last * last_weight).sum(), (states, last)

    (_, (ours, ours_last)), gradient = jax.jit(jax.value_and_grad(value, has_aux=True))(x.x)
    assert_same(np.asarray(ours)[mask], states.detach().numpy()[mask], "states")
    assert_same(ours_last, last.detach(), "last state")
    assert_same(gradient, theirs_x.grad, "gradient")


@pytest.mark.parametrize(
    "mel",
    [LogMel(), LogMel(8000, 0.032, 0.01, 24, 100.0, 3500.0), LogMel(16_000, 0.025, 0.0125, 64, 20.0, 8000.0)],
    ids=["default", "8_khz", "64_bands"],
)
def test_log_mel(mel):
    """transformers' spectrogram (modelled on librosa), with Slaney's scale and norm, scaled as LogMel documents."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    size = mel.window_samples
    bank = mel_filter_bank(size // 2 + 1, mel.bands, mel.low, mel.high, mel.rate, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel.filters(), bank, rtol=1e-4, atol=1e-7)
    wave = np.random.default_rng(3).normal(size=(2, 4000)).astype(np.float32)
    window = window_function(size, "hann")
    scale = mel.rate / size / np.sum(window**2)
    for ours, samples in zip(np.asarray(jax.jit(mel.__call__)(jnp.asarray(wave))), wave):
        energy = spectrogram(
            samples, window, size, mel.hop_samples, fft_length=size, power=2.0, center=False, mel_filters=bank, mel_floor=0.0
        )
        np.testing.assert_allclose(ours, np.log(energy.T * scale + mel.floor), atol=2e-4)
