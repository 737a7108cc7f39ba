"""CLIP: weights are exchanged with transformers in both directions."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.pretrained import WeightsError, load
from mmjax.types import Padded
from tests.parity.originals import assert_same, published
from tests.parity.pretrained.dual_encoders import (
    assert_applications,
    assert_encoders_agree,
    assert_read_back,
    random_images,
    random_texts,
)
from tests.parity.pretrained.test_texts import saved

pytestmark = pytest.mark.parity

SIZES = {  # text: vocabulary, width, depth, heads, hidden, positions, end; image: width, ..., hidden, side, patch, channels
    "quick": ((30, 16, 2, 2, 24, 9, 29), (24, 1, 3, 32, 8, 4, 3), "quick_gelu", 1e-5, 8, [9, 4, 1]),
    "exact": ((41, 24, 1, 4, 20, 7, 37), (16, 3, 2, 40, 9, 3, 1), "gelu", 1e-3, 12, [7, 3]),
    # the end of an old file, and two pixels beyond the last patch
    "legacy": ((25, 32, 3, 1, 48, 12, 2), (32, 2, 4, 24, 14, 4, 4), "gelu_new", 1e-6, 20, [6, 6, 2, 5]),
}


def original(sizes):
    from transformers import CLIPConfig, CLIPModel

    text, image, activation, epsilon, width, _ = SIZES[sizes]
    both = {"hidden_act": activation, "layer_norm_eps": epsilon}
    shape = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    text_fields = ("vocab_size", *shape, "max_position_embeddings", "eos_token_id")
    text_config = dict(zip(text_fields, text)) | both | {"bos_token_id": 0}
    vision = dict(zip((*shape, "image_size", "patch_size", "num_channels"), image)) | both
    return CLIPModel(CLIPConfig(text_config=text_config, vision_config=vision, projection_dim=width))


def inputs(sizes, padding=1):
    """(texts, images), with one more image than texts."""
    text, image, *_, lengths = SIZES[sizes]
    end = text[0] - 1 if text[-1] == 2 else text[-1]
    return random_texts(text[0], lengths, end, padding), random_images(len(lengths) + 1, image[4], image[6])


@pytest.mark.parametrize("sizes", SIZES)
def test_both_encoders(sizes, tmp_path):
    import torch

    theirs = original(sizes)
    weights = load(published(theirs, tmp_path))
    assert not weights.unused
    texts, images = inputs(sizes)
    mask = torch.tensor(np.asarray(texts.mask).astype(int))
    assert_encoders_agree(theirs, weights, texts, images, theirs.vision_model.post_layernorm, attention_mask=mask)


@pytest.mark.parametrize("sizes", SIZES)
def test_zero_shot_classes_and_retrieval(sizes, tmp_path):
    import torch

    theirs = original(sizes)
    weights = load(published(theirs, tmp_path))
    text, image, *_ = SIZES[sizes]
    end = text[0] - 1 if text[-1] == 2 else text[-1]
    texts = random_texts(text[0], [text[5] - i % 3 for i in range(24)], end, padding=1)
    mask = torch.tensor(np.asarray(texts.mask).astype(int))
    assert_applications(theirs, weights, texts, random_images(24, image[4], image[6]), attention_mask=mask)


def test_tokens_after_the_end_are_ignored(tmp_path):
    """Users of the original pad with the end token and often pass no mask."""
    theirs = original("quick")
    weights = load(published(theirs, tmp_path))
    texts, images = inputs("quick", padding=29)
    assert_encoders_agree(theirs, weights, texts, images, theirs.vision_model.post_layernorm)


def test_images_of_another_size(tmp_path):
    import torch

    theirs = original("quick")
    weights = load(published(theirs, tmp_path))
    images = np.random.default_rng(4).normal(size=(2, 12, 20, 3)).astype(np.float32)
    found = theirs.get_image_features(torch.tensor(images).permute(0, 3, 1, 2), interpolate_pos_encoding=True).pooler_output
    expected = torch.nn.functional.normalize(found, dim=-1).detach()
    ours = weights.module.apply(weights.variables, jnp.asarray(images), method="embed_image")
    assert_same(ours, expected, "embedding")


@pytest.mark.parametrize("sizes", SIZES)
def test_transformers_reads_saved_weights(sizes, tmp_path):
    theirs = original(sizes)
    assert_read_back(theirs, published(theirs, tmp_path / "theirs"), tmp_path / "ours")


def test_raw_images_and_texts(tmp_path):
    """With the preprocessing of the folder; the numbers of images and texts differ."""
    import torch
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel

    tokens = saved("clip", tmp_path)
    end = tokens.padding
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ends = {"eos_token_id": end, "bos_token_id": end - 1}
    config = CLIPConfig(
        text_config=small | ends | {"vocab_size": end + 1}, vision_config=small | {"image_size": 8, "patch_size": 4}
    )
    theirs = CLIPModel(config)
    published(theirs, tmp_path)
    settings = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 8}, "crop_size": 8}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    weights = load(tmp_path)
    texts = ["a green frog", "", "an end<|endoftext|>and more", "frog " * 100]
    images = [np.random.default_rng(n).integers(0, 256, size=(20, 9 + n, 3), dtype=np.uint8) for n in range(3)]
    batch = weights.preprocessing.batch({"image": images, "text": texts})
    assert batch["image"].shape == (3, 8, 8, 3) and batch["text"].x.shape == (4, 77)
    read = [weights.preprocessing.read({"image": image, "text": texts[0]}) for image in images]
    finished = weights.preprocessing.finish({"image": np.stack([one["image"] for one in read])})
    np.testing.assert_array_equal(finished["image"], batch["image"])
    encoded = AutoTokenizer.from_pretrained(tmp_path)(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.no_grad():
        found = theirs(**encoded, pixel_values=torch.tensor(np.asarray(batch["image"])).permute(0, 3, 1, 2))
    assert_same(weights.module.apply(weights.variables, batch)["logits"], found.logits_per_image, "logits")
    with pytest.raises(ValueError, match="valid names are image and text"):
        weights.preprocessing.batch({"sound": []})


def test_old_files_with_duplicate_or_missing_settings(tmp_path):
    theirs = original("quick")
    published(theirs, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    written = config["text_config"]
    for name in ("hidden_act", "layer_norm_eps"):  # transformers has defaults for them
        del config["vision_config"][name]
    config |= {"text_config_dict": written, "text_config": {"hidden_size": 5}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    texts, images = inputs("quick")
    assert_encoders_agree(theirs, load(tmp_path), texts, images, theirs.vision_model.post_layernorm)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("text_config", "hidden_act", "tanh", "text_config: config.json has hidden_act = 'tanh'; supported are gelu, "),
        ("vision_config", "image_size", [8, 8], r"image_size = \[8, 8\]; it must be an integer"),
        ("vision_config", "patch_size", 2, r"patch_embedding\.weight of shape \[24, 3, 4, 4\]"),
        ("text_config", "num_hidden_layers", 1, r"TwoTowers has no parameters for text_model\.encoder\.layers\.1\."),
    ],
)
def test_a_config_that_does_not_fit(part, field, value, message, tmp_path):
    published(original("quick"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config[part][field] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        load(tmp_path)


def test_a_text_longer_than_the_positions(tmp_path):
    weights = load(published(original("quick"), tmp_path))
    texts = Padded(np.ones((1, 10), int), np.array([10]))
    with pytest.raises(ValueError, match=r"TextTransformer\.positions is 9, but the sequences are padded to 10"):
        weights.module.apply(weights.variables, texts, method="embed_text")
