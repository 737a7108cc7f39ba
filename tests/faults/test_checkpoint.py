"""Damaged checkpoints: an exact state is restored, of the newest checkpoint or, with a warning, of the previous one."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.finite import NonFiniteError
from tests.faults.saved import HARMS, METADATA, exact, fell_back, files, flip, harm, notes, restore, tree

# After a failed read, Orbax leaves its event loop to the garbage collector, which complains
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_a_checkpoint_is_restored_exactly(saved):
    state, best, found, warnings = restore(saved)
    assert exact((state, best), tree(4)) and found == notes(4) and not warnings
    assert isinstance(state.params["half"], np.ndarray)  # a plan places it
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
        results.append(fell_back(folder, flip(found[i], random)))
    assert len(results) > 12 and sum(results) >= 5  # some damage is in files that Orbax does not read


@pytest.mark.parametrize("how", HARMS)
def test_truncated_and_deleted_files(copy, how):
    results = []
    for name in [file.relative_to(copy()) for file in files(copy())]:
        folder = copy()
        harm(folder / name, how)
        results.append(fell_back(folder, f"{how} {name}"))
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
    assert warnings == [f"{folder / '4'} is damaged (its notes do not match their sha256); continuing from step 2"]


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
    with pytest.raises(CheckpointError, match=r"damaged \(.*kernel.* does not match its sha256\).*no intact checkpoint"):
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
    with pytest.raises(CheckpointError, match=r"4 is of another model: .*params.* is .*, not .*"):
        restore(saved, lambda step: other_models()[what])
    assert (saved / "2").exists() and (saved / "4").exists()


def test_other_settings_are_listed(saved):
    with pytest.raises(CheckpointError, match=r"another experiment: optim\.lr was 0\.1 and is 0\.2; seeds was None and is 3\."):
        restore(saved, metadata={"optim": {"lr": 0.2}, "seeds": 3})


def test_other_versions_are_named_and_older_checkpoints_have_none(tmp_path):
    checkpoints = Checkpoints(tmp_path, versions={"jax": "0.9", "numpy": "2"})
    checkpoints.save(2, *tree(2), notes(2))
    checkpoints.close()
    said = []
    for versions in ({"jax": "0.9", "numpy": "2"}, {"jax": "0.10", "numpy": "2"}):
        checkpoints = Checkpoints(tmp_path, warn=said.append, versions=versions)
        checkpoints.restore(lambda step: tree(9))
        checkpoints.close()
    assert said == [f"{tmp_path / '2'} was written with other versions, so numbers may differ: jax was 0.9 and is 0.10"]

    checkpoints = Checkpoints(tmp_path, warn=said.append, versions={"jax": "0.10"})
    record = checkpoints._record(2)
    checkpoints._record = lambda step: {name: record[name] for name in record if name != "versions"}
    assert exact(checkpoints.restore(lambda step: tree(9))[:2], tree(2)) and len(said) == 1
    checkpoints.close()


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
