"""The score of a multimodal model as a function of continuous inputs, and its attributions by every method."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mmjax.audit.attribution.cam import grad_cam
from mmjax.audit.attribution.gradients import Score, gradient, integrated_gradients_to, only, smooth_gradient
from mmjax.audit.attribution.occlusion import occlusion
from mmjax.audit.attribution.rollout import attention_rollout, self_attention
from mmjax.audit.attribution.words import Path, embeddings_of, with_embeddings
from mmjax.encoders import Pooled
from mmjax.model import Multimodal, mask_inputs
from mmjax.nn.pooling import first_token, last_token
from mmjax.nn.presence import encode
from mmjax.types import Batch, Padded, Tokens

__all__ = [
    "CELLS", "MAX_EXTRA", "MAX_PIECES", "METHODS", "NOISE", "Explainable", "Explained", "attributions", "explained",
    "on_features", "rollouts",
]  # fmt: skip

METHODS = ("gradient", "SmoothGrad", "integrated gradients", "occlusion", "Grad-CAM", "attention rollout")
CELLS = 8  # windows of occlusion along an axis of an image, a spectrogram or a series
MAX_PIECES = 24  # of the path of integrated gradients, since each more takes 24 gradients
NOISE = 0.15  # of SmoothGrad, as a share of the range of an input


@runtime_checkable
class Explainable(Protocol):
    """A task whose predictions have a score that attributions explain."""

    def evidence(self, outputs: Mapping[str, Array], reference: Mapping[str, Array]) -> Float[Array, " b"]:
        """The score of each example's prediction. reference: the outputs that determine the prediction, such as the class."""
        ...


class Explained(NamedTuple):
    """The score of one seed as a function of {modality: Float[b ...]}.

    inputs: images, frames and series as they are, and the embeddings of words. baselines: zeros, the mean of z-scored inputs,
    and the embedding of padding. valid: {modality: Bool}, the features that exist: pixels [b h w], words [b n], entries of
    frames and series [b n d], or of vectors [b d]. axes: {modality: the number of last axes that one feature has}, 1 for
    colours and embeddings, else 0. encode, decode: the two halves of the model, inputs -> tokens -> score.
    """

    score: Score
    inputs: dict[str, Array]
    baselines: dict[str, Array]
    valid: dict[str, Bool[Array, "b ..."]]
    axes: dict[str, int]
    encode: Callable[[Any], dict[str, Tokens]]
    decode: Callable[[dict[str, Tokens]], Float[Array, " b"]]


def explained(model: Multimodal, task: Explainable, variables: Any, batch: Batch) -> Explained:
    """The score `task.evidence` of one seed, with what is predicted for the whole batch held fixed.

    Inputs that are no float arrays or token ids, such as packed patches, and token ids whose embeddings are not found, have no
    attributions and stay as they are. ValueError if that holds for all inputs, or if the task cannot explain these outputs.
    """
    texts: dict[str, Path] = {}  # the place where the words of each text are looked up
    inputs, baselines, valid, axes = {}, {}, {}, {}
    for name in sorted(model.encoders):
        x, present = mask_inputs(batch.inputs[name], batch.present[name]), batch.present[name]
        array = x.x if isinstance(x, Padded) else x
        if _is_ids(x):
            encoder, own = model.encoders[name], _own(variables, name)
            try:
                inputs[name], path = embeddings_of(encoder, own, x)
            except ValueError:
                continue
            baselines[name], _ = embeddings_of(encoder, own, x.replace(x=jnp.zeros_like(x.x)))
            texts[name] = (f"encoders_{name}", *path)
        elif isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jnp.floating):
            inputs[name], baselines[name] = array, jnp.zeros_like(array)
        else:
            continue
        axes[name] = int(name in texts or inputs[name].ndim == 4)
        shape = inputs[name].shape[: inputs[name].ndim - axes[name]]
        mask = x.mask if isinstance(x, Padded) else jnp.ones(len(present), bool)
        mask = mask & present.reshape((-1,) + (1,) * (mask.ndim - 1))
        valid[name] = jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)

    if not inputs:
        raise ValueError("no input of the model is continuous or has embeddings that can be found")

    def encode_inputs(new):
        def one(name, x):
            if name not in new or name in texts:
                return x
            return x.replace(x=new[name]) if isinstance(x, Padded) else new[name]

        other = batch.replace(inputs={name: one(name, x) for name, x in batch.inputs.items()})
        with with_embeddings({path: new[name] for name, path in texts.items()}):
            return model.apply(variables, other, method="encode")

    outputs = lambda tokens: model.apply(variables, tokens, batch.present, batch.targets, method="decode")
    reference = jax.lax.stop_gradient(outputs(encode_inputs(inputs)))
    decode = lambda tokens: task.evidence(outputs(tokens), reference).astype(jnp.float32)
    return Explained(lambda new: decode(encode_inputs(new)), inputs, baselines, valid, axes, encode_inputs, decode)


def attributions(
    model: Multimodal, task: Explainable, variables: Any, batch: Batch, key: Key[Array, ""], tolerance: Any = 1e-3
) -> dict[str, dict[str, Array]]:
    """{method: {modality: attribution of its features}} of one seed, for the METHODS that fit each modality.

    Features are those of `Explained.valid`; what does not exist, such as a missing modality or padding, has exactly zero.
    Gradient and SmoothGrad give the length of a feature's gradient, Grad-CAM and rollout a positive relevance; integrated
    gradients and occlusion are signed. "completeness" has the gap of the integrated gradients, {"all": Float[b]}, and "valid"
    the masks of the features. tolerance: of this gap, which more than MAX_PIECES pieces of the path would need for some models.
    """
    one = explained(model, task, variables, batch)
    features = lambda found: {name: jnp.sum(x, axis=-1) if one.axes[name] else x for name, x in found.items()}
    length = lambda x, axes: jnp.sqrt(jnp.sum(x * x, axis=-1)) if axes else jnp.abs(x)
    lengths = lambda found: {name: length(x, one.axes[name]) for name, x in found.items()}
    spread = {name: NOISE * (x.max() - x.min()) for name, x in one.inputs.items()}
    integrated, gap = integrated_gradients_to(one.score, one.inputs, one.baselines, tolerance, MAX_PIECES)
    found = {
        "gradient": lengths(gradient(one.score, one.inputs)),
        "SmoothGrad": lengths(smooth_gradient(one.score, one.inputs, key, spread)),
        "integrated gradients": features(integrated),
        "occlusion": features({name: _occluded(one, name) for name in one.inputs}),
        "Grad-CAM": _cams(one),
        "attention rollout": rollouts(model, variables, batch, one),
    }
    kept = {method: only(maps, {name: one.valid[name] for name in maps}) for method, maps in found.items()}
    return kept | {"completeness": {"all": gap}, "valid": one.valid}


def rollouts(model: Multimodal, variables: Any, batch: Batch, one: Explained) -> dict[str, Array]:
    """Attention rollout of each encoder with self-attention, from the tokens that its output depends on."""
    found = {}
    for name in one.inputs:
        encoder, x = model.encoders[name], mask_inputs(batch.inputs[name], batch.present[name])
        run = lambda encoder=encoder, own=_own(variables, name), x=x, name=name: encoder.apply(
            own, method=lambda module: encode(module, x, batch.present[name])
        )
        weights = self_attention(run)
        if not weights or len({of.shape for of in weights}) > 1:
            continue
        rows = attention_rollout(weights)
        pool = encoder.pool if isinstance(encoder, Pooled) else None
        if pool is first_token:
            relevance = rows[:, 0]
        elif pool is last_token:
            relevance = jnp.take_along_axis(rows, jnp.maximum(one.valid[name].sum(axis=1) - 1, 0)[:, None, None], axis=1)[:, 0]
        else:
            relevance = rows.mean(axis=1)
        placed = on_features(relevance, one.valid[name].shape, one.axes[name])
        found |= {} if placed is None else {name: placed}
    return found


def on_features(relevance: Float[Array, "b n"], shape: tuple[int, ...], axes: int) -> Float[Array, "b ..."] | None:
    """The relevance of n tokens as an attribution of features [b ...]: None if the tokens have no place among them.

    Tokens of an image are a square grid, perhaps after a class token and registers, and are enlarged by linear interpolation;
    those of a sequence are its words, or the grid of its time, which is stretched over all entries of a step.
    """
    b, n = relevance.shape
    if n < 2:
        return None
    if axes and len(shape) == 3:
        side = int(n**0.5)
        grid = relevance[:, n - side * side :].reshape(b, side, side)
        return jax.image.resize(grid, shape, "linear") if side > 1 and n - side * side <= MAX_EXTRA else None
    if len(shape) == 2 and axes:
        return relevance if n == shape[1] else None
    if len(shape) == 3 and n <= shape[1]:
        return jnp.broadcast_to(jax.image.resize(relevance, (b, shape[1]), "linear")[..., None], shape)
    return None


MAX_EXTRA = 8  # tokens before the grid of an image


def _own(variables: Any, name: str) -> dict[str, Any]:
    """The variables of the encoder of one modality."""
    return {collection: of[f"encoders_{name}"] for collection, of in variables.items() if f"encoders_{name}" in of}


def _is_ids(x: Any) -> bool:
    return isinstance(x, Padded) and x.x.ndim == 2 and jnp.issubdtype(x.x.dtype, jnp.integer)


def _occluded(one: Explained, name: str) -> Array:
    """Occlusion by single words, by cells of an image or of a spectrogram, or by single features of a vector.

    Divided by the number of colours or entries of an embedding, so that their sum is the loss of score.
    """
    x = one.inputs[name]
    score = lambda new: one.score({**one.inputs, name: new})
    cell = lambda size: max(size // CELLS, 1)
    if one.axes[name] and x.ndim == 3:
        window = (1, x.shape[2])
    elif one.axes[name]:
        window = (cell(x.shape[1]), cell(x.shape[2]), x.shape[3])
    else:
        window = tuple(cell(size) for size in x.shape[1:]) if x.ndim > 2 else (max(x.shape[1] // 32, 1),)
    found = occlusion(score, x, one.baselines[name], window)
    return found / x.shape[-1] if one.axes[name] else found


def _cams(one: Explained) -> dict[str, Array]:
    """Grad-CAM over the tokens of each encoder."""
    tokens = one.encode(one.inputs)
    with_x = lambda xs: {name: of.replace(x=xs.get(name, of.x)) for name, of in tokens.items()}
    slope = jax.grad(lambda xs: jnp.sum(one.decode(with_x(xs))))({name: of.x for name, of in tokens.items()})
    found = {}
    for name in one.inputs:
        cam = grad_cam(tokens[name].x, slope[name], tokens[name].mask)
        placed = on_features(cam, one.valid[name].shape, one.axes[name])
        found |= {} if placed is None else {name: placed}
    return found
