"""Image encoders: [b h w c] -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn import Conv, Dropout
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = ["CNN"]


class CNN(nn.Module):
    """Stages of 3x3 convolution, ReLU and 2x2 max-pooling; one token per cell of the last grid.

    widths: channels of each stage. Each stage halves height and width: an image of 48 px has 6 x 6 tokens after three stages.
    dropout: rate on the tokens. dtype: of the convolutions. Raises ValueError if the image is smaller than 2^stages pixels.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Tokens:
        positive(self, "widths")
        rate(self, "dropout")
        if min(x.shape[1:3]) < 2 ** len(self.widths):
            raise ValueError(
                f"CNN.widths has {len(self.widths)} stages, each of which halves the image; it needs at least "
                f"{2 ** len(self.widths)} px per side, but the image has {x.shape[1]} x {x.shape[2]} px"
            )
        for stage, width in enumerate(self.widths):
            x = nn.relu(Conv(width, pool=2, dtype=self.dtype, name=f"stage{stage}")(x))  # ReLU last is cheaper
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return Tokens(x, jnp.ones(x.shape[:2], bool))
