"""The audio encoder of Qwen2-Audio: Whisper's, with one token per 40 ms of sound."""

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from mmjax.encoders.whisper import WhisperEncoder
from mmjax.types import Declared, Padded, Tokens

__all__ = ["QwenAudio", "Recordings"]


@struct.dataclass
class Recordings:
    """The recordings of an example as log-mel frames of 10 ms, all with silence up to the same length.

    x: Float[b k n bands], of k recordings; n is a multiple of 4. length: Int[b k], the frames of sound before the silence; 0 if
    there is no recording, whose frames may be anything.
    """

    x: Declared[Float[Array, "b k n bands"]]
    length: Declared[Int[Array, "b k"]]


class QwenAudio(nn.Module):
    """Whisper's encoder on each recording, means of pairs of states, and a norm (Chu et al., 2024, "Qwen2-Audio", section 2).

    The tokens of recordings follow one another, [b k * n / 4 d]. States attend to those of sound; the convolutions see the
    first frame of silence too, as in the published model. A mean of which half is silence is masked.

    whisper: its parameters are those of this module.
    """

    whisper: WhisperEncoder

    def setup(self):
        nn.share_scope(self, self.whisper)

    def __call__(self, recordings: Recordings, *, train: bool = False) -> Tokens:
        batch, count, frames, bands = recordings.x.shape
        x = jnp.where((recordings.length > 0)[..., None, None], recordings.x, 0).reshape(batch * count, frames, bands)
        states = (recordings.length.reshape(-1) + 1) // 2
        all_frames = Padded(x, jnp.full(batch * count, frames))
        y = self.whisper.states(all_frames, jnp.arange(frames // 2)[None] < states[:, None], train=train)
        y = self.whisper.norm(y.reshape(batch * count, frames // 4, 2, -1).mean(axis=2))
        mask = jnp.arange(frames // 4)[None] < (states // 2)[:, None]
        return Tokens(y.reshape(batch, -1, y.shape[-1]), mask.reshape(batch, -1))
