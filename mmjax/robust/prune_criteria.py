"""Which weights are pruned: criteria that turn weights and scores into masks.

A criterion is a frozen dataclass with these methods. Weights, gradients, masks and scores are {path: array}.

    sparsity                                the final fraction of zeros, in [0, 1)
    check()                                 ValueError if a field is out of range
    masks(weights) -> masks                 all True, of the arrays that it prunes; ValueError if shapes do not fit
    scores(weights) -> scores               initial scores; {} if the weights themselves are the scores
    accumulate(scores, gradient, weights)   new scores, after each gradient
    keep(weights, masks, scores, sparsity)  new masks; sparsity: Float[]. A pruned weight stays pruned.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.train.stages import does_learn

__all__ = [
    "KERNELS", "LOWEST", "Channels", "Heads", "Magnitude", "Movement", "NofM", "check_sparsity", "every_kernel", "kernels",
    "lowest", "no_scores", "prunable", "same_scores",
]

KERNELS = r"(.*/)?(kernel|recurrent|\w+_factor|\w+_tensor)"
LOWEST = jnp.iinfo(jnp.int32).min


def prunable(flat: Mapping[str, Any], prefixes: Sequence[str]) -> dict[str, Any]:
    """The parameters under these prefixes (see `Stage.learns`). ValueError if none of them is a kernel.

    flat: {path: array}.
    """
    chosen = {path: leaf for path, leaf in flat.items() if does_learn(path, prefixes)}
    if not kernels(chosen):
        known = ", ".join(sorted({path.partition("/")[0] for path in kernels(flat)})) or "none"
        raise ValueError(f"weights is {tuple(prefixes)}, which matches no kernel; modules with kernels are {known}")
    return chosen


def kernels(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Kernels of dense, convolutional and recurrent layers and tensors of fusions: no biases, norms or embeddings."""
    return {path: leaf for path, leaf in flat.items() if leaf.ndim >= 2 and re.fullmatch(KERNELS, path)}


def lowest(scores: Float[Array, " n"], pruned: Bool[Array, " n"], count: Int[Array, ""]) -> Bool[Array, " n"]:
    """True for exactly `count` entries: those already pruned first, then those of the lowest scores; ties by index.

    Bisection over the bit patterns of float32, which takes 32 passes; a sort would be slower, and under `vmap` over seeds it
    would run at every step.
    """
    bits = jax.lax.bitcast_convert_type(scores.astype(jnp.float32), jnp.int32)
    order = jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)  # integers in the order of the floats
    order = jnp.where(pruned, LOWEST + 1, order)

    def halve(_, bounds):
        low, high = bounds
        middle = (low & high) + ((low ^ high) >> 1)
        enough = jnp.sum(order <= middle) >= count
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    bounds = jnp.int32(LOWEST), jnp.int32(jnp.iinfo(jnp.int32).max)
    threshold = jax.lax.fori_loop(0, 32, halve, bounds)[1]
    tied = order == threshold
    return (order < threshold) | tied & (jnp.cumsum(tied) <= count - jnp.sum(order < threshold))


def _count(sparsity: Any, size: int) -> Int[Array, ""]:
    return jnp.round(sparsity * size).astype(jnp.int32)


def _keep_by_score(scores: Mapping[str, Any], masks: Mapping[str, Any], sparsity: Any, per_layer: bool) -> dict[str, Any]:
    """Masks without the lowest scores, of each array or of all arrays together."""
    if per_layer:
        return {path: _keep_by_score({path: scores[path]}, {path: mask}, sparsity, False)[path] for path, mask in masks.items()}
    ravel = lambda tree: jnp.concatenate([tree[path].ravel() for path in masks])
    flat = ravel(masks)
    kept = ~lowest(ravel(scores), ~flat, _count(sparsity, flat.size))
    parts, start = {}, 0
    for path, mask in masks.items():
        parts[path] = kept[start : start + mask.size].reshape(mask.shape)
        start += mask.size
    return parts


def check_sparsity(criterion: Any) -> None:
    """ValueError if the criterion's sparsity is out of range."""
    if not 0 <= criterion.sparsity < 1:
        raise ValueError(f"{type(criterion).__name__}.sparsity is {criterion.sparsity}; it must be at least 0 and below 1")


def every_kernel(criterion: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Masks that are all True, for each kernel."""
    return {path: jnp.ones(leaf.shape, bool) for path, leaf in kernels(weights).items()}


def no_scores(criterion: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    """{}: the weights themselves are the scores."""
    return {}


def same_scores(criterion: Any, scores: Mapping[str, Any], gradient: Any, weights: Any) -> dict[str, Any]:
    """The scores, whatever the gradient."""
    return dict(scores)


@dataclass(frozen=True)
class Magnitude:
    """Prunes the weights of smallest magnitude (Han et al., 2015, "Learning both weights and connections").

    sparsity: final fraction of zeros among the kernels, in [0, 1). per_layer: the same sparsity in each kernel; otherwise one
    threshold for all.
    """

    sparsity: float = 0.8
    per_layer: bool = False

    check = check_sparsity
    masks = every_kernel
    scores, accumulate = no_scores, same_scores

    def keep(self, weights: Mapping[str, Any], masks: Mapping[str, Any], scores: Any, sparsity: Any) -> dict[str, Any]:
        """Masks without the smallest magnitudes."""
        return _keep_by_score({path: jnp.abs(weights[path]) for path in masks}, masks, sparsity, self.per_layer)


@dataclass(frozen=True)
class Movement:
    """Movement pruning (Sanh et al., 2020, "Movement pruning: adaptive sparsity by fine-tuning"): the score of a weight is the
    sum of -gradient * weight over the steps so far (equation 4 without the learning rate), and the lowest scores are pruned.

    Departure: a pruned weight is zero and stays zero, whereas the paper keeps its value behind the mask, where it can return.
    sparsity, per_layer: as in `Magnitude`.
    """

    sparsity: float = 0.8
    per_layer: bool = False

    check = check_sparsity
    masks = every_kernel

    def scores(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Zeros."""
        return {path: jnp.zeros(leaf.shape, jnp.float32) for path, leaf in kernels(weights).items()}

    def accumulate(self, scores: Mapping[str, Any], gradient: Mapping[str, Any], weights: Any) -> dict[str, Any]:
        """Scores minus gradient * weight."""
        return {path: score - gradient[path] * weights[path] for path, score in scores.items()}

    def keep(self, weights: Any, masks: Mapping[str, Any], scores: Mapping[str, Any], sparsity: Any) -> dict[str, Any]:
        """Masks without the lowest scores. ValueError without scores, as after training."""
        if not scores:
            raise ValueError("Movement needs the gradients of a training; use Magnitude to prune a trained model")
        return _keep_by_score(scores, masks, sparsity, self.per_layer)


@dataclass(frozen=True)
class NofM:
    """Keeps the n largest of each m consecutive weights along the input axis (Mishra et al., 2021, "Accelerating sparse deep
    neural networks"): 2 of 4 is what sparse tensor cores accelerate. The first weights of a group are pruned first if tied.

    n: kept weights, at least 1 and below m. m: size of a group, which divides the number of input channels of each kernel.
    """

    n: int = 2
    m: int = 4

    scores, accumulate = no_scores, same_scores

    @property
    def sparsity(self) -> float:
        """1 - n / m."""
        return 1 - self.n / self.m

    def check(self) -> None:
        """ValueError if n is not between 1 and m."""
        if not 1 <= self.n <= self.m:
            raise ValueError(f"NofM.n is {self.n} of m {self.m}; it must be at least 1 and at most m")

    def masks(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """All True. ValueError if m does not divide the input channels of a kernel."""
        found = every_kernel(self, weights)
        for path, mask in found.items():
            if mask.shape[-2] % self.m:
                raise ValueError(
                    f"NofM.m is {self.m}, which does not divide the {mask.shape[-2]} input channels of {path}; leave it out of "
                    "weights"
                )
        return found

    def keep(self, weights: Mapping[str, Any], masks: Mapping[str, Any], scores: Any, sparsity: Any) -> dict[str, Any]:
        """Masks without the round(sparsity * m) smallest magnitudes of each group."""
        return {path: self._keep(jnp.abs(weights[path]), mask, _count(sparsity, self.m)) for path, mask in masks.items()}

    def _keep(self, magnitude: Array, mask: Array, pruned: Array) -> Array:
        *leading, rows, columns = mask.shape
        group = lambda x: x.reshape(*leading, rows // self.m, self.m, columns)
        x, place = group(jnp.where(mask, magnitude, -1)), jnp.arange(self.m)[:, None]
        others = [(x[..., j : j + 1, :], j) for j in range(self.m)]
        rank = sum((other < x) | (other == x) & (j < place).reshape((1,) * (x.ndim - 2) + (-1, 1)) for other, j in others)
        return (rank >= pruned).reshape(mask.shape)


@dataclass(frozen=True)
class Channels:
    """Prunes whole output channels of each layer, with their biases, by the L2 norm of their weights (Li et al., 2017, "Pruning
    filters for efficient ConvNets", who use L1).

    The output channels of a head are its classes, so `weights` should name encoders and fusions only.
    sparsity: fraction of the output channels of each kernel, in [0, 1).
    """

    sparsity: float = 0.5

    check = check_sparsity
    scores, accumulate = no_scores, same_scores

    def masks(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """All True, of kernels and the biases beside them."""
        biases = {path: weights[path] for kernel in kernels(weights) if (path := _bias(kernel)) in weights}
        return every_kernel(self, weights) | {path: jnp.ones(leaf.shape, bool) for path, leaf in biases.items()}

    def keep(self, weights: Mapping[str, Any], masks: Mapping[str, Any], scores: Any, sparsity: Any) -> dict[str, Any]:
        """Masks without the channels of the smallest norms."""
        found = {}
        for path, mask in kernels(masks).items():
            axes = tuple(range(mask.ndim - 1))
            norm = jnp.sum(jnp.square(jnp.where(mask, weights[path], 0)), axis=axes)
            kept = ~lowest(norm, ~mask.any(axis=axes), _count(sparsity, mask.shape[-1]))
            found[path] = jnp.broadcast_to(kept.reshape((1,) * len(axes) + (-1,)), mask.shape)
            if _bias(path) in masks:
                found[_bias(path)] = kept
        return found


def _bias(kernel: str) -> str:
    """The path of the bias beside a kernel."""
    return kernel.rpartition("/")[0] + "/bias"


@dataclass(frozen=True)
class Heads:
    """Prunes whole attention heads of each attention layer, by the L2 norm of all their weights (as Michel et al., 2019, "Are
    sixteen heads really better than one?", who rank them by gradients).

    Queries, keys and values of a pruned head, their biases, and its rows of the output kernel are zero.
    heads: number of heads of each layer. sparsity: fraction of them, in [0, 1).
    """

    heads: int = 4
    sparsity: float = 0.5

    scores, accumulate = no_scores, same_scores

    def check(self) -> None:
        """ValueError if a field is out of range."""
        check_sparsity(self)
        if self.heads < 1:
            raise ValueError(f"Heads.heads is {self.heads}; it must be at least 1")

    def masks(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """All True, of the arrays that have heads. ValueError if there is no attention, or the heads do not divide it."""
        found = {}
        for layer in _attention_layers(weights):
            width = weights[f"{layer}/out/kernel"].shape[-2]
            if width % self.heads:
                raise ValueError(f"Heads.heads is {self.heads}, which does not divide the {width} channels of {layer}")
            names = [f"{part}/{leaf}" for part in ("query", "key", "value") for leaf in ("kernel", "bias")] + ["out/kernel"]
            found |= {path: weights[path] for name in names if (path := f"{layer}/{name}") in weights}
        if not found:
            raise ValueError("Heads finds no attention layer, with query, key, value and out, among the weights")
        return {path: jnp.ones(leaf.shape, bool) for path, leaf in found.items()}

    def keep(self, weights: Mapping[str, Any], masks: Mapping[str, Any], scores: Any, sparsity: Any) -> dict[str, Any]:
        """Masks without the heads of the smallest norms."""
        found = {}
        for layer in _attention_layers(masks):
            split = {path: self._by_head(path, masks[path]) for path in masks if path.startswith(f"{layer}/")}
            squares = [jnp.square(self._by_head(path, weights[path])) * split[path] for path in split]
            norm = sum(jnp.sum(part, axis=(0, 2)) for part in squares)
            kept = ~lowest(norm, ~split[f"{layer}/value/kernel"].any(axis=(0, 2)), _count(sparsity, self.heads))
            for path, part in split.items():
                found[path] = jnp.broadcast_to(kept[None, :, None], part.shape).reshape(masks[path].shape)
        return found

    def _by_head(self, path: str, x: Array) -> Array:
        """[other axes, heads, width]; or [1, heads, rest] of the output kernel."""
        rest = 1 if path.endswith("/out/kernel") else x.size // x.shape[-1]
        return x.reshape(rest, self.heads, -1)


def _attention_layers(flat: Mapping[str, Any]) -> list[str]:
    """The paths of the modules with query, key, value and out."""
    layers = [path.removesuffix("/query/kernel") for path in flat if path.endswith("/query/kernel")]
    return [layer for layer in layers if all(f"{layer}/{part}/kernel" in flat for part in ("key", "value", "out"))]
