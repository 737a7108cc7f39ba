"""Batch normalisation in training, and pooling, against torch. Complete image models: `pretrained/`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.conv import adaptive_mean_pool, max_pool
from mmjax.nn.norm import BatchNorm
from tests.parity.originals import assert_same, randomised

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("batch", "side", "momentum"), [(4, 3, 0.1), (3, 1, 0.25), (2, 5, 0.1)])
def test_batch_norm_in_training(batch, side, momentum):
    """Outputs, gradients and running statistics over three steps. Our momentum is 1 - torch's."""
    import torch

    model = randomised(torch.nn.BatchNorm2d(6, momentum=momentum)).train()
    layer = BatchNorm(momentum=1 - momentum)
    w = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    variables = {
        "params": {"scale": w["weight"].copy(), "bias": w["bias"].copy()},
        "batch_stats": {"mean": w["running_mean"].copy(), "var": w["running_var"].copy()},
    }
    for step in range(3):
        x = np.asarray(jax.random.normal(jax.random.key(step), (batch, side, side, 6))) * 2 + 1
        weight = np.asarray(jax.random.normal(jax.random.key(100 + step), x.shape))
        model.zero_grad()
        theirs_x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
        theirs = model(theirs_x)
        (theirs * torch.from_numpy(weight.transpose(0, 3, 1, 2).copy())).sum().backward()

        def weighted(params, x, stats=variables["batch_stats"], weight=weight):
            y, updated = layer.apply({"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"])
            return (y * weight).sum(), (y, updated["batch_stats"])

        differentiated = jax.value_and_grad(weighted, argnums=(0, 1), has_aux=True)
        (_, (y, stats)), (gradient, dx) = differentiated(variables["params"], jnp.asarray(x))
        variables = {**variables, "batch_stats": stats}
        assert_same(y, theirs.detach().numpy().transpose(0, 2, 3, 1), "output")
        assert_same(dx, theirs_x.grad.numpy().transpose(0, 2, 3, 1), "gradient of the input")
        assert_same(gradient["scale"], model.weight.grad.numpy(), "gradient of the scale")
        assert_same(gradient["bias"], model.bias.grad.numpy(), "gradient of the bias")
        assert_same(stats["mean"], model.running_mean.numpy(), "running mean")
        assert_same(stats["var"], model.running_var.numpy(), "running variance")


@pytest.mark.parametrize(("height", "width"), [(7, 7), (4, 11), (1, 30), (14, 9)])
def test_pooling(height, width):
    import torch

    x = np.asarray(jax.random.normal(jax.random.key(0), (2, height, width, 3)))
    theirs = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    pooled = torch.nn.functional.adaptive_avg_pool2d(theirs, (7, 7)).numpy().transpose(0, 2, 3, 1)
    assert_same(adaptive_mean_pool(jnp.asarray(x), 7), pooled, "adaptive mean", 1e-6)
    pooled = torch.nn.functional.max_pool2d(theirs, 3, 2, 1).numpy().transpose(0, 2, 3, 1)
    assert_same(max_pool(jnp.asarray(x), 3, 2, 1), pooled, "maximum", 0)
