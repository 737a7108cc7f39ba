"""An epoch over files: images are decoded, resized, cropped to 224 px and normalised; speech is decoded and converted to
log-mel frames; batches are on the device. mmjax reads with Grain, in threads of one process; torch's DataLoader has two
workers, which start and stop with the epoch. Both sides decode with Pillow and libsndfile and resize with Pillow, so pixels are
equal.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Case, Weights, Workload

RESIZED, SIDE, WORKERS = 256, 224, 2
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RATE, SECONDS, WINDOW, HOP, BANDS, FLOOR = 16_000, 4, 400, 160, 80, 1e-6


def cases(quick: bool, device: str) -> list[Case]:
    count, batch = (8, 4) if quick else (192, 32)
    speech = mmjax_speech, torch_speech
    kinds = (
        ("JPEG, 500 x 375 px", partial(write_image, "jpg", (500, 375)), ("grain",), mmjax_images, torch_images),
        ("PNG, 256 x 256 px", partial(write_image, "png", (256, 256)), ("grain",), mmjax_images, torch_images),
        ("speech, FLAC of 1 to 4 s", write_speech, ("grain", "soundfile", "soxr"), *speech),
    )
    found = []
    for name, write, needs, mmjax_side, torch_side in kinds[::2] if quick else kinds:
        missing = [package for package in needs if importlib.util.find_spec(package) is None]
        sides = {"mmjax": partial(mmjax_side, write, count, batch), "torch": partial(torch_side, write, count, batch, device)}
        note = f"{', '.join(missing)} not installed" if missing else f"a run is an epoch of {count} files in batches of {batch}"
        found.append(Case(name, {} if missing else sides, {"torch": 1.5}, note=note))
    return found


def write_image(suffix: str, size: tuple[int, int], folder: Path, rng: np.random.Generator) -> None:
    """An image of smooth colours with grain like a camera's."""
    from PIL import Image

    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    smooth = np.asarray(small.resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = rng.standard_normal((*smooth.shape[:2], 1), np.float32)
    image = Image.fromarray((smooth + 4 * grain).clip(0, 255).astype(np.uint8))
    image.save(folder / f"{len(list(folder.iterdir())):03}.{suffix}", quality=90)


def write_speech(folder: Path, rng: np.random.Generator) -> None:
    """Some seconds of a voice's harmonics, four syllables per second, with noise."""
    import soundfile

    time = np.arange(rng.integers(RATE, SECONDS * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * time)) / RATE
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 20))
    wave = 0.2 * voice * np.sin(4 * np.pi * time) ** 2 + 0.005 * rng.standard_normal(len(time))
    soundfile.write(folder / f"{len(list(folder.iterdir())):03}.flac", wave, RATE, subtype="PCM_16")


def write_files(write: Callable[[Path, np.random.Generator], None], count: int) -> tuple[Any, list[Path]]:
    """(folder, its files), the same files in every process. The files exist as long as the folder object."""
    folder, rng = tempfile.TemporaryDirectory(), np.random.default_rng(0)
    for _ in range(count):
        write(Path(folder.name), rng)
    return folder, sorted(Path(folder.name).iterdir())


def mmjax_images(write: Callable, count: int, batch: int, weights: Weights) -> Workload:
    from mmjax.data.decode import open_image
    from mmjax.pretrained.images import BILINEAR, ImagePreprocessing

    folder, files = write_files(write, count)
    images = ImagePreprocessing(RESIZED, BILINEAR, (SIDE, SIDE), mean=MEAN, deviation=DEVIATION)
    read = lambda number: images.read(open_image(files[number].read_bytes(), files[number].name))
    return mmjax_epochs(folder, count, batch, read, images.finish, lambda x: x)


def mmjax_speech(write: Callable, count: int, batch: int, weights: Weights) -> Workload:
    from mmjax.data.decode import decode_audio
    from mmjax.nn.mel import LogMel
    from mmjax.pretrained.audio import pad_or_cut

    folder, files = write_files(write, count)
    mel = LogMel(RATE, WINDOW / RATE, HOP / RATE, BANDS, 0.0, RATE / 2, FLOOR)
    read = lambda number: pad_or_cut(decode_audio(files[number].read_bytes(), files[number].name, RATE), SECONDS * RATE)
    return mmjax_epochs(folder, count, batch, read, mel.sequence, lambda frames: frames.x, {"filters": mel.filters()})


def mmjax_epochs(
    folder: Any, count: int, batch: int, read: Callable, finish: Callable, values: Callable, weights: Weights | None = None
) -> Workload:
    """Files are read one by one and finished in batches. values: batch -> the array that is compared."""
    import jax

    from mmjax.data.dataset import Column, Dataset, Rows
    from mmjax.data.feed import HostFeed
    from mmjax.data.order import in_order

    rows = Rows({"x": np.arange(count)}, {}, np.ones(count, np.float32))
    data = Dataset({"x": Column(count, read, finish)}, {"train": rows}, {}, "")
    source, order = HostFeed(data, rows, ["x"]), in_order(count, batch)

    def epoch() -> Iterator[Any]:
        for one in source.stream(lambda step: order[step], 0, len(order)):
            yield jax.block_until_ready(one).inputs["x"]

    first, *_, last = epoch()
    run = lambda held=folder: sum(1 for _ in epoch())
    return Workload(run, {"first": np.asarray(values(first)), "last": np.asarray(values(last))}, weights=weights or {})


def torch_images(write: Callable, count: int, batch: int, device: str, weights: Weights) -> Workload:
    import torch
    from PIL import Image

    from benchmarks.torch_side import DEVICES

    folder, files = write_files(write, count)
    deviation = torch.tensor(DEVIATION, device=DEVICES[device]).view(1, 3, 1, 1)
    mean = torch.tensor(MEAN, device=DEVICES[device]).view(1, 3, 1, 1)

    def read(file: Path) -> torch.Tensor:
        with Image.open(file) as image:
            image = image.convert("RGB")
        width, height = image.size
        longer = int(RESIZED * max(width, height) / min(width, height))
        width, height = (longer, RESIZED) if height <= width else (RESIZED, longer)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - SIDE) // 2, (height - SIDE) // 2
        return torch.from_numpy(np.array(image.crop((left, top, left + SIDE, top + SIDE))))

    def finish(pixels: torch.Tensor) -> torch.Tensor:  # of a batch, on the device
        return pixels.permute(0, 3, 1, 2).float().mul_(1 / 255).sub_(mean).div_(deviation)

    return torch_epochs(folder, files, batch, device, read, torch.stack, finish, lambda x: x.permute(0, 2, 3, 1))


def torch_speech(write: Callable, count: int, batch: int, device: str, weights: Weights) -> Workload:
    import soundfile
    import torch

    folder, files = write_files(write, count)
    filters, window = torch.from_numpy(weights["filters"]) * (RATE / WINDOW), torch.hann_window(WINDOW)

    def read(file: Path) -> np.ndarray:
        return soundfile.read(file, dtype="float32")[0][: SECONDS * RATE]

    def collate(waves: list[np.ndarray]) -> torch.Tensor:
        x = torch.zeros(len(waves), SECONDS * RATE)
        for row, wave in zip(x, waves):
            row[: len(wave)] = torch.from_numpy(wave)
        return log_mel(x, filters, window) if device == "cpu" else x

    def log_mel(x: torch.Tensor, filters: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        spectrum = torch.view_as_real(torch.stft(x, WINDOW, HOP, window=window, center=False, return_complex=True))
        power = spectrum.square().sum(-1) / window.square().sum()
        return torch.log(power.transpose(1, 2) @ filters + FLOOR)

    on_device = [x.cuda() for x in (filters, window)] if device == "gpu" else []
    finish = (lambda x: log_mel(x, *on_device)) if device == "gpu" else (lambda x: x)  # on a CPU, the workers do it
    return torch_epochs(folder, files, batch, device, read, collate, finish, lambda x: x)


def torch_epochs(
    folder: Any,
    files: list[Path],
    batch: int,
    device: str,
    read: Callable,
    collate: Callable,
    finish: Callable,
    values: Callable,
) -> Workload:
    """Files are read one by one and collated in a worker, and finished on the device. values: batch -> the compared array."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    from benchmarks.torch_side import DEVICES, synchronized

    class Files(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, number: int) -> Any:
            return read(files[number])

    loader = DataLoader(Files(), batch, num_workers=WORKERS, collate_fn=collate, pin_memory=device == "gpu")

    @torch.inference_mode()
    def epoch() -> Iterator[torch.Tensor]:
        for one in loader:
            yield synchronized(finish(one.to(DEVICES[device], non_blocking=True)), device)

    first, *_, last = (values(one).cpu().numpy() for one in epoch())
    return Workload(lambda held=folder: sum(1 for _ in epoch()), {"first": first, "last": last})
