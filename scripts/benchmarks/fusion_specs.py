"""Fusions as specifications, from which both sides build their modules."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

CLASSES = 10


class Spec(NamedTuple):
    """A fusion, or a layer of one: the name of its class in mmjax, and its fields."""

    kind: str
    fields: Mapping[str, Any]


def specs(width: int) -> dict[str, Spec]:
    """All fusions that `python -m mmjax.parts` lists, in its order. The modalities are m0, m1, ..."""
    plain, hidden, late = {"width": width}, {"width": width, "hidden": 2 * width}, {"classes": CLASSES, "width": width}
    gmu, concat, pair = Spec("GMU", plain), Spec("Concat", plain), ("m0", "m1")
    branches = {"sum": Spec("WeightedSum", plain), "product": Spec("Product", plain)}
    found = [
        concat,
        *branches.values(),
        Spec("FiLM", {"target": "m0", **plain}),
        gmu,
        Spec("Gated", plain),
        Spec("TensorFusion", {"inner": 16, **plain}),
        Spec("LowRank", {"rank": 4, **plain}),
        Spec("MultiplicativeInteractions", {"width": max(width // 4, 1)}),
        Spec("MFB", {"factors": 5, **plain}),
        Spec("MUTAN", {"inner": 32, "rank": 5, **plain}),
        Spec("EarlyTransformer", hidden),
        Spec("CrossAttention", {"query": "m0", **hidden}),
        Spec("CoAttention", hidden),
        Spec("MulT", {"width": max(width // 8, 4), "hidden": max(width // 2, 4)}),
        Spec("Perceiver", {"latents": 8, **hidden}),
        Spec("Bottleneck", {"tokens": 4, **hidden}),
        Spec("MixtureOfExperts", {"experts": 6, "k": 2, **hidden}),
        *(Spec(kind, late) for kind in ("MeanLogits", "WeightedLogits", "ProductOfExperts", "Stacked")),
        Spec("Only", {"names": pair, "fusion": gmu}),
        Spec("Serial", {"names": pair, "first": gmu, "then": concat}),
        Spec("Parallel", {"branches": branches, "then": Spec("Append", {})}),
        Spec("Append", {}),
        Spec("EachStep", {"fusion": gmu}),
        Spec("SideBySide", {}),
        Spec("ContextOver", {"fusion": Spec("SideBySide", {}), "layer": Spec("LSTM", {"features": width})}),
    ]
    return {spec.kind: spec for spec in found}


def mmjax_module(value: Any) -> Any:
    """The module of a Spec, also for specs inside mappings; other values are returned unchanged."""
    from mmjax import fusion, nn

    if isinstance(value, Spec):
        return getattr(nn if value.kind == "LSTM" else fusion, value.kind)(**mmjax_module(value.fields))
    return {name: mmjax_module(part) for name, part in value.items()} if isinstance(value, Mapping) else value


def as_torch(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{path: parameter of mmjax} -> {name: parameter in torch's layout}; the torch modules have the same names with dots."""
    found = {}
    for path, x in params.items():
        owner, _, name = path.replace("/", ".").rpartition(".")
        prefix = f"{owner}." if owner else ""
        if name == "recurrent":  # of an LSTM
            found |= {f"{prefix}weight_hh_l0": x.T, f"{prefix}bias_hh_l0": np.zeros(x.shape[1], np.float32)}
        elif owner.endswith(".input") and f"{path.rpartition('/input/')[0]}/recurrent" in params:
            layer = owner.removesuffix(".input")
            found |= {f"{layer}.weight_ih_l0": x.T} if name == "kernel" else {f"{layer}.bias_ih_l0": x}
        elif name == "kernel" and x.ndim in (2, 4):
            found[f"{prefix}weight"] = x.T if x.ndim == 2 else x.transpose(3, 2, 0, 1)
        else:
            found[prefix + {"scale": "weight", "embedding": "weight"}.get(name, name)] = x
    return found
