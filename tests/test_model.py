"""Multimodal: masks, presence, loss parameters and errors. The contract suite covers encoders and fusions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders import Features
from mmjax.fusion import Concat
from mmjax.heads import Bias, Classifier, LogVariances, Temperature
from mmjax.model import Multimodal, mask_inputs
from mmjax.types import Batch, Padded, Tokens

BATCH = Batch({"image": jnp.ones((3, 2))}, {"image": jnp.array([True, False, True])}, {}, jnp.ones(3))
HEADS = {"image": {"label": Classifier(2)}}


def test_mask_inputs_by_hand():
    present = jnp.array([True, False])
    np.testing.assert_array_equal(mask_inputs(jnp.full((2, 2), jnp.nan).at[0].set(1), present), [[1, 1], [0, 0]])
    masked = mask_inputs(Padded(jnp.array([[1, 2, 3], [4, 5, 6]]), jnp.array([2, 3])), present)
    np.testing.assert_array_equal(masked.x, [[1, 2, 0], [0, 0, 0]])
    np.testing.assert_array_equal(masked.length, [2, 0])


def test_loss_parameters_are_scalars_in_the_outputs():
    parameters = {"temperature": Temperature(0.1), "bias": Bias(-3.0), "log_variance": LogVariances(("a", "b"))}
    model = Multimodal({"image": Features(None)}, unimodal_heads=HEADS, loss_parameters=parameters)
    outputs, variables = jax.jit(model.init_with_output)(jax.random.key(0), BATCH)
    shapes = {name: output.shape for name, output in outputs.items()}
    assert shapes == {"temperature": (), "bias": (), "log_variance": (2,), "image.label": (3, 2)}
    np.testing.assert_allclose(outputs["temperature"], 0.1, rtol=1e-6)
    names = {"unimodal_heads_image_label", *(f"loss_parameters_{name}" for name in parameters)}
    assert set(variables["params"]) == names


class Counts(nn.Module):
    """An encoder whose only token is the number of present examples."""

    takes_present = True

    def __call__(self, x: Any, *, train: bool = False, present: Any = None) -> Tokens:
        x = jnp.broadcast_to(present.sum().astype(jnp.float32), (len(x), 1, 1))
        return Tokens(x, jnp.ones((len(x), 1), bool))


def test_an_encoder_that_declares_it_is_given_the_presence():
    tokens = Multimodal({"image": Counts()}).apply({}, BATCH, method="encode")
    np.testing.assert_array_equal(tokens["image"].x[:, 0, 0], [2, 2, 2])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Multimodal({"image": Features(None)}, heads={"label": Classifier(2)}), r"and decoders \['label'\] need fused"),
        (Multimodal({"text": Features(None)}, Concat()), r"Batch\.inputs lacks \['text'\].*it has \['image'\]"),
        (Multimodal({"image": Features(None)}, unimodal_heads={"text": {}}), r"unimodal_heads names \['text'\]"),
    ],
)
def test_errors(model, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), BATCH)
