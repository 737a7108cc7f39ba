"""Damaged checkpoints: an exact state is restored, of the newest checkpoint or, with a warning, of the previous one."""

import contextlib
import json
import os
import resource
import shutil
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.finite import NonFiniteError
from mmjax.train.seeds import no_best, seed_keys
from mmjax.train.step import TrainState

METADATA = {"optim": {"lr": 0.1}}
# After a failed read, Orbax leaves its event loop to the garbage collector, which complains
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


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


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints = Checkpoints(folder, METADATA)
    for step in (2, 4):
        checkpoints.save(step, *tree(step), notes(step))
    checkpoints.close()
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """() -> a new copy of the folder with the checkpoints of steps 2 and 4."""

    def fresh():
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        return shutil.copytree(saved, tmp_path / "checkpoints")

    return fresh


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


def test_a_checkpoint_is_restored_exactly(saved):
    state, best, found, warnings = restore(saved)
    assert exact((state, best), tree(4)) and found == notes(4) and not warnings
    assert isinstance(state.params["half"], jax.Array)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(best))
    assert not exact(tree(4), tree(2))  # the comparison distinguishes trees


def test_flipped_bits(copy):
    """In every file at least once, in large ones more often."""
    random = np.random.default_rng(11)
    found = files(copy())
    sizes = np.array([file.stat().st_size for file in found], float)
    chosen = list(range(len(found))) + random.choice(len(found), 10, p=sizes / sizes.sum()).tolist()
    results = []
    for i in chosen:
        folder = copy()
        data = bytearray(found[i].read_bytes())
        byte, bit = int(random.integers(len(data))), int(random.integers(8))
        data[byte] ^= 1 << bit
        found[i].write_bytes(data)
        results.append(fell_back(folder, f"bit {bit} of byte {byte} of {found[i].relative_to(folder)}"))
    assert len(results) > 12 and sum(results) >= 5  # some damage is in files that Orbax does not read


@pytest.mark.parametrize("harm", ["truncated", "emptied", "deleted"])
def test_truncated_and_deleted_files(copy, harm):
    results = []
    for name in [file.relative_to(copy()) for file in files(copy())]:
        folder = copy()
        data = (folder / name).read_bytes()
        (folder / name).unlink()
        if harm != "deleted":
            (folder / name).write_bytes(data[: len(data) // 2] if harm == "truncated" else b"")
        results.append(fell_back(folder, f"{harm} {name}"))
    assert sum(results) >= 3


def record_file(folder):
    return next(file for file in files(folder) if "record" in file.parts and "sha256" in file.read_text(errors="ignore"))


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.75", "0.76"), ("3.5", "3.6"), ("train_loss", "train_lost"), ('\\"step\\": 4', '\\"step\\": 5'), ("0.1", "0.2")],
)
def test_changed_notes(copy, old, new):
    """Scores, names, steps and metadata; the file stays valid JSON."""
    folder = copy()
    file = record_file(folder)
    text = file.read_text()
    assert old in text
    json.loads(text.replace(old, new))
    file.write_text(text.replace(old, new))
    *_, warnings = restore(folder)
    assert warnings == [f"{folder / '4'} is damaged (its notes are not what was written); continuing from step 2"]


def test_a_renamed_checkpoint(copy):
    folder = copy()
    (folder / "4").rename(folder / "5")
    *_, warnings = restore(folder)
    assert warnings == [f"{folder / '5'} is damaged (it was written as step 4); continuing from step 2"]


def test_a_state_of_another_step(tmp_path):
    checkpoints = Checkpoints(tmp_path, METADATA)
    checkpoints.save(4, *tree(3), notes(4))
    checkpoints.close()
    with pytest.raises(CheckpointError, match=r"4 is damaged \(its state is of step \[3, 3\]\); no intact checkpoint is left"):
        restore(tmp_path)


def test_changed_numbers_that_orbax_does_not_notice(copy, monkeypatch):
    """The hashes detect other numbers than were written, and the array is named."""
    from mmjax.train import checkpoint

    honest = checkpoint._describe

    def changed(tree_):
        return {path: [*x[:2], "0" * 64] if "kernel" in path else x for path, x in honest(tree_).items()}

    folder = copy()
    monkeypatch.setattr(checkpoint, "_describe", changed)
    with pytest.raises(CheckpointError, match=r"damaged \(.*kernel.* is not what was written\).*no intact checkpoint is left"):
        restore(folder)


def test_without_an_intact_checkpoint_the_remedy_is_named(copy):
    folder = copy()
    shutil.rmtree(folder / "2")
    shutil.rmtree(folder / "4" / "tree")
    with pytest.raises(CheckpointError, match=rf"no intact checkpoint is left: delete {folder} to start again"):
        restore(folder)


def test_training_continues_after_a_fallback(copy):
    folder = copy()
    shutil.rmtree(folder / "4" / "tree")
    checkpoints = Checkpoints(folder, METADATA, warn=lambda line: None)
    state, *_ = checkpoints.restore(lambda step: tree(9))
    assert int(state.step[0]) == 2
    checkpoints.save(4, *tree(4), notes(4))
    checkpoints.close()
    assert not fell_back(folder, "saved again")


def other_models():
    state, best = tree(9)
    params = state.params
    cases = {
        "shape": {**params, "dense": {**params["dense"], "kernel": jnp.zeros((2, 64, 33))}},
        "dtype": {**params, "half": jnp.zeros((2, 5), jnp.float32)},
        "more": {**params, "more": jnp.zeros(2)},
        "fewer": {"dense": params["dense"]},
        "renamed": {"dense": params["dense"], "whole": params["half"]},
    }
    return {name: (state.replace(params=changed), best) for name, changed in cases.items()}


@pytest.mark.parametrize("what", other_models())
def test_another_model_is_refused_and_nothing_is_deleted(saved, what):
    with pytest.raises(CheckpointError, match=r"4 is of another model: .*params.* is .* there, .* here"):
        restore(saved, lambda step: other_models()[what])
    assert (saved / "2").exists() and (saved / "4").exists()


def test_other_settings_are_listed(saved):
    with pytest.raises(CheckpointError, match=r"another experiment: optim\.lr was 0\.1 and is 0\.2; seeds was None and is 3\."):
        restore(saved, metadata={"optim": {"lr": 0.2}, "seeds": 3})


def test_non_finite_states_are_never_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, *tree(2), notes(2))
    for bad in (jnp.nan, jnp.inf):
        kernel = jnp.zeros((2, 64, 32)).at[1, 3, 5].set(bad)
        with pytest.raises(NonFiniteError, match=r"step 4: params/dense/kernel is not finite .* so it was not saved"):
            checkpoints.save(4, *tree(4, kernel), notes(4))
    assert checkpoints.latest() == 2
    checkpoints.close()


def test_only_the_last_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new", keep=2)
    assert checkpoints.latest() is None
    for step in (1, 2, 3):
        checkpoints.save(step, *tree(step), notes(step))
    checkpoints.save(3, *tree(3, jnp.zeros((2, 64, 32))), {})  # already saved: not written again
    checkpoints.close()
    assert sorted(entry.name for entry in (tmp_path / "new").iterdir() if entry.name.isdigit()) == ["2", "3"]
    state, best, found, _ = restore(tmp_path / "new", metadata={})
    assert exact((state, best), tree(3)) and found == notes(3)


@contextlib.contextmanager
def unprivileged():
    """Permissions apply inside, even to root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_read_only_folder(saved):
    with tempfile.TemporaryDirectory() as parent:  # not tmp_path, whose parents are closed to other users
        os.chmod(parent, 0o755)
        folder = shutil.copytree(saved, Path(parent) / "checkpoints")
        checkpoints = Checkpoints(folder, METADATA)
        os.chmod(folder, 0o555)
        with unprivileged(), pytest.raises(CheckpointError, match=r"cannot write the checkpoint of step 6 .*earlier .* intact"):
            checkpoints.save(6, *tree(6), notes(6))
        with unprivileged(), pytest.raises(CheckpointError, match=r"cannot write checkpoints to .*new.*choose another --out"):
            Checkpoints(folder / "new")
        os.chmod(folder, 0o755)
        checkpoints.close()
        assert not fell_back(folder, "read-only")


def test_a_full_disk(copy):
    """Simulated by a limit on the size of files, which makes writes fail in the same way."""
    folder = copy()
    checkpoints = Checkpoints(folder, METADATA)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"cannot write the checkpoint of step 6 to .*free space") as error:
            checkpoints.save(6, *tree(6), notes(6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert (folder / INTERRUPTED).exists()
    checkpoints.close()
    assert not fell_back(folder, "full disk")


INTERRUPTED = "6.orbax-checkpoint-tmp"  # what Orbax leaves of a save of step 6 that failed or was killed


def test_an_interrupted_save_does_not_block_the_step(copy):
    folder = copy()
    shutil.copytree(folder / "2", folder / INTERRUPTED)
    checkpoints = Checkpoints(folder, METADATA)
    assert checkpoints.latest() == 4
    checkpoints.save(6, *tree(6), notes(6))
    checkpoints.close()
    state, best, *_ = restore(folder)
    assert exact((state, best), tree(6))


def test_the_folder_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot write checkpoints to .*file"):
        Checkpoints(tmp_path / "file" / "checkpoints")
