"""A mixture of experts over modalities: which networks look at an example depends on what is there and what it says."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mmjax.fusion.joint import one_token, pooled, project
from mmjax.nn import Dropout, masked_softmax
from mmjax.shards import example_keys
from mmjax.types import Tokens


class MixtureOfExperts(nn.Module):
    """v = sum_i g_i E_i(x), over experts E_i(x) = W_i relu(V_i x + a_i) + c_i that all see x = [x_1; ...; x_K].

    x_k is the mean token of modality k, or zeros where it is absent; one token. Gates (Shazeer et al., 2017, equations 3 to 5):

        g = softmax over the k highest of s_i,  s_i = (G x)_i + n_i softplus((N x)_i),  n_i normal in training and 0 otherwise

    k = experts is the soft mixture of Jacobs et al. (1991), which has no noise. G and N start at zero, as published. All
    experts are computed, for shapes are fixed: a small k makes the model sparse, not the computation. A loss that balances
    the experts' load is left out: it would be a second output of the fusion.

    width: of the result. experts: how many; more than modalities, if they are to specialise in combinations. k: how many an
    example uses. hidden: of each expert. dropout: rate on the x_k and on the result. dtype: of the experts' matmuls; the gates
    are float32, since rounding would change who is among the k.
    """

    width: int = 64
    experts: int = 6
    k: int = 2
    hidden: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        if not 1 <= self.k <= self.experts:
            raise ValueError(f"MixtureOfExperts.k is {self.k}; it must be between 1 and experts, which is {self.experts}")
        vectors, there = pooled(tokens, self.dropout, train)
        x = jnp.concatenate(list(vectors.values()), axis=-1)

        gates = self._gates(x, train)
        h = nn.relu(project(x, self.experts * self.hidden, "hidden", self.dtype)).reshape(-1, self.experts, self.hidden)
        init = nn.initializers.lecun_normal(batch_axis=0)
        kernel = self.param("kernel", init, (self.experts, self.hidden, self.width)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.experts, self.width))
        outputs = jnp.einsum("beh,ehw->bew", h.astype(self.dtype), kernel).astype(jnp.float32) + bias[None]
        v = jnp.einsum("be,bew->bw", gates, outputs)
        return one_token(Dropout(self.dropout, name="dropout")(v, train=train), there)

    def _gates(self, x: Float[Array, "b d"], train: bool) -> Float[Array, "b e"]:
        zeros = nn.initializers.zeros
        scores = nn.Dense(self.experts, use_bias=False, kernel_init=zeros, name="gate")(x)
        if self.k == self.experts:
            return nn.softmax(scores)
        size = nn.softplus(nn.Dense(self.experts, use_bias=False, kernel_init=zeros, name="noise")(x))
        if train:
            keys = example_keys(self.make_rng("dropout"), x.shape[0])
            scores = scores + size * jax.vmap(lambda key: jax.random.normal(key, (self.experts,)))(keys)
        chosen = jax.nn.one_hot(lax.top_k(scores, self.k)[1], self.experts, dtype=bool).any(axis=1)  # ties: the first ones
        return masked_softmax(scores, chosen)
