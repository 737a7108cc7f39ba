"""Images -> arrays of one size, before any random augmentation."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image

__all__ = ["centre_crop", "on_white", "resize", "to_unit"]


def on_white(image: np.ndarray) -> np.ndarray:
    """uint8 [h w 4] with straight alpha, or opaque [h w 3] -> uint8 [h w 4]: the image over white, and alpha unchanged."""
    if image.shape[-1] == 3:
        return np.pad(image, [(0, 0), (0, 0), (0, 1)], constant_values=255)
    alpha = image[..., 3:].astype(np.float32) / 255
    colour = image[..., :3] * alpha + 255 * (1 - alpha)
    return np.concatenate([colour.round().astype(np.uint8), image[..., 3:]], axis=-1)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [h w c] -> uint8 [size size c], each channel by itself (Lanczos).

    Images with alpha must be drawn over a background first, or the colours of transparent pixels leak into visible ones.
    """
    if image.shape[:2] == (size, size):
        return image
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(image.shape[-1])  # RGBA would weight colours by alpha
    if mode is None:
        return np.concatenate([resize(image[..., c : c + 1], size) for c in range(image.shape[-1])], axis=-1)
    whole = Image.frombuffer(mode, image.shape[1::-1], np.ascontiguousarray(image), "raw", mode, 0, 1)
    return np.array(whole.resize((size, size), Image.Resampling.LANCZOS)).reshape(size, size, -1)


def to_unit(x: Any) -> Any:
    """uint8 -> float32 in [0, 1]; the preprocessing of a batch of images on the device."""
    return x.astype(jnp.float32) / 255


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [h w c] -> uint8 [size size c]: the largest centred square, resized; proportions do not change."""
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return resize(image[top : top + side, left : left + side], size)
