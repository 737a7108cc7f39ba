"""VGG (Simonyan and Zisserman, 2015): images [b h w c] -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.nn.checks import positive, rate
from mmjax.nn.conv import Conv, adaptive_mean_pool, max_pool
from mmjax.nn.dropout import Dropout
from mmjax.nn.norm import BatchNorm
from mmjax.types import Tokens

__all__ = ["VGG", "vgg11", "vgg13", "vgg16", "vgg19"]


class VGG(nn.Module):
    """Stages of 3x3 convolutions with bias and ReLU, each followed by 2x2 max-pooling; then dense layers with ReLU.

    stages: (convolutions, channels) of each stage; an image of 224 px has 7 x 7 cells after five stages.
    hidden: widths of the dense layers, fc6 and fc7 in the paper. The last grid is averaged to 7 x 7 cells (torch's adaptive
        mean) and flattened in the order rows, columns, channels; the output of the dense layers is the single token. With (),
        the tokens are the cells of the last grid, which suits small images, and there is no dropout.
    batch_norm: batch norm between convolution and ReLU, as in torchvision's vgg*_bn (epsilon 1e-5).
    dropout: rate after each dense layer. dtype: of convolutions and matmuls; the tokens are float32.

    Raises ValueError if the image is smaller than 2^stages pixels. torchvision flattens in the order channels, rows, columns:
    its first dense weight [4096, 512 * 7 * 7] becomes our kernel by
    `weight.reshape(4096, 512, 7, 7).transpose(2, 3, 1, 0).reshape(-1, 4096)`.
    """

    stages: tuple[tuple[int, int], ...] = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
    hidden: tuple[int, ...] = (4096, 4096)
    batch_norm: bool = False
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @property
    def takes_present(self) -> bool:
        return self.batch_norm

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False, present: Bool[Array, " b"] | None = None
    ) -> Tokens:
        positive(self, "stages", "hidden")
        rate(self, "dropout")
        if min(x.shape[1:3]) < 2 ** len(self.stages):
            raise ValueError(
                f"VGG.stages has {len(self.stages)} stages, each of which halves the image; it needs at least "
                f"{2 ** len(self.stages)} px per side, but the image has {x.shape[1]} x {x.shape[2]} px"
            )
        for stage, (convolutions, channels) in enumerate(self.stages, 1):
            for i in range(1, convolutions + 1):
                last = i == convolutions
                pool = 2 if last and not self.batch_norm else 1
                x = Conv(channels, pool=pool, dtype=self.dtype, name=f"conv{stage}_{i}")(x)
                if self.batch_norm:  # its statistics include all pixels, so pooling comes after it
                    x = BatchNorm(dtype=self.dtype, name=f"norm{stage}_{i}")(x, train=train, present=present)
                    x = max_pool(x) if last else x
                x = nn.relu(x)  # equal before and after pooling, but cheaper after
        if self.hidden:
            x = adaptive_mean_pool(x, 7).reshape(x.shape[0], 1, -1)
            for layer, width in enumerate(self.hidden, 6):
                dense = nn.Dense(width, dtype=self.dtype, kernel_init=nn.initializers.he_normal(), name=f"fc{layer}")
                x = Dropout(self.dropout, name=f"dropout{layer}")(nn.relu(dense(x)), train=train)
        x = x.reshape(x.shape[0], -1, x.shape[-1]).astype(jnp.float32)
        return Tokens(x, jnp.ones(x.shape[:2], bool))


def vgg11(batch_norm: bool = False, **fields: Any) -> VGG:
    """Configuration A of the paper's table 1; 129 million parameters through fc7. fields: any other field of VGG."""
    return VGG(((1, 64), (1, 128), (2, 256), (2, 512), (2, 512)), batch_norm=batch_norm, **fields)


def vgg13(batch_norm: bool = False, **fields: Any) -> VGG:
    """Configuration B."""
    return VGG(((2, 64), (2, 128), (2, 256), (2, 512), (2, 512)), batch_norm=batch_norm, **fields)


def vgg16(batch_norm: bool = False, **fields: Any) -> VGG:
    """Configuration D; 134 million parameters through fc7."""
    return VGG(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), batch_norm=batch_norm, **fields)


def vgg19(batch_norm: bool = False, **fields: Any) -> VGG:
    """Configuration E."""
    return VGG(((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), batch_norm=batch_norm, **fields)
