"""`python -m mmjax.build`: `python -m mmjax.data.build` with --features, which also compares items by published encoders."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mmjax.data.build.__main__ import main

__all__ = ["MAX_TOKENS", "encoder"]

MAX_TOKENS = 64  # longer texts are compared by their beginning


def encoder(source: str) -> Callable[[Any], np.ndarray]:
    """A text or an image -> its features by the weights of a source, see `mmjax.pretrained.load_encoder`; fetched once.

    Raises DataError if they cannot be loaded.
    """
    from mmjax.data.decode import DataError
    from mmjax.pretrained.cached_features import FeatureInput
    from mmjax.pretrained.files import WeightsError
    from mmjax.pretrained.init import digest
    from mmjax.pretrained.loading import load_encoder

    try:
        return FeatureInput(source, digest(load_encoder(source).variables), max_tokens=MAX_TOKENS)
    except WeightsError as error:
        raise DataError(str(error)) from None


if __name__ == "__main__":
    main(encoder=encoder)
