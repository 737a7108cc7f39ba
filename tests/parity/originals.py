"""Shared by the parity tests: originals with random weights in their published format, and comparisons of arrays."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 1e-4  # relative to the largest absolute value
CHECKED: list[tuple[str, str, float]] = []
"""The comparisons so far: test, name of the array, largest error relative to the largest absolute value."""


def randomised(model: Any, seed: int = 0) -> Any:
    """Randomises every parameter and statistic of a torch model, so that no zeros or ones hide a mistake."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(0.5 + noise.abs())
            elif value.ndim > 1:
                value.copy_(noise * (2 / value[0].numel()) ** 0.5)
            else:  # a one-dimensional weight is the scale of a norm
                value.copy_((1 if name.endswith("weight") else 0) + 0.2 * noise)
    return model.eval()


def published(model: Any, folder: Path, seed: int = 0) -> Path:
    """Saves a transformers model with random weights for `from_pretrained`."""
    randomised(model, seed).save_pretrained(folder)
    return folder


def assert_same(ours: Any, theirs: Any, name: str, tolerance: float = TOLERANCE) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, name
    assert np.abs(theirs).max() > 1e-3, f"{name}: nothing to compare"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max(), err_msg=name)
    CHECKED.append((os.environ.get("PYTEST_CURRENT_TEST", ""), name, float(np.abs(ours - theirs).max() / np.abs(theirs).max())))


def assert_parity(
    ours: Callable[[jax.Array], dict[str, jax.Array]],
    theirs: Callable[[Any], dict[str, Any]],
    x: np.ndarray,
    masks: dict[str, np.ndarray] | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Compares the outputs {name: array} of both functions, and the gradients of a random weighted sum with respect to x.

    x: float32 input of both functions (a JAX array for ours, a torch tensor for theirs). masks: {name: Bool over the leading
    axes of an output}, True where it is compared; None for everywhere.
    """
    import torch

    their_x = torch.tensor(x, requires_grad=True)
    expected = theirs(their_x)
    random = np.random.default_rng(1)
    weights = {name: random.normal(size=tuple(y.shape)).astype(np.float32) for name, y in expected.items()}
    for name, mask in (masks or {}).items():
        weights[name] *= mask.reshape(*mask.shape, *(1,) * (weights[name].ndim - mask.ndim))
    sum((y * torch.from_numpy(weights[name])).sum() for name, y in expected.items()).backward()

    def weighted(x):
        outputs = ours(x)
        return sum((outputs[name] * weights[name]).sum() for name in weights), outputs

    (_, outputs), gradient = jax.jit(jax.value_and_grad(weighted, has_aux=True))(jnp.asarray(x))
    for name, y in expected.items():
        mask = (masks or {}).get(name, ...)
        assert_same(np.asarray(outputs[name])[mask], y.detach().numpy()[mask], name, tolerance)
    assert_same(gradient, their_x.grad.numpy(), "gradient", tolerance)
