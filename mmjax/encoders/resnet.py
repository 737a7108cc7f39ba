"""Residual networks (He et al., 2016): images [b h w c] -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.nn.checks import positive
from mmjax.nn.conv import Conv, max_pool
from mmjax.nn.norm import BatchNorm
from mmjax.types import Tokens

__all__ = ["EXPANSION", "ConvNorm", "ResNet", "resnet18", "resnet34", "resnet50", "resnet101"]

EXPANSION = 4  # channels of a bottleneck's output per channel of its 3x3 convolution


class ConvNorm(nn.Module):
    """Convolution without bias, padded by half its kernel on each side, then batch normalisation (epsilon 1e-5)."""

    features: int
    kernel: int
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False, present: Bool[Array, " b"] | None = None
    ) -> Float[Array, "b i j o"]:
        side = (self.kernel // 2, self.kernel // 2)  # "SAME" with stride 2 would pad on one side only
        x = Conv(
            self.features,
            kernel_size=(self.kernel, self.kernel),
            strides=(self.stride, self.stride),
            padding=(side, side),
            use_bias=False,
            dtype=self.dtype,
            name="conv",
        )(x)
        return BatchNorm(dtype=self.dtype, name="norm")(x, train=train, present=present)


class ResNet(nn.Module):
    """A stem, then stages of residual blocks relu(x + f(x)); one token per cell of the last grid.

    The classifier of the paper takes the mean of the tokens.

    stages: (blocks, channels) of each stage; each stage after the first halves height and width.
    bottleneck: f is 1x1, 3x3 and 1x1 convolutions to four times the channels (figure 5, right), with the stride in the 3x3
        convolution ("v1.5", as in torchvision); otherwise f is two 3x3 convolutions. If the shape changes, x passes a 1x1
        convolution (option B).
    stem: side of the first kernel, odd. 7 is the paper's stem for ImageNet: stride 2, then 3x3 max-pooling with stride 2; an
        image of 224 px has 7 x 7 tokens. Other values mean stride 1 and no pooling; 3 is the paper's stem for CIFAR.
    dtype: of the convolutions; statistics and tokens are float32.
    """

    stages: tuple[tuple[int, int], ...] = ((2, 64), (2, 128), (2, 256), (2, 512))
    bottleneck: bool = False
    stem: int = 7
    dtype: Any = jnp.float32

    takes_present = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False, present: Bool[Array, " b"] | None = None
    ) -> Tokens:
        def convolve(x, features, kernel, stride, name):
            return ConvNorm(features, kernel, stride, self.dtype, name=name)(x, train=train, present=present)

        def block(x, channels, stride, name):
            sizes = ((1, 1), (3, stride), (1, 1)) if self.bottleneck else ((3, stride), (3, 1))
            features = channels * EXPANSION if self.bottleneck else channels
            y = x
            for i, (kernel, s) in enumerate(sizes, 1):
                last = i == len(sizes)
                y = convolve(y, features if last else channels, kernel, s, f"{name}_conv{i}")
                y = y if last else nn.relu(y)
            if stride != 1 or x.shape[-1] != features:  # compare strides, not sizes: half of 1 px is 1 px
                x = convolve(x, features, 1, stride, f"{name}_shortcut")
            return nn.relu(x + y)

        positive(self, "stages", "stem")
        if self.stem % 2 == 0:
            raise ValueError(f"ResNet.stem is {self.stem}; it must be odd, such as 7 or 3")
        if not self.stages:
            raise ValueError("ResNet.stages is (); it needs at least one stage")
        x = convolve(x, self.stages[0][1], self.stem, 2 if self.stem == 7 else 1, "stem")
        x = nn.relu(max_pool(x, 3, 2, 1) if self.stem == 7 else x)  # equals max_pool(relu(x)), but is cheaper
        for stage, (blocks, channels) in enumerate(self.stages, 1):
            for i in range(1, blocks + 1):
                x = block(x, channels, 2 if stage > 1 and i == 1 else 1, f"stage{stage}_block{i}")
        x = x.reshape(x.shape[0], -1, x.shape[-1]).astype(jnp.float32)
        return Tokens(x, jnp.ones(x.shape[:2], bool))


def resnet18(stem: int = 7, **fields: Any) -> ResNet:
    """Table 1 of the paper; 11.2 million parameters. fields: any other field of ResNet."""
    return ResNet(((2, 64), (2, 128), (2, 256), (2, 512)), stem=stem, **fields)


def resnet34(stem: int = 7, **fields: Any) -> ResNet:
    """Table 1 of the paper; 21.3 million parameters."""
    return ResNet(((3, 64), (4, 128), (6, 256), (3, 512)), stem=stem, **fields)


def resnet50(stem: int = 7, **fields: Any) -> ResNet:
    """Table 1 of the paper; 23.5 million parameters."""
    return ResNet(((3, 64), (4, 128), (6, 256), (3, 512)), bottleneck=True, stem=stem, **fields)


def resnet101(stem: int = 7, **fields: Any) -> ResNet:
    """Table 1 of the paper; 42.5 million parameters."""
    return ResNet(((3, 64), (4, 128), (23, 256), (3, 512)), bottleneck=True, stem=stem, **fields)
