"""Damage to saved checkpoints, disks that refuse one, and other devices that continue from one."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import jax
import numpy as np

from injections.row import problem
from mmjax.encoders import Features
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.optim import AdamW
from mmjax.train.parallel import pmapped, single
from mmjax.train.sharded import Mesh, sharded
from mmjax.train.training import Schedule, Training
from mmjax.types import Batch
from tests.faults.disk import full_disk, unprivileged
from tests.faults.saved import HARMS, METADATA, exact, fell_back, files, flip, harm, notes, restore, tree, write_saved

__all__ = ["devices", "disks", "flips_in_arrays", "flips_in_notes", "harmed_files"]

Faults = Iterator[tuple[str, str | None]]


def flips_in_arrays(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    return _flips("tree", random, count, scratch)


def flips_in_notes(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    return _flips("record", random, count, scratch)


def _flips(part: str, random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """One bit of the newest checkpoint each time; large files are hit more often."""
    saved, folder = write_saved(scratch / "saved"), scratch / "copy"
    found = [file.relative_to(saved) for file in files(saved) if part in file.parts]
    sizes = np.array([(saved / file).stat().st_size for file in found], float)
    for _ in range(count or 0):
        _copy(saved, folder)
        file = found[random.choice(len(found), p=sizes / sizes.sum())]
        what = f"{flip(folder / file, random)} in {file.parent}"
        yield what, problem(lambda: fell_back(folder, what))


def harmed_files(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """Every file of the newest checkpoint, in every way."""
    saved, folder = write_saved(scratch / "saved"), scratch / "copy"
    cases = list(product([file.relative_to(saved) for file in files(saved)], HARMS))
    for file, how in [cases[i] for i in random.permutation(len(cases))[:count]]:
        _copy(saved, folder)
        harm(folder / file, how)
        what = f"{file} {how}"
        yield what, problem(lambda: fell_back(folder, what))


def disks(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """Three of four disks are full after a random number of bytes of one file, the others are read-only folders."""
    scratch.chmod(0o755)
    saved, folder = write_saved(scratch / "saved"), scratch / "copy"
    for number in range(count or 0):
        _copy(saved, folder)
        size = int(random.integers(0, 3000))
        read_only = number % 4 == 3
        what = "a read-only folder" if read_only else f"full after {size} bytes"
        yield what, problem(lambda: _refused(folder, size, read_only))


def _refused(folder: Path, size: int, read_only: bool) -> None:
    """Step 6 is refused in one line, steps 2 and 4 stay intact, and step 6 can be saved later."""
    checkpoints = Checkpoints(folder, METADATA)
    try:
        if read_only:
            os.chmod(folder, 0o555)
        with unprivileged() if read_only else full_disk(size):
            checkpoints.save(6, *tree(6), notes(6))
            checkpoints.wait()
    except CheckpointError as error:
        assert "cannot write the checkpoint of step 6" in str(error) and "\n" not in str(error), error
    else:
        raise AssertionError("the checkpoint was saved")
    finally:
        os.chmod(folder, 0o755)
    checkpoints.close()
    assert not fell_back(folder, "a disk that refuses")
    for last in (False, False, True):
        if problem(lambda: _save(folder)) is None:
            break
        assert not last, "step 6 cannot be saved later"
        time.sleep(1)  # threads of Orbax may still be writing files of the failed save, which a new process does not meet
    state, best, *_ = restore(folder)
    assert exact((state, best), tree(6))


def _save(folder: Path) -> None:
    checkpoints = Checkpoints(folder, METADATA)
    checkpoints.save(6, *tree(6), notes(6))
    checkpoints.close()


def devices(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """A run on each of four plans, continued on each: the restored state is equal in all bits, the next step up to rounding."""
    plans = {
        "1 device": single(),
        "8 devices, pmap": pmapped(),
        "data 4 x fsdp 2": sharded(Mesh(fsdp=2)),
        "fsdp 2 x tensor 2": sharded(Mesh(data=1, fsdp=2, tensor=2)),
    }
    x = np.random.default_rng(0).normal(size=(2, 16, 64)).astype(np.float32)
    batch = Batch({"x": x}, {"x": np.ones((2, 16), bool)}, {"label": np.arange(32).reshape(2, 16) % 3}, np.ones((2, 16)))
    model = Multimodal({"x": Features(128)}, Concat(width=64), {"label": Classifier(3)})
    training = Training(model, cross_entropy, AdamW(lr=0.01), Schedule(2, 1, 1))
    start, _ = training.init((0, 1), jax.tree.map(lambda leaf: leaf[0], batch))
    steps = {name: plan.train(replace(training, plan=plan).step(0)) for name, plan in plans.items()}
    chunk = jax.tree.map(lambda leaf: leaf[None].astype(leaf.dtype if leaf.dtype != np.float64 else np.float32), batch)
    take = lambda name, state: plans[name].fetch(steps[name](plans[name].place(state), {}, chunk)[0])
    copied = lambda leaf: jax.random.wrap_key_data(np.array(jax.random.key_data(leaf))) if _is_key(leaf) else np.array(leaf)
    on_host = lambda state: jax.tree.map(copied, state)  # the steps overwrite what they are given
    first = {name: on_host(take(name, on_host(start))) for name in plans}
    second = {name: on_host(take(name, on_host(first[name]))) for name in plans}
    pairs = list(product(plans, plans))
    for before, after in [pairs[i] for i in random.permutation(len(pairs))[:count]]:
        folder = scratch / f"{before} to {after}"

        def check(before=before, after=after, folder=folder):
            checkpoints = Checkpoints(folder)
            checkpoints.save(1, first[before], first[before].params, {})
            checkpoints.wait()
            restored, _, _ = checkpoints.restore(lambda step: (jax.eval_shape(lambda: start), start.params))
            checkpoints.close()
            assert exact(on_host(plans[after].fetch(plans[after].place(restored))), first[before]), "the restored state differs"
            found = on_host(take(after, on_host(restored)))
            for ours, theirs in zip(jax.tree.leaves(found.params), jax.tree.leaves(second[before].params)):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

        yield f"{before} -> {after}", problem(check)


def _is_key(leaf: object) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _copy(saved: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
