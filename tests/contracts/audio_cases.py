"""Audio encoders for the contract suite."""

import jax

from mmjax.encoders.audio import AST, FrameRNN, OnSpectrum, SpectrogramCNN
from mmjax.encoders.qwen_audio import QwenAudio
from mmjax.encoders.wav2vec2 import Wav2Vec2
from mmjax.encoders.whisper import WhisperEncoder
from mmjax.nn.mel import MFCC, LogMel
from mmjax.nn.recurrent import GRU, LSTM, Bidirectional
from mmjax.types import Padded
from tests.contracts.inputs import BATCH, frames, recordings

MEL = LogMel(rate=1000, window=0.032, hop=0.016, bands=5, low=50.0, high=500.0)  # window 32 samples, hop 16


def wave(key, samples=80):
    """Clips of two to four frames; every sample belongs to a frame."""
    values, lengths = jax.random.split(key)
    count = jax.random.randint(lengths, (BATCH,), 2, 5)
    return Padded(jax.random.normal(values, (BATCH, samples)), 16 + 16 * count)


# name -> (module, key -> input)
ENCODERS = {
    "frame_lstm": (FrameRNN(width=6, layer=LSTM(6), dropout=0.3), frames),
    "frame_gru_bidirectional": (FrameRNN(width=6, layer=Bidirectional(GRU(4)), every_step=True, dropout=0.3), frames),
    "spectrogram_cnn": (SpectrogramCNN(widths=(4, 6), dropout=0.3), frames),
    "ast": (
        AST(bands=6, frames=9, patch=4, stride=(2, 2), width=8, depth=1, heads=2, hidden=12, dropout=0.3),
        frames,
    ),
    "whisper": (WhisperEncoder(positions=5, width=8, depth=1, heads=2, hidden=12, dropout=0.3), frames),
    "qwen_audio": (QwenAudio(WhisperEncoder(positions=6, width=8, depth=1, heads=2, hidden=12, dropout=0.3)), recordings),
    "wav2vec2": (
        Wav2Vec2((4, 4), (16, 2), (8, 2), width=8, depth=1, heads=2, hidden=12, taps=4, groups=2, dropout=0.3),
        wave,
    ),
    "mfcc_lstm": (OnSpectrum(MFCC(MEL, coefficients=4), FrameRNN(width=6, layer=LSTM(5), dropout=0.3)), wave),
}
