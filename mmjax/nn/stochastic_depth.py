"""Stochastic depth: blocks of a Transformer whose sublayers are left out at random in training."""

import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.nn.attention import Block
from mmjax.nn.checks import positive, rate
from mmjax.nn.dropout import Dropout
from mmjax.shards import example_keys

__all__ = ["StochasticDepth"]


class StochasticDepth(nn.Module):
    """A module whose `nn.Block`s leave out their sublayers in training, each with probability p_l in block l of `depth`:

        x + d f(x),   d = 0 with probability p_l, else 1,   p_l = rate l / (depth - 1),   l = 0, ..., depth - 1

    independently for each example, sublayer, and block (Huang et al., 2016, "Deep networks with stochastic depth", for
    examples instead of batches). As in scenic's ViViT and MBT, nothing is scaled: in training the mean of d f(x) is
    (1 - p_l) f(x), and in evaluation all of f(x) is added. (The paper scales it by 1 - p_l in evaluation; timm divides it by
    1 - p_l in training.) Parameters keep their paths and values.

        StochasticDepth(published.mbt(10), depth=12)   # MBT as trained by its authors

    module: an encoder, a fusion or a decoder. Its blocks have names that end in "block" and l, such as "block3" or
    "audio_block3". depth: their number, 12 for the blocks 0 to 11 of each stack. rate: p of the last block, in [0, 1); the
    module itself if 0. The random numbers come from the stream "dropout". ValueError if the module has no such block, or one
    with l >= depth.
    """

    module: nn.Module
    depth: int
    rate: float = 0.3

    def setup(self):
        nn.share_scope(self, self.module)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """As of the module."""
        positive(self, "depth")
        rate(self, "rate")
        found: list[str] = []
        with nn.intercept_methods(self._interceptor(found)):
            outputs = self.module(*inputs, **options)
        if not found:
            raise ValueError(f"StochasticDepth.module is {type(self.module).__name__}, which has no numbered nn.Block")
        return outputs

    def _interceptor(self, found: list[str]) -> Callable:
        """found: gets the names of the blocks. The output of a sublayer is that of its dropout, whatever the rate of it is."""

        def intercept(call, args, options, context):
            y, dropout = call(*args, **options), context.module
            sublayer = isinstance(dropout, Dropout) and dropout.name in ("dropout1", "dropout2")
            if not sublayer or context.method_name != "__call__" or not isinstance(dropout.parent, Block):
                return y
            number = re.search(r"block(\d+)$", dropout.parent.name or "")
            if not number:
                return y
            found.append(number[0])
            layer = int(number[1])
            if layer >= self.depth:
                raise ValueError(f"StochasticDepth.depth is {self.depth}, but there is a {dropout.parent.name!r}")
            p = self.rate * layer / max(self.depth - 1, 1)
            if not options.get("train") or p == 0:
                return y
            keys = example_keys(dropout.make_rng("dropout"), y.shape[0])
            kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - p))(keys)
            return jnp.where(kept.reshape(-1, *[1] * (y.ndim - 1)), y, 0)

        return intercept
