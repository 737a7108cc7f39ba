"""What the tests of image models share."""

import jax
import numpy as np

from mmjax.heads import Classifier
from mmjax.pretrained import load, save


def picture(height, width, channels=3):
    return np.random.default_rng(5).normal(size=(2, height, width, channels)).astype(np.float32)


def tokens_of(weights):
    return lambda x: {"tokens": weights.module.apply(weights.variables, x).x}


def channels_first(model):
    """A model of transformers on pictures [b h w c]: its last tokens, of a grid the cells row by row."""

    def tokens(x):
        y = model(x.permute(0, 3, 1, 2)).last_hidden_state
        return {"tokens": y.flatten(2).transpose(1, 2) if y.ndim == 4 else y}

    return tokens


def assert_read_back(model, weights, folder):
    """What we save, transformers reads as the same weights, and so do we."""
    import torch

    save(weights, folder)
    back, notes = type(model).from_pretrained(folder, output_loading_info=True)
    assert not notes["unexpected_keys"]
    state, made_anew = model.state_dict(), set(weights.unused)
    for name, value in back.state_dict().items():
        assert name in made_anew or torch.equal(value, state[name]), name
    assert set(notes["missing_keys"]) <= made_anew
    again = load(folder)
    for ours, theirs in ((again.variables, weights.variables), (again.classifier, weights.classifier)):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def with_logits(weights):
    """Our tokens, and what the published classifier says of them."""

    def outputs(x):
        tokens = weights.module.apply(weights.variables, x)
        if not weights.classifier:
            return {"tokens": tokens.x}
        classes = weights.classifier["params"]["dense"]["bias"].shape[0]
        return {"tokens": tokens.x, "logits": Classifier(classes).apply(weights.classifier, tokens)}

    return outputs
