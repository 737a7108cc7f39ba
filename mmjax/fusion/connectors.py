"""Connectors: the tokens of encoders -> vectors of a language model (`decoders.LanguageModel` or `decoders.Interleaved`).

A connector is a fusion that keeps modalities apart. Each has its own parameters; their outputs follow one another, sorted by
name. Vectors of an absent modality are masked. `PixelShuffle`, `GridMean` and `Normalised` prepare the tokens for another
connector. `resamplers.py` has connectors with a fixed number of vectors.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.encoders.vit import patches
from mmjax.fusion.compose import Append
from mmjax.fusion.early import spans_of
from mmjax.nn.attention import gelu
from mmjax.nn.checks import positive
from mmjax.nn.norm import RMSNorm
from mmjax.types import Tokens

__all__ = [
    "GridMean", "LineBreak", "MLPConnector", "Normalised", "PixelShuffle", "gemma3_connector", "idefics3_connector",
    "llava_linear", "llava_mlp",
]  # fmt: skip


class MLPConnector(nn.Module):
    """A perceptron on each token, without positions: dense layers with biases, and an activation after all but the last.

    width: of the output, the width of the language model. hidden: widths of the hidden layers; () for a linear connector.
    activation: of the hidden layers. bias: whether the layers have biases. dtype: of the matmuls; the output is float32.
    """

    width: int
    hidden: tuple[int, ...] = ()
    activation: Callable = gelu
    bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "hidden")
        del train

        def one(name: str) -> Tokens:
            x = jnp.where(tokens[name].mask[..., None], tokens[name].x, 0)
            for layer, width in enumerate((*self.hidden, self.width)):
                x = self.activation(x) if layer else x
                x = nn.Dense(width, use_bias=self.bias, dtype=self.dtype, name=f"{name}_dense{layer}")(x)
            return Tokens(x, tokens[name].mask)

        return Append()({name: one(name) for name in sorted(tokens)})

    def spans(self, counts: Mapping[str, int]) -> dict[str, range]:
        """The positions of each modality's tokens in the output. counts: {modality: number of its tokens}."""
        return spans_of(counts)


def _cells(module: nn.Module, name: str, tokens: Tokens) -> tuple[Float[Array, "b m cell d"], Bool[Array, "b m cell"]]:
    """The tokens of each cell of `module.side` x `module.side`, in the order rows, columns, with zeros where masked."""
    positive(module, "side", "grid")
    (rows, columns), side, kind = module.grid, module.side, type(module).__name__
    if rows % side or columns % side:
        raise ValueError(f"{kind}.side is {side}; it must divide the rows and columns of {kind}.grid, which is {module.grid}")
    batch, count = tokens.mask.shape
    if count % (rows * columns):
        raise ValueError(f"{kind}.grid is {module.grid}, but {name!r} has {count} tokens, which are no grids of this size")
    images = batch * count // (rows * columns)

    def cells(x):
        x = patches(x.reshape(images, rows, columns, -1), side)
        return x.reshape(batch, count // side**2, side**2, -1)

    mask = cells(tokens.mask[..., None].astype(jnp.float32))[..., 0] > 0
    return cells(jnp.where(tokens.mask[..., None], tokens.x, 0)), mask


class PixelShuffle(nn.Module):
    """Concatenates the features of side x side neighbouring tokens of a grid, then applies a connector.

    n tokens of width d become n / side^2 of width d side^2, in the order rows, columns, features. A token is valid if one of
    its parts is; masked parts are zeros. Several images of the same grid may follow one another.

    connector: any fusion, such as `MLPConnector`. side: of a cell, in tokens. grid: (rows, columns) of each image. ValueError
    if `side` does not divide them, or if the number of tokens is no multiple of the grid's.
    """

    connector: nn.Module
    side: int
    grid: tuple[int, int]

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        def one(name: str) -> Tokens:
            x, mask = _cells(self, name, tokens[name])
            return Tokens(x.reshape(*x.shape[:2], -1), mask.any(axis=-1))

        return self.connector({name: one(name) for name in sorted(tokens)}, train=train)


class GridMean(nn.Module):
    """The mean of the valid ones of side x side neighbouring tokens of a grid, then a connector.

    connector: any fusion. side: of a cell, in tokens. grid: (rows, columns) of each image. ValueError as of `PixelShuffle`.
    """

    connector: nn.Module
    side: int
    grid: tuple[int, int]

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        def one(name: str) -> Tokens:
            x, mask = _cells(self, name, tokens[name])
            count = jnp.maximum(mask.sum(axis=-1), 1).astype(jnp.float32)
            return Tokens(x.astype(jnp.float32).sum(axis=2) / count[..., None], mask.any(axis=-1))

        return self.connector({name: one(name) for name in sorted(tokens)}, train=train)


class Normalised(nn.Module):
    """The RMS norm of each token, then a connector.

    connector: any fusion. epsilon, offset: as in `nn.norm.RMSNorm`.
    """

    connector: nn.Module
    epsilon: float = 1e-6
    offset: float = 0.0

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        def one(name: str) -> Tokens:
            x = jnp.where(tokens[name].mask[..., None], tokens[name].x, 0)
            return Tokens(RMSNorm(self.epsilon, self.offset, name=f"{name}_norm")(x), tokens[name].mask)

        return self.connector({name: one(name) for name in sorted(tokens)}, train=train)


class LineBreak(nn.Module):
    """A learned vector, then the vectors of a connector; it is valid if any of them is.

    In LLaVA-NeXT (Liu et al., 2024, "LLaVA-NeXT: improved reasoning, OCR, and world knowledge") it follows each row of an image
    of any proportions. With `decoders.Interleaved` a text can repeat it: it is vector 0 of the memory.

    connector: any fusion.
    """

    connector: nn.Module

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        rest = self.connector(tokens, train=train)
        batch, _, width = rest.x.shape
        vector = jnp.asarray(self.param("vector", nn.initializers.normal(width**-0.5), (width,)))
        x = jnp.concatenate([jnp.broadcast_to(vector[None, None], (batch, 1, width)), rest.x], axis=1)
        return Tokens(x, jnp.concatenate([rest.mask.any(axis=1, keepdims=True), rest.mask], axis=1))


def llava_linear(width: int, **fields: Any) -> MLPConnector:
    """LLaVA's connector, H_v = W Z_v (Liu et al., 2023, "Visual instruction tuning", equation 1); here with a bias, as in its
    code and in PaliGemma (Beyer et al., 2024, section 3)."""
    return MLPConnector(width, **fields)


def llava_mlp(width: int, **fields: Any) -> MLPConnector:
    """LLaVA-1.5's connector: two dense layers with GELU (Liu et al., 2024, "Improved baselines with visual instruction
    tuning", section 3.2)."""
    return MLPConnector(width, hidden=(width,), **fields)


def idefics3_connector(width: int, side: int, grid: tuple[int, int], **fields: Any) -> PixelShuffle:
    """The connector of Idefics3 (Laurençon et al., 2024, "Building and better understanding vision-language models", section
    3.1) and SmolVLM: pixel shuffle and a dense layer without a bias. side: 2 in Idefics3, 3 or 4 in SmolVLM."""
    return PixelShuffle(MLPConnector(width, bias=False, **fields), side, grid)


def gemma3_connector(width: int, side: int, grid: tuple[int, int], epsilon: float = 1e-6, **fields: Any) -> GridMean:
    """The connector of Gemma 3 (Gemma Team, 2025, section 2): means of cells, an RMS norm, and a dense layer without a bias.

    side: 4 for 256 vectors of an image of 64 x 64 patches.
    """
    return GridMean(Normalised(MLPConnector(width, bias=False, **fields), epsilon, 1.0), side, grid)
