"""Damaged checkpoints: what is restored is exactly what was saved, or CheckpointError names the folder."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.seeds import no_best, seed_keys
from mmjax.train.step import TrainState

NOTES = {"next_step": 4, "curves": [{"step": 2, "train_loss": [0.5, 0.25]}], "about": {"optim": {"lr": 0.1}}}
# Orbax leaves the event loop of a reading that failed to the garbage collector, which then complains
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def tree(seed: int = 0):
    """What the loop saves: (state with a typed PRNG key, best, window), two seeds, several dtypes."""
    random = np.random.default_rng(seed)
    params = {
        "dense": {"kernel": jnp.asarray(random.normal(size=(2, 64, 32)), jnp.float32), "bias": jnp.ones((2, 8))},
        "half": jnp.asarray(random.normal(size=(2, 5)), jnp.bfloat16),
    }
    state = TrainState(
        jnp.full(2, 4, jnp.int32), params, {}, {"mu": jax.tree.map(jnp.zeros_like, params)}, (), seed_keys([3, 4])
    )
    return state, no_best(state), jnp.zeros(2)


def exact(a, b) -> bool:
    """Same structure, dtypes, shapes and bits; keys by their numbers."""
    plain = lambda x: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = [(plain(x), plain(y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))]
    return all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in pairs)


def restore(folder, like):
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.restore(lambda notes: like)
    finally:
        checkpoints.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints = Checkpoints(folder)
    checkpoints.save(2, tree(1), NOTES | {"next_step": 2})
    checkpoints.save(4, tree(), NOTES)
    checkpoints.close()
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def files(folder):
    return sorted(file for file in (folder / "4").rglob("*") if file.is_file() and file.stat().st_size)


def test_what_is_saved_is_restored_exactly(saved):
    restored, notes = restore(saved, tree(9))
    assert exact(restored, tree())
    assert notes == NOTES
    assert not exact(tree(), tree(1))  # the comparison tells different trees apart


def flips(folder):
    """Every file, and the larger the more often: (file, byte, bit)."""
    random = np.random.default_rng(11)
    found = files(folder)
    sizes = np.array([file.stat().st_size for file in found], float)
    chosen = list(range(len(found))) + random.choice(len(found), 10, p=sizes / sizes.sum()).tolist()
    return [(found[i], int(random.integers(sizes[i])), int(random.integers(8))) for i in chosen]


def check(folder, what, expected_step="4"):
    """Whether it was refused; anything but a refusal by name or the exact tree fails."""
    try:
        restored, notes = restore(folder, tree(9))
    except CheckpointError as error:
        assert str(folder / expected_step) in str(error), what
        assert "delete that folder to go on from step 2" in str(error), what
        return True
    assert exact(restored, tree()), what
    assert notes["next_step"] == 4, what
    return False


def test_flipped_bits(folder):
    refused = []
    for file, byte, bit in flips(folder):
        before = file.read_bytes()
        damaged = bytearray(before)
        damaged[byte] ^= 1 << bit
        file.write_bytes(damaged)
        refused.append(check(folder, f"bit {bit} of byte {byte} of {file.relative_to(folder)}"))
        file.write_bytes(before)
    assert len(refused) > 12
    assert sum(refused) >= 5  # the damage was felt
    assert not check(folder, "nothing is damaged any more")


@pytest.mark.parametrize("harm", ["truncated", "emptied", "deleted"])
def test_files_cut_or_gone(folder, harm):
    refused = []
    for file in files(folder):
        before = file.read_bytes()
        file.unlink()
        if harm != "deleted":
            file.write_bytes(before[: len(before) // 2] if harm == "truncated" else b"")
        refused.append(check(folder, f"{harm} {file.relative_to(folder)}"))
        file.write_bytes(before)
    assert sum(refused) >= 3


def test_a_flipped_number_that_orbax_does_not_notice_is_named(folder, monkeypatch):
    """What the hashes are for: whoever hands back other numbers than were written is caught, and the array is named."""
    from mmjax.train import checkpoint

    honest = checkpoint._hashes

    def other(tree_):
        return {path: "0" * 64 if "kernel" in path else value for path, value in honest(tree_).items()}

    monkeypatch.setattr(checkpoint, "_hashes", other)
    with pytest.raises(CheckpointError, match=r"damaged: .*kernel.* is not what was written"):
        restore(folder, tree(9))


def test_without_an_older_checkpoint_the_way_out_is_to_begin_anew(folder):
    shutil.rmtree(folder / "2")
    shutil.rmtree(folder / "4" / "tree")
    with pytest.raises(CheckpointError, match="delete that folder to begin anew"):
        restore(folder, tree(9))


def test_the_way_out_works(folder):
    shutil.rmtree(folder / "4")
    restored, notes = restore(folder, tree(9))
    assert exact(restored, tree(1))
    assert notes["next_step"] == 2


def wrong_targets():
    state, best, window = tree(9)
    params = state.params
    wider = {**params, "dense": {**params["dense"], "kernel": jnp.zeros((2, 64, 33))}}
    other_dtype = {**params, "half": jnp.zeros((2, 5), jnp.float32)}
    more = {**params, "more": jnp.zeros(2)}
    fewer = {"dense": params["dense"]}
    renamed = {"dense": params["dense"], "whole": params["half"]}
    cases = {"shape": wider, "dtype": other_dtype, "more": more, "fewer": fewer, "renamed": renamed}
    return {name: (state.replace(params=changed), best, window) for name, changed in cases.items()}


@pytest.mark.parametrize("what", wrong_targets())
def test_a_target_of_another_form_is_refused(saved, what):
    with pytest.raises(CheckpointError) as error:
        restore(saved, wrong_targets()[what])
    assert str(saved / "4") in str(error.value)


def test_no_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.latest() is None
    checkpoints.close()


def test_only_the_last_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, {"x": jnp.full(3, step)}, {"step": step})
    checkpoints.save(3, {"x": jnp.zeros(3)}, {"step": 0})  # there already: not written again
    checkpoints.close()
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name.isdigit()) == ["2", "3"]
    restored, notes = restore(tmp_path, {"x": jnp.zeros(3, jnp.int32)})
    assert restored["x"].tolist() == [3, 3, 3]
    assert notes == {"step": 3}
