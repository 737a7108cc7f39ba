"""The cases of the contract suite. To add an encoder or a fusion, add one line to the file of its family."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.encoders import Features
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.model import Multimodal
from mmjax.types import Batch
from tests.contracts import (
    attention_cases,
    audio_cases,
    features_cases,
    fusion_cases,
    image_cases,
    series_cases,
    text_cases,
    video_cases,
)
from tests.contracts.inputs import BATCH, CLASSES, frames

README = Path(__file__).parents[2] / "README.md"


def fusion_of_the_readme() -> type:
    """The user-defined fusion of the README."""
    _, code = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)  # the first block is about results
    names = {}
    exec("\n".join(line for line in code.split("if __name__")[0].splitlines() if "stamps_fusion" not in line), names)
    return names["SquaredSum"]


FAMILIES = (image_cases, text_cases, audio_cases, video_cases, series_cases, features_cases)
ENCODERS = {name: case for family in FAMILIES for name, case in family.ENCODERS.items()}
README_FUSION = {"of_the_readme": (fusion_of_the_readme()(width=6), Classifier(CLASSES))}
FUSIONS = fusion_cases.FUSIONS | attention_cases.FUSIONS | README_FUSION
ALIGNED = fusion_cases.ALIGNED
KINDS = {"encoder": ENCODERS, "fusion": FUSIONS, "aligned": ALIGNED}
PARTS = [f"{kind} {name}" for kind, cases in KINDS.items() for name in cases]
SLOW = fusion_cases.SLOW + attention_cases.SLOW


class Case(NamedTuple):
    """A model with the tested module, and a batch in which its modalities are absent in turn; in example 3 all are."""

    model: Multimodal
    batch: Batch


def case(part: str) -> Case:
    """An encoder encodes modality "one" beside a simple modality "two". A fusion fuses three modalities, aligned or not."""
    kind, name = part.split()
    if kind == "encoder":
        encoder, make = ENCODERS[name]
        encoders = {"one": (encoder, make), "two": (Features(width=4), features_cases.vectors)}
        fusion, head = Concat(width=6, dropout=0.3), Classifier(CLASSES)
    elif kind == "aligned":
        fusion, head = ALIGNED[name]
        encoders = {name: (Features(width=4), frames) for name in ("one", "two", "three")}
    else:
        fusion, head = FUSIONS[name]
        encoders = {
            "one": (Features(width=5), frames),
            "two": (Features(width=4), features_cases.vectors),
            "three": (Features(width=4), lambda key: frames(key, length=3, bands=2)),
        }
    keys = jax.random.split(jax.random.key(3), len(encoders))
    present = {
        name: (jnp.arange(BATCH) % (len(encoders) + 1) != number) & (jnp.arange(BATCH) != 3)
        for number, name in enumerate(encoders)
    }
    batch = Batch(
        {name: make(key) for (name, (_, make)), key in zip(encoders.items(), keys)},
        present,
        {"label": jnp.arange(BATCH) % CLASSES},
        jnp.ones(BATCH),
    )
    return Case(Multimodal({name: module for name, (module, _) in encoders.items()}, fusion, {"label": head}), batch)


def in_bfloat16(module: Any) -> Any:
    """The module and all modules in its fields with dtype bfloat16."""
    if isinstance(module, dict):
        return {name: in_bfloat16(part) for name, part in module.items()}
    if not isinstance(module, nn.Module):
        return module
    fields = {n: getattr(module, n) for n in module.__dataclass_fields__ if n not in ("parent", "name")}
    changes = {n: in_bfloat16(dict(v) if hasattr(v, "items") else v) for n, v in fields.items()}
    if "dtype" in changes:
        changes["dtype"] = jnp.bfloat16
    return type(module)(**changes)


def is_float(x) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)
