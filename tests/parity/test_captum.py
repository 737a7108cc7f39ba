"""Attributions against Captum, for two networks with the same weights in torch and in JAX: dense layers, and convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.audit.attribution import (
    grad_cam,
    gradient,
    integrated_gradients,
    integrated_gradients_to,
    occlusion,
    smooth_gradient,
)
from mmjax.audit.attribution.model import MAX_PIECES
from mmjax.audit.explain_measures import COMPLETE

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CLASS, TOLERANCE = 2, 1e-4
RANDOM = np.random.default_rng(0)
draw = lambda *shape, scale=1.0: (scale * RANDOM.normal(size=shape)).astype(np.float32)
DENSE = draw(7, 16, scale=0.5), draw(16), draw(16, 4, scale=0.5), draw(4)
KERNELS = draw(3, 3, 3, 6, scale=0.4), draw(6), draw(3, 3, 6, 5, scale=0.4), draw(5), draw(5, 4), draw(4)
VECTORS, IMAGES = draw(3, 7), draw(2, 9, 8, 3)
OTHER_VECTORS, OTHER_IMAGES = draw(3, 7), draw(2, 9, 8, 3, scale=0.2)


def perceptron(x):
    """Tanh and ReLU units: smooth parts and kinks."""
    hidden = x @ DENSE[0] + DENSE[1][None]
    hidden = jnp.concatenate([jnp.tanh(hidden[:, :8]), jax.nn.relu(hidden[:, 8:])], axis=1)
    return (hidden @ DENSE[2] + DENSE[3][None])[:, CLASS]


def features(x):
    convolve = lambda x, kernel, bias: jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    ) + bias[None, None, None]
    return convolve(jax.nn.relu(convolve(x, *KERNELS[:2])), *KERNELS[2:4])


def top(maps):
    return (jax.nn.relu(maps).mean(axis=(1, 2)) @ KERNELS[4] + KERNELS[5][None])[:, CLASS]


def convolution_net(x):
    return top(features(x))


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def networks(torch):
    """{name: (JAX score, torch network, inputs, baselines, torch's order of axes)}."""

    class Perceptron(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(w)) for w in DENSE])

        def forward(self, x):
            hidden = x @ self.weights[0] + self.weights[1]
            hidden = torch.cat([torch.tanh(hidden[:, :8]), torch.relu(hidden[:, 8:])], dim=1)
            return hidden @ self.weights[2] + self.weights[3]

    class Convolutions(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 5, 3, padding=1)
            self.head = torch.nn.Linear(5, 4)
            with torch.no_grad():
                for layer, kernel, bias in ((self.first, *KERNELS[:2]), (self.second, *KERNELS[2:4])):
                    layer.weight.copy_(torch.tensor(kernel.transpose(3, 2, 0, 1)))
                    layer.bias.copy_(torch.tensor(bias))
                self.head.weight.copy_(torch.tensor(KERNELS[4].T))
                self.head.bias.copy_(torch.tensor(KERNELS[5]))

        def forward(self, x):
            return self.head(torch.relu(self.second(torch.relu(self.first(x)))).mean(dim=(2, 3)))

    return {
        "perceptron": (perceptron, Perceptron().eval(), VECTORS, OTHER_VECTORS, (0, 1)),
        "convolutions": (convolution_net, Convolutions().eval(), IMAGES, OTHER_IMAGES, (0, 3, 1, 2)),
    }


def compared(networks, torch, name):
    """(score, network, x, baseline, their tensors, from tensors to the order of JAX)."""
    score, network, x, baseline, order = networks[name]
    tensor = lambda array: torch.tensor(np.ascontiguousarray(np.asarray(array).transpose(order)))
    back = lambda found: found.detach().numpy().transpose(np.argsort(order))
    return score, network, jnp.asarray(x), jnp.asarray(baseline), tensor, back


def assert_equal(ours, theirs):
    assert np.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE * np.abs(theirs).max(), rtol=0)


NAMES = ["perceptron", "convolutions"]


@pytest.mark.parametrize("name", NAMES)
def test_gradients(networks, torch, name):
    from captum.attr import InputXGradient, Saliency

    score, network, x, _, tensor, back = compared(networks, torch, name)
    ours = jax.jit(lambda x: gradient(score, x))(x)
    assert_equal(ours, back(Saliency(network).attribute(tensor(x), target=CLASS, abs=False)))
    assert_equal(x * ours, back(InputXGradient(network).attribute(tensor(x).requires_grad_(), target=CLASS)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [20, 50])
def test_integrated_gradients(networks, torch, name, steps):
    from captum.attr import IntegratedGradients

    score, network, x, baseline, tensor, back = compared(networks, torch, name)
    theirs = IntegratedGradients(network).attribute(tensor(x), tensor(baseline), target=CLASS, n_steps=steps)
    assert_equal(jax.jit(lambda x: integrated_gradients(score, x, baseline, steps))(x), back(theirs))


@pytest.mark.parametrize("name", NAMES)
def test_adaptive_integrated_gradients(networks, torch, name):
    """The function of audits, and its error with their settings, against Captum's with 10,000 nodes as the integral.

    Both networks have kinks, where Captum's default of 50 nodes errs as well. The error is relative to max(1, |change of
    score|), as the tolerance is.
    """
    from captum.attr import IntegratedGradients

    score, network, x, baseline, tensor, back = compared(networks, torch, name)
    attribute = IntegratedGradients(network).attribute
    many = {"n_steps": 10_000, "method": "riemann_middle", "internal_batch_size": 4_000}
    exact, default = (back(attribute(tensor(x), tensor(baseline), target=CLASS, **options)) for options in (many, {}))
    scale = np.maximum(1, np.abs(score(x) - score(baseline))).reshape(-1, *[1] * (x.ndim - 1))
    error = lambda found: (np.abs(found - exact) / scale).max()
    run = jax.jit(lambda tolerance, pieces: integrated_gradients_to(score, x, baseline, tolerance, pieces), static_argnums=1)
    found, gap = run(0.0, 512)
    assert error(found) <= TOLERANCE and np.max(gap) <= TOLERANCE
    audited, gap = run(COMPLETE, MAX_PIECES)
    assert np.max(gap) <= COMPLETE and error(audited) < error(default)


@pytest.mark.parametrize("name", NAMES)
def test_smooth_gradients_with_the_same_noise(networks, torch, name, monkeypatch):
    """Captum draws its noise by torch.normal; it gets that of our keys here, which belongs to copy k of each example."""
    from captum.attr import NoiseTunnel, Saliency

    score, network, x, _, tensor, back = compared(networks, torch, name)
    samples, key = 6, jax.random.key(1)
    ours = jax.jit(lambda x: smooth_gradient(score, x, key, 0.3, samples))(x)
    keys = [jax.random.split(one, 1)[0] for one in jax.random.split(key, samples)]
    noise = np.stack([0.3 * np.asarray(jax.random.normal(one, x.shape)) for one in keys], axis=1)  # [b samples ...]
    noise = tensor(noise.reshape(-1, *x.shape[1:]))
    monkeypatch.setattr(torch, "normal", lambda mean, deviation, **_: noise)
    tunnel = NoiseTunnel(Saliency(network))
    found = tunnel.attribute(tensor(x), nt_type="smoothgrad", nt_samples=samples, stdevs=0.3, target=CLASS, abs=False)
    assert_equal(ours, back(found))


@pytest.mark.parametrize(
    "name, window, stride",
    [
        ("perceptron", (2,), (1,)),
        ("perceptron", (3,), (2,)),
        ("convolutions", (4, 3, 3), (2, 3, 3)),
        ("convolutions", (2, 2, 1), (1, 2, 1)),
    ],
)
def test_occlusion(networks, torch, name, window, stride):
    from captum.attr import Occlusion

    score, network, x, baseline, tensor, back = compared(networks, torch, name)
    order = [axis - 1 for axis in networks[name][4][1:]]
    arranged = lambda sizes: tuple(sizes[axis] for axis in order)
    theirs = Occlusion(network).attribute(tensor(x), arranged(window), arranged(stride), tensor(baseline), target=CLASS)
    assert_equal(jax.jit(lambda x: occlusion(score, x, baseline, window, stride))(x), back(theirs))


@pytest.mark.parametrize("signed", [True, False])
def test_grad_cam(networks, torch, signed):
    from captum.attr import LayerGradCam

    _, network, x, _, tensor, back = compared(networks, torch, "convolutions")
    theirs = LayerGradCam(network, network.second).attribute(tensor(x), target=CLASS, relu_attributions=not signed)
    maps = features(x)
    ours = grad_cam(maps, gradient(top, maps), signed=signed)
    assert_equal(ours[..., None], back(theirs))


@pytest.mark.parametrize("name", NAMES)
def test_the_networks_are_equal(networks, torch, name):
    score, network, x, _, tensor, _ = compared(networks, torch, name)
    assert_equal(score(x), network(tensor(x)).detach().numpy()[:, CLASS])
