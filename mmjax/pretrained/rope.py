"""The settings of rotary position embeddings in config.json, as transformers 4 and 5 write them -> `nn.rotary.Rope`."""

import math

from mmjax.nn.rotary import DynamicScaling, LinearScaling, Llama3Scaling, LongScaling, Rope, YarnScaling
from mmjax.pretrained.files import WeightsError, shown
from mmjax.pretrained.source import Settings, is_number

__all__ = ["KINDS", "read_rope", "rope_settings"]

KINDS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")
"""The supported values of rope_type."""


def rope_settings(settings: Settings) -> Settings:
    """The object with the scaling: rope_scaling (transformers 4) or rope_parameters (5); without both, an empty one."""
    old = settings.config.get("rope_scaling") not in (None, {})
    return settings.section("rope_scaling" if old else "rope_parameters", {})


def read_rope(settings: Settings, own: Settings | None = None, theta: float = 10_000.0) -> Rope:
    """A rotation.

    settings: config.json. own: the object with its scaling; None for `rope_settings`. theta: if no file has one. Scalings that
    depend on the length of the text are those for texts of at most the original length (see `nn.rotary`).
    """
    own = rope_settings(settings) if own is None else own
    kind = own.string("rope_type", own.string("type", "default"))
    kind = {"su": "longrope"}.get(kind, kind)
    if kind not in KINDS:
        raise WeightsError(f"{own.where}: {own.file} has rope_type = {shown(repr(kind))}; supported are {', '.join(KINDS)}")
    theta = own.positive("rope_theta", settings.positive("rope_theta", theta))
    outside = settings.positive("partial_rotary_factor", 1.0, maximum=1)
    fraction = own.positive("partial_rotary_factor", outside, maximum=1)
    if kind == "default":
        return Rope(theta, fraction)
    positions = settings.integer("max_position_embeddings")
    # transformers: a value beside the scaling has precedence over one inside.
    original = settings.integer("original_max_position_embeddings", own.integer("original_max_position_embeddings", positions))
    if kind == "longrope":
        return Rope(theta, fraction, _long(own, positions, original))
    factor = own.positive("factor")
    if kind == "linear":
        return Rope(theta, fraction, LinearScaling(factor))
    if kind == "dynamic":
        return Rope(theta, fraction, DynamicScaling(factor, positions))
    if kind == "llama3":
        low, high = own.positive("low_freq_factor"), own.positive("high_freq_factor")
        if low >= high:
            raise own.error("high_freq_factor", f"a number above low_freq_factor, which is {low}")
        return Rope(theta, fraction, Llama3Scaling(factor, low, high, original))
    return Rope(theta, fraction, _yarn(own, factor, original))


def _yarn(own: Settings, factor: float, original: int) -> YarnScaling:
    amplitude = own.positive("attention_factor") if own.config.get("attention_factor") is not None else None
    first, second = own.config.get("mscale"), own.config.get("mscale_all_dim")
    if amplitude is None and first is not None and second is not None:
        grown = lambda name: 1.0 if factor <= 1 else 0.1 * own.positive(name) * math.log(factor) + 1
        amplitude = grown("mscale") / grown("mscale_all_dim")
    bounds = own.positive("beta_fast", 32.0), own.positive("beta_slow", 1.0)
    return YarnScaling(factor, original, *bounds, own.flag("truncate", True), amplitude)


def _long(own: Settings, positions: int, original: int) -> LongScaling:
    listed = lambda values: isinstance(values, list) and 1 <= len(values) <= 1000
    valid = lambda values: listed(values) and all(is_number(x) and x > 0 for x in values)
    short, long = (tuple(own.read(name, valid, "a list of positive numbers")) for name in ("short_factor", "long_factor"))
    factor = own.positive("factor", positions / original)
    amplitude = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    return LongScaling(short, long, original, own.positive("attention_factor", amplitude))
