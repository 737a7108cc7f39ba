"""Attributions of a multimodal model, of all seeds by one program: absent modalities and padding have exactly nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.audit.attribution import embeddings_of, gradient
from mmjax.audit.attribution.model import METHODS, Explained, _cams, attributions, explained, on_features, rollouts
from mmjax.audit.explain import _left_out
from mmjax.encoders import CNN, BagOfEmbeddings, Features, LoRA, Pooled, TextTransformer
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.model import Multimodal
from mmjax.nn.pooling import first_token
from mmjax.tasks import Classify
from mmjax.types import Batch, Padded

compiles_much = pytest.mark.slow
SEEDS, ROWS = 2, 3
MODEL = Multimodal(
    encoders={"image": CNN(widths=(3,)), "text": BagOfEmbeddings(9, 4), "vector": Features(width=3)},
    fusion=Concat(width=6, dropout=0.0),
    heads={"label": Classifier(3)},
)
TASK = Classify("label")


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    image = random.normal(size=(ROWS, 6, 6, 3)).astype(np.float32)
    image[1] = np.nan  # the image of example 1 is absent
    return Batch(
        {
            "image": jnp.asarray(image),
            "text": Padded(jnp.asarray(random.integers(1, 9, (ROWS, 5)), jnp.int32), jnp.asarray([5, 3, 2])),
            "vector": jnp.asarray(random.normal(size=(ROWS, 2)), jnp.float32),
        },
        {"image": jnp.asarray([True, False, True]), "text": jnp.ones(ROWS, bool), "vector": jnp.asarray([True, True, False])},
        {},
        jnp.ones(ROWS),
    )


@pytest.fixture(scope="module")
def variables(batch):
    keys = jax.random.split(jax.random.key(1), SEEDS)
    return jax.jit(jax.vmap(lambda key: MODEL.init(key, batch)))(keys)


@pytest.fixture(scope="module")
def found(batch, variables):
    """(attributions, scores of inputs and baselines, logits of the batch and of one with padding as first words), [s ...]."""
    text = batch.inputs["text"]
    other = batch.replace(inputs={**batch.inputs, "text": text.replace(x=text.x.at[:, 0].set(0))})

    @jax.jit
    @jax.vmap
    def run(variables):
        one = explained(MODEL, TASK, variables, batch)
        scores = one.score(one.inputs), one.score(one.baselines)
        logits = [MODEL.apply(variables, of)["label"] for of in (batch, other)]
        return attributions(MODEL, TASK, variables, batch, jax.random.key(0)), scores, logits

    return jax.tree.map(np.asarray, run(variables))


def test_what_is_absent_has_no_gradient_and_no_grad_cam(batch):
    """Before anything is masked: an image that is missing, whose pixels are NaN, and one of another example."""
    model = Multimodal({"image": CNN(widths=(3,))}, Concat(width=4, dropout=0.0), {"label": Classifier(3)})
    images = Batch({"image": batch.inputs["image"]}, {"image": batch.present["image"]}, {}, batch.weight)

    @jax.jit
    def run(key):
        one = explained(model, TASK, model.init(key, images), images)
        return gradient(one.score, one.inputs)["image"], _cams(one)["image"]

    for of in map(np.asarray, run(jax.random.key(1))):
        assert np.all(of[1] == 0) and np.any(of[0] != 0) and np.any(of[2] != 0)


@compiles_much
def test_methods_that_fit_a_modality_have_its_features(found):
    maps = found[0]
    shapes = {"image": (SEEDS, ROWS, 6, 6), "text": (SEEDS, ROWS, 5), "vector": (SEEDS, ROWS, 2)}
    for method in METHODS[:4]:
        assert {name: of.shape for name, of in maps[method].items()} == shapes, method
    assert {name: of.shape for name, of in maps["Grad-CAM"].items()} == {"image": shapes["image"]}  # one token of text
    assert maps["attention rollout"] == {}  # no attention


@compiles_much
def test_what_is_absent_has_exactly_nothing(found):
    maps = found[0]
    for method in METHODS:
        for name, of in maps[method].items():
            assert np.isfinite(of).all(), (method, name)
        if "image" in maps[method]:
            assert np.all(maps[method]["image"][:, 1] == 0) and np.any(maps[method]["image"][:, 0] != 0), method
        if "text" in maps[method]:
            assert np.all(maps[method]["text"][:, 1, 3:] == 0) and np.any(maps[method]["text"][:, 1, :3] != 0), method
        if "vector" in maps[method]:
            assert np.all(maps[method]["vector"][:, 2] == 0) and np.any(maps[method]["vector"][:, 0] != 0), method


@compiles_much
def test_integrated_gradients_add_up_over_modalities(found):
    maps, (score, baseline), _ = found
    total = sum(of.reshape(SEEDS, ROWS, -1).sum(axis=-1) for of in maps["integrated gradients"].values())
    np.testing.assert_allclose(total, score - baseline, atol=1e-3 * np.maximum(1, np.abs(score - baseline)).max())
    assert maps["completeness"]["all"].max() <= 1e-3
    assert np.abs(score - baseline).max() > 0.05


@compiles_much
def test_the_score_is_the_logit_of_the_predicted_class(found):
    _, (score, _), (logits, _) = found
    np.testing.assert_allclose(score, logits.max(axis=-1), atol=1e-5)


@compiles_much
def test_occlusion_of_a_word_is_the_change_of_the_score(found):
    """The embedding of the first word replaced by that of padding, in a model that looks it up."""
    maps, _, (logits, changed) = found
    chosen = logits.argmax(axis=-1)[..., None]
    wanted = logits.max(axis=-1) - np.take_along_axis(changed, chosen, axis=-1)[..., 0]
    np.testing.assert_allclose(maps["occlusion"]["text"][:, :, 0], wanted, atol=1e-5)


@compiles_much
def test_embeddings_are_those_that_the_encoder_looks_up(batch, variables):
    own = {"params": jax.tree.map(lambda leaf: leaf[0], variables)["params"]["encoders_text"]}
    text = batch.inputs["text"]
    found, path = embeddings_of(MODEL.encoders["text"], own, text)
    assert path == ("embed",)
    table = own["params"]["embed"]["embedding"]
    np.testing.assert_array_equal(found, table[jnp.where(text.mask, text.x, 0)])
    with pytest.raises(ValueError, match="embeddings_of needs token ids"):
        embeddings_of(MODEL.encoders["text"], own, Padded(batch.inputs["vector"], text.length))


@compiles_much
def test_a_rollout_starts_at_the_tokens_that_are_pooled(batch):
    """One layer: (A + I) / 2, its first row for the first token, and the mean of the rows without pooling."""
    text = TextTransformer(vocabulary=9, width=4, depth=1, heads=1, hidden=4, positions=5, causal=False)
    ids, present = batch.inputs["text"], {"text": jnp.ones(ROWS, bool)}
    variables = {"params": {"encoders_text": text.init(jax.random.key(0), ids)["params"]}}
    pooled = {"params": {"encoders_text": {"encoder": variables["params"]["encoders_text"]}}}
    one = Explained(None, {"text": jnp.zeros((ROWS, 5, 4))}, {}, {"text": ids.mask}, {"text": 1}, None, None)
    texts = Batch({"text": ids}, present, {}, jnp.ones(ROWS))
    whole = rollouts(Multimodal({"text": text}), variables, texts, one)["text"]
    first = rollouts(Multimodal({"text": Pooled(text, first_token)}), pooled, texts, one)["text"]
    assert whole.shape == first.shape == (ROWS, 5)
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(first.sum(axis=1), 1, rtol=1e-5)
    assert np.all(np.asarray(first)[:, 0] >= 0.5) and np.all(np.asarray(first)[2, 2:] == 0)
    assert np.abs(np.asarray(whole - first)).max() > 0.1


def test_tokens_are_placed_among_the_features():
    grid = jnp.asarray([[9.0, 1, 2, 3, 4]])  # a class token and a grid of 2 x 2
    placed = np.asarray(on_features(grid, (1, 4, 4), 1))
    assert placed[0, 0, 0] == 1 and placed[0, 3, 3] == 4 and placed[0, 0, 3] == 2
    np.testing.assert_array_equal(on_features(grid, (1, 5), 1), grid)
    np.testing.assert_array_equal(on_features(grid, (1, 5, 2), 0)[0, :, 1], grid[0])
    assert on_features(grid, (1, 7), 1) is None and on_features(grid[:, :1], (1, 4, 4), 1) is None


def test_an_encoder_inside_low_rank_adaptation_has_no_embeddings_of_its_own(batch):
    """Its inner modules are applied to other variables, so new embeddings would never reach them. Nothing is computed."""
    inner = TextTransformer(vocabulary=9, width=4, depth=1, heads=1, hidden=4, positions=5, causal=False)
    encoder, text = LoRA(inner), batch.inputs["text"]
    model = Multimodal({"text": encoder}, Concat(width=4), {"label": Classifier(3)})
    alone = Batch({"text": text}, {"text": batch.present["text"]}, {}, batch.weight)
    variables = jax.eval_shape(model.init, jax.random.key(0), alone)
    with pytest.raises(ValueError, match=r"LoRA has no nn\.Embed"):
        jax.eval_shape(lambda own: embeddings_of(encoder, own, text), {"params": variables["params"]["encoders_text"]})
    with pytest.raises(ValueError, match="no input of the model is continuous"):
        jax.eval_shape(lambda variables: explained(model, TASK, variables, alone).inputs, variables)


def test_modalities_without_attributions_are_named():
    assert _left_out(("image", "text"), {"image": 0, "text": 0}) == ()
    (said,) = _left_out(("image", "text"), {"image": 0})
    assert said.startswith("No attributions: text, ")
