import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.heads import Bias, Classifier, LogVariances, Ordinal, Projection, Temperature
from mmjax.losses import CrossEntropy
from mmjax.types import Tokens
from tests.contracts.head_cases import HEADS, WIDTH
from tests.contracts.inputs import BATCH


def tokens(width=WIDTH):
    """Three tokens an example, some masked; example 0 has none."""
    mask = (jnp.arange(3)[None, :] + jnp.arange(BATCH)[:, None]) % 4 > 0
    mask = mask.at[0].set(False)
    return Tokens(jax.random.normal(jax.random.key(0), (BATCH, 3, width)), mask)


@pytest.mark.parametrize("name", HEADS)
def test_every_head(name):
    """Shape and dtype; masked tokens (NaN) reach neither output nor gradient; bfloat16 tokens give float32."""
    head, shape = HEADS[name]
    fed = tokens()
    variables = jax.jit(head.init)(jax.random.key(1), fed)
    spoiled = Tokens(jnp.where(fed.mask[..., None], fed.x, jnp.nan), fed.mask)

    def output_of(variables, tokens):
        found = head.apply(variables, tokens)
        return jnp.where(found.mask[..., None], found.x, 0) if isinstance(found, Tokens) else found

    @jax.jit
    def run(variables, x, mask):
        def total(variables, x):
            values = output_of(variables, Tokens(x, mask))
            return (values * jnp.arange(1.0, shape[-1] + 1).reshape((1,) * (values.ndim - 1) + (-1,))).sum()

        return output_of(variables, Tokens(x, mask)), jax.grad(total, argnums=(0, 1))(variables, x)

    output, gradient = run(variables, fed.x, fed.mask)
    chex.assert_shape(output, (BATCH, *shape))
    chex.assert_type(output, jnp.float32)
    chex.assert_tree_all_finite((output, gradient))
    chex.assert_trees_all_equal(run(variables, spoiled.x, fed.mask), (output, gradient))
    assert not np.asarray(gradient[1])[~np.asarray(fed.mask)].any()
    chex.assert_type(jax.jit(output_of)(variables, Tokens(fed.x.astype(jnp.bfloat16), fed.mask)), jnp.float32)


def test_classifier_keeps_its_parameters_and_hidden_layers_come_before():
    shapes = lambda head: jax.tree.map(jnp.shape, jax.eval_shape(head.init, jax.random.key(0), tokens())["params"])
    assert shapes(Classifier(3)) == {"dense": {"kernel": (WIDTH, 3), "bias": (3,)}}
    deep = shapes(Classifier(2, hidden=(5, 4)))
    assert {name: layer["kernel"] for name, layer in deep.items()} == {"hidden0": (6, 5), "hidden1": (5, 4), "dense": (4, 2)}


def ordinal(classes, first, gaps, score):
    """The head's log-probabilities where w . h = score Float[b], with thresholds first, first + gaps[0], ..."""
    params = {"dense": {"kernel": np.ones((1, 1), np.float32)}, "first": np.float32([first])}
    if gaps:
        params["gaps"] = np.log(np.expm1(gaps)).astype(np.float32)
    params, score = jax.tree.map(jnp.asarray, (params, np.float32(score)[:, None, None]))
    run = jax.jit(lambda params, x: Ordinal(classes).apply({"params": params}, Tokens(x, jnp.ones(x.shape[:2], bool))))
    return run(params, score)


def test_ordinal_by_hand():
    # Thresholds -log 3 and log 3, that is sigmoid 1/4 and 3/4. At score 0: 1/4, 3/4 - 1/4, 1 - 3/4.
    # At score log 3: sigmoid(-2 log 3) = 1/10, sigmoid(0) = 1/2, so 1/10, 4/10, 5/10.
    log3 = float(np.log(3))
    p = np.exp(ordinal(3, -log3, [2 * log3], [0.0, log3]))
    np.testing.assert_allclose(p, [[0.25, 0.5, 0.25], [0.1, 0.4, 0.5]], rtol=1e-5)
    two = np.exp(ordinal(2, log3, [], [0.0, log3]))  # logistic regression
    np.testing.assert_allclose(two, [[0.75, 0.25], [0.5, 0.5]], rtol=1e-6)


def test_ordinal_adds_up_to_one_whatever_the_parameters():
    for first, gaps in ((-50.0, [1e-3, 40.0, 1e-3]), (0.0, [0.1, 0.1, 80.0])):
        log_p = ordinal(5, first, gaps, np.linspace(-100, 100, 9))
        chex.assert_tree_all_finite(log_p)
        np.testing.assert_allclose(np.exp(log_p).sum(axis=-1), 1, rtol=2e-5)
    # A parameter far below: softplus(-200) is 0 in float32, and the class still has a probability above 0.
    params = {"dense": {"kernel": jnp.ones((1, 1))}, "first": jnp.zeros(1), "gaps": jnp.array([-200.0])}
    one = Tokens(jnp.zeros((1, 1, 1)), jnp.ones((1, 1), bool))
    value, gradient = jax.jit(jax.value_and_grad(lambda p: Ordinal(3).apply({"params": p}, one).sum()))(params)
    chex.assert_tree_all_finite((value, gradient))


def test_ordinal_starts_with_equal_classes_and_cross_entropy_is_its_likelihood():
    head, fed = Ordinal(4), tokens()
    log_p = jax.jit(lambda key: head.init_with_output(key, fed)[0])(jax.random.key(0))
    np.testing.assert_allclose(np.exp(log_p[0]), np.full(4, 0.25), rtol=1e-4)  # example 0 has no token: score 0
    label = jnp.arange(BATCH) % 4
    np.testing.assert_allclose(jax.jit(CrossEntropy())(log_p, label), -np.asarray(log_p)[np.arange(BATCH), label], rtol=1e-4)
    with pytest.raises(ValueError, match=r"Ordinal\.classes is 1"):
        Ordinal(1).init(jax.random.key(0), fed)


def test_projection_has_length_one_or_is_zero():
    head, fed = Projection(5), tokens()
    output, variables = jax.jit(lambda key: head.init_with_output(key, fed))(jax.random.key(0))
    np.testing.assert_allclose(np.linalg.norm(output, axis=-1), [0] + [1] * (BATCH - 1), atol=1e-6)
    nothing = Tokens(jnp.zeros_like(fed.x), jnp.ones_like(fed.mask))
    total = lambda variables, x: head.apply(variables, Tokens(x, nothing.mask)).sum()
    gradient = jax.jit(jax.grad(total, argnums=(0, 1)))(variables, nothing.x)
    chex.assert_tree_all_finite(gradient)


def test_temperature_is_limited_and_can_return():
    value = lambda log_scale: Temperature().apply({"params": {"log_scale": log_scale}})
    start = jax.jit(Temperature().init)(jax.random.key(0))["params"]["log_scale"]
    chex.assert_shape(value(start), ())
    np.testing.assert_allclose(value(start), 0.07, rtol=1e-6)
    beyond = jnp.log(jnp.array([500.0]))
    np.testing.assert_allclose(value(beyond), 0.01, rtol=1e-6)
    # d exp(-s) / ds = -exp(-s), at the limit too
    np.testing.assert_allclose(jax.grad(value)(beyond), [-0.01], rtol=1e-5)
    with pytest.raises(ValueError, match=r"Temperature\.start is 0\.001"):
        Temperature(start=0.001).init(jax.random.key(0))


def test_loss_parameters():
    bias = Bias(-10.0).apply({"params": {"bias": jnp.array([-3.0])}})
    assert bias.shape == () and bias == -3
    s = LogVariances(("label", "image.label")).apply({"params": {"label": jnp.array([2.0]), "image.label": jnp.array([1.0])}})
    np.testing.assert_array_equal(s, [1.0, 2.0])  # sorted: image.label, label
    for losses in ((), ("a", "a")):
        with pytest.raises(ValueError, match=r"LogVariances\.losses"):
            LogVariances(losses).init(jax.random.key(0))
