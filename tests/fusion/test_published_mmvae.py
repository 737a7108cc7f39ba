"""The MMVAE of its authors' code by hand; tests/parity/test_fusions_random.py compares its loss and gradient with torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest, laplace

from mmjax.fusion.published_mmvae import PublishedMMVAE, laplace_noise
from mmjax.types import Tokens
from tests.fusion.tokens import apply


def test_the_bound_by_hand():
    """Of both modalities, one, and none; experts at 1 with scale 1, errors of 1, and the likelihood of b counted twice."""
    present = {"a": [1, 1, 0, 0], "b": [1, 0, 1, 0]}
    tokens = lambda value, valid: Tokens(jnp.full((4, 1, 1), value), jnp.array(valid, bool)[:, None])
    given = {name: tokens(value, present[name]) for name, value in (("a", 5.0), ("b", 7.0))}
    dense = lambda bias: {"kernel": np.zeros((1, 1), np.float32), "bias": np.float32([bias])}
    params = {"prior": np.float32([3.0])}  # a softmax over one value
    for name, target in (("a", 5.0), ("b", 7.0)):
        params |= {f"{name}_up": dense(0.0), f"{name}_location": dense(1.0), f"{name}_scale": dense(2.0)}
        params |= {f"{name}_decoder_up": dense(0.0), f"{name}_decoder": dense(target - 1)}
    fused = apply(PublishedMMVAE(width=1, hidden=1, factors={"b": 2.0}), params, given)
    np.testing.assert_allclose(fused.x[:, 0, 0], [1, 1, 1, 0], rtol=1e-6)
    nats = -laplace.logpdf(1, scale=0.75)
    latent = laplace.logpdf(0) - laplace.logpdf(1)  # log q(z) - log p(z) = 1
    expected = [3 * nats + latent, nats + latent, 2 * nats + latent, 0]
    np.testing.assert_allclose(fused.outputs["negative_elbo"], expected, rtol=1e-5)
    assert fused.mask[:, 0].tolist() == [True, True, True, False]


def test_noise_is_of_scale_one_and_new_for_each_example():
    noise = np.asarray(laplace_noise(jax.random.key(0), 500, (2, 3)))
    assert kstest(noise.ravel(), "laplace").pvalue > 0.01
    assert np.abs(np.corrcoef(noise.reshape(500, -1).T) - np.eye(6)).max() < 5 / np.sqrt(500)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": 0.0}, r"PublishedMMVAE.scale is 0.0; it must be above 0"),
        ({"factors": {"c": 1.0}}, r"PublishedMMVAE.factors is of \['c'\]; its keys must be some of \['a', 'b'\]"),
        ({"samples": 0}, r"PublishedMMVAE.samples is 0; it must be a positive integer"),
    ],
)
def test_invalid_settings(fields, message):
    given = {name: Tokens(jnp.zeros((1, 1, 2)), jnp.ones((1, 1), bool)) for name in "ab"}
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(PublishedMMVAE(**fields).init, jax.random.key(0), given)
