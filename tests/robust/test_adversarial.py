"""Defences against losses by hand, on a model with absent modalities, and on shards."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.encoders import BagOfEmbeddings
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.nn import Dropout
from mmjax.robust.adversarial import ATTACK, TRADES, AdversarialTraining, divergence
from mmjax.robust.attacks import FGSM, PGD, random_change
from mmjax.robust.budgets import L2, Linf
from mmjax.robust.embeddings import Embeddings, SoftTokens
from mmjax.robust.free import VILLA, FreeAdversarial
from mmjax.shards import SHARD
from mmjax.train.balance import OGMGE
from mmjax.train.seeds import init_seeds
from mmjax.train.step import make_step, weighted_mean
from mmjax.types import Aux, Batch, Padded, Tokens

KEY = jax.random.key(5)
CLASSES, VOCABULARY, WIDTH = 3, 9, 4
BUDGETS = {"image": Linf(0.3), "text": Embeddings(0.2, WIDTH)}
DEFENCES = {
    "madry": lambda budgets: AdversarialTraining(PGD(budgets, steps=2), clean=0.25),
    "trades": lambda budgets: TRADES(PGD(budgets, steps=2), beta=2.0),
    "free": lambda budgets: FreeAdversarial(budgets, replays=3),
    "villa": lambda budgets: VILLA(budgets, replays=2),
}


# A logistic loss of two features, log(1 + exp(-y w . x)), whose attacked value is known: the margin falls by eps ||w||_1.

X, Y, RATE = jnp.array([[1.0, -0.5], [0.25, 2.0], [3.0, 1.0]]), jnp.array([1.0, -1.0, 1.0]), jnp.array([1.0, 3.0, 0.0])
PARAMS = jnp.array([0.7, -0.2])


def logistic() -> Batch:
    return Batch({"x": X}, {"x": jnp.ones(3, bool)}, {"y": Y}, RATE)


def objective(params, batch, key, train=True):
    margin = batch.targets["y"] * (batch.inputs["x"] @ params)
    values = {"loss": jax.nn.softplus(-margin)}
    losses = {"loss": weighted_mean(values["loss"], batch.weight)}
    logits = jnp.stack([jnp.zeros(len(margin)), batch.inputs["x"] @ params], axis=1)
    return losses, Aux({"label": logits}, {}, losses, values)


def by_hand(params, eps):
    """The weighted mean of log(1 + exp(-(margin - eps ||w||_1)))."""
    values = jax.nn.softplus(-(Y * (X @ params) - eps * jnp.abs(params).sum()))
    return jnp.sum(values * RATE) / jnp.sum(RATE)


def run(defence, batch=None):
    """(loss, gradient, aux, state) of a step, compiled."""
    batch = logistic() if batch is None else batch
    return jax.jit(lambda params, batch: defence(objective, params, defence.init(params), batch, KEY))(PARAMS, batch)


@pytest.mark.parametrize("clean", [0.0, 0.4])
def test_adversarial_training_by_hand(clean):
    defence = AdversarialTraining(FGSM({"x": Linf(0.1)}), clean)
    value, gradient, aux, state = run(defence)
    expected, slope = jax.value_and_grad(lambda w: (1 - clean) * by_hand(w, 0.1) + clean * by_hand(w, 0.0))(PARAMS)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    # d/dw of eps ||w||_1 is the change that the attack has made, so the gradients are equal too.
    np.testing.assert_allclose(gradient, slope, rtol=1e-5)
    np.testing.assert_allclose(aux.losses["loss"], expected, rtol=1e-6)
    assert state == ()


def test_trades_by_hand():
    """KL of two Bernoulli variables; the optimum of the divergence is at a corner of the budget."""
    defence = TRADES(PGD({"x": Linf(0.1)}, steps=8), beta=2.0)
    value, gradient, aux, _ = run(defence)

    def expected(params):
        p = jax.nn.sigmoid(X @ params)
        q = [jax.nn.sigmoid(X @ params + sign * 0.1 * jnp.abs(params).sum()) for sign in (-1, 1)]
        nats = [p * jnp.log(p / r) + (1 - p) * jnp.log((1 - p) / (1 - r)) for r in q]
        return by_hand(params, 0.0) + 2 * jnp.sum(jnp.maximum(*nats) * RATE) / jnp.sum(RATE)

    # A start on one side of the optimum may end at the other corner, which is a little lower.
    best, slope = jax.jit(jax.value_and_grad(expected))(PARAMS)
    np.testing.assert_allclose(value, best, rtol=3e-3)
    assert value <= best + 1e-6
    np.testing.assert_allclose(gradient, slope, rtol=0.05)
    np.testing.assert_allclose(sum(aux.losses.values()), value, rtol=1e-6)


def test_divergence_by_hand():
    batch = logistic().replace(present={"x": jnp.array([True, False, True])}, weight=jnp.array([1.0, 1.0, 0.0]))
    p, q = jnp.log(jnp.array([[0.5, 0.5]] * 3)), jnp.log(jnp.array([[0.25, 0.75], [jnp.nan, jnp.nan], [0.1, 0.9]]))
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    found = divergence(("x.label",), {"x.label": p}, {"x.label": q}, batch)
    np.testing.assert_allclose(found, [expected, 0, 0], rtol=1e-5)  # the others are absent or weightless
    with pytest.raises(ValueError, match=r"the model has no output 'kind'; its outputs are \['label'\]"):
        divergence(("kind",), {"label": p}, {"label": q}, batch)


def test_free_replays_by_hand():
    """The start is within the budget, and each ascent of full size ends at a corner: all replays but the first are attacked."""
    defence = FreeAdversarial({"x": Linf(0.1)}, replays=200)
    value, gradient, _, _ = run(defence)
    np.testing.assert_allclose(value, by_hand(PARAMS, 0.1), rtol=2e-3)
    np.testing.assert_allclose(gradient, jax.grad(lambda w: by_hand(w, 0.1))(PARAMS), rtol=2e-2)


def start_of(budget):
    """The random start of the perturbations, as the step draws it."""
    return np.asarray(random_change(logistic(), {"x": budget}, jax.random.fold_in(KEY, ATTACK))["x"], np.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def slope_of(value, w, size=1e-5):
    """Central differences in float64."""
    return np.array([(value(w + size * e) - value(w - size * e)) / (2 * size) for e in np.eye(2)])


X64, Y64, RATE64, W64 = (np.asarray(a, np.float64) for a in (X, Y, RATE, PARAMS))


def test_two_replays_of_free_training_by_hand():
    """d_1 is the start and d_2 = clip(d_1 + 0.05 sign(-y w)): mean loss and gradient of both, values of the last."""
    budget = Linf(0.1)
    value, gradient, aux, _ = run(FreeAdversarial({"x": budget}, replays=2, step_size=0.5))
    first = start_of(budget)
    second = np.clip(first + 0.05 * np.sign(-Y64[:, None] * W64[None]), -0.1, 0.1)
    second[2] = first[2]  # its weight is 0, so that it has no slope
    assert np.abs(second - first).max() > 0.01 and (np.abs(first) < 0.1).all()
    loss = lambda w, d: (softplus(-Y64 * ((X64 + d) @ w)) * RATE64).sum() / RATE64.sum()
    mean = lambda w: (loss(w, first) + loss(w, second)) / 2
    np.testing.assert_allclose(value, mean(W64), rtol=1e-6)
    np.testing.assert_allclose(gradient, slope_of(mean, W64), rtol=1e-4)
    np.testing.assert_allclose(aux.losses["loss"], loss(W64, second), rtol=1e-6)
    np.testing.assert_allclose(aux.values["loss"][:2], softplus(-Y64 * ((X64 + second) @ W64))[:2], rtol=1e-6)


def test_two_replays_of_villa_by_hand():
    """The perturbation ascends on loss(x + d) + alpha (p - q) (a - b); x and x + d have logits a, b and probabilities p, q."""
    budget, alpha = L2(0.4), 0.7
    value, gradient, aux, _ = run(VILLA({"x": budget}, replays=2, step_size=0.5, alpha=alpha))

    def terms(w, d):
        a, b = X64 @ w, (X64 + d) @ w
        return softplus(-Y64 * a), softplus(-Y64 * b), alpha * (sigmoid(a) - sigmoid(b)) * (a - b)

    def slope(d):  # d loss / db + alpha d divergence / db, times w
        a, b = X64 @ W64, (X64 + d) @ W64
        q = sigmoid(b)
        return (-Y64 * sigmoid(-Y64 * b) - alpha * (q * (1 - q) * (a - b) + sigmoid(a) - q))[:, None] * W64[None]

    first = start_of(budget)
    step = slope(first)
    step = 0.2 * step / np.linalg.norm(step, axis=1, keepdims=True)
    step[2] = 0  # its weight is 0
    second = first + step
    second *= np.minimum(1, 0.4 / np.linalg.norm(second, axis=1, keepdims=True))
    weighted = lambda values: (values * RATE64).sum() / RATE64.sum()
    total = lambda w, d: sum(weighted(term) for term in terms(w, d))
    mean = lambda w: (total(w, first) + total(w, second)) / 2
    np.testing.assert_allclose(value, mean(W64), rtol=1e-5)
    np.testing.assert_allclose(gradient, slope_of(mean, W64), rtol=1e-4)
    found = [aux.losses[name] for name in ("loss", "adversarial", "divergence")]
    np.testing.assert_allclose(found, [weighted(term) for term in terms(W64, second)], rtol=1e-4)


def test_villa_adds_the_attacked_loss_and_both_divergences():
    defence = VILLA({"x": Linf(0.1)}, replays=200, step_size=1.0, alpha=0.0)
    value, _, aux, _ = run(defence)
    np.testing.assert_allclose(value, by_hand(PARAMS, 0.0) + by_hand(PARAMS, 0.1), rtol=2e-3)
    assert set(aux.losses) == set(aux.values) == {"loss", "adversarial", "divergence"}
    # sum p log(p / q) + q log(q / p) = (p - q) (logit p - logit q) for two classes.
    _, _, aux, _ = run(VILLA({"x": Linf(0.1)}, replays=3, step_size=2.0, alpha=3.0))
    moved = -Y * 0.1 * jnp.abs(PARAMS).sum()
    logit = X @ PARAMS
    both = (jax.nn.sigmoid(logit + moved) - jax.nn.sigmoid(logit)) * moved
    np.testing.assert_allclose(aux.losses["divergence"], 3 * jnp.sum(both * RATE) / jnp.sum(RATE), rtol=0.1)


def test_an_inner_gradient_is_used_and_must_keep_the_batch():
    class Doubled:
        def init(self, params):
            return 1

        def __call__(self, objective, params, state, batch, key):
            value, gradient = jax.value_and_grad(lambda w: objective(w, batch, key)[0]["loss"])(params)
            return value, 2 * gradient, objective(params, batch, key)[1], state + 1

    class Halving(Doubled):
        def __call__(self, objective, params, state, batch, key):
            return super().__call__(objective, params, state, jax.tree.map(lambda leaf: leaf[:1], batch), key)

    attack = FGSM({"x": Linf(0.1)})
    plain = run(AdversarialTraining(attack))
    doubled = AdversarialTraining(attack, inner=Doubled())
    assert doubled.init(PARAMS) == 1
    _, gradient, _, state = run(doubled)
    np.testing.assert_allclose(gradient, 2 * plain[1], rtol=1e-6)
    assert state == 2
    for defence in (AdversarialTraining(attack, 0.5, Halving()), TRADES(PGD({"x": Linf(0.1)}), inner=Halving())):
        with pytest.raises(ValueError, match="its inner gradient must not change or split the batch"):
            run(defence)


# On a model.


class Dense(nn.Module):
    """The smallest encoder with dropout."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = Dropout(0.3, name="dropout")(nn.Dense(2)(x), train=train)
        return Tokens(x[:, None], jnp.ones((len(x), 1), bool))


MODEL = Multimodal(
    {"image": Dense(), "text": SoftTokens(BagOfEmbeddings(VOCABULARY, WIDTH))}, Concat(width=4), {"label": Classifier(CLASSES)}
)
TX = optax.sgd(0.1)


def two_seeds() -> Batch:
    """Leaves [2 8 ...]; some weights are 0, and some modalities absent and NaN."""
    random = np.random.default_rng(0)
    present = {name: random.random((2, 8)) < 0.8 for name in ("image", "text")}
    image = np.where(present["image"][..., None], random.normal(size=(2, 8, 3)), np.nan).astype(np.float32)
    text = Padded(random.integers(0, VOCABULARY, (2, 8, 3)).astype(np.int32), random.integers(1, 4, (2, 8)).astype(np.int32))
    target = {"label": random.integers(0, CLASSES, (2, 8)).astype(np.int32)}
    weight = np.array([1, 2, 0, 1, 1, 0.5, 0, 1], np.float32)
    return jax.tree.map(jnp.asarray, Batch({"image": image, "text": text}, present, target, np.stack([weight] * 2)))


def state_of(defence):
    return init_seeds(MODEL, TX, [0, 1], jax.tree.map(lambda leaf: leaf[0], two_seeds()), defence)


@pytest.fixture(scope="module")
def initial():
    return state_of(None)


def one_seed(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


@pytest.mark.parametrize("name", ["trades", "villa"])
def test_what_does_not_count_does_not_matter(name, initial):
    """Under vmap over seeds: inputs of weight 0 or of absent modalities change neither loss nor parameters."""
    batch = two_seeds()
    step = jax.jit(jax.vmap(make_step(MODEL, cross_entropy, TX, gradient=DEFENCES[name](BUDGETS)), in_axes=(0, None, 0)))
    counts = batch.present["image"] & (batch.weight > 0)
    other = batch.replace(inputs={**batch.inputs, "image": jnp.where(counts[..., None], batch.inputs["image"], 7.0)})
    assert not counts.all()
    (state, metrics), (same, same_metrics) = step(initial, {}, batch), step(initial, {}, other)
    chex.assert_trees_all_equal(state.params, same.params)
    chex.assert_trees_all_equal(metrics, same_metrics)
    chex.assert_tree_all_finite(metrics)
    assert {"trades": "loss/trades", "villa": "loss/adversarial"}[name] in metrics
    for encoder in ("encoders_image", "encoders_text"):
        moved = jax.tree.map(lambda new, old: jnp.abs(new - old).max(), state.params[encoder], initial.params[encoder])
        assert max(jax.tree.leaves(moved)) > 1e-4


def test_a_split_batch_gives_the_same():
    """On four devices, one example each: random numbers and means are those of the whole batch."""
    whole = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1]]), logistic())
    whole = whole.replace(weight=jnp.array([1.0, 3.0, 0.0, 0.5]))

    def steps(batch):
        defences = [DEFENCES[name]({"x": L2(0.3)}) for name in ("trades", "villa")]
        return [defence(objective, PARAMS, (), batch, KEY)[:2] for defence in defences]

    parts = jax.pmap(steps, axis_name=SHARD)(jax.tree.map(lambda leaf: leaf[:, None], whole))
    expected = jax.jit(steps)(whole)
    for shard in (0, 3):
        chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[shard], parts), expected, rtol=1e-5)


def test_a_balance_can_be_the_inner_gradient(initial):
    """OGM-GE compares the attacked outputs; with one fused output it says what it needs."""
    batch = one_seed(two_seeds())
    defence = AdversarialTraining(FGSM({"image": L2(0.5)}), inner=OGMGE())
    with pytest.raises(ValueError, match="OGMGE compares the outputs"):
        jax.eval_shape(make_step(MODEL, cross_entropy, TX, gradient=defence), one_seed(initial), {}, batch)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: AdversarialTraining(FGSM({}), clean=1.0), "AdversarialTraining.clean is 1.0; it must be .* below 1"),
        (lambda: TRADES(PGD({}), beta=-1.0), "TRADES.beta is -1.0; it must be at least 0"),
        (lambda: TRADES(PGD({}), outputs=()), "TRADES.outputs is empty; name at least one output"),
        (lambda: TRADES(FGSM({})), "TRADES.attack starts at the original inputs, where the divergence has no gradient"),
        (lambda: TRADES(PGD({}, random_start=False)), "TRADES.attack starts at the original inputs"),
        (lambda: FreeAdversarial({}, replays=0), "FreeAdversarial.replays is 0; it must be at least 1"),
        (lambda: VILLA({}, alpha=-1.0), "VILLA.alpha is -1.0; it must be at least 0"),
        (lambda: VILLA({}, step_size=0.0), "VILLA.step_size is 0.0; it must be above 0"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
