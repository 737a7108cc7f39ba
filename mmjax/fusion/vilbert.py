"""The co-attention of ViLBERT exactly as its authors' code defines it."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.fusion.joint import one_token, product, project
from mmjax.nn import Block, any_token
from mmjax.nn.checks import positive, rate
from mmjax.nn.pooling import first_valid
from mmjax.nn.post_norm import PostNormAttention, PostNormPerceptron
from mmjax.types import Tokens

__all__ = ["ViLBERT"]


class ViLBERT(nn.Module):
    """The two streams of ViLBERT (Lu et al., 2019, section 2.1, figure 2b). In each of `depth` layers, for both modalities at
    once, with c the tokens of the other one before the layer:

        x <- LN(x + A(x, c)),   x <- LN(x + M(x)),   then the modality's own layer of BERT: the same with A(x, x)

    The output is one token, the product of relu(W_k x_k0 + b_k), with x_k0 the first token of each modality. An absent modality
    is left out of the product.

    It equals the authors' code from the first co-attention to its fused output, with the sizes of their base model. Its 6
    layers of text before the first co-attention, all embeddings and the first tokens ([CLS], and the mean of the regions)
    belong to the encoders, whose widths the streams keep. There is one rate of dropout.

    modalities: the two modalities; ValueError if the model has others. depth: number of layers. width: of queries and keys of
    the co-attention, and of the output. heads: of the co-attention; they divide `width`. own_heads, hidden: of each modality's
    own attention, and units of its perceptrons, in the order of `modalities`. dropout: rate. dtype: of the matmuls.
    """

    modalities: tuple[str, str] = ("image", "text")
    depth: int = 6
    width: int = 1024
    heads: int = 8
    own_heads: tuple[int, int] = (8, 12)
    hidden: tuple[int, int] = (1024, 3072)
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "depth", "width", "heads", "own_heads", "hidden")
        rate(self, "dropout")
        names = self.modalities
        if len(names) != 2 or sorted(names) != sorted(tokens):
            raise ValueError(f"ViLBERT.modalities is {names}; it must be two modalities, those of the model: {sorted(tokens)}")
        x = {name: jnp.where(tokens[name].mask[..., None], tokens[name].x, 0).astype(jnp.float32) for name in names}
        for layer in range(self.depth):
            before = x
            for name, other, heads, hidden in zip(names, names[::-1], self.own_heads, self.hidden):
                settings = {"dropout": self.dropout, "dtype": self.dtype}
                cross = PostNormAttention(self.heads, self.width, **settings, name=f"{name}_cross{layer}")
                y = cross(before[name], before[other], tokens[other].mask, train=train)
                y = PostNormPerceptron(hidden, **settings, name=f"{name}_perceptron{layer}")(y, train=train)
                settings |= {"pre_norm": False, "epsilon": 1e-12}
                own = Block(heads, hidden, **settings, name=f"{name}_block{layer}")
                x = x | {name: own(y, tokens[name].mask, train=train)}
        first = {name: first_valid(Tokens(x[name], tokens[name].mask)) for name in names}
        pooled = [nn.relu(project(first[name], self.width, f"{name}_pooler", self.dtype)) for name in names]
        present = jnp.stack([any_token(tokens[name]) for name in names], axis=1)
        return one_token(product(pooled, present), present)
