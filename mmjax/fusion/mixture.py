"""A mixture of experts over the concatenated modalities."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mmjax.fusion.joint import one_token, pool, project
from mmjax.nn import Dropout, masked_softmax
from mmjax.nn.checks import positive, rate
from mmjax.shards import example_keys
from mmjax.types import Tokens

__all__ = ["MixtureOfExperts"]


class MixtureOfExperts(nn.Module):
    """v = sum_i g_i E_i(x), with experts E_i(x) = W_i relu(V_i x + a_i) + c_i over x = [x_1; ...; x_K].

    x_k is the mean token of modality k, or zeros if it is absent. The output is one token. The gates are those of Shazeer et
    al. (2017, equations 3 to 5):

        g = softmax over the k highest s_i,  s_i = (G x)_i + n_i softplus((N x)_i),  n_i ~ N(0, 1) in training, otherwise 0

    With k = experts it is the soft mixture of Jacobs et al. (1991), without noise. G and N are initialised to zero, as
    published. All experts are computed, since shapes are static: a small k makes the model sparse but saves no computation.
    There is no load-balancing loss, which would need a second output.

    width: of the output. experts: number of experts. k: number of experts per example. hidden: units of each expert. dropout:
    rate on the x_k and on the output. dtype: of the experts' matmuls; the gates are float32, since rounding could change the
    selected experts.
    """

    width: int = 64
    experts: int = 6
    k: int = 2
    hidden: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "experts", "k", "hidden")
        rate(self, "dropout")
        if self.k > self.experts:
            raise ValueError(f"MixtureOfExperts.k is {self.k}; it must be at most MixtureOfExperts.experts, {self.experts}")
        vectors, present = pool(tokens, self.dropout, train)
        x = jnp.concatenate(list(vectors.values()), axis=-1)

        gates = self._gates(x, train)
        h = nn.relu(project(x, self.experts * self.hidden, "hidden", self.dtype)).reshape(-1, self.experts, self.hidden)
        init = nn.initializers.lecun_normal(batch_axis=0)
        kernel = self.param("kernel", init, (self.experts, self.hidden, self.width)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.experts, self.width))
        outputs = jnp.einsum("beh,ehw->bew", h.astype(self.dtype), kernel).astype(jnp.float32) + bias[None]
        v = jnp.einsum("be,bew->bw", gates, outputs)
        return one_token(Dropout(self.dropout, name="dropout")(v, train=train), present)

    def _gates(self, x: Float[Array, "b d"], train: bool) -> Float[Array, "b e"]:
        zeros = nn.initializers.zeros
        scores = nn.Dense(self.experts, use_bias=False, kernel_init=zeros, name="gate")(x)
        if self.k == self.experts:
            return nn.softmax(scores)
        size = nn.softplus(nn.Dense(self.experts, use_bias=False, kernel_init=zeros, name="noise")(x))
        if train:
            keys = example_keys(self.make_rng("dropout"), x.shape[0])
            scores = scores + size * jax.vmap(lambda key: jax.random.normal(key, (self.experts,)))(keys)
        top_k = jax.nn.one_hot(lax.top_k(scores, self.k)[1], self.experts, dtype=bool).any(axis=1)  # of ties, the first ones
        return masked_softmax(scores, top_k)
