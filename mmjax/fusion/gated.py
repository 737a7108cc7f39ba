"""Gated fusion: a weighted sum of modalities, with weights predicted for each example."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.fusion.joint import one_token, project
from mmjax.nn import Dropout, any_token, masked_mean, masked_softmax
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = ["Gated"]


class Gated(nn.Module):
    """sum_k g_k h_k, with h_k = relu(W_k x_k + b_k) of the mean token x_k, and the gates

        g = softmax over the present modalities of (w_k . [h_1; ...; h_K] + c_k),

    where absent h_k are zeros in the concatenation. The output is one token. After the softmax gates of a mixture of
    experts (Jacobs et al., 1991), with these deviations: there is one expert per modality, which sees this modality alone; the
    gates see the outputs of the experts instead of the inputs; and the loss is that of the sum. `MixtureOfExperts` with
    k = experts has their outputs and gates. `GMU` has sigmoid gates.

    width: of the output. dropout: rate on the mean tokens and on the output. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        names = sorted(tokens)
        present = jnp.stack([any_token(tokens[name]) for name in names], axis=1)
        drop = [Dropout(self.dropout, name=f"{name}_dropout") for name in names]
        means = [d(masked_mean(tokens[name]).astype(jnp.float32), train=train) for d, name in zip(drop, names)]
        h = jnp.stack([nn.relu(project(x, self.width, name, self.dtype)) for name, x in zip(names, means)], axis=1)
        h = jnp.where(present[..., None], h, 0)
        gates = masked_softmax(project(h.reshape(h.shape[0], -1), len(names), "gate", self.dtype), present)
        x = Dropout(self.dropout, name="dropout")(jnp.einsum("bk,bkd->bd", gates, h), train=train)
        return one_token(x, present)
