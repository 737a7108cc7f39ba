"""Late fusion: each modality has a classifier, and the fusion combines their logits.

The output of each fusion is one token, the final logits. Use it with the head `heads.Mean`, which has no parameters.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.fusion.joint import one_token, pool, project
from mmjax.fusion.outputs import FusedTokens
from mmjax.nn import Dropout, masked_mean, masked_softmax
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = ["MeanLogits", "ProductOfExperts", "Stacked", "SumLogits", "WeightedLogits", "unimodal_logits"]


def unimodal_logits(
    tokens: Mapping[str, Tokens], classes: int, width: int, dropout: float, dtype: Any, train: bool
) -> tuple[Float[Array, "b k c"], Bool[Array, "b k"]]:
    """The logits of one classifier per modality, W relu(V x_k + b) + c, and Bool[b k], True for present modalities.

    Call it in a compact method; the classifiers become submodules of that module.
    """
    vectors, present = pool(tokens, dropout, train)
    logits = []
    for name, x in vectors.items():
        x = nn.relu(project(x, width, f"{name}_hidden", dtype))
        x = Dropout(dropout, name=f"{name}_dropout")(x, train=train)
        logits.append(project(x, classes, f"{name}_logits", dtype))
    return jnp.stack(logits, axis=1), present


class MeanLogits(nn.Module):
    """The mean of the unimodal logits of the present modalities.

    classes: number of classes. width: of the hidden layers. dropout: rate on the x_k and on the hidden layers. dtype: of the
    matmuls.
    """

    classes: int
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "classes", "width")
        rate(self, "dropout")
        logits, present = unimodal_logits(tokens, self.classes, self.width, self.dropout, self.dtype, train)
        return one_token(masked_mean(Tokens(logits, present)), present)


class WeightedLogits(nn.Module):
    """sum_k w_k logits_k, with w the softmax over the present modalities of one learned number per modality.

    The numbers are initialised to zero, so it initially equals `MeanLogits`.

    classes: number of classes. width: of the hidden layers. dropout: rate on the x_k and on the hidden layers. dtype: of the
    matmuls.
    """

    classes: int
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "classes", "width")
        rate(self, "dropout")
        logits, present = unimodal_logits(tokens, self.classes, self.width, self.dropout, self.dtype, train)
        score = self.param("weight", nn.initializers.zeros, (present.shape[1],))
        weight = masked_softmax(jnp.broadcast_to(score[None], present.shape), present)
        return one_token(jnp.einsum("bk,bkc->bc", weight, logits), present)


class ProductOfExperts(nn.Module):
    """Product of experts (Hinton, 2002): p(c) = prod_k p_k(c) / sum_c' prod_k p_k(c'), over the present modalities.

    p_k is the softmax of the unimodal logits, and the output is log p.

    classes: number of classes. width: of the hidden layers. dropout: rate on the x_k and on the hidden layers. dtype: of the
    matmuls.
    """

    classes: int
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "classes", "width")
        rate(self, "dropout")
        logits, present = unimodal_logits(tokens, self.classes, self.width, self.dropout, self.dtype, train)
        experts = jnp.where(present[..., None], nn.log_softmax(logits), 0)
        return one_token(nn.log_softmax(experts.sum(axis=1)), present)


class Stacked(nn.Module):
    """Stacked generalisation (Wolpert, 1992): a linear classifier over the unimodal class probabilities [p_1; ...; p_K].

    The probabilities of an absent modality are zeros. All classifiers are trained jointly: the unimodal ones receive gradients
    through the last one only, unless the model has auxiliary heads. (Wolpert trains the unimodal classifiers first, and the
    last one on held-out examples.)

    classes: number of classes. width: of the hidden layers. dropout: rate on the x_k and on the hidden layers. dtype: of the
    matmuls.
    """

    classes: int
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "classes", "width")
        rate(self, "dropout")
        logits, present = unimodal_logits(tokens, self.classes, self.width, self.dropout, self.dtype, train)
        probabilities = jnp.where(present[..., None], nn.softmax(logits), 0)
        return one_token(project(probabilities.reshape(present.shape[0], -1), self.classes, "stack", self.dtype), present)


class SumLogits(nn.Module):
    """sum_k (W_k x_k + b / K) over the present modalities: a linear classifier of the concatenation, by modality.

    The outputs "audio.logits" and so on (see `FusionOutput`) are the terms, zeros where a modality is absent: the contributions
    that OGM-GE compares (`train.balance.ogm_ge`). `published.logit_heads` has the heads.

    classes: number of classes. dropout: rate on the x_k. dtype: of the matmuls.
    """

    classes: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "classes")
        rate(self, "dropout")
        vectors, present = pool(tokens, self.dropout, train)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.classes,))[None] / len(vectors)
        terms = {
            name: jnp.where(present[:, k, None], project(x, self.classes, name, self.dtype, bias=False) + bias, 0)
            for k, (name, x) in enumerate(vectors.items())
        }
        fused = one_token(sum(terms.values()), present)
        return FusedTokens(fused.x, fused.mask, {f"{name}.logits": term for name, term in terms.items()})
