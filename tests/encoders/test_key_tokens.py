"""KeyTokens keeps the tokens with the largest scores, in their order, and the scores learn."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.encoders import KeyTokens
from mmjax.types import Padded, Tokens


class Steps(nn.Module):
    """The values of the steps as tokens."""

    def __call__(self, x, *, train=False):
        return Tokens(x.x, x.mask)


MODEL = KeyTokens(Steps(), keep=3, width=4)
X = Padded(jax.random.normal(jax.random.key(0), (3, 6, 2)), jnp.array([6, 2, 0]))


def test_the_kept_tokens_are_those_of_the_largest_scores():
    params = jax.jit(MODEL.init)(jax.random.key(1), X)
    tokens, state = MODEL.apply(params, X, mutable=["intermediates"])
    p, x = jax.tree.map(np.asarray, params["params"]), np.asarray(X.x)
    score = np.tanh(x @ p["hidden"]["kernel"] + p["hidden"]["bias"]) @ p["score"]["kernel"][:, 0]
    best = np.sort(np.argsort(-score[0])[:3])
    expected = x[0, best] / (1 + np.exp(-score[0, best]))[:, None]
    np.testing.assert_allclose(tokens.x[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(tokens.mask, [[True] * 3, [True, True, False], [False] * 3])
    np.testing.assert_allclose(tokens.x[1, :2], x[1, :2] / (1 + np.exp(-score[1, :2]))[:, None], rtol=1e-5)
    (sown,) = state["intermediates"]["scores"]
    np.testing.assert_allclose(sown[0], score[0], rtol=1e-5)
    assert np.isneginf(np.asarray(sown)[1, 2:]).all()


def test_scores_have_a_gradient_and_few_tokens_are_all_kept():
    params = jax.jit(MODEL.init)(jax.random.key(1), X)
    loss = lambda params: jnp.where((found := MODEL.apply(params, X)).mask[..., None], found.x, 0).sum()
    gradient = jax.grad(loss)(params)["params"]
    assert np.abs(gradient["score"]["kernel"]).min() > 0
    assert KeyTokens(Steps(), keep=9).init_with_output(jax.random.key(0), X)[0].x.shape == (3, 6, 2)
