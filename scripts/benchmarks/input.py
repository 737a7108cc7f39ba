"""An epoch over files: pictures decoded, resized, cut to 224 px and normalised, and speech decoded and turned into log-mel
frames, in batches on the device. mmjax reads by Grain, in threads of one process; torch's DataLoader has two workers, which
begin and end with the epoch. Both decode by Pillow and libsndfile and resize by Pillow, so that pixels are the same.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.work import Case, Weights, Work

RESIZED, SIDE, WORKERS = 256, 224, 2
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RATE, SECONDS, WINDOW, HOP, BANDS, FLOOR = 16_000, 4, 400, 160, 80, 1e-6


def cases(quick: bool, device: str) -> list[Case]:
    count, batch = (8, 4) if quick else (192, 32)
    found = []
    kinds = (
        ("JPEG, 500 x 375 px", partial(draw, "jpg", (500, 375)), ("grain",), our_pictures, their_pictures),
        ("PNG, 256 x 256 px", partial(draw, "png", (256, 256)), ("grain",), our_pictures, their_pictures),
        ("speech, FLAC of 1 to 4 s", speak, ("grain", "soundfile", "soxr"), our_speech, their_speech),
    )
    for name, write, needs, ours, theirs in kinds[::2] if quick else kinds:
        lacking = [package for package in needs if importlib.util.find_spec(package) is None]
        sides = {"mmjax": partial(ours, write, count, batch), "torch": partial(theirs, write, count, batch, device)}
        note = f"no {' and no '.join(lacking)} here" if lacking else f"a run is an epoch of {count} files in batches of {batch}"
        found.append(Case(name, {} if lacking else sides, {"torch": 1.5}, note=note))
    return found


def draw(ending: str, size: tuple[int, int], folder: Path, rng: np.random.Generator) -> None:
    """A picture of smooth colours, and grain as a camera's."""
    from PIL import Image

    few = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    smooth = np.asarray(few.resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = rng.standard_normal((*smooth.shape[:2], 1), np.float32)
    whole = Image.fromarray((smooth + 4 * grain).clip(0, 255).astype(np.uint8))
    whole.save(folder / f"{len(list(folder.iterdir())):03}.{ending}", quality=90)


def speak(folder: Path, rng: np.random.Generator) -> None:
    """Some seconds of a voice's harmonics, four syllables a second, and noise."""
    import soundfile

    time = np.arange(rng.integers(RATE, SECONDS * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * time)) / RATE
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 20))
    wave = 0.2 * voice * np.sin(4 * np.pi * time) ** 2 + 0.005 * rng.standard_normal(len(time))
    soundfile.write(folder / f"{len(list(folder.iterdir())):03}.flac", wave, RATE, subtype="PCM_16")


def written(write: Callable[[Path, np.random.Generator], None], count: int) -> tuple[Any, list[Path]]:
    """Files in a folder that exists as long as the first result, the same in every process."""
    folder, rng = tempfile.TemporaryDirectory(), np.random.default_rng(0)
    for _ in range(count):
        write(Path(folder.name), rng)
    return folder, sorted(Path(folder.name).iterdir())


def our_pictures(write: Callable, count: int, batch: int, weights: Weights) -> Work:
    from mmjax.data.decode import decode_image
    from mmjax.pretrained.images import BILINEAR, ImagePreprocessing

    folder, files = written(write, count)
    pictures = ImagePreprocessing(RESIZED, BILINEAR, (SIDE, SIDE), mean=MEAN, deviation=DEVIATION)
    read = lambda number: pictures.read(decode_image(files[number].read_bytes(), files[number].name))
    return ours(folder, count, batch, read, pictures.finish, lambda x: x)


def our_speech(write: Callable, count: int, batch: int, weights: Weights) -> Work:
    from mmjax.data.decode import decode_audio
    from mmjax.nn.mel import LogMel
    from mmjax.pretrained.audio import padded

    folder, files = written(write, count)
    mel = LogMel(RATE, WINDOW / RATE, HOP / RATE, BANDS, 0.0, RATE / 2, FLOOR)
    read = lambda number: padded(decode_audio(files[number].read_bytes(), files[number].name, RATE), SECONDS * RATE)
    return ours(folder, count, batch, read, mel.sequence, lambda frames: frames.x, {"filters": mel.filters()})


def ours(
    folder: Any, count: int, batch: int, read: Callable, finish: Callable, values: Callable, weights: Weights | None = None
) -> Work:
    """Files -> read one by one, finished in batches; values: of a batch, to be compared."""
    import jax

    from mmjax.data.dataset import Column, Dataset, Rows
    from mmjax.data.feed import Streamed
    from mmjax.data.order import in_order

    rows = Rows({"x": np.arange(count)}, {}, np.ones(count, np.float32))
    data = Dataset({"x": Column(count, read, finish)}, {"train": rows}, {}, "")
    source, order = Streamed(data, rows, ["x"]), in_order(count, batch)

    def epoch() -> Iterator[Any]:
        for one in source.stream(lambda step: order[step], 0, len(order)):
            yield jax.block_until_ready(one).inputs["x"]

    first, *_, last = epoch()
    run = lambda held=folder: sum(1 for _ in epoch())
    return Work(run, {"first": np.asarray(values(first)), "last": np.asarray(values(last))}, weights=weights or {})


def their_pictures(write: Callable, count: int, batch: int, device: str, weights: Weights) -> Work:
    import torch
    from PIL import Image

    from benchmarks.peers import DEVICES

    folder, files = written(write, count)
    deviation = torch.tensor(DEVIATION, device=DEVICES[device]).view(1, 3, 1, 1)
    mean = torch.tensor(MEAN, device=DEVICES[device]).view(1, 3, 1, 1)

    def read(file: Path) -> torch.Tensor:
        with Image.open(file) as picture:
            picture = picture.convert("RGB")
        wide, high = picture.size
        longer = int(RESIZED * max(wide, high) / min(wide, high))
        wide, high = (longer, RESIZED) if high <= wide else (RESIZED, longer)
        picture = picture.resize((wide, high), Image.Resampling.BILINEAR)
        left, top = (wide - SIDE) // 2, (high - SIDE) // 2
        return torch.from_numpy(np.array(picture.crop((left, top, left + SIDE, top + SIDE))))

    def finish(pixels: torch.Tensor) -> torch.Tensor:  # of whole batches, on the device
        return pixels.permute(0, 3, 1, 2).float().mul_(1 / 255).sub_(mean).div_(deviation)

    return theirs(folder, files, batch, device, read, torch.stack, finish, lambda x: x.permute(0, 2, 3, 1))


def their_speech(write: Callable, count: int, batch: int, device: str, weights: Weights) -> Work:
    import soundfile
    import torch

    folder, files = written(write, count)
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

    there = [x.cuda() for x in (filters, window)] if device == "gpu" else []
    finish = (lambda x: log_mel(x, *there)) if device == "gpu" else (lambda x: x)  # on a CPU the workers have done it
    return theirs(folder, files, batch, device, read, collate, finish, lambda x: x)


def theirs(
    folder: Any,
    files: list[Path],
    batch: int,
    device: str,
    read: Callable,
    collate: Callable,
    finish: Callable,
    values: Callable,
) -> Work:
    """Files -> read one by one, collated in a worker, finished on the device; values: of a batch, to be compared."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    from benchmarks.peers import DEVICES, done

    class Files(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, number: int) -> Any:
            return read(files[number])

    loader = DataLoader(Files(), batch, num_workers=WORKERS, collate_fn=collate, pin_memory=device == "gpu")

    @torch.inference_mode()
    def epoch() -> Iterator[torch.Tensor]:
        for one in loader:
            yield done(finish(one.to(DEVICES[device], non_blocking=True)), device)

    first, *_, last = (values(one).cpu().numpy() for one in epoch())
    return Work(lambda held=folder: sum(1 for _ in epoch()), {"first": first, "last": last})
