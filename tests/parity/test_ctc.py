"""The CTC loss against torch's: values and gradients by the logits, also for texts that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.losses import CTC
from mmjax.types import Tokens
from tests.parity.originals import assert_same

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize(("frames", "labels", "vocabulary"), [(6, 4, 3), (40, 12, 5), (300, 60, 200), (30, 30, 4)])
def test_ctc(frames, labels, vocabulary, zero_infinity):
    """32 examples of random lengths. With few frames or labels, many texts have repeated ids, and many do not fit."""
    import torch

    rng = np.random.default_rng(frames)
    logits = (3 * rng.normal(size=(32, frames, vocabulary))).astype(np.float32)
    targets = rng.integers(1, vocabulary, (32, labels))
    frame_counts, label_counts = rng.integers(1, frames + 1, 32), rng.integers(0, labels + 1, 32)
    targets[np.arange(labels)[None] >= label_counts[:, None]] = 0

    theirs_logits = torch.tensor(logits, dtype=torch.float64, requires_grad=True)  # float32 would be as inexact as ours
    theirs = torch.nn.functional.ctc_loss(
        theirs_logits.log_softmax(-1).transpose(0, 1),
        torch.tensor(targets),
        torch.tensor(frame_counts),
        torch.tensor(label_counts),
        reduction="none",
        zero_infinity=zero_infinity,
    )
    finite = theirs.detach().isfinite().numpy()
    assert finite.all() == zero_infinity
    weight = rng.uniform(0.5, 2, 32).astype(np.float32) * finite
    (by_theirs,) = torch.autograd.grad(theirs[finite] @ torch.tensor(weight[finite]).double(), theirs_logits)
    by_theirs = np.where(finite[:, None, None], by_theirs, 0)  # torch has NaN there

    @jax.jit
    def run(logits):
        mask = jnp.arange(frames)[None] < frame_counts[:, None]
        loss = CTC(zero_infinity=zero_infinity)
        values, vjp = jax.vjp(lambda logits: loss(Tokens(logits, mask), jnp.asarray(targets)), logits)
        return values, vjp(jnp.asarray(weight))[0]

    values, gradient = run(jnp.asarray(logits))
    np.testing.assert_array_equal(np.isinf(values), ~finite)
    np.testing.assert_allclose(values, theirs.detach(), rtol=1e-5, atol=1e-5)
    assert_same(values[finite], theirs.detach()[finite], "loss", 1e-5)
    assert_same(gradient, by_theirs, "gradient", 1e-5)
