"""Weights as integers with scales: int8 per channel, or int4 in groups, symmetric.

Symmetric quantisation with absolute maxima, as in Jacob et al. (2018, "Quantization and training of neural networks for
efficient integer-arithmetic-only inference") without zero points: q = round(w / s), s = max |w| / 127 (or 7 for int4). Zero
stays zero.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, Integer, UInt8

__all__ = ["LARGEST", "SCALE", "dequantized", "fitted", "packed", "quantized", "restored", "stored", "unpacked"]

LARGEST = {8: 127, 4: 7}
SCALE = "_scale"
"""Of the name of an array of scales, after the name of the integers: "kernel" and "kernel_scale"."""


def quantized(w: Float[Array, "*k i o"], bits: int, group: int | None) -> tuple[Int8[Array, "*k i o"], Float[Array, "*l g p"]]:
    """(integers of the given bits as int8, scales): w is about integers * scales.

    group: i is divided into groups of this size, each with a scale per output o and kernel position k; None: one scale per
    output; 0: one scale per row i, of all outputs.
    """
    if group is None:
        largest = jnp.max(jnp.abs(w), axis=range(w.ndim - 1), keepdims=True)
    elif group == 0:
        largest = jnp.max(jnp.abs(w), axis=-1, keepdims=True)
    else:
        largest = jnp.max(jnp.abs(w.reshape(*w.shape[:-2], -1, group, w.shape[-1])), axis=-2)
    scale = jnp.where(largest > 0, largest, 1).astype(jnp.float32) / LARGEST[bits]
    integers = jnp.round(_grouped(w, scale) / scale[..., None, :]).reshape(w.shape)
    return jnp.clip(integers, -LARGEST[bits], LARGEST[bits]).astype(jnp.int8), scale


def _grouped(x: Array, scale: Array) -> Array:
    """[*k i o] -> [*k g i/g o], with the groups of these scales."""
    return x.reshape(*x.shape[:-2], scale.shape[-2], -1, x.shape[-1])


def dequantized(values: Integer[Array, "*k i o"], scale: Float[Array, "*l g p"]) -> Float[Array, "*k j o"]:
    """float32 weights from int8 integers, or from int4 packed in uint8."""
    integers = unpacked(values) if values.dtype == jnp.uint8 else values
    return (_grouped(integers.astype(jnp.float32), scale) * scale[..., None, :]).reshape(integers.shape)


def packed(integers: Int8[Array, "*k i o"]) -> UInt8[Array, "*k h o"]:
    """int4 in [-8, 7] -> uint8 with two of them: inputs 0, 2, ... in the low half, 1, 3, ... in the high half; h = i / 2."""
    low, high = integers[..., 0::2, :].astype(jnp.uint8), integers[..., 1::2, :].astype(jnp.uint8)
    return (low & 15) | (high << 4)


def unpacked(pairs: UInt8[Array, "*k h o"]) -> Int8[Array, "*k i o"]:
    """The inverse of `packed`, with the sign restored."""
    signed = lambda half: (half.astype(jnp.int8) ^ 8) - 8
    both = jnp.stack([signed(pairs & 15), signed(pairs >> 4)], axis=-2)
    return both.reshape(*pairs.shape[:-2], -1, pairs.shape[-1])


def stored(flat: Mapping[str, Any], names: str, bits: int, group: int | None) -> dict[str, Any]:
    """{path: float array} -> the same with integers and scales for dense kernels and embeddings.

    names: a regular expression of the paths to quantise. Kernels are [i o]; other arrays, [v d], have a scale per row and 8
    bits. bits: 8, or 4 for kernels of an even number of inputs. group: inputs per scale, if it divides them; None for all.
    """
    found = dict(flat)
    for path, leaf in flat.items():
        if leaf.ndim == 2 and re.fullmatch(names, path):
            kernel = path.endswith("kernel")
            own = group if group and leaf.shape[0] % group == 0 else None
            found |= _integers(path, leaf, 4 if kernel and bits == 4 and leaf.shape[0] % 2 == 0 else 8, own if kernel else 0)
    return found


def restored(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The float32 arrays of `stored`."""
    pairs = {path: flat[f"{path}{SCALE}"] for path in flat if f"{path}{SCALE}" in flat}
    plain = {path: leaf for path, leaf in flat.items() if path.removesuffix(SCALE) not in pairs or path in pairs}
    return plain | {path: dequantized(flat[path], scale) for path, scale in pairs.items()}


def fitted(flat: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Float arrays as integers where `like`, arrays or shapes with the same names, has integers and scales."""
    found = dict(flat)
    for path in flat:
        if f"{path}{SCALE}" in like:
            scale = like[f"{path}{SCALE}"].shape
            group = 0 if scale[1] == 1 else None if scale[0] == 1 else flat[path].shape[0] // scale[0]
            found |= _integers(path, flat[path], 4 if like[path].dtype == jnp.uint8 else 8, group)
    return found


def _integers(path: str, leaf: Any, bits: int, group: int | None) -> dict[str, Any]:
    values, scale = quantized(jnp.asarray(leaf), bits, group)
    return {path: packed(values) if bits == 4 else values, f"{path}{SCALE}": scale}
