"""Deterministic preprocessing of waveforms on the host."""

import numpy as np

__all__ = ["resample"]


def resample(wave: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Band-limited resampling from `rate` to `to` Hz (libsoxr, quality VHQ): [t] -> float32 [round(t * to / rate)].

    Raises ValueError for rates below 1 Hz, and ImportError without soxr.
    """
    if min(rate, to) < 1:
        raise ValueError(f"resample: the rates are {rate} and {to} Hz; both must be at least 1 Hz")
    if rate == to:
        return wave.astype(np.float32)
    try:
        import soxr
    except ImportError as error:
        raise ImportError("resampling needs soxr: pip install 'mmjax[audio]'") from error
    return soxr.resample(wave.astype(np.float32), rate, to, quality="VHQ")
