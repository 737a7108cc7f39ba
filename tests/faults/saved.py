"""Shared by the tests of checkpoints and the scoreboard: two saved steps, damage to files, exact comparison, and restoring with
or without a fallback."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.train.checkpoint import Checkpoints
from mmjax.train.seeds import no_best, seed_keys
from mmjax.train.step import TrainState

METADATA = {"optim": {"lr": 0.1}}


def notes(step):
    return {"curves": [{"step": step, "train_loss": [0.5, 0.25], "validation_score": [0.75, 0.5]}], "seconds": 3.5}


def tree(step: int = 4, kernel=None):
    """(state with typed PRNG keys, best) of two seeds, with several dtypes."""
    random = np.random.default_rng(step)
    kernel = jnp.asarray(random.normal(size=(2, 64, 32)), jnp.float32) if kernel is None else kernel
    params = {
        "dense": {"kernel": kernel, "bias": jnp.ones((2, 8))},
        "half": jnp.asarray(random.normal(size=(2, 5)), jnp.bfloat16),
    }
    opt_state = {"mu": jax.tree.map(jnp.zeros_like, params)}
    state = TrainState(jnp.full(2, step, jnp.int32), params, {}, opt_state, (), seed_keys([3, 4]))
    return state, no_best(state)


def write_saved(folder: Path) -> Path:
    """Writes the checkpoints of steps 2 and 4."""
    checkpoints = Checkpoints(folder, METADATA)
    for step in (2, 4):
        checkpoints.save(step, *tree(step), notes(step))
    checkpoints.close()
    return folder


def flip(file: Path, random: np.random.Generator) -> str:
    """Flips one bit of a file; returns which one."""
    data = bytearray(file.read_bytes())
    byte, bit = int(random.integers(len(data))), int(random.integers(8))
    data[byte] ^= 1 << bit
    file.write_bytes(data)
    return f"bit {bit} of byte {byte} of {file.name}"


HARMS = {
    "truncated": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "deleted": lambda data: None,
}


def harm(file: Path, how: str) -> None:
    """how: a key of HARMS."""
    data = HARMS[how](file.read_bytes())
    file.unlink()
    if data is not None:
        file.write_bytes(data)


def exact(a, b) -> bool:
    """Same structure, dtypes, shapes and bits; keys by their integers."""
    plain = lambda x: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = [(plain(x), plain(y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))]
    return all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in pairs)


def restore(folder, like=None, metadata=METADATA):
    """(state, best, notes, warnings)."""
    warnings = []
    checkpoints = Checkpoints(folder, metadata, warn=warnings.append)
    try:
        return *checkpoints.restore(like or (lambda step: tree(9))), warnings
    finally:
        checkpoints.close()


def files(folder):
    return sorted(file for file in (folder / "4").rglob("*") if file.is_file() and file.stat().st_size)


def fell_back(folder, what) -> bool:
    """Whether the previous checkpoint was restored; fails unless that or this one is exact."""
    state, best, found, warnings = restore(folder)
    step = int(state.step[0])
    assert exact((state, best), tree(step)) and found == notes(step), what
    if step == 4:
        assert not warnings, what
        return False
    assert len(warnings) == 1 and str(folder / "4") in warnings[0] and "damaged" in warnings[0], what
    assert warnings[0].endswith("; continuing from step 2"), what
    assert not (folder / "4").exists() and (folder / "4.damaged").exists(), what  # so that the step can be saved again
    return True
