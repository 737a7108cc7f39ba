"""open_clip without torchvision, which cannot be installed beside a CPU-only torch; its models do not use it."""

import importlib.machinery
import json
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

from tests.parity.originals import randomised


class _AnyClass(type):
    def __getattr__(cls, name):  # members of InterpolationMode, which timm lists when it is imported
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _AnyModule(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyClass(name, (), {})


class _Torchvision:
    """Finds every module of torchvision; each has every class."""

    def find_spec(self, name, path=None, target=None):
        own = name.partition(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if own else None

    def create_module(self, spec):
        return _AnyModule(spec.name)

    def exec_module(self, module):
        pass


@cache
def imported() -> tuple[Any, Any]:
    """(open_clip, timm); the substitute is gone afterwards, since transformers looks for torchvision."""
    from transformers.utils import is_torchvision_available

    assert not is_torchvision_available()  # and the answer is cached
    finder = _Torchvision()
    sys.meta_path.append(finder)
    try:
        import open_clip
        import timm
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    return open_clip, timm


def published(config: dict[str, Any], folder: Path, seed: int = 0) -> Any:
    """A random model of open_clip, saved in the layout of a hub."""
    from safetensors.torch import save_file

    open_clip, _ = imported()
    folder.mkdir(parents=True, exist_ok=True)
    colours = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "interpolation": "bicubic", "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": colours}))
    made = {name: value for name, value in config.items() if name != "custom_text"}
    model = (open_clip.model.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP)(**made)
    randomised(model, seed)
    if "init_logit_bias" in config:
        model.logit_bias.data.fill_(-3.0)
    model.logit_scale.data.fill_(1.5)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return model
