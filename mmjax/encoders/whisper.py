"""The encoder of Whisper (Radford et al., 2023, "Robust speech recognition via large-scale weak supervision")."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.nn.attention import Transformer, gelu
from mmjax.nn.checks import positive, transformer_fields
from mmjax.nn.conv import Conv
from mmjax.nn.dropout import Dropout
from mmjax.types import Padded, Tokens

__all__ = ["WhisperEncoder", "whisper_base", "whisper_positions", "whisper_small", "whisper_tiny"]


def whisper_positions(positions: int, width: int) -> Float[np.ndarray, "n d"]:
    """Sinusoidal positions: sin(p r_i), then cos(p r_i), with rates r_i in a geometric sequence from 1 to 1 / 10000."""
    rates = np.exp(-np.log(10_000) / max(width // 2 - 1, 1) * np.arange(width // 2))
    angles = np.arange(positions)[:, None] * rates[None]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


class WhisperEncoder(nn.Module):
    """Padded log-mel frames, x Float[b n bands] -> Tokens, one per two frames of 10 ms (figure 1 and section 2.2).

    Two convolutions over time with GELU, the second with stride 2; sinusoidal positions, a pre-norm Transformer with keys
    without bias, and a final norm.

    The tokens do not depend on the amount of padding: frames beyond the length count as zeros, and token t is valid if frame
    2t is. The original code always pads to 30 s and attends to the padded silence. To reproduce it, pass 3000 frames with
    length 3000, the default of `pretrained.audio.WhisperPreprocessing`.

    positions: the number of tokens of the longest clip; an input has at most twice as many frames, else ValueError. The
        position table is a parameter, as in the published weights, but has no gradient. Weight decay would shrink it, so
        exclude it from training.
    width, depth, heads, hidden, activation: of the Transformer. dropout: rate on the embedded frames and in the Transformer.
    dtype: of convolutions and matmuls; norms and tokens are float32.
    """

    positions: int = 1500
    width: int = 384
    depth: int = 4
    heads: int = 6
    hidden: int = 1536
    activation: Callable = gelu
    dropout: float = 0.0
    dtype: Any = jnp.float32

    def setup(self):
        self.norm = nn.LayerNorm(1e-5)

    def __call__(self, frames: Padded, *, train: bool = False) -> Tokens:
        mask = frames.mask[:, ::2]
        return Tokens(self.norm(self.states(frames, mask, train=train)), mask)

    @nn.compact
    def states(self, frames: Padded, mask: Bool[Array, "b m"], *, train: bool = False) -> Float[Array, "b m d"]:
        """The output of the last block, before the final norm. mask: the tokens that are attended to."""
        positive(self, "positions")
        transformer_fields(self)
        if frames.x.shape[1] > 2 * self.positions:
            raise ValueError(
                f"WhisperEncoder.positions is {self.positions}, for at most {2 * self.positions} frames, but the input has "
                f"{frames.x.shape[1]}"
            )
        x = frames.x
        for number, stride in ((1, 1), (2, 2)):
            x = jnp.where(frames.mask[..., None], x, 0)
            conv = Conv(self.width, (1, 3), (1, stride), ((0, 0), (1, 1)), dtype=self.dtype, name=f"conv{number}")
            x = gelu(conv(x[:, None])[:, 0]).astype(jnp.float32)
        table = self.param("position", lambda key: jnp.asarray(whisper_positions(self.positions, self.width)))
        x = x + lax.stop_gradient(table)[None, : x.shape[1]]
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        transformer = Transformer(
            self.depth,
            self.heads,
            self.hidden,
            dropout=self.dropout,
            activation=self.activation,
            epsilon=1e-5,
            key_bias=False,
            dtype=self.dtype,
            name="transformer",
        )
        return transformer(x, mask, train=train)


def whisper_tiny(**fields: Any) -> WhisperEncoder:
    """The encoder of the tiny size (table 1): 8.2 million parameters with 80 bands. fields: any other field."""
    return WhisperEncoder(width=384, depth=4, heads=6, hidden=1536, **fields)


def whisper_base(**fields: Any) -> WhisperEncoder:
    """The encoder of the base size: 20.6 million parameters."""
    return WhisperEncoder(width=512, depth=6, heads=8, hidden=2048, **fields)


def whisper_small(**fields: Any) -> WhisperEncoder:
    """The encoder of the small size: 88.2 million parameters."""
    return WhisperEncoder(width=768, depth=12, heads=12, hidden=3072, **fields)
