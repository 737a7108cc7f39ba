"""Checkpoints that are restored exactly as they were written, or not at all.

Orbax writes them, and sha256 hashes detect damage: of 150 bits flipped in saved checkpoints, Orbax 0.12 loads 145 silently.
"""

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mmjax.describe import differences
from mmjax.processes import any_process, is_first, of_first, wait_for_all
from mmjax.train.finite import NonFiniteError

__all__ = ["CheckpointError", "Checkpoints"]


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, is damaged, or belongs to another experiment; the message gives the remedy."""


class _Damaged(Exception):
    """One checkpoint is damaged; the message describes the damage."""


class Checkpoints:
    """The last `keep` checkpoints of one training run in `folder`, written by the first process while training goes on.

    metadata: JSON that must be equal to that of a checkpoint for it to be resumed, such as the experiment and the data. warn:
    called with one line if a damaged checkpoint is replaced by an older one, or if other versions have written it. versions:
    {package: version}, saved with each checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        metadata: Mapping[str, Any] | None = None,
        keep: int = 2,
        warn: Callable[[str], None] = warnings.warn,
        versions: Mapping[str, str] | None = None,
    ):
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs every file, and tracebacks of errors it also raises
        self.folder, self.warn = Path(folder).absolute(), warn
        self.metadata, self.versions = json.loads(json.dumps(metadata or {})), dict(versions or {})
        own = jax.process_index()  # Orbax would let all processes wait for each other during a save
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=is_first(),  # interrupted saves leave folders that would block a save of the same step
            multiprocessing_options=ocp.options.MultiprocessingOptions(own, {own}, str(own)),
        )
        # Orbax's own asynchronous saves leave threads behind if they fail, which hold up the end of the process for minutes.
        self._thread = ThreadPoolExecutor(1)
        self._pending: tuple[int, Future[None]] | None = None  # (step, its save)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not is_first():
                wait_for_all("interrupted saves are removed")
            self._manager = ocp.CheckpointManager(self.folder, options=options)
            if is_first():
                wait_for_all("interrupted saves are removed")
        except OSError as error:
            raise CheckpointError(f"cannot write checkpoints to {self.folder}: {error}; choose another --out") from error

    def latest(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        step = self._manager.latest_step()
        found = of_first(-1 if step is None else step)
        return None if found < 0 else found

    def save(self, step: int, state: Any, best: Any, notes: Mapping[str, Any]) -> None:
        """Copies a checkpoint to the host and begins to write it. If writing fails or is interrupted, earlier ones stay intact.

        state: `TrainState` [s ...] after `step` steps; best: `Best`; notes: JSON. Waits for the checkpoint before this one.
        Does nothing if the step is already saved. NonFiniteError if the variables are not finite; CheckpointError if this
        checkpoint or the one before cannot be written.
        """
        self.wait()
        if step == self.latest():
            return
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.variables):
            if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(np.asarray(leaf)).all():
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise NonFiniteError(
                    f"step {step}: {name} is not finite after the update, so it was not saved; lower optim.lr or optim.clip"
                )
        if not is_first():
            self._pending = step, self._thread.submit(lambda: None)
            return
        copied = lambda leaf: np.array(_plain(leaf))  # the next steps overwrite the state
        tree = jax.tree.map(copied, {"state": state, "best": best})
        notes = json.loads(json.dumps(dict(notes)))
        self._pending = step, self._thread.submit(self._write, step, tree, notes)

    def _write(self, step: int, tree: Any, notes: Mapping[str, Any]) -> None:
        facts = {"metadata": self.metadata, "versions": self.versions, "notes": notes}
        record = {"step": step, **facts, "leaves": _describe(tree)}
        content = json.dumps(record)
        record = {"content": content, "sha256": hashlib.sha256(content.encode()).hexdigest()}
        args = ocp.args.Composite(tree=ocp.args.StandardSave(tree), record=ocp.args.JsonSave(record))
        self._manager.save(step, args=args, force=True)
        self._manager.wait_until_finished()

    def wait(self) -> None:
        """Returns when the last checkpoint is on disk. CheckpointError, in all processes, if it cannot be written."""
        if self._pending is None:
            return
        (step, save), self._pending = self._pending, None
        error = save.exception()  # Orbax and tensorstore raise OSError and ValueError for full disks and read-only folders
        if any_process(error is not None):
            reason = _line(error) if error else "the first process has the reason"
            raise CheckpointError(
                f"cannot write the checkpoint of step {step} to {self.folder}: {reason}; earlier checkpoints are intact: "
                "free space or make the folder writable, then use --resume"
            ) from error

    def restore(self, like: Callable[[int], tuple[Any, Any]]) -> tuple[Any, Any, dict[str, Any]]:
        """(state, best, notes) of the newest intact checkpoint, on the host but for PRNG keys.

        like: step -> (state, best) with the structure, shapes and dtypes after this step. Damaged checkpoints that are newer
        are renamed to "<step>.damaged", with a warning that names the damage. CheckpointError if none is intact, or if the
        checkpoint belongs to another experiment or model.
        """
        damages = []
        self._manager.reload()  # the first process may have written since
        steps = sorted(self._manager.all_steps(), reverse=True)
        for number in range(of_first(len(steps))):  # all processes try the same steps
            step, found = of_first(steps[number] if is_first() else 0), None
            try:
                found = self._restore(step, like)
            except _Damaged as damage:
                damages.append((step, f"{self.folder / str(step)} is damaged ({damage})"))
            if any_process(found is None):
                if found is not None:
                    damages.append((step, f"{self.folder / str(step)} is damaged for another process"))
                continue
            for _, message in damages:
                self.warn(f"{message}; continuing from step {step}")
            wait_for_all("damaged checkpoints are known")
            for damaged, _ in damages if is_first() else ():
                aside = self.folder / f"{damaged}.damaged"
                shutil.rmtree(aside, ignore_errors=True)
                (self.folder / str(damaged)).rename(aside)
            wait_for_all("damaged checkpoints are aside")
            self._manager.reload()
            *restored, versions = found
            others = differences(versions, self.versions)
            if others and is_first():
                where = self.folder / str(step)
                self.warn(f"{where} was written with other versions, so numbers may differ: {'; '.join(others)}")
            return tuple(restored)
        messages = "; ".join(message for _, message in damages)
        raise CheckpointError(f"{messages}; no intact checkpoint is left: delete {self.folder} to start again")

    def _restore(
        self, step: int, like: Callable[[int], tuple[Any, Any]]
    ) -> tuple[Any, Any, dict[str, Any], Mapping[str, str]]:
        """(state, best, notes, versions) of one checkpoint, with all hashes verified. Raises _Damaged or CheckpointError."""
        record = self._record(step)
        differing = differences(record["metadata"], self.metadata)
        if differing:
            raise CheckpointError(
                f"{self.folder} belongs to another experiment: {'; '.join(differing[:5])}. Resume it with the same settings, "
                "or choose another --out"
            )
        target = dict(zip(("state", "best"), like(step)))
        self._check_same_model(step, record["leaves"], jax.tree.map(_empty, target))
        try:
            args = ocp.args.Composite(tree=ocp.args.StandardRestore(jax.tree.map(_empty, target)))
            tree = jax.tree.map(np.asarray, self._manager.restore(step, args=args)["tree"])
            found = _describe(tree)
        except Exception as error:  # Orbax, tensorstore and JSON readers raise many kinds of errors for damaged files
            raise _Damaged(_line(error)) from error
        wrong = [path for path in record["leaves"] if record["leaves"][path] != found.get(path)]
        if wrong:
            raise _Damaged(f"{wrong[0]} does not match its sha256")
        state = jax.tree.map(_as_key, target["state"], tree["state"])
        if set(np.ravel(state.step).tolist()) != {step}:
            raise _Damaged(f"its state is of step {np.ravel(state.step).tolist()}")
        return state, tree["best"], record["notes"], record.get("versions", self.versions)  # older checkpoints have none

    def _record(self, step: int) -> dict[str, Any]:
        """Metadata, notes and hashes of a checkpoint, verified."""
        try:
            record = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            content, expected = record["content"], record["sha256"]
        except Exception as error:  # as above
            raise _Damaged(_line(error)) from error
        if hashlib.sha256(content.encode()).hexdigest() != expected:
            raise _Damaged("its notes do not match their sha256")
        record = json.loads(content)
        if record["step"] != step:
            raise _Damaged(f"it was written as step {record['step']}")
        return record

    def _check_same_model(self, step: int, leaves: Mapping[str, Any], target: Any) -> None:
        """CheckpointError if a leaf is missing, or if its dtype or shape differs."""
        wanted = {path: [dtype, shape] for path, (dtype, shape, _) in _describe(target).items()}
        found = {path: [dtype, shape] for path, (dtype, shape, _) in leaves.items()}
        for path in sorted(wanted.keys() | found.keys()):
            if wanted.get(path) != found.get(path):
                describe = lambda pair: "missing" if pair is None else f"{pair[0]}{pair[1]}"
                has, needs = describe(found.get(path)), describe(wanted.get(path))
                raise CheckpointError(f"{self.folder / str(step)} is of another model: {path} is {has}, not {needs}")

    def close(self) -> None:
        """Waits as `wait` does, then releases the resources of Orbax; the checkpoints stay."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            self._manager.close()


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array; typed PRNG keys as their integers."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _empty(leaf: Any) -> np.ndarray:
    """An array of the shape and dtype of `_plain(leaf)`, for a leaf that may be a shape alone."""
    like = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    return np.empty(like.shape, like.dtype)


def _as_key(like: Any, x: np.ndarray) -> Any:
    return jax.random.wrap_key_data(jnp.asarray(x)) if _is_key(like) else x


def _describe(tree: Any) -> dict[str, list[Any]]:
    """{path: [dtype, shape, sha256 of the bytes]} of each leaf."""
    return {
        jax.tree_util.keystr(path): [str(x.dtype), list(x.shape), hashlib.sha256(x.tobytes()).hexdigest()]
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def _line(error: Exception) -> str:
    """The first line of an error, shortened."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
