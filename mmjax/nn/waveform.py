"""Waveforms on the host, before anything random happens to them."""

import numpy as np


def resample(wave: np.ndarray, rate: int, to: int) -> np.ndarray:
    """float32 [t] at `rate` Hz -> float32 [t * to / rate, rounded] at `to` Hz, band-limited (libsoxr, very high quality).

    `mmjax.data.decode.decode_audio` does the same to files. Raises ValueError for rates below 1 Hz.
    """
    if min(rate, to) < 1:
        raise ValueError(f"the rates are {rate} and {to} Hz; both must be at least 1")
    if rate == to:
        return wave.astype(np.float32)
    try:
        import soxr
    except ImportError as error:
        raise ImportError("resampling needs soxr: pip install 'mmjax[audio]'") from error
    return soxr.resample(wave.astype(np.float32), rate, to, quality="VHQ")
