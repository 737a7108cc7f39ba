"""Audio Spectrogram Transformer: weights are exchanged with transformers in both directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.pretrained import WeightsError, load, save
from mmjax.types import Padded
from tests.parity.originals import assert_parity, published

pytestmark = pytest.mark.parity

SIZES = [  # bands, frames, patch, strides; width, depth, heads, hidden, epsilon; lengths
    ((12, 30, 4, (3, 3)), (16, 2, 2, 40, 1e-12), [30, 17, 3]),
    ((9, 14, 3, (3, 2)), (24, 1, 4, 96, 1e-3), [14, 14]),
    ((16, 21, 8, (4, 5)), (32, 3, 1, 32, 1e-6), [21, 9, 6, 1]),
]


def original(given, sizes, kind="ASTModel"):
    import transformers

    (bands, frames, patch, strides), (width, depth, heads, hidden, epsilon) = given, sizes
    config = transformers.ASTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=hidden,
        layer_norm_eps=epsilon,
        patch_size=patch,
        frequency_stride=strides[0],
        time_stride=strides[1],
        max_length=frames,
        num_mel_bins=bands,
    )
    return getattr(transformers, kind)(config)


@pytest.mark.parametrize(("given", "sizes", "lengths"), SIZES)
def test_ast(given, sizes, lengths, tmp_path):
    """The original gets zeros as padding and an attention mask computed by our rule."""
    import torch

    theirs = original(given, sizes)
    weights = load(published(theirs, tmp_path))
    assert not weights.unused and weights.preprocessing is None
    (bands, frames, _, (_, step)), grid = given, weights.module.grid
    frames_in = np.random.default_rng(2).normal(size=(len(lengths), frames, bands)).astype(np.float32)
    lengths = np.array(lengths)
    starts = np.arange(grid[1]) * step
    mask = np.array([[True, True, *(list(starts < n) * grid[0])] for n in lengths])
    real = (np.arange(frames) < lengths[:, None])[..., None]

    def our_tokens(x):
        return {"tokens": weights.module.apply(weights.variables, Padded(x, jnp.asarray(lengths))).x}

    def their_tokens(x):
        call = theirs(x * torch.from_numpy(real), attention_mask=torch.tensor(mask.astype(int)))
        return {"tokens": call.last_hidden_state}

    assert_parity(our_tokens, their_tokens, frames_in, {"tokens": mask})


@pytest.mark.parametrize("kind", ["ASTModel", "ASTForAudioClassification"])
def test_transformers_reads_saved_weights(kind, tmp_path):
    import torch
    import transformers

    theirs = original(*SIZES[0][:2], kind)
    folder = published(theirs, tmp_path / "theirs")
    transformers.ASTFeatureExtractor(num_mel_bins=12, max_length=30, mean=-2.0, std=3.0).save_pretrained(folder)
    weights = load(folder)
    assert all(name.startswith("classifier.") for name in weights.unused) and bool(weights.unused) == (kind != "ASTModel")
    assert (weights.preprocessing.mean, weights.preprocessing.deviation) == (-2.0, 3.0)
    save(weights, tmp_path / "ours")
    back = transformers.ASTModel.from_pretrained(tmp_path / "ours").state_dict()
    state = theirs.state_dict()
    for name, value in back.items():
        prefix = "" if kind == "ASTModel" else "audio_spectrogram_transformer."
        assert torch.equal(value, state[prefix + name]), name
    again = load(tmp_path / "ours")
    jax.tree.map(np.testing.assert_array_equal, again.variables, weights.variables)
    assert again.preprocessing == weights.preprocessing


def test_unsupported_settings_are_named(tmp_path):
    folder = published(original(*SIZES[0][:2]), tmp_path)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"qkv_bias": true', '"qkv_bias": false'))
    with pytest.raises(WeightsError, match="qkv_bias = False"):
        load(folder)
