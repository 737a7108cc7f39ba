"""Shared by the tests of image models."""

import jax
import numpy as np

from mmjax.heads import Classifier
from mmjax.pretrained import load, save


def image_batch(height, width, channels=3):
    return np.random.default_rng(5).normal(size=(2, height, width, channels)).astype(np.float32)


def tokens_of(weights):
    return lambda x: {"tokens": weights.module.apply(weights.variables, x).x}


def channels_first(model):
    """A transformers model as a function of images [b h w c] -> its last tokens; grids become rows of cells."""

    def tokens(x):
        y = model(x.permute(0, 3, 1, 2)).last_hidden_state
        return {"tokens": y.flatten(2).transpose(1, 2) if y.ndim == 4 else y}

    return tokens


def assert_read_back(model, weights, folder):
    """transformers and `load` read back the weights that `save` wrote."""
    import torch

    save(weights, folder)
    back, notes = type(model).from_pretrained(folder, output_loading_info=True)
    assert not notes["unexpected_keys"]
    state, initialised = model.state_dict(), set(weights.unused)
    for name, value in back.state_dict().items():
        assert name in initialised or torch.equal(value, state[name]), name
    assert set(notes["missing_keys"]) <= initialised
    again = load(folder)
    for ours, theirs in ((again.variables, weights.variables), (again.classifier, weights.classifier)):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def with_logits(weights):
    """Our tokens, and the logits of the published classifier."""

    def outputs(x):
        tokens = weights.module.apply(weights.variables, x)
        if not weights.classifier:
            return {"tokens": tokens.x}
        classes = weights.classifier["params"]["dense"]["bias"].shape[0]
        return {"tokens": tokens.x, "logits": Classifier(classes).apply(weights.classifier, tokens)}

    return outputs
