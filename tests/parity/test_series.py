"""The temporal convolution network against torch's layers, with the same random weights: outputs and input gradients.
torch is imported within functions, so that the file can always be collected.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders.series import TemporalConvolutions
from tests.parity.originals import assert_parity, randomised

pytestmark = pytest.mark.parity
B = 2


@pytest.mark.parametrize(("widths", "taps"), [((4, 4), 2), ((5, 5, 3), 3)])
def test_temporal_convolutions(widths, taps):
    """torch's Conv1d with weight_norm, padded at both ends and cut at the right end, as in the authors' code."""
    import torch
    from torch.nn.utils.parametrizations import weight_norm

    channels, steps = 4, 11
    convs, skips, width = {}, {}, channels
    for block, after in enumerate(widths):
        for part, before in (("a", width), ("b", after)):
            d = 2**block
            conv = torch.nn.Conv1d(before, after, taps, padding=(taps - 1) * d, dilation=d)
            convs[f"block{block}{part}"] = randomised(weight_norm(conv))
        if width != after:
            skips[f"skip{block}"] = randomised(torch.nn.Conv1d(width, after, 1))
        width = after

    def original(x):
        x = x.transpose(1, 2)
        for block in range(len(widths)):
            y = x
            for part in "ab":
                y = torch.relu(convs[f"block{block}{part}"](y)[..., :steps])
            x = torch.relu(y + (skips[f"skip{block}"](x) if f"skip{block}" in skips else x))
        return x.transpose(1, 2)

    params = {}
    for name, conv in convs.items():
        g, v = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1  # [o, 1, 1], [o, c, taps]
        params[name] = {"direction": v.permute(2, 1, 0), "length": g[:, 0, 0], "bias": conv.bias}
    for name, conv in skips.items():
        params[name] = {"kernel": conv.weight[..., 0].T, "bias": conv.bias}
    params = jax.tree.map(lambda value: value.detach().numpy(), params)
    x = np.random.default_rng(0).normal(size=(B, steps, channels)).astype(np.float32)
    model, mask = TemporalConvolutions(widths, taps), jnp.ones((B, steps), bool)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(x), mask)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    variables = {"params": jax.tree.map(jnp.asarray, params)}
    assert_parity(lambda x: {"states": model.apply(variables, x, mask)}, lambda x: {"states": original(x)}, x)
