"""mmjax: multimodal models in JAX, as pure functions. See README.md; the contracts are in `mmjax.types`.

    results = mmjax.run({"concat": Experiment(...)}, seeds=5, out="runs/mine")     train, score, write the run folder
    results = mmjax.load_run("runs/mine")                                         results["concat"].predict({"text": ["..."]})
    weights = mmjax.load_weights("minilm")                                        a published encoder with its weights
"""

import importlib
from importlib import metadata
from typing import Any

SUBPACKAGES = (
    "audit", "data", "decoders", "encoders", "evaluate", "experiment", "fusion", "heads", "losses", "metrics", "model", "nn",
    "pretrained", "report", "results", "robust", "runs", "tasks", "train", "types",
)  # fmt: skip
FUNCTIONS = {
    "run": ("mmjax.api", "run"),
    "load_run": ("mmjax.results", "load_run"),
    "load_weights": ("mmjax.pretrained", "load_encoder"),
}

__all__ = ["__version__", *FUNCTIONS, *SUBPACKAGES]


def __getattr__(name: str) -> Any:
    """Imports a subpackage or function when it is first used, so that `import mmjax` is fast."""
    if name == "__version__":
        value = metadata.version("mmjax")
    elif name in FUNCTIONS:
        module, function = FUNCTIONS[name]
        value = getattr(importlib.import_module(module), function)
    elif name in SUBPACKAGES:
        value = importlib.import_module(f"mmjax.{name}")
    else:
        raise AttributeError(f"module 'mmjax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
