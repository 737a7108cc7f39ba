"""Grad-CAM: where the features of a layer speak for a score."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.types import Tokens

__all__ = ["grad_cam", "grad_cam_at"]


def grad_cam(
    features: Float[Array, "b ... c"],
    gradient: Float[Array, "b ... c"],
    valid: Bool[Array, "b ..."] | None = None,
    signed: bool = False,
) -> Float[Array, "b ..."]:
    """ReLU(sum_c alpha_c A_c), alpha_c the mean gradient over positions (Selvaraju et al., 2017, equations 1 and 2).

    features: the output A of a layer: of a convolution [b h w c], or the tokens of an encoder [b n c]. gradient: of the score
    by the features. valid: False for positions that are padding, whose value is 0; None for all. signed: without the ReLU.
    """
    axes = tuple(range(1, features.ndim - 1))
    valid = jnp.ones(features.shape[:-1], bool) if valid is None else valid
    features, gradient = (jnp.where(valid[..., None], x, 0).astype(jnp.float32) for x in (features, gradient))
    count = jnp.maximum(jnp.sum(valid, axis=axes, keepdims=True), 1)[..., None]
    weight = jnp.sum(gradient, axis=axes, keepdims=True) / count
    found = jnp.sum(weight * features, axis=-1)
    return found if signed else jax.nn.relu(found)


def grad_cam_at(run: Callable[[], Float[Array, " b"]], path: Sequence[str], signed: bool = False) -> Float[Array, "b ..."]:
    """`grad_cam` of the output of a module inside a model, an array or `Tokens`.

    run: () -> the score of each example; it applies a linen model. path: of the module, as in its variables, such as
    ("encoders_image", "stage2"). If the module is called several times, all calls change together and the last one is shown.
    Raises ValueError if no module of this path is called, or if it has no such output.
    """
    path = tuple(path)

    def scored(change):
        found = []

        def shift(next_method, args, kwargs, context):
            output = next_method(*args, **kwargs)
            if context.method_name != "__call__" or context.module.path != path:
                return output
            x, valid = (output.x, output.mask) if isinstance(output, Tokens) else (output, None)
            if getattr(x, "ndim", 0) < 3:
                raise ValueError(f"grad_cam_at: the output of {'/'.join(path)} is no array [b n ... c]")
            found.append((x, valid))
            moved = x if change is None else x + change.astype(x.dtype)
            return output.replace(x=moved) if valid is not None else moved

        with nn.intercept_methods(shift):
            score = run()
        if not found:
            raise ValueError(f"grad_cam_at: no module {'/'.join(path)} is called in this model")
        return jnp.sum(score), found[-1]

    shape = jax.eval_shape(lambda: scored(None)[1][0])
    change = jnp.zeros(shape.shape, jnp.float32)
    gradient, (features, valid) = jax.grad(lambda change: _known(scored(change)), has_aux=True)(change)
    return grad_cam(features, gradient, valid, signed)


def _known(found: tuple[Any, Any]) -> tuple[Any, Any]:
    score, (features, valid) = found
    return score, (features, jnp.ones(features.shape[:-1], bool) if valid is None else valid)
