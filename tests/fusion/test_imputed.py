"""Imputed fusions: the identity when off, present tokens never change, and each imputer by hand."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.fusion import Append, Concat, Only, WeightedSum
from mmjax.fusion.gan_imputer import GANImputer, _spread
from mmjax.fusion.imputed import Imputed, ImputerLoss
from mmjax.fusion.imputers import MeanImputer, NearestImputer, RegressionImputer
from mmjax.losses.output import OutputLoss
from mmjax.types import Batch, Tokens

KEY = jax.random.key(0)
RNGS = {"dropout": jax.random.key(1)}
SMALL_GAN = GANImputer(noise=2, hidden=(4,), decay=0.75)


def tokens_of(vectors, present):
    """One token for each modality."""
    token = lambda name: Tokens(jnp.asarray(vectors[name], jnp.float32)[:, None], jnp.asarray(present[name])[:, None])
    return {name: token(name) for name in vectors}


@cache
def given():
    """Four examples of modalities "a" [4 2] and "b" [4 3]: both, a alone, b alone, none; NaN where absent."""
    random, present = np.random.default_rng(0), {"a": np.array([1, 1, 0, 0], bool), "b": np.array([1, 0, 1, 0], bool)}
    vectors = {"a": random.normal(size=(4, 2)), "b": random.normal(size=(4, 3))}
    return {name: np.where(present[name][:, None], x, np.nan).astype(np.float32) for name, x in vectors.items()}, present


FUSIONS = Concat(4, dropout=0.5), WeightedSum(4), Only(("a",), WeightedSum(4))


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: type(fusion).__name__)
def test_off_is_bit_identical_to_the_fusion(fusion):
    tokens = tokens_of(*given())
    off = Imputed(fusion, SMALL_GAN, modalities=())
    run = lambda module: module.init_with_output({"params": KEY, **RNGS}, tokens, train=True)
    chex.assert_trees_all_equal(run(fusion), run(off))
    # Switched on, the fusion has the same names and initial values.
    on = Imputed(fusion, MeanImputer()).init(KEY, tokens)["params"]
    chex.assert_trees_all_equal(fusion.init(KEY, tokens)["params"], dict(on))


def test_only_missing_modalities_change():
    vectors, present = given()
    vectors = {"a": vectors["a"], "b": vectors["b"][:, :2]}
    tokens = tokens_of(vectors, present)
    found = Imputed(Append(), RegressionImputer()).init_with_output(KEY, tokens)[0]
    assert found.losses.keys() == {"regression"}
    x, mask = np.asarray(found.x), np.asarray(found.mask)
    np.testing.assert_array_equal(mask, [[1, 1], [1, 1], [1, 1], [0, 0]])  # an example without any modality stays without
    for number, name in enumerate(("a", "b")):
        np.testing.assert_array_equal(x[present[name], number], vectors[name][present[name]])
    assert np.isfinite(x[mask]).all() and (x[2, 0] != 0).any()
    chosen = Imputed(Append(), RegressionImputer(), ("b",)).init_with_output(KEY, tokens)[0]
    np.testing.assert_array_equal(chosen.mask, [[1, 1], [1, 1], [0, 1], [0, 0]])


def trained(imputer, batches):
    """The variables after these batches of (vectors, present), without gradient steps."""
    zeros = {name: jnp.nan_to_num(x) for name, x in batches[0][0].items()}
    variables = imputer.init(KEY, zeros, batches[0][1])
    for vectors, present in batches:
        vectors = {name: jnp.nan_to_num(jnp.asarray(x, jnp.float32)) for name, x in vectors.items()}
        variables = {**variables, **imputer.apply(variables, vectors, present, train=True, rngs=RNGS, mutable=["imputer"])[1]}
    return variables


def test_mean_by_hand():
    """The values 1 and 3, then 5: the mean is 3. Absent values do not count."""
    batches = [
        ({"a": np.array([[1.0], [3.0], [9.0]])}, {"a": jnp.array([True, True, False])}),
        ({"a": np.array([[5.0], [7.0], [7.0]])}, {"a": jnp.array([True, False, False])}),
    ]
    imputer = MeanImputer()
    variables = trained(imputer, batches)
    imputed, losses = imputer.apply(variables, {"a": jnp.zeros((2, 1))}, {"a": jnp.zeros(2, bool)})
    np.testing.assert_allclose(imputed["a"], 3.0)
    assert losses == {}


def test_regression_by_hand():
    """b = 2 a + 1 if a is present, and 5 otherwise, by hand-set weights of a and of its flag."""
    imputer, flags = RegressionImputer(hide=0.0), {"a": jnp.array([True, False]), "b": jnp.array([True, True])}
    vectors = {"a": jnp.array([[3.0], [0.0]]), "b": jnp.array([[9.0], [5.0]])}
    layer = lambda kernel, bias: {"dense": {"kernel": jnp.array(kernel)[:, None], "bias": jnp.array([bias])}}
    params = {"a": layer([0.0, 0.0], 1.0), "b": layer([2.0, -4.0], 5.0)}  # 5 - 4 = 1
    imputed, losses = imputer.apply({"params": params}, vectors, flags, train=True, rngs=RNGS)
    np.testing.assert_allclose(imputed["b"], [[7.0], [5.0]])
    # Example 1: a is off by 2, b by 2, so (4 + 4) / 2. Example 2: only b, exact.
    np.testing.assert_allclose(losses["regression"], [4.0, 0.0])


def test_nearest_by_hand():
    """Stored: a 0, 10 and 4 with b 1, 2 and none. For a = 7 the nearest with a b is a = 10, since a = 4 has no b."""
    stored = {"a": np.array([[0.0], [10.0], [4.0]]), "b": np.array([[1.0], [2.0], [8.0]])}
    flags = {"a": jnp.array([True, True, True]), "b": jnp.array([True, True, False])}
    imputer = NearestImputer(capacity=5)
    variables = trained(imputer, [(stored, flags)])
    ask = {"a": jnp.array([[7.0], [3.0], [0.0], [9.0]]), "b": jnp.zeros((4, 1))}
    present = {"a": jnp.array([True, True, True, False]), "b": jnp.zeros(4, bool)}
    imputed, _ = imputer.apply(variables, ask, present)
    np.testing.assert_allclose(imputed["b"][:, 0], [2.0, 1.0, 1.0, 0.0])  # nothing in common: zero
    again, _ = imputer.apply(variables, ask, present, train=True, rngs=RNGS)
    assert again["b"][2, 0] == 2.0  # in training, an equal example is skipped
    # The capacity is a ring: two more batches of three overwrite the first four.
    variables = trained(imputer, [(stored, flags), (stored, flags)])
    assert float(variables["imputer"]["place"]) == 1.0


@cache
def gan_of():
    vectors, present = given()
    vectors = {name: jnp.nan_to_num(x) for name, x in vectors.items()}
    present = {name: jnp.asarray(p) for name, p in present.items()}
    variables = SMALL_GAN.init(KEY, vectors, present)

    @jax.jit
    def run(params):
        def losses(params):
            both = {**variables, "params": params}
            (_, losses), changed = SMALL_GAN.apply(both, vectors, present, train=True, rngs=RNGS, mutable=["imputer"])
            return {name: value.sum() for name, value in losses.items()}, (losses, changed["imputer"])

        gradients, (values, changed) = jax.jacrev(losses, has_aux=True)(params)
        frozen = {"params": params, "imputer": changed}  # the next step of a stage in which the imputer does not learn
        again = SMALL_GAN.apply(frozen, vectors, present, train=True, rngs=RNGS, mutable=["imputer"])[1]["imputer"]
        return gradients, (values, changed, again)

    return variables, *run(jax.tree.map(lambda x: x + 0.1, variables["params"]))


def test_each_player_learns_from_its_own_loss_alone():
    _, gradients, (losses, _, _) = gan_of()
    assert set(gradients) == {"discriminator", "generator"}
    for loss, gradient in gradients.items():
        for name, part in gradient.items():
            largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(part))
            assert (largest > 0) == name.endswith(loss), (loss, name)
        assert losses[loss][3] == 0 and np.isfinite(losses[loss]).all()  # example 3 has no modality


def test_the_average_of_the_generator_is_kept():
    """The parameters were raised by 0.1, so the average with decay 0.75 is raised by 0.025."""
    variables, _, (_, changed, again) = gan_of()
    before, after = variables["imputer"]["a_average"], changed["a_average"]
    chex.assert_trees_all_close(after, jax.tree.map(lambda x: x + 0.025, before), atol=1e-6)
    assert not np.array_equal(changed["a_vectors"]["dense"]["kernel"], variables["imputer"]["a_vectors"]["dense"]["kernel"])
    assert (np.asarray(changed["b_spread"]) > 0).all()
    chex.assert_trees_all_equal(again["a_average"], after)  # G has not changed, so the average does not follow it


def test_spread_by_hand():
    """Valid: real 0 and 2 (variance 1), generated 1 and 5 (variance 4), again 1 and 1: half the mean of 0 and 16 is 4."""
    column = lambda *x: jnp.array(x, jnp.float32)[:, None]
    found = _spread(column(0, 2, 9), column(1, 5, 9), column(1, 1, 0), jnp.array([True, True, False]))
    np.testing.assert_allclose(found, [1.0, 4.0, 4.0])


def test_losses_reach_the_outputs():
    tokens = tokens_of(*given())
    fused = Imputed(Concat(4), RegressionImputer()).init_with_output({"params": KEY, **RNGS}, tokens, train=True)[0]
    values = ImputerLoss("regression").apply({}, fused)
    batch = Batch({}, {}, {}, jnp.array([1.0, 1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(OutputLoss("r")({"r": values}, batch), np.where([1, 1, 0, 1], values, 0))
    assert values[0] > 0


def test_mistakes_are_named():
    tokens = tokens_of(*given())
    with pytest.raises(ValueError, match=r"modalities is \('c',\); it must contain some of the modalities \['a', 'b'\]"):
        Imputed(Concat(4), MeanImputer(), ("c",)).init(KEY, tokens)
    with pytest.raises(ValueError, match="GANImputer needs at least two modalities"):
        Imputed(Concat(4), SMALL_GAN).init(KEY, {"a": tokens["a"]})
    with pytest.raises(ValueError, match=r"ImputerLoss\.loss is 'generator'; the fusion has the losses \[\]"):
        ImputerLoss("generator").apply({}, tokens["a"])
    with pytest.raises(ValueError, match="as a loss it needs one value per example"):
        OutputLoss("r")({"r": jnp.zeros((2, 2))}, Batch({}, {}, {}, jnp.ones(2)))
    with pytest.raises(ValueError, match=r"GANImputer\.hide is 1"):
        Imputed(Concat(4), SMALL_GAN.clone(hide=1.0)).init(KEY, tokens)
