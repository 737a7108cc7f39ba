"""EfficientNet-Lite (Tan and Le, 2019; the variant for mobile devices by Liu, 2020): images [b h w c] -> Tokens."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.nn.checks import positive
from mmjax.nn.conv import Conv, depthwise
from mmjax.nn.norm import BatchNorm
from mmjax.types import Tokens

__all__ = [
    "Depthwise", "EfficientNetLite", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "scaled_stages",
]


class Depthwise(nn.Module):
    """Depthwise convolution without bias and with "SAME" padding: the output has ceil(side / stride) pixels per side.

    kernel: side of the kernel, in pixels. stride: in pixels. dtype: of the computation.
    """

    kernel: int
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
        sides, strides = (self.kernel, self.kernel), (self.stride, self.stride)
        kernel = self.param("kernel", nn.initializers.he_normal(), (*sides, 1, x.shape[-1]))
        padding = lax.padtype_to_pads(x.shape[1:3], sides, strides, "SAME")
        return depthwise(x.astype(self.dtype), jnp.asarray(kernel, self.dtype), strides, padding)


class EfficientNetLite(nn.Module):
    """Inverted bottlenecks without squeeze-and-excitation, ReLU6, and batch norm after each convolution.

    One token per cell of the last grid, whose sides are 1/32 of the image's. The classifier of the paper takes their mean.

    stages: (blocks, kernel, stride, expansion, channels) of each stage. A block widens x by the factor `expansion` with a 1x1
        convolution (omitted for 1), applies a depthwise kernel x kernel convolution, and projects to `channels` without an
        activation. The input is added if its shape equals the output's. Only the first block of a stage has the stride.
    stem: channels of the first convolution, 3x3 with stride 2. head: channels of the last convolution, 1x1.
    epsilon: of the batch norms. dtype: of the convolutions; statistics and tokens are float32.
    """

    stages: tuple[tuple[int, int, int, int, int], ...] = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    stem: int = 32
    head: int = 1280
    epsilon: float = 1e-3
    dtype: Any = jnp.float32

    takes_present = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False, present: Bool[Array, " b"] | None = None) -> Tokens:
        def normalise(x, name):
            norm = BatchNorm(epsilon=self.epsilon, dtype=self.dtype, name=f"{name}_norm")
            return norm(x, train=train, present=present)

        def convolve(x, features, name, kernel=1, stride=1):
            sides, strides = (kernel, kernel), (stride, stride)
            return normalise(Conv(features, sides, strides, use_bias=False, dtype=self.dtype, name=f"{name}_conv")(x), name)

        def block(x, kernel, stride, expansion, channels, name):
            y = x if expansion == 1 else nn.relu6(convolve(x, x.shape[-1] * expansion, f"{name}_expand"))
            y = Depthwise(kernel, stride, self.dtype, name=f"{name}_depthwise_conv")(y)
            y = convolve(nn.relu6(normalise(y, f"{name}_depthwise")), channels, f"{name}_project")
            return x + y if stride == 1 and channels == x.shape[-1] else y

        positive(self, "stages", "stem", "head")
        x = nn.relu6(convolve(x, self.stem, "stem", kernel=3, stride=2))
        for stage, (blocks, kernel, stride, expansion, channels) in enumerate(self.stages, 1):
            for i in range(1, blocks + 1):
                x = block(x, kernel, stride if i == 1 else 1, expansion, channels, f"stage{stage}_block{i}")
        x = nn.relu6(convolve(x, self.head, "head"))
        x = x.reshape(x.shape[0], -1, x.shape[-1]).astype(jnp.float32)
        return Tokens(x, jnp.ones(x.shape[:2], bool))


def efficientnet_lite0(**fields: Any) -> EfficientNetLite:
    """EfficientNet-Lite0: B0 of the paper's table 1 in the lite variant; 3.4 million parameters without the classifier.

    fields: any other field of EfficientNetLite.
    """
    return EfficientNetLite(**fields)


def scaled_stages(width: float, depth: float) -> tuple[tuple[int, int, int, int, int], ...]:
    """The stages with `width` times the channels and `depth` times the blocks of Lite0 (Tan and Le, 2019, equation 3).

    Channels are rounded to multiples of 8, but not down by more than a tenth; blocks are rounded up. The lite variants leave
    the first and the last stage one block, and stem and head as they are.
    """
    stages = EfficientNetLite.stages
    deeper = [math.ceil(blocks * depth) if 0 < at < len(stages) - 1 else blocks for at, (blocks, *_) in enumerate(stages)]
    return tuple((blocks, *middle, _rounded(channels * width)) for blocks, (_, *middle, channels) in zip(deeper, stages))


def _rounded(channels: float) -> int:
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def efficientnet_lite1(**fields: Any) -> EfficientNetLite:
    """EfficientNet-Lite1: 1.1 times as deep as Lite0, for images of 240 px. fields: as in `efficientnet_lite0`."""
    return EfficientNetLite(**{"stages": scaled_stages(1.0, 1.1), **fields})


def efficientnet_lite2(**fields: Any) -> EfficientNetLite:
    """EfficientNet-Lite2: 1.1 times as wide and 1.2 times as deep as Lite0, for images of 260 px."""
    return EfficientNetLite(**{"stages": scaled_stages(1.1, 1.2), **fields})
