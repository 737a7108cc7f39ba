"""Perceiver exactly as its paper defines it."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mmjax.fusion.joint import project
from mmjax.nn import Attention, Transformer
from mmjax.nn.attention import gelu_tanh
from mmjax.nn.checks import divides, non_negative, positive
from mmjax.types import Tokens

__all__ = ["PublishedPerceiver", "fourier_features"]


def fourier_features(grid: tuple[int, ...], bands: int) -> Float[Array, "n c"]:
    """The positions of the cells of a grid with D sides (section 3.2), row by row, c = D (2 bands + 1): the coordinates x_d,
    evenly spaced from -1 to 1, then the sin(pi f_k x_d), then the cos(pi f_k x_d). The frequencies f_k are evenly spaced from 1
    to half the number of cells along the side, the Nyquist frequency. A side with one cell has x_d = -1."""
    x = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in grid), indexing="ij"), axis=-1).reshape(-1, len(grid))
    frequencies = np.stack([np.linspace(1, size / 2, bands) for size in grid])
    angle = (math.pi * x[:, :, None] * frequencies[None]).reshape(len(x), -1)
    return jnp.asarray(np.concatenate([x, np.sin(angle), np.cos(angle)], axis=1), jnp.float32)


class _Read(nn.Module):
    """z + A(LN(z), LN'(x)), then z + M(LN''(z)), with one head as wide as the narrower of z and x, and M as wide as z."""

    dtype: Any

    @nn.compact
    def __call__(self, z: Float[Array, "b n d"], x: Float[Array, "b m e"], mask: Bool[Array, "b m"]) -> Float[Array, "b n d"]:
        norm = lambda name: nn.LayerNorm(1e-5, name=name)
        width = z.shape[-1]
        attention = Attention(1, min(width, x.shape[-1]), dtype=self.dtype, output=width, name="attention")
        z = z + attention(norm("norm1")(z), norm("norm_context")(x), mask).astype(jnp.float32)
        y = gelu_tanh(project(norm("norm2")(z), width, "up", self.dtype))
        return z + project(y, width, "down", self.dtype)


class PublishedPerceiver(nn.Module):
    """Perceiver (Jaegle et al., 2021, "Perceiver: general perception with iterative attention", section 3 and appendix C), with
    the sizes of its model for ImageNet. Latents z read the tokens x of all modalities, then attend to each other:

        z <- z + A(LN(z), LN(x)),  z <- z + M(LN(z)),  then `depth` blocks of self-attention;    `reads` times

    A has one head, whose queries, keys and values are as wide as the narrower of z and x. Perceptrons M have as many units as z
    is wide. Fourier features of its position (`fourier_features`) are appended to each token. Several modalities also get
    learned features, the same for all tokens of a modality, so that all are `encoding` wider than the widest (section 4.2).
    There is no dropout and no last norm. With `shared` weights, reads have the same weights from the second one on, and the
    blocks after each read are the same (table 7).

    The output are the latents, all valid if any token is; the mean over them, and a linear layer, is the head `Classifier`. The
    paper's code has not been published. Where the paper does not say it, this is as in the authors' code of Perceiver IO: GELU
    by tanh, 1e-5 in the norms, the order of the features, and 8 heads of self-attention.

    Deviations: masked tokens are left out; the paper has none. The highest frequency is half the size of the grid; the paper
    has another one for point clouds, which have no grid. The paper's models for AudioSet are PublishedPerceiver(reads=2,
    depth=8, shared=False); it replaces videos by zeros at random in training, where `data.augment.DropModalities` masks them.
    `fusion.Perceiver` has a projection of the tokens, learned positions and a last norm.

    latents: number of latents. width: of them. reads: number of reads. depth: blocks of self-attention after each read, 0 for
    none. heads: of self-attention; they divide `width`. bands: number of frequencies. encoding: learned features of the widest
    modality, if there are several. grids: {modality: sides of the grid of its tokens}, such as (rows, columns); without an
    entry, tokens are a sequence. ValueError if a grid has another number of cells than there are tokens, or is of an unknown
    modality. shared: whether reads and blocks share weights. dtype: of the matmuls.
    """

    latents: int = 512
    width: int = 1024
    reads: int = 8
    depth: int = 6
    heads: int = 8
    bands: int = 64
    encoding: int = 4
    grids: Mapping[str, tuple[int, ...]] | None = None
    shared: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        del train
        positive(self, "latents", "reads", "bands", "encoding")
        non_negative(self, "depth")
        divides(self, "heads", "width")
        normal, inputs = nn.initializers.truncated_normal(0.02), self._inputs(tokens)
        widest = max(x.shape[-1] for x in inputs.values()) + self.encoding

        def encoded(name, x):
            if len(inputs) == 1:
                return x
            features = jnp.asarray(self.param(f"{name}_encoding", normal, (1, 1, widest - x.shape[-1])))
            return jnp.concatenate([x, jnp.broadcast_to(features, (*x.shape[:2], features.shape[-1]))], axis=-1)

        x = jnp.concatenate([encoded(name, x) for name, x in inputs.items()], axis=1)
        mask = jnp.concatenate([tokens[name].mask for name in inputs], axis=1)
        sizes = {"activation": gelu_tanh, "epsilon": 1e-5, "dtype": self.dtype}
        count = self.reads
        readers = [_Read(self.dtype, name=f"read{n}") for n in range(min(count, 2) if self.shared else count)]
        blocks = [
            Transformer(self.depth, self.heads, self.width, **sizes, name=f"transformer{n}")
            for n in range(1 if self.shared else count)
        ]
        z = jnp.asarray(self.param("latents", normal, (1, self.latents, self.width)))
        z = jnp.broadcast_to(z, (x.shape[0], *z.shape[1:]))
        valid = jnp.ones(z.shape[:2], bool)
        for n in range(count):
            z = readers[min(n, len(readers) - 1)](z, x, mask)
            z = blocks[min(n, len(blocks) - 1)](z, valid)
        return Tokens(z, valid & mask.any(axis=1)[:, None])

    def _inputs(self, tokens: Mapping[str, Tokens]) -> dict[str, Float[Array, "b n d"]]:
        """The tokens and the features of their positions by modality, sorted by name; masked tokens are zeros."""
        grids = dict(self.grids or {})
        unknown = sorted(set(grids) - set(tokens))
        if unknown:
            raise ValueError(
                f"PublishedPerceiver.grids is of {unknown}; its keys must be some of the modalities {sorted(tokens)}"
            )
        inputs = {}
        for name, t in sorted(tokens.items()):
            grid = tuple(grids.get(name, t.x.shape[1:2]))
            if math.prod(grid) != t.x.shape[1]:
                raise ValueError(f"PublishedPerceiver.grids has {grid} for {name!r}, which has {t.x.shape[1]} tokens")
            place = fourier_features(grid, self.bands)
            place = jnp.broadcast_to(place[None], (t.x.shape[0], *place.shape))
            clean = jnp.where(t.mask[..., None], t.x, 0).astype(jnp.float32)
            inputs[name] = jnp.concatenate([clean, place], axis=-1)
        return inputs
