"""Every wrapper, switched off, leaves the results of training bit-identical: parameters, losses and random numbers."""

from dataclasses import replace
from functools import cache

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.order import Epochs
from mmjax.encoders import BagOfEmbeddings, Features
from mmjax.experiment.privacy import check_privacy, guarantee_of, with_noise
from mmjax.fusion import Concat
from mmjax.fusion.gan_imputer import GANImputer
from mmjax.fusion.imputed import Imputed
from mmjax.heads import Classifier
from mmjax.losses import On
from mmjax.model import Multimodal
from mmjax.robust.adversarial import TRADES, AdversarialTraining
from mmjax.robust.apgd import APGD
from mmjax.robust.attacks import FGSM, PGD, InTurn
from mmjax.robust.budgets import L2, Linf
from mmjax.robust.distill import Distill
from mmjax.robust.embeddings import Embeddings, SoftTokens
from mmjax.robust.free import VILLA, FreeAdversarial
from mmjax.robust.hotflip import HotFlip, Substitutions
from mmjax.robust.privacy import DPSGD
from mmjax.robust.prune import LotteryTicket, Prune, Pruned
from mmjax.robust.prune_criteria import Magnitude
from mmjax.robust.quantize import Chain
from mmjax.robust.quantize_aware import QuantizationAware
from mmjax.robust.square import Square
from mmjax.train.optim import AdamW
from mmjax.train.seeds import init_seeds
from mmjax.train.step import make_step
from mmjax.types import Batch, Gradient, Padded
from tests.robust.test_privacy_run import CELL

STEPS = 4
NOTHING = {"image": Linf(0.0), "text": Embeddings(0.0, 4)}
SOME = {"image": L2(0.3), "text": Embeddings(0.2, 4)}
OFF = DPSGD(clip=None, noise_multiplier=0.0)
GRADIENTS = {
    "adversarial training, epsilon 0": AdversarialTraining(PGD(NOTHING), clean=0.5),
    "adversarial training, no steps": AdversarialTraining(InTurn((PGD(SOME, steps=0), APGD(SOME, steps=0), Square(SOME, 0)))),
    "adversarial training, no tokens": AdversarialTraining(HotFlip({"text": Substitutions(0)})),
    "TRADES, weight 0": TRADES(PGD(SOME), beta=0.0),
    "TRADES, epsilon 0": TRADES(PGD(NOTHING)),
    "free, one replay, epsilon 0": FreeAdversarial(NOTHING, replays=1),
    "VILLA, epsilon 0": VILLA(NOTHING),
    "DP-SGD": OFF,
    "DP-SGD in adversarial training": AdversarialTraining(FGSM({}), inner=OFF),
    "quantisation": QuantizationAware(None),
}
OPTIMIZERS = {
    "pruning, rate 0": Pruned(AdamW(0.01), Magnitude(0.0)),
    "lottery ticket, rate 0": LotteryTicket(AdamW(0.01), Magnitude(0.0), rounds=1),
}
ENCODERS = {"image": Features(width=3, dropout=0.3), "text": SoftTokens(BagOfEmbeddings(9, 4))}
FUSION = Concat(width=4, dropout=0.3)


def model(fusion: nn.Module = FUSION) -> Multimodal:
    return Multimodal(ENCODERS, fusion, {"label": Classifier(3)})


@cache
def batches() -> Batch:
    """[step 8 ...]: some weights are 0, and some modalities absent and NaN."""
    random = np.random.default_rng(0)
    present = {name: random.random((STEPS, 8)) < 0.8 for name in ("image", "text")}
    image = np.where(present["image"][..., None], random.normal(size=(STEPS, 8, 3)), np.nan).astype(np.float32)
    ids, length = random.integers(0, 9, (STEPS, 8, 3)).astype(np.int32), random.integers(1, 4, (STEPS, 8)).astype(np.int32)
    target = {"label": random.integers(0, 3, (STEPS, 8)).astype(np.int32)}
    weight = np.tile(np.array([1, 2, 0, 1, 1, 0.5, 0, 1], np.float32), (STEPS, 1))
    return jax.tree.map(jnp.asarray, Batch({"image": image, "text": Padded(ids, length)}, present, target, weight))


def trained(gradient=None, optim=None, fusion=FUSION, loss=None):
    """(parameters and other variables of two seeds, metrics of every step) after four steps."""
    module, tx = model(fusion), (optim or AdamW(0.01))(STEPS)
    state = init_seeds(module, tx, (0, 1), jax.tree.map(lambda leaf: leaf[0], batches()), gradient)
    step = jax.vmap(make_step(module, loss or On("label"), tx, gradient=gradient), in_axes=(0, None, None))
    state, metrics = jax.jit(lambda state: jax.lax.scan(lambda s, batch: step(s, {}, batch), state, batches()))(state)
    return state.params, state.stats, metrics


@cache
def plain():
    return trained()


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    assert isinstance(GRADIENTS[name], Gradient)
    chex.assert_trees_all_equal(trained(gradient=GRADIENTS[name]), plain())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    chex.assert_trees_all_equal(trained(optim=OPTIMIZERS[name]), plain())


def test_distillation_with_weight_zero_needs_no_teacher():
    chex.assert_trees_all_equal(trained(loss=Distill("label", weight=0.0)), plain())


def test_an_imputer_of_no_modality():
    chex.assert_trees_all_equal(trained(fusion=Imputed(FUSION, GANImputer(), modalities=())), plain())


def test_switched_on_the_training_differs():
    """Otherwise the tests above would show nothing."""
    on = trained(gradient=AdversarialTraining(FGSM({"image": L2(0.3)})))
    assert np.abs(np.asarray(on[2]["loss"]) - np.asarray(plain()[2]["loss"])).max() > 1e-3


@pytest.mark.parametrize("compress", [Chain(()), Prune(Magnitude(0.0)), Chain((Prune(Magnitude(0.0)),))])
def test_compression(compress):
    module, variables = model(), {"params": plain()[0]}
    assert compress.module(module) is module
    chex.assert_trees_all_equal(compress.variables(variables), variables)


def test_switched_off_dp_sgd_claims_and_needs_nothing():
    """Neither Poisson sampling nor data without repeated items; and it has no guarantee. Noise without a bound is refused."""
    off = replace(CELL, gradient=AdversarialTraining(FGSM({}), inner=OFF))
    assert guarantee_of(off, 40) is None and with_noise(off, 40) is off
    check_privacy(replace(off, sampling=Epochs()), CELL.data.load())
    with pytest.raises(ValueError, match=r"DPSGD\.clip is None, but noise needs clipping"):
        DPSGD(clip=None, noise_multiplier=1.0)
    with pytest.raises(ValueError, match=r"DPSGD\.clip is None, but noise needs clipping"):
        DPSGD(clip=None, epsilon=1.0)
