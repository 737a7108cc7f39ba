"""Every decoder, over encoders of every family and some fusions, satisfies the contract of missing modalities: teacher forcing,
its gradients, and cached steps. A CTC head is beside them.

The encoders run once; that their gradients are zero where their tokens' are is tested in test_model.py.
"""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.heads import TokenLogits
from mmjax.losses import CTC, On, WeightedLosses
from mmjax.model import Multimodal, teacher_ids
from mmjax.types import Batch, Tokens
from tests.contracts.decoder_cases import DECODERS, FAMILIES, FUSIONS, LENGTH, VOCABULARY
from tests.contracts.inputs import BATCH
from tests.contracts.test_model import drawn, spoil

LOSS = WeightedLosses({**dict.fromkeys(DECODERS, 1.0), "ctc": (On("ctc", CTC(zero_infinity=True)), 1.0)})
each = pytest.mark.parametrize("fusion", FUSIONS)


@cache
def encoded():
    """(tokens, tokens of the batch with other values where it is masked, batch). Example i lacks modality i; example 7 lacks
    all, and example 6 none."""
    keys, random = jax.random.split(jax.random.key(5), len(FAMILIES)), np.random.default_rng(0)
    texts = random.integers(1, VOCABULARY, (BATCH, LENGTH))
    texts[0, 2:], texts[1, 1:] = (0, -1), (0, -1, -1)
    present = {name: (np.arange(BATCH) != number) & (np.arange(BATCH) != 7) for number, name in enumerate(FAMILIES)}
    inputs = {name: make(key) for key, (name, (_, make)) in zip(keys, FAMILIES.items())}
    batch = Batch(inputs, present, dict.fromkeys((*DECODERS, "ctc"), texts), np.ones(BATCH, np.float32))
    batch = jax.tree.map(np.asarray, batch)
    model = Multimodal({name: module for name, (module, _) in FAMILIES.items()})
    variables = jax.tree_util.tree_map_with_path(
        partial(drawn, random), jax.eval_shape(partial(model.init, method="encode"), jax.random.key(0), batch)
    )
    encode = jax.jit(lambda batch: model.apply(variables, batch, method="encode"))
    return encode(batch), encode(spoil(batch)), batch


@cache
def compiled(fusion: str):
    """(tokens, present, targets) -> (outputs, logits of cached steps, gradients by parameters and by tokens)."""
    model = Multimodal({}, FUSIONS[fusion], {"ctc": TokenLogits(VOCABULARY)}, decoders=DECODERS)
    tokens, _, batch = encoded()
    given = jax.random.key(0), tokens, batch.present, batch.targets
    shapes = jax.eval_shape(partial(model.init, method="decode"), *given)
    variables = jax.tree_util.tree_map_with_path(partial(drawn, np.random.default_rng(1)), shapes)

    def stepped(tokens, present, targets, name):
        """The logits after the prompt and the first id, then after the others, with a cache."""
        prompt = DECODERS[name].prompt
        ids = teacher_ids(targets[name], prompt).x
        cache = model.apply(variables, name, tokens, present, ids.shape[1], method="init_cache")
        first, cache = model.apply(variables, name, ids[:, : len(prompt) + 1], cache, method="step")
        others, _ = model.apply(variables, name, ids[:, len(prompt) + 1 :], cache, method="step")
        return jnp.concatenate([first, others], axis=1)[:, len(prompt) - 1 :]

    @jax.jit
    def run(tokens, present, targets):
        def loss(params, x):
            replaced = {name: Tokens(x[name], of.mask) for name, of in tokens.items()}
            outputs = model.apply({"params": params}, replaced, present, targets, method="decode")
            values = LOSS(outputs, Batch({}, present, targets, jnp.ones(BATCH)))
            return sum(value.sum() for value in values.values()), outputs

        x = {name: of.x for name, of in tokens.items()}
        gradients, outputs = jax.grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], x)
        return outputs, {name: stepped(tokens, present, targets, name) for name in DECODERS}, *gradients

    return lambda *given: jax.tree.map(np.asarray, run(*given))


def spoiled(tokens, present):
    """NaN in masked tokens and absent modalities."""
    valid = {name: of.mask & present[name][:, None] for name, of in tokens.items()}
    return {name: Tokens(jnp.where(valid[name][..., None], of.x, jnp.nan), of.mask) for name, of in tokens.items()}


@each
def test_missing_modalities(fusion):
    tokens, others, batch = encoded()
    run = compiled(fusion)
    outputs, stepped, by_params, by_tokens = results = run(tokens, batch.present, batch.targets)
    for name in DECODERS:
        chex.assert_shape(outputs[name], (BATCH, LENGTH, VOCABULARY))
        chex.assert_type(outputs[name], jnp.float32)
        chex.assert_trees_all_close(outputs[name], stepped[name], atol=1e-5)
        assert np.ptp(outputs[name][:, 0], axis=0).min() > 1e-3  # the memory has influence
    chex.assert_tree_all_finite(results)  # example 7 has no modality at all
    chex.assert_trees_all_equal(results, run(spoiled(tokens, batch.present), batch.present, batch.targets))
    chex.assert_trees_all_equal(results, run(spoiled(others, batch.present), batch.present, batch.targets))
    assert all(max(np.abs(leaf).max() for leaf in jax.tree.leaves(part)) > 1e-3 for part in by_params.values())
    for name, gradient in by_tokens.items():
        valid, size = tokens[name].mask & batch.present[name][:, None], np.abs(gradient).max(axis=-1)
        assert not size[~valid].any() and (size[valid] > 0).all(), name


@each
def test_without_any_modality_equal_texts_give_equal_logits(fusion):
    tokens, _, batch = encoded()
    absent = {name: np.zeros(BATCH, bool) for name in batch.present}
    targets = {name: np.repeat(ids[2:3], BATCH, axis=0) for name, ids in batch.targets.items()}
    outputs, _, _, by_tokens = results = compiled(fusion)(spoiled(tokens, absent), absent, targets)
    chex.assert_tree_all_finite(results)
    for name in DECODERS:
        chex.assert_trees_all_close(outputs[name], np.repeat(outputs[name][:1], BATCH, axis=0), atol=1e-6)
    assert not any(gradient.any() for gradient in by_tokens.values())
