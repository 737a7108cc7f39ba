"""Criteria of pruning, against sorting, brute force and hand-set weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.nn.attention import Attention
from mmjax.robust.prune import Prune
from mmjax.robust.prune_criteria import Channels, Heads, Magnitude, NofM, lowest, prunable


def test_lowest_is_a_stable_sort():
    random = np.random.default_rng(0)
    find = jax.jit(lowest)
    for trial in range(6):
        scores = random.normal(size=40).astype(np.float32) * 10.0 ** random.integers(-30, 30, 40)
        scores[random.integers(0, 40, 20)] = random.choice([0.0, -1.0, 2.0, -np.inf, np.inf])  # ties
        scores, pruned = scores.astype(np.float32), random.random(40) < 0.2
        order = np.lexsort((np.arange(40), np.where(pruned, 0, scores), ~pruned))
        for count in (0, 1, 7, 20, 39, 40):
            expected = np.zeros(40, bool)
            expected[order[:count]] = True
            np.testing.assert_array_equal(find(scores, pruned, jnp.int32(count)), expected, err_msg=f"{trial} {count}")


def test_magnitude_over_all_layers_or_in_each():
    flat = {"a/kernel": jnp.array([[1.0, -2], [3, 4]]), "b/kernel": jnp.array([[-10.0, 20], [30, 40]]), "a/bias": jnp.zeros(2)}
    keep = lambda select: select.keep(flat, select.masks(flat), {}, jnp.float32(0.5))
    everywhere, each = keep(Magnitude(0.5)), keep(Magnitude(0.5, per_layer=True))
    assert set(everywhere) == {"a/kernel", "b/kernel"}
    assert not everywhere["a/kernel"].any() and everywhere["b/kernel"].all()
    for path in each:
        np.testing.assert_array_equal(each[path], [[False, False], [True, True]])


def test_two_of_four_by_hand_and_in_convolutions():
    flat = {"kernel": jnp.array([[1.0, 5], [-9, 5], [3, 5], [-4, 5], [1, 0], [2, 1], [3, 2], [4, 3]])}
    select = NofM(2, 4)
    keep = jax.jit(lambda flat, sparsity: select.keep(flat, select.masks(flat), {}, sparsity)["kernel"])
    kept = keep(flat, 0.5)
    # largest of 1, -9, 3, -4: -9 and -4; four equal ones: the later two; 1, 2, 3, 4: 3 and 4
    np.testing.assert_array_equal(kept[:, 0], [False, True, False, True, False, False, True, True])
    np.testing.assert_array_equal(kept[:, 1], [False, False, True, True, False, False, True, True])
    quarter = keep(flat, 0.25)  # on the way: one of four
    np.testing.assert_array_equal(quarter[:4, 0], [False, True, True, True])
    conv = {"kernel": jax.random.normal(jax.random.key(0), (3, 2, 8, 5))}
    kept = np.asarray(keep(conv, 0.5))
    assert (kept.reshape(3, 2, 2, 4, 5).sum(axis=3) == 2).all()
    with pytest.raises(ValueError, match=r"NofM\.m is 4, which does not divide the 3 input channels of conv/kernel; leave it"):
        select.masks({"conv/kernel": jnp.zeros((3, 3, 3, 8))})


def test_whole_channels_and_their_biases():
    kernel = jnp.array([[[3.0, 0.1, -2.0, 0.2]], [[4.0, 0.1, 0.0, 0.2]]])  # norms 5, .14, 2, .28
    variables = {"params": {"dense": {"kernel": kernel, "bias": jnp.ones(4)}, "head": {"kernel": jnp.ones((4, 2))}}}
    pruned = Prune(Channels(0.5), ("dense",)).variables(variables)["params"]
    np.testing.assert_array_equal(
        pruned["dense"]["kernel"] != 0, np.broadcast_to([True, False, True, False], (2, 1, 4)) & (kernel != 0)
    )
    np.testing.assert_array_equal(pruned["dense"]["bias"], [1, 0, 1, 0])
    assert (pruned["head"]["kernel"] == 1).all()


def test_a_pruned_head_adds_nothing():
    """The output equals that of the layer whose pruned head was cut out by hand."""
    layer = Attention(heads=3, features=6)
    x = jax.random.normal(jax.random.key(0), (2, 4, 5))
    params = jax.tree.map(lambda p: p + 0.3, jax.jit(layer.init)(jax.random.key(1), x)["params"])
    params["value"]["kernel"] = params["value"]["kernel"].at[:, 2:4].multiply(0.01)
    params["out"]["kernel"] = params["out"]["kernel"].at[2:4].multiply(0.01)  # head 1 is the weakest
    pruned = jax.jit(Prune(Heads(3, 1 / 3)).variables)({"params": {"attention": params}})["params"]["attention"]
    gone = [(path, leaf == 0) for path, leaf in flatten_dict(pruned, sep="/").items() if path != "out/bias"]
    for path, zero in gone:
        zero = zero.T if path == "out/kernel" else zero
        np.testing.assert_array_equal(zero, np.broadcast_to([False, False, True, True, False, False], zero.shape), err_msg=path)
    cut = {path: np.asarray(leaf) for path, leaf in flatten_dict(params, sep="/").items()}
    for path, leaf in cut.items():
        cut[path] = leaf if path == "out/bias" else np.delete(leaf, [2, 3], axis=0 if path == "out/kernel" else -1)
    q, k, v = (np.asarray(x) @ cut[f"{n}/kernel"] + cut[f"{n}/bias"] for n in ("query", "key", "value"))
    split = lambda y: y.reshape(2, 4, 2, 2).swapaxes(1, 2)  # two heads, two wide
    scores = np.exp(split(q) @ split(k).swapaxes(-1, -2) / np.sqrt(2))
    attended = scores / scores.sum(axis=-1, keepdims=True) @ split(v)
    expected = attended.swapaxes(1, 2).reshape(2, 4, 4) @ cut["out/kernel"] + cut["out/bias"]
    np.testing.assert_allclose(jax.jit(layer.apply)({"params": pruned}, x), expected, rtol=1e-4, atol=1e-5)


def test_heads_that_do_not_fit_are_named():
    names = [f"{part}/kernel" for part in ("query", "key", "value", "out")]
    flat = {f"attention/{name}": jnp.ones((6, 6)) for name in names}
    with pytest.raises(ValueError, match=r"Heads\.heads is 4, which does not divide the 6 channels of attention"):
        Heads(4).masks(flat)
    with pytest.raises(ValueError, match="Heads finds no attention layer"):
        Heads(2).masks({"dense/kernel": jnp.ones((6, 6))})


def test_biases_norms_and_embeddings_are_excluded():
    shapes = {
        "x/kernel": (2, 3),
        "x/bias": (3,),
        "x/embedding": (9, 2),
        "norm/scale": (2, 2),
        "l/recurrent": (2, 8),
        "position": (4, 4),
    }
    flat = {path: jnp.zeros(shape) for path, shape in shapes.items()}
    assert set(Magnitude().masks(prunable(flat, ("",)))) == {"x/kernel", "l/recurrent"}
    assert unflatten_dict(flat, sep="/")
