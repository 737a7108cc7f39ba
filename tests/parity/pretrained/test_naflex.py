"""SigLIP 2 NaFlex: weights are exchanged with transformers, and images of any proportions are preprocessed in the same way."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmjax.encoders import ImagePatches
from mmjax.pretrained import WeightsError, load
from mmjax.pretrained.naflex import NaFlexPreprocessing
from mmjax.pretrained.source import Source
from tests.parity.originals import assert_parity, assert_same, published
from tests.parity.pretrained.dual_encoders import assert_read_back, random_texts
from tests.parity.pretrained.test_images import in_rgb, varied

pytestmark = pytest.mark.parity

SIZES = {  # width, depth, heads, hidden, patch, positions, channels, activation, epsilon; grids of the images
    "square": ((16, 1, 2, 32, 4, 16, 3, "gelu_pytorch_tanh", 1e-6), [(4, 4), (2, 7), (1, 1)]),
    "one row": ((24, 2, 3, 20, 2, 25, 1, "gelu", 1e-3), [(1, 12), (12, 2), (3, 4), (6, 2)]),
    # not (12, 1): torch 2.13 interpolates to one column otherwise than to one row of the transposed grid
    "larger than learned": ((12, 1, 4, 24, 2, 9, 3, "gelu", 1e-6), [(6, 6), (5, 7)]),
}
LENGTH = 7


def original(sizes):
    from transformers import Siglip2Config, Siglip2Model

    width, depth, heads, hidden, patch, positions, channels, activation, epsilon = SIZES[sizes][0]
    both = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": hidden,
        "hidden_act": activation,
        "layer_norm_eps": epsilon,
    }
    text = both | {"vocab_size": 40, "max_position_embeddings": LENGTH, "bos_token_id": 0, "eos_token_id": 2}
    vision = both | {"num_channels": channels, "patch_size": patch, "num_patches": positions}
    return Siglip2Model(Siglip2Config(text_config=text, vision_config=vision))


@pytest.mark.parametrize("sizes", SIZES)
def test_both_encoders(sizes, tmp_path):
    """The outputs at padded patches are not compared; the gradient there is zero in both."""
    import torch

    theirs = original(sizes)
    weights = load(published(theirs, tmp_path))
    assert not weights.unused
    (*_, patch, _, channels, _, _), grids = SIZES[sizes]
    grid = np.array(grids, np.int32)
    count = grid.prod(axis=1)
    mask = np.arange(count.max() + 2) < count[:, None]
    x = np.random.default_rng(0).normal(size=(*mask.shape, patch**2 * channels)).astype(np.float32)
    texts = random_texts(40, [LENGTH, 3], 39, padding=1, size=LENGTH).replace(length=np.full(2, LENGTH))
    params = weights.variables["params"]

    def ours(x):
        images = ImagePatches(x, jnp.asarray(grid))
        outputs = weights.module.apply(weights.variables, {"image": images, "text": texts})
        tokens = weights.module.image.encoder.apply({"params": params["image"]["encoder"]}, images)
        names = ("image.embedding", "text.embedding", "logits")
        return {"tokens": tokens.x, "mask": tokens.mask.astype(jnp.float32)} | {name: outputs[name] for name in names}

    def their(x):
        found = theirs(
            input_ids=torch.tensor(texts.x),
            pixel_values=x,
            pixel_attention_mask=torch.tensor(mask.astype(np.int64)),
            spatial_shapes=torch.tensor(grid.astype(np.int64)),
        )
        return {
            "tokens": found.vision_model_output.last_hidden_state,
            "mask": torch.tensor(mask.astype(np.float32)),
            "image.embedding": found.image_embeds,
            "text.embedding": found.text_embeds,
            "logits": found.logits_per_image,
        }

    assert_parity(ours, their, x, {"tokens": mask})


def test_transformers_reads_saved_weights(tmp_path):
    theirs = original("one row")
    assert_read_back(theirs, published(theirs, tmp_path / "theirs"), tmp_path / "ours")


@pytest.mark.parametrize("settings", [{}, {"max_num_patches": 30, "patch_size": 8, "image_mean": [0.1, 0.2, 0.3]}])
def test_preprocessing(settings, tmp_path):
    import transformers

    theirs = transformers.Siglip2ImageProcessorPil(**settings)
    theirs.save_pretrained(tmp_path)
    ours = NaFlexPreprocessing.of(Source("here", {}, {}, tmp_path), settings.get("patch_size", 16))
    finish = jax.jit(ours.finish)
    images = [*map(in_rgb, varied(30)), np.zeros((1, 3000, 3), np.uint8), np.full((2000, 700, 3), 9, np.uint8)]
    for image in images:
        given = {} if isinstance(image, Image.Image) else {"input_data_format": "channels_last"}
        expected = theirs(image, return_tensors="np", **given)
        found = finish(ours.read(image))
        np.testing.assert_array_equal(found.grid, expected["spatial_shapes"][0])
        valid = int(found.grid.prod())
        assert expected["pixel_attention_mask"][0].sum() == valid
        assert_same(np.asarray(found.x)[:valid] + 2, expected["pixel_values"][0][:valid] + 2, "patches", 1e-6)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("vision_config", "num_patches", 17, "num_patches = 17; it must be a square number"),
        ("vision_config", "vision_use_head", False, "vision_use_head = False; only True"),
        (None, "vision_config", 3, "vision_config = 3; it must be an object"),
    ],
)
def test_a_config_that_does_not_fit(part, field, value, message, tmp_path):
    published(original("square"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (config[part] if part else config)[field] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        load(tmp_path)
