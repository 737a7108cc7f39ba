"""FGSM and PGD against Foolbox (JAXModel): the same attacked inputs, for three models, several budgets and numbers of steps."""

import sys
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.encoders import CNN
from mmjax.heads import Classifier
from mmjax.robust.attacks import FGSM, PGD
from mmjax.robust.budgets import L2, Linf
from mmjax.types import Batch

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inside Foolbox and eagerpy
]
SHAPE, CLASSES, EXAMPLES = (8, 8, 3), 5, 6


def linear(x):
    weight = jax.random.normal(jax.random.key(1), (SHAPE[0] * SHAPE[1] * SHAPE[2], CLASSES))
    return x.reshape(len(x), -1) @ weight


def perceptron(x):
    keys = jax.random.split(jax.random.key(2))
    first, second = jax.random.normal(keys[0], (192, 32)) / 8, jax.random.normal(keys[1], (32, CLASSES)) / 8
    return jnp.tanh(x.reshape(len(x), -1) @ first) @ second * 4


def convolutional(x):
    encoder, head = CNN(widths=(8, 8)), Classifier(CLASSES)
    tokens, _ = encoder.init_with_output(jax.random.key(3), x)
    return head.init_with_output(jax.random.key(4), tokens)[0] * 4


MODELS = {"linear": linear, "perceptron": perceptron, "convolutional": convolutional}
FAST = [(model, norm, 0, epsilon) for model, (norm, epsilon) in product(MODELS, (("linf", 8 / 255), ("l2", 0.5)))]
SLOW = [
    (model, norm, steps, epsilon)
    for model, (norm, steps, epsilon) in product(
        MODELS, (("linf", 10, 8 / 255), ("linf", 3, 0.1), ("l2", 10, 0.5), ("l2", 4, 2.0))
    )
]
CASES = [*FAST, *SLOW, ("perceptron", "linf", 40, 2 / 255), ("perceptron", "l2", 40, 0.1)]


def test_there_are_twenty_cases():
    assert len(CASES) == 20


@pytest.mark.parametrize("model, norm, steps, epsilon", CASES)
def test_attacked_inputs_are_equal(model, norm, steps, epsilon, monkeypatch):
    monkeypatch.setitem(sys.modules, "coverage", None)  # numba would take scripts/coverage.py for the package of this name
    import eagerpy
    import foolbox

    logits = MODELS[model]
    random = np.random.default_rng(0)
    x = jnp.asarray(random.uniform(size=(EXAMPLES, *SHAPE)), jnp.float32)
    label = jnp.asarray(random.integers(0, CLASSES, EXAMPLES))
    kinds = {
        ("linf", True): foolbox.attacks.LinfPGD,
        ("l2", True): foolbox.attacks.L2PGD,
        ("linf", False): foolbox.attacks.LinfFastGradientAttack,
        ("l2", False): foolbox.attacks.L2FastGradientAttack,
    }
    kind = kinds[norm, steps > 0]
    theirs = kind(steps=steps, rel_stepsize=0.25, random_start=False) if steps else kind(random_start=False)
    reference = foolbox.JAXModel(logits, bounds=(0, 1), data_format="channels_last")
    wrong = foolbox.criteria.Misclassification(eagerpy.astensor(label))
    expected = theirs.run(reference, eagerpy.astensor(x), wrong, epsilon=epsilon).raw

    budget = {"image": {"linf": Linf, "l2": L2}[norm](epsilon, 0.0, 1.0)}
    ours = PGD(budget, steps=steps, step_size=0.25, random_start=False) if steps else FGSM(budget)
    batch = Batch({"image": x}, {"image": jnp.ones(EXAMPLES, bool)}, {"label": label}, jnp.ones(EXAMPLES))
    values = lambda batch: optax.softmax_cross_entropy_with_integer_labels(logits(batch.inputs["image"]), label)
    found = jax.jit(lambda batch: ours(values, batch, jax.random.key(0)))(batch).inputs["image"]
    assert float(jnp.abs(found - x).max()) > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
