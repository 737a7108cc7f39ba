"""EfficientNet-Lite (Tan and Le, 2019, in the form for small machines, Liu, 2020): pictures [b h w c] -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.nn.conv import Conv, depthwise
from mmjax.nn.norm import BatchNorm
from mmjax.types import Tokens


class Depthwise(nn.Module):
    """Convolution of each channel by itself, without a bias; as many rows and columns as the picture has, divided by the
    stride and rounded up (TensorFlow's "SAME")."""

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
    """Inverted bottlenecks without squeeze-and-excitation, ReLU6, batch norm after each convolution; one token for each cell
    of the last grid, a 32nd of the picture's height and width. Their mean is what the paper's classifier takes.

    stages: (blocks, kernel, stride, expansion, channels) of each. A block widens x `expansion` times by a 1x1 convolution (not
        where it is 1), filters each channel with kernel x kernel weights, and narrows it to `channels` without an activation;
        x is added where the shape is the same. The stride is that of a stage's first block.
    stem: channels of the first 3x3 convolution, of stride 2; head: of the last 1x1 convolution.
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
        def normalised(x, name):
            norm = BatchNorm(epsilon=self.epsilon, dtype=self.dtype, name=f"{name}_norm")
            return norm(x, train=train, present=present)

        def convolve(x, features, name, kernel=1, stride=1):
            sides, strides = (kernel, kernel), (stride, stride)
            return normalised(Conv(features, sides, strides, use_bias=False, dtype=self.dtype, name=f"{name}_conv")(x), name)

        def block(x, kernel, stride, expansion, channels, name):
            y = x if expansion == 1 else nn.relu6(convolve(x, x.shape[-1] * expansion, f"{name}_expand"))
            y = Depthwise(kernel, stride, self.dtype, name=f"{name}_depthwise_conv")(y)
            y = convolve(nn.relu6(normalised(y, f"{name}_depthwise")), channels, f"{name}_project")
            return x + y if stride == 1 and channels == x.shape[-1] else y

        x = nn.relu6(convolve(x, self.stem, "stem", kernel=3, stride=2))
        for stage, (blocks, kernel, stride, expansion, channels) in enumerate(self.stages, 1):
            for i in range(1, blocks + 1):
                x = block(x, kernel, stride if i == 1 else 1, expansion, channels, f"stage{stage}_block{i}")
        x = nn.relu6(convolve(x, self.head, "head"))
        x = x.reshape(x.shape[0], -1, x.shape[-1]).astype(jnp.float32)
        return Tokens(x, jnp.ones(x.shape[:2], bool))


def efficientnet_lite0(**fields: Any) -> EfficientNetLite:
    """EfficientNet-B0's table 1 made lite; 3.4 million parameters up to the classifier. fields: any other field of
    EfficientNetLite."""
    return EfficientNetLite(**fields)
