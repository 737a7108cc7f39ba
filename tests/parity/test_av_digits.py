"""The LeNet of experiments/av_digits.py against MultiBench's definition in torch, with the same weights."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

pytestmark = pytest.mark.parity
FILE = Path(__file__).parents[2] / "experiments" / "av_digits.py"


def lenet(channels, stages):
    """unimodals/common_models.py of MultiBench: LeNet(1, channels, stages - 1)."""
    import torch

    layers, before = [], 1
    for stage in range(stages):
        width, side = channels * 2**stage, 3 if stage else 5
        conv = torch.nn.Conv2d(before, width, side, padding=side // 2, bias=False)
        layers += [conv, torch.nn.BatchNorm2d(width), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        before = width
    return torch.nn.Sequential(*layers, torch.nn.Flatten())


@pytest.mark.parametrize(("side", "stages"), [(28, 4), (112, 6)])
def test_lenet(side, stages):
    import torch

    ours, theirs = runpy.run_path(str(FILE))["LeNet"](2, stages), lenet(2, stages)
    x = np.random.default_rng(0).uniform(size=(3, side, side, 1)).astype(np.float32)
    flat = flatten_dict(ours.init(jax.random.key(0), jnp.asarray(x)), sep="/")
    for stage in range(stages):
        conv, norm = theirs[4 * stage], theirs[4 * stage + 1]
        flat[f"params/conv{stage}/kernel"] = conv.weight.detach().numpy().transpose(2, 3, 1, 0)
        torch.nn.init.normal_(norm.weight)
        flat[f"params/norm{stage}/scale"] = norm.weight.detach().numpy().copy()
    variables = unflatten_dict(flat, sep="/")
    tokens, updated = ours.apply(variables, jnp.asarray(x), train=True, mutable=["batch_stats"])
    expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).detach().numpy()
    assert tokens.x.shape == (3, 1, 2 * 2 ** (stages - 1))
    np.testing.assert_allclose(tokens.x[:, 0], expected, atol=1e-4 * np.abs(expected).max())
    theirs.eval()
    expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).detach().numpy()
    tokens = ours.apply(variables | updated, jnp.asarray(x))
    np.testing.assert_allclose(tokens.x[:, 0], expected, atol=1e-4 * np.abs(expected).max())
