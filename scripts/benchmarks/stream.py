"""Training steps on images in files: mmjax reads, decodes and resizes them while it trains, against mmjax with all of them on
the device, and against torch's DataLoader with two workers. A CNN of three layers over 64 px; batch 32.
"""

import importlib.util
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.case import TOLERANCE, Case, Weights, Workload
from benchmarks.input import write_files, write_image

SIDE, CLASSES, WIDTHS, WORKERS, RATE, COMPARED = 64, 10, (32, 64, 64), 2, 1e-3, 3


def cases(quick: bool, device: str) -> list[Case]:
    count, batch = (16, 8) if quick else (256, 32)
    if importlib.util.find_spec("grain") is None:
        return [Case("PNG, 96 x 96 px", {}, note="grain not installed")]
    sides = {
        "mmjax": partial(mmjax_workload, count, batch, True),
        "mmjax on the device": partial(mmjax_workload, count, batch, False),
        "torch": partial(torch_workload, count, batch, device),
    }
    note = f"a run is an epoch of {count} files; on the device, images are decoded once, before"
    return [Case("PNG, 96 x 96 px", sides, {"torch": 1.0}, tolerance=TOLERANCE[device], note=note)]


def labels(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, CLASSES, count)


def read_image(file: Any) -> np.ndarray:
    """uint8 [SIDE SIDE 3]."""
    from PIL import Image

    with Image.open(file) as image:
        return np.array(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def mmjax_workload(count: int, batch: int, streamed: bool, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks.mmjax_side import flatten, parameter_count, take_seed
    from mmjax.data.dataset import Column, Dataset, Rows
    from mmjax.data.feed import DeviceFeed, HostFeed, load_columns
    from mmjax.data.order import in_order
    from mmjax.encoders import CNN
    from mmjax.fusion import Concat
    from mmjax.heads import Classifier
    from mmjax.losses import cross_entropy
    from mmjax.model import Multimodal
    from mmjax.train.parallel import single
    from mmjax.train.seeds import init_seeds
    from mmjax.train.step import make_step

    folder, files = write_files(partial(write_image, "png", (96, 96)), count)
    rows = Rows({"image": np.arange(count)}, {"label": labels(count)}, np.ones(count, np.float32))
    finish = lambda pixels: pixels.astype(jnp.float32) / 255 - 0.5
    data = Dataset({"image": Column(count, lambda number: read_image(files[number]), finish)}, {"train": rows}, {}, "")
    feed = HostFeed(data, rows, ["image"]) if streamed else DeviceFeed(load_columns(data), rows)
    steps, order = count // batch, in_order(count, batch)[:, None]  # one seed
    model = Multimodal({"image": CNN(widths=WIDTHS)}, Concat(WIDTHS[-1]), {"label": Classifier(CLASSES)})
    first = take_seed(feed(order[0]))
    tx = optax.adamw(RATE, weight_decay=0.0)
    current = [init_seeds(model, tx, [0], first)]
    variables = take_seed(jax.tree.map(np.asarray, current[0].variables))
    step = single().train(make_step(model, cross_entropy, tx))

    def run(held: Any = folder) -> np.ndarray:
        losses = []
        for one in feed.chunks(lambda number: order[number], [range(number, number + 1) for number in range(steps)]):
            current[0], metrics = step(current[0], {}, one)
            losses.append(metrics["loss"])
        return np.concatenate([np.asarray(loss).ravel() for loss in losses])

    outputs = {"logits": np.asarray(jax.jit(model.apply)(variables, first)["label"])}
    theirs = {name: np.asarray(value) for name, value in flatten(variables["params"]).items()}
    return Workload(run, outputs, parameter_count(variables["params"]), theirs, compared_losses=COMPARED, repeats=steps)


def torch_workload(count: int, batch: int, device: str, weights: Weights) -> Workload:
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, Dataset

    from benchmarks.torch_side import DEVICES, adamw, parameter_count, synchronized, with_weights

    folder, files = write_files(partial(write_image, "png", (96, 96)), count)
    targets = torch.from_numpy(labels(count))

    class Files(Dataset):
        def __len__(self) -> int:
            return count

        def __getitem__(self, number: int) -> Any:
            return torch.from_numpy(read_image(files[number])), targets[number]

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            pairs = zip((3, *WIDTHS), WIDTHS)
            self.stages = nn.ModuleList([nn.Conv2d(before, after, 3, padding=1) for before, after in pairs])
            self.fusion, self.label = nn.Linear(WIDTHS[-1], WIDTHS[-1]), nn.Linear(WIDTHS[-1], CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for stage in self.stages:
                x = F.relu(F.max_pool2d(stage(x), 2))
            return self.label(F.relu(self.fusion(x.mean(dim=(2, 3)))))

    def finish(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.to(DEVICES[device], non_blocking=True).permute(0, 3, 1, 2).float() / 255 - 0.5

    names = {f"stages.{number}": f"encoders_image/stage{number}" for number in range(len(WIDTHS))}
    names |= {"fusion": "fusion/dense", "label": "heads_label/dense"}
    kernels = {f"{theirs}.weight": weights[f"{ours}/kernel"] for theirs, ours in names.items()}
    kernels = {name: x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T for name, x in kernels.items()}
    biases = {f"{theirs}.bias": weights[f"{ours}/bias"] for theirs, ours in names.items()}
    model = with_weights(Small(), kernels | biases, device)
    loader = DataLoader(Files(), batch, num_workers=WORKERS, pin_memory=device == "gpu")
    optimizer = adamw(model.parameters(), RATE, 0.0)
    with torch.no_grad():
        logits = model(finish(next(iter(loader))[0])).cpu().numpy()

    def epoch(held: Any = folder) -> Iterator[torch.Tensor]:
        for pixels, target in loader:
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(finish(pixels)), target.to(DEVICES[device]))
            loss.backward()
            optimizer.step()
            yield synchronized(loss.detach(), device)

    run = lambda: torch.stack(list(epoch())).cpu().numpy()
    outputs, steps = {"logits": logits}, count // batch
    return Workload(run, outputs, parameter_count(model), compared_losses=COMPARED, repeats=steps)
