"""Fusion over time: equality with the inner fusion at each step, masks and padding by gradients, one output per step."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.encoders.features import Contextual, Features
from mmjax.fusion import Concat, Gated, MeanLogits
from mmjax.fusion.steps import ContextOver, EachStep, SideBySide
from mmjax.heads import Classifier, EachToken, Mean
from mmjax.model import Multimodal
from mmjax.nn import LSTM
from mmjax.nn.recurrent import Bidirectional
from mmjax.tasks.subsets import subsets_of
from mmjax.train.parallel import pmapped, single
from mmjax.train.seeds import init_seeds
from mmjax.train.step import make_step
from mmjax.types import Batch, Padded, Tokens
from tests.contracts.subsets import labels_by_subset

B, N, CLASSES = 4, 3, 2
WIDTHS = {"audio": 5, "text": 4}


def tokens():
    """Each modality is masked at some steps, and both are at one step."""
    keys = dict(zip(WIDTHS, jax.random.split(jax.random.key(0))))
    masks = {
        "audio": [[1, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]],
        "text": [[1, 0, 0], [1, 1, 1], [1, 1, 0], [0, 0, 0]],
    }
    values = {name: jax.random.normal(keys[name], (B, N, width)) for name, width in WIDTHS.items()}
    return {name: Tokens(x, jnp.array(masks[name], bool)) for name, x in values.items()}


FUSIONS = {
    "concat": EachStep(Concat(6)),
    "gated": EachStep(Gated(6)),
    "late": EachStep(MeanLogits(CLASSES, 6)),
    "side by side": SideBySide(),
    "context over": ContextOver(SideBySide(), LSTM(3), width=6, dropout=0.3),
    "context over each": ContextOver(EachStep(Concat(6, dropout=0.3)), Bidirectional(LSTM(3))),
}
each_fusion = pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)


@pytest.mark.parametrize("inner", [Concat(6), Gated(6), MeanLogits(CLASSES, 6)], ids=["concat", "gated", "late"])
def test_equals_the_inner_fusion_at_each_step(inner):
    parts = tokens()
    params = jax.jit(EachStep(inner).init)(jax.random.key(1), parts)
    fused = EachStep(inner).apply(params, parts)
    for t in range(N):
        step = {name: Tokens(part.x[:, t : t + 1], part.mask[:, t : t + 1]) for name, part in parts.items()}
        expected = inner.apply({"params": params["params"]["fusion"]}, step)
        np.testing.assert_allclose(fused.x[:, t], expected.x[:, 0], atol=1e-6)
        present = step["audio"].mask | step["text"].mask
        assert fused.mask[:, t].tolist() == expected.mask[:, 0].tolist() == present[:, 0].tolist()


def test_several_tokens_of_a_step_are_averaged():
    class Both(MeanLogits):
        """Two tokens per step: the inputs."""

        def __call__(self, tokens, *, train=False):
            return Tokens(*(jnp.concatenate([getattr(tokens[n], f) for n in sorted(tokens)], axis=1) for f in ("x", "mask")))

    a, b = jnp.arange(6.0).reshape(1, 3, 2), jnp.full((1, 3, 2), 10.0)
    parts = {"a": Tokens(a, jnp.array([[True, True, False]])), "b": Tokens(b, jnp.array([[True, False, False]]))}
    fused = EachStep(Both(2)).apply({}, parts)
    np.testing.assert_allclose(fused.x[0], [[5.0, 5.5], [2, 3], [0, 0]])  # the mean of [0 1] and 10; only [2 3]; no token
    assert fused.mask.tolist() == [[True, True, False]]


def test_side_by_side_by_hand():
    parts = tokens()
    fused = SideBySide().apply({}, parts)
    a, t = (np.where(parts[n].mask[..., None], parts[n].x, 0) for n in ("audio", "text"))
    np.testing.assert_array_equal(fused.x, np.concatenate([a, t], axis=-1))
    assert fused.mask.tolist() == (parts["audio"].mask | parts["text"].mask).tolist()


def test_context_over_equals_the_layer_over_the_fused_steps():
    parts, fusion = tokens(), ContextOver(SideBySide(), LSTM(3), width=6)
    params = jax.jit(fusion.init)(jax.random.key(1), parts)
    context, joined = params["params"]["context"], SideBySide().apply({}, parts)
    states = LSTM(3).apply({"params": params["params"]["layer"]}, joined.x, joined.mask)
    expected = np.maximum(np.asarray(states) @ context["dense"]["kernel"] + np.asarray(context["dense"]["bias"])[None, None], 0)
    np.testing.assert_allclose(fusion.apply(params, parts).x, expected, atol=1e-6)


@each_fusion
def test_masked_tokens_have_no_influence(fusion):
    parts = tokens()
    params = jax.jit(fusion.init)(jax.random.key(1), parts)

    def value(xs):
        fused = fusion.apply(params, {name: Tokens(xs[name], part.mask) for name, part in parts.items()})
        return jnp.where(fused.mask[..., None], fused.x * jnp.arange(1.0, N + 1)[None, :, None], 0).sum(), fused.x

    run = jax.jit(jax.grad(value, has_aux=True))
    gradient, x = run({name: part.x for name, part in parts.items()})
    spoiled, other = run({name: jnp.where(part.mask[..., None], part.x, 1e3) for name, part in parts.items()})
    chex.assert_tree_all_finite((gradient, x))
    present = (parts["audio"].mask | parts["text"].mask)[..., None]
    chex.assert_trees_all_close(jnp.where(present, x, 0), jnp.where(present, other, 0), atol=1e-6)
    chex.assert_trees_all_close(gradient, spoiled, atol=1e-6)
    for name, part in parts.items():
        used = np.abs(gradient[name]).max(axis=-1) > 0
        assert not used[~np.asarray(part.mask)].any()
        assert used[np.asarray(part.mask)].mean() > 0.5


def test_different_numbers_of_steps():
    parts = tokens() | {"video": Tokens(jnp.zeros((B, 2, 3)), jnp.ones((B, 2), bool))}
    for fusion in (EachStep(Concat(6)), SideBySide()):
        with pytest.raises(ValueError, match=r"same number of steps.*'audio': 3, 'text': 3, 'video': 2"):
            fusion.init(jax.random.key(0), parts)


def test_each_token_equals_the_head_at_each_token():
    t = tokens()["text"]
    params = EachToken(Classifier(CLASSES)).init(jax.random.key(0), t)
    logits = EachToken(Classifier(CLASSES)).apply(params, t)
    assert logits.shape == (B, N, CLASSES)
    dense = params["params"]["head"]["dense"]
    expected = np.asarray(t.x) @ dense["kernel"] + np.asarray(dense["bias"])[None, None]
    valid = np.asarray(t.mask)
    np.testing.assert_allclose(logits[valid], expected[valid], atol=1e-6)
    np.testing.assert_array_equal(logits[~valid], np.broadcast_to(dense["bias"], logits[~valid].shape))
    np.testing.assert_array_equal(EachToken(Mean()).apply({}, t)[valid], np.asarray(t.x)[valid])


def batch():
    """Videos of 3, 1, 2 and 3 utterances. Each modality is absent in two videos, and both are absent in one."""
    length = jnp.array([3, 1, 2, 3])
    inputs = {name: Padded(part.x, length) for name, part in tokens().items()}
    present = {"audio": jnp.array([True, True, False, False]), "text": jnp.array([True, False, True, False])}
    label = jnp.where(inputs["text"].mask, jnp.arange(B * N).reshape(B, N) % CLASSES, -1)
    return Batch(inputs, present, {"label": label}, length.astype(jnp.float32))


ENCODERS = {"audio": Contextual(LSTM(3), width=4, dropout=0.3), "text": Features(4, dropout=0.3)}
HEADS = {"late": EachToken(Mean()), "else": EachToken(Classifier(CLASSES))}


def model_of(name):
    return Multimodal(ENCODERS, FUSIONS[name], {"label": HEADS.get(name, HEADS["else"])})


def per_step(outputs, batch):
    """The mean cross-entropy over the labelled steps of each video."""
    label = batch.targets["label"]
    loss = optax.softmax_cross_entropy_with_integer_labels(outputs["label"], jnp.maximum(label, 0))
    valid = label >= 0
    return jnp.where(valid, loss, 0).sum(axis=1) / jnp.maximum(valid.sum(axis=1), 1)


@pytest.mark.parametrize("name", ["late", "context over", "context over each"])
def test_the_contract_of_missing_modalities(name):
    """NaN in masked values changes neither outputs nor gradients, and each subset equals a batch without the others."""
    model, data = model_of(name), batch()
    params = jax.jit(model.init)(jax.random.key(0), data)["params"]

    def loss(params, data):
        rngs = {"dropout": jax.random.key(7)}
        outputs = model.apply({"params": params}, data, train=True, rngs=rngs)
        return per_step(outputs, data).sum(), outputs

    run = jax.jit(jax.grad(loss, has_aux=True))
    spoil = {
        name: Padded(jnp.where((x.mask & data.present[name][:, None])[..., None], x.x, jnp.nan), x.length)
        for name, x in data.inputs.items()
    }
    plain, spoiled = run(params, data), run(params, data.replace(inputs=spoil))
    chex.assert_tree_all_finite(plain)
    chex.assert_shape(plain[1]["label"], (B, N, CLASSES))
    chex.assert_type(plain[1]["label"], jnp.float32)
    chex.assert_trees_all_equal(plain, spoiled)
    subsets = subsets_of(("audio", "text"))
    logits = labels_by_subset(model, subsets)({"params": params}, data)
    apply = jax.jit(lambda data: model.apply({"params": params}, data)["label"])
    for k, subset in enumerate(subsets):
        masked = data.replace(present={name: p & (name in subset) for name, p in data.present.items()})
        chex.assert_trees_all_close(logits[k], apply(masked), atol=1e-5)


def test_single_and_pmap_steps_are_equal():
    """Steps folded into the batch have the same random numbers on one and four devices."""
    encoders = {name: Features(4, dropout=0.3) for name in WIDTHS}
    model = Multimodal(encoders, EachStep(Concat(6, dropout=0.3)), {"label": HEADS["else"]})
    tx, data = optax.adam(1e-2), batch()
    step = make_step(model, per_step, tx)
    state = init_seeds(model, tx, [0], data)
    two_steps = jax.tree.map(lambda x: jnp.stack([x[None]] * 2), data)
    results = []
    for plan in (single(), pmapped()):
        placed, metrics = plan.train(step)(plan.place(jax.tree.map(jnp.copy, state)), {}, two_steps)
        results.append((plan.fetch(placed).params, metrics["loss"]))
    chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-5)
