"""Published fusions that draw random numbers in training, against their definitions in torch with the same draws. torch is
imported within functions.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.fusion import published, published_mmvae
from mmjax.nn import StochasticDepth
from mmjax.types import Tokens
from tests.parity.originals import assert_parity
from tests.parity.test_fusions import PAIR, WIDTHS, B, random_variables, tensors

pytestmark = pytest.mark.parity
SOURCES = {
    "test_mmvae": ("fusion.published_mmvae.PublishedMMVAE, its loss", "Shi et al., 2019, code"),
    "test_stochastic_depth": ("StochasticDepth, of published.mbt in training", "Nagrani et al., 2021, scenic"),
}


def test_stochastic_depth():
    """Each example of a batch in training equals scenic's with one of the 256 drop patterns of layers 1 and 2."""
    import torch

    from tests.parity.fusion_definitions.attention import mbt

    fusion = published.mbt(4, tokens=3, fusion_layer=1, depth=3, width=6, heads=2, hidden=8)
    deep, steps, count = StochasticDepth(fusion, depth=3, rate=0.6), {"audio": 3, "video": 2}, 24
    x = np.random.default_rng(2).normal(size=(count, 3 * WIDTHS["audio"] + 2 * WIDTHS["video"])).astype(np.float32)

    def split(x):
        parts = {"audio": x[:, : 3 * WIDTHS["audio"]], "video": x[:, 3 * WIDTHS["audio"] :]}
        return {name: part.reshape(count, steps[name], WIDTHS[name]) for name, part in parts.items()}

    tokens = lambda x: {name: Tokens(part, jnp.ones(part.shape[:2], bool)) for name, part in split(x).items()}
    variables = random_variables(fusion, tokens(jnp.asarray(x)))
    known, given = tensors(variables["params"]), split(torch.from_numpy(x))

    def ours(x):
        fused = deep.apply(variables, tokens(x), train=True, rngs={"dropout": jax.random.key(3)})
        return {"fused": fused.x[:, 0], **fused.outputs}

    def theirs(pattern, x):
        """pattern: [b modality layer sublayer]."""
        dropped = torch.from_numpy(pattern.astype(np.float32))[..., None, None]
        places = product(enumerate(PAIR), enumerate((1, 2)))
        dropped = {(name, layer): dropped[:, m, k].unbind(1) for (m, name), (k, layer) in places}
        return mbt(known, x, drop_pattern=dropped)

    found = np.concatenate([np.asarray(y) for _, y in sorted(jax.jit(ours)(jnp.asarray(x)).items())], axis=1)
    patterns = np.array(list(product((False, True), repeat=8))).reshape(-1, 2, 2, 2)
    outputs = (theirs(np.broadcast_to(pattern, (count, 2, 2, 2)), given) for pattern in patterns)
    outputs = np.stack([torch.cat([y for _, y in sorted(of.items())], dim=1).numpy() for of in outputs])
    chosen = patterns[np.abs(outputs - found).max(axis=2).argmin(axis=0)]
    assert 0.1 < chosen[:, :, 0].mean() < 0.5 and 0.4 < chosen[:, :, 1].mean() < 0.8  # .3 in layer 1, .6 in layer 2
    assert_parity(ours, lambda x: theirs(chosen, split(x)), x, tolerance=1e-5)


@pytest.mark.parametrize("samples", [1, 5])
def test_mmvae(samples, monkeypatch):
    """The bound, and its doubly reparametrised gradient by the inputs, through the samples."""
    import torch

    from tests.parity.fusion_definitions.representations import mmvae_dreg

    noise = np.random.default_rng(3).laplace(size=(B, samples, 2, 5)).astype(np.float32)
    monkeypatch.setattr(published_mmvae, "laplace_noise", lambda key, batch, shape: jnp.asarray(noise))
    factors, width = {"audio": 1.5}, WIDTHS["audio"]
    fusion = published_mmvae.PublishedMMVAE(5, hidden=6, samples=samples, factors=factors)
    x = np.random.default_rng(2).normal(size=(B, 1, width + WIDTHS["video"])).astype(np.float32)
    split = lambda x: {"audio": x[..., :width], "video": x[..., width:]}
    tokens = lambda x: {name: Tokens(part, jnp.ones((B, 1), bool)) for name, part in split(x).items()}
    variables = random_variables(fusion, tokens(jnp.asarray(x)))
    known, drawn = tensors(variables["params"]), torch.from_numpy(noise.swapaxes(0, 1).copy())
    rngs = {"dropout": jax.random.key(0)}
    assert_parity(
        lambda x: dict(fusion.apply(variables, tokens(x), train=True, rngs=rngs).outputs),
        lambda x: mmvae_dreg(known, split(x), drawn, factors),
        x,
        tolerance=1e-5,
    )
