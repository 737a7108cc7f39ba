"""Source -> example -> transforms -> Batch: reading, cleaning, splitting, preparing and feeding data.

data = mmjax.data.from_arrays({"image": images, "audio": waves}, {"label": names}, groups=speakers)
data = mmjax.data.from_manifest("clips/data.csv", groups="speaker")
"""

import importlib
from typing import Any

FUNCTIONS = {
    "from_arrays": ("mmjax.data.custom.arrays", "from_arrays"),
    "from_manifest": ("mmjax.data.custom.manifest", "from_manifest"),
}

__all__ = list(FUNCTIONS)


def __getattr__(name: str) -> Any:
    """Imports a function when it is first used, so that `import mmjax.data` is fast."""
    if name not in FUNCTIONS:
        raise AttributeError(f"module 'mmjax.data' has no attribute {name!r}")
    module, function = FUNCTIONS[name]
    value = globals()[name] = getattr(importlib.import_module(module), function)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
