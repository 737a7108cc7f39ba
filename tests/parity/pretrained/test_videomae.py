"""VideoMAE and ViViT: weights are exchanged with transformers in both directions; video preprocessing is equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.pretrained import WeightsError, load, save
from mmjax.types import Padded
from tests.parity.originals import assert_parity, assert_same, published

pytestmark = pytest.mark.parity

SIZES = {  # tubelet, frames, (height, width), channels; width, depth, heads, hidden
    "cubes": ((2, 4, 4), 4, (8, 8), 3, 16, 2, 4, 24),
    "grey": ((1, 4, 2), 3, (8, 6), 1, 12, 1, 3, 36),
    "long": ((4, 8, 8), 8, (8, 16), 3, 8, 3, 2, 8),
}
VIDEOMAE = {  # fields that ViViT lacks: use_mean_pooling, epsilon
    "cubes": (False, 1e-12),
    "grey": (True, 1e-3),
    "long": (False, 1e-5),
}


def original(family, name, head="Model"):
    import transformers

    tubelet, frames, sides, channels, width, depth, heads, hidden = SIZES[name]
    fields = dict(
        image_size=list(sides),
        num_frames=frames,
        num_channels=channels,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=hidden,
    )
    if family == "Vivit":
        config = transformers.VivitConfig(tubelet_size=list(tubelet), **fields)
    else:
        pooling, epsilon = VIDEOMAE[name]
        decoder = dict(decoder_hidden_size=8, decoder_num_hidden_layers=1, decoder_num_attention_heads=2)
        config = transformers.VideoMAEConfig(
            tubelet_size=tubelet[0],
            patch_size=tubelet[1] if tubelet[1] == tubelet[2] else list(tubelet[1:]),
            use_mean_pooling=pooling,
            layer_norm_eps=epsilon,
            **decoder,
            **fields,
        )
    return getattr(transformers, family + head)(config)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("family", ["VideoMAE", "Vivit"])
def test_tokens(family, name, tmp_path):
    """The original has no padding, so all videos have the full length."""
    theirs = original(family, name)
    weights = load(published(theirs, tmp_path))
    assert all(unused.startswith("pooler.") for unused in weights.unused)
    _, frames, sides, channels, *_ = SIZES[name]
    x = np.random.default_rng(0).normal(size=(2, frames, *sides, channels)).astype(np.float32)
    full = jnp.full(2, frames)
    assert_parity(
        lambda x: {"tokens": weights.module.apply(weights.variables, Padded(x, full)).x},
        lambda x: {"tokens": theirs(x.permute(0, 1, 4, 2, 3)).last_hidden_state},
        x,
    )


def test_padded_frames(tmp_path):
    """The original ViViT gets zero frames and an attention mask for the class token and the tubelets with a valid frame."""
    import torch

    theirs = original("Vivit", "cubes")
    weights = load(published(theirs, tmp_path))
    x = np.random.default_rng(0).normal(size=(2, 4, 8, 8, 3)).astype(np.float32)
    length = jnp.array([4, 1])
    mask = np.array([[True] * 9, [True] * 5 + [False] * 4])  # 4 tubelets of the first two frames, 4 of the last two
    real = (np.arange(4) < np.asarray(length)[:, None])[..., None, None, None]

    def their_tokens(x):
        call = theirs((x * torch.tensor(real)).permute(0, 1, 4, 2, 3), attention_mask=torch.tensor(mask.astype(int)))
        return {"tokens": call.last_hidden_state}

    ours = lambda x: {"tokens": weights.module.apply(weights.variables, Padded(x, length)).x}
    assert_parity(ours, their_tokens, x, {"tokens": mask})


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("VideoMAE", "Model"),
        ("VideoMAE", "ForVideoClassification"),
        ("VideoMAE", "ForPreTraining"),
        ("Vivit", "Model"),
        ("Vivit", "ForVideoClassification"),
    ],
)
def test_transformers_reads_saved_weights(family, head, tmp_path):
    import torch
    import transformers

    theirs = original(family, "cubes", head)
    weights = load(published(theirs, tmp_path / "theirs"))
    save(weights, tmp_path / "ours")
    options = {"add_pooling_layer": False} if family == "Vivit" else {}
    back = getattr(transformers, f"{family}Model").from_pretrained(tmp_path / "ours", **options)
    state = theirs.state_dict()
    for name, value in back.state_dict().items():
        prefix = "" if head == "Model" else f"{family.lower()}."
        assert torch.equal(value, state[prefix + name]), name
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path / "ours").variables, weights.variables)


@pytest.mark.parametrize("family", ["VideoMAE", "Vivit"])
def test_videos(family, tmp_path):
    """25 videos of 4 frames and varied sizes, against the original preprocessing by Pillow."""
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil
    from transformers.models.vivit.image_processing_vivit import VivitImageProcessor

    published(original(family, "cubes"), tmp_path)
    sizes = {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}}
    theirs = VideoMAEImageProcessorPil(**sizes) if family == "VideoMAE" else VivitImageProcessor(**sizes)
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path).preprocessing
    rng = np.random.default_rng(0)
    for number in range(25):
        frames = rng.integers(0, 256, (4, *rng.integers(10, 50, 2), 3)).astype(np.uint8)
        found = ours.batch([list(frames)])
        assert found.length == 4
        expected = theirs(list(frames), return_tensors="np")["pixel_values"]
        expected = expected.reshape(-1, 3, 16, 16) if expected.shape[-1] == 16 else expected
        assert_same(found.x[0], np.moveaxis(expected, 1, -1), f"video {number}")
    short = ours.read(frames[:1])
    assert short.x.shape == (4, 16, 16, 3) and short.length == 1 and not short.x[1:].any()


@pytest.mark.parametrize(
    ("family", "old", "new", "named"),
    [
        ("VideoMAE", '"qv_bias": true', '"qv_bias": false', "qv_bias = False"),
        ("Vivit", '"hidden_act": "gelu_fast"', '"hidden_act": "relu"', "hidden_act = 'relu'"),
    ],
)
def test_unsupported_settings_are_named(family, old, new, named, tmp_path):
    config = published(original(family, "cubes"), tmp_path) / "config.json"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(WeightsError, match=named):
        load(tmp_path)
