"""Post-training quantisation of weights: int8 per channel, or int4 in groups, symmetric, without calibration data.

The int8 arrays, and uint8 arrays that pack two int4 each, replace the weights under the same paths; their scales are a
collection of their own, "scales". Both are what `variables.safetensors` and `Cell.export` contain. `Quantized` computes float32
weights from them at each call, so the products and the memory of one call are those of the float model.

Symmetric quantisation with absolute maxima, as in Jacob et al. (2018, "Quantization and training of neural networks for
efficient integer-arithmetic-only inference") without zero points: q = round(w / s), s = max |w| / 127 (or 7 for int4). Zero
stays zero, so pruned weights stay pruned.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.nn.integer_weights import LARGEST, dequantized, packed, quantized
from mmjax.robust.prune_criteria import KERNELS, prunable
from mmjax.train.stages import EVERYTHING

__all__ = ["BY_ROW", "SCALES", "Chain", "Quantize", "Quantized", "dequantized_variables", "quantizable"]

SCALES = "scales"
BY_ROW = "embedding|output"  # arrays [v d] with a row per token


@dataclass(frozen=True)
class Quantize:
    """A `Compression`: weights as int8 with a scale per output channel, or as int4 with a scale per group and output channel.

    Kernels of dense, convolutional and recurrent layers and tensors of fusions are quantised, and embeddings and output layers
    of decoders with a scale per row; biases, norms, positions and batch statistics stay float32. Frozen published weights are
    not part of a saved run and stay float32 too.

    bits: 8 or 4. int4 is packed in pairs along the input axis; a kernel with an odd number of inputs is int8. group: inputs per
    scale, None for all; a kernel whose inputs it does not divide has one scale per channel. weights: prefixes of the paths of
    quantised modules, as in `Stage.learns`. ValueError if a field is out of range or no kernel matches.
    """

    bits: int = 8
    group: int | None = None
    weights: tuple[str, ...] = EVERYTHING

    def check(self) -> None:
        """ValueError if a field is out of range."""
        if self.bits not in LARGEST:
            raise ValueError(f"Quantize.bits is {self.bits}; it must be 4 or 8")
        if self.group is not None and (self.group < 2 or self.group % 2):
            raise ValueError(f"Quantize.group is {self.group}; it must be an even number of inputs, or None for all")

    def module(self, model: Any) -> "Quantized":
        """The model with quantised variables."""
        self.check()
        return Quantized(model)

    def variables(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The variables of one seed -> {"params": with integer arrays, "scales", other collections}."""
        self.check()
        if SCALES in variables:
            raise ValueError("these variables have scales: they are quantised already")
        flat = flatten_dict(dict(variables["params"]), sep="/")
        scales = {}
        for path, leaf in quantizable(flat, self.weights).items():
            bits = 8 if leaf.shape[-2] % 2 else self.bits
            values, scale = quantized(leaf, bits, _group(path, leaf, self.group))
            flat[path], scales[path] = values if bits == 8 else packed(values), scale
        return {**variables, "params": unflatten_dict(flat, sep="/"), SCALES: unflatten_dict(scales, sep="/")}


@dataclass(frozen=True)
class Quantized:
    """A model that takes the variables of `Quantize`.

    model: the float model. `init` returns float variables, which published weights fit.
    """

    model: Any

    @property
    def encoders(self) -> Mapping[str, Any]:
        """{modality: encoder}."""
        return self.model.encoders

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """The initial float variables of the model."""
        return self.model.init(*args, **kwargs)

    def apply(self, variables: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The model's `apply` with float32 weights."""
        return self.model.apply(dequantized_variables(variables), *args, **kwargs)


@dataclass(frozen=True)
class Chain:
    """A `Compression` by several ones in order, such as `Chain((Prune(Magnitude(0.9)), Quantize(8)))`; () is the identity."""

    steps: tuple[Any, ...] = ()

    def module(self, model: Any) -> Any:
        """The module of the last one."""
        for step in self.steps:
            model = step.module(model)
        return model

    def variables(self, variables: Mapping[str, Any]) -> Any:
        """The variables of one seed after all of them."""
        for step in self.steps:
            variables = step.variables(variables)
        return variables


def quantizable(flat: Mapping[str, Any], prefixes: Sequence[str]) -> dict[str, Any]:
    """The arrays that `Quantize` changes: kernels, embeddings and output layers of decoders under these prefixes.

    ValueError if no kernel matches.
    """
    names = rf"{KERNELS}|(.*/)?({BY_ROW})"
    chosen = prunable(flat, prefixes)
    return {path: leaf for path, leaf in chosen.items() if leaf.ndim >= 2 and re.fullmatch(names, path)}


def _group(path: str, leaf: Any, group: int | None) -> int | None:
    """Inputs per scale: None for all of a channel, 0 for a scale per row of an embedding or an output layer [v d]."""
    if re.fullmatch(BY_ROW, path.rpartition("/")[2]):
        return 0
    return group if group and leaf.shape[-2] % group == 0 else None


def dequantized_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The float variables of one seed from those of `Quantize`."""
    scales = flatten_dict(dict(variables.get(SCALES, {})), sep="/")
    params = flatten_dict(dict(variables["params"]), sep="/")
    params = {path: dequantized(leaf, scales[path]) if path in scales else leaf for path, leaf in params.items()}
    return {name: tree for name, tree in variables.items() if name != SCALES} | {"params": unflatten_dict(params, sep="/")}
