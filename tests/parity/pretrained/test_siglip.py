"""SigLIP: weights are exchanged with transformers in both directions."""

import json

import numpy as np
import pytest

from mmjax.pretrained import WeightsError, load
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

SIZES = {  # text: vocabulary, width, depth, heads, hidden, positions; image: width, depth, heads, hidden, side, patch, channels
    "tanh": ((30, 16, 2, 2, 24, 9), (16, 1, 2, 32, 8, 4, 3), "gelu_pytorch_tanh", 1e-6, [9, 4, 1]),
    "exact": ((41, 24, 1, 4, 20, 7), (24, 3, 3, 40, 9, 3, 1), "gelu", 1e-3, [7, 3]),
    # two pixels beyond the last patch
    "remainder": ((25, 32, 3, 1, 48, 12), (40, 2, 4, 24, 14, 4, 4), "gelu", 1e-5, [6, 6, 2, 5]),
}


def original(sizes):
    """The encoders of "remainder" have different widths; the text projection maps to the image's width."""
    from transformers import SiglipConfig, SiglipModel

    text, image, activation, epsilon, _ = SIZES[sizes]
    both = {"hidden_act": activation, "layer_norm_eps": epsilon}
    shape = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    text_config = dict(zip(("vocab_size", *shape, "max_position_embeddings"), text)) | both
    text_config |= {"projection_size": image[0], "bos_token_id": 0, "eos_token_id": 2}
    vision = dict(zip((*shape, "image_size", "patch_size", "num_channels"), image)) | both
    return SiglipModel(SiglipConfig(text_config=text_config, vision_config=vision))


def same(x):
    return x


@pytest.mark.parametrize("sizes", SIZES)
def test_both_encoders(sizes, tmp_path):
    """All texts have the full length: the encoder attends to their padding."""
    theirs = original(sizes)
    weights = load(published(theirs, tmp_path))
    assert not weights.unused
    text, image, *_, lengths = SIZES[sizes]
    texts = random_texts(text[0], lengths, text[0] - 1, padding=1, size=text[5])
    texts = texts.replace(length=np.full(len(lengths), text[5]))
    images = random_images(len(lengths) + 1, image[4], image[6])
    assert_encoders_agree(theirs, weights, texts, images, same)


@pytest.mark.parametrize("sizes", SIZES)
def test_zero_shot_classes_and_retrieval(sizes, tmp_path):
    theirs = original(sizes)
    weights = load(published(theirs, tmp_path))
    text, image, *_ = SIZES[sizes]
    texts = random_texts(text[0], [text[5] - i % 3 for i in range(24)], text[0] - 1, padding=1, size=text[5])
    texts = texts.replace(length=np.full(24, text[5]))
    assert_applications(theirs, weights, texts, random_images(24, image[4], image[6]))


@pytest.mark.parametrize("sizes", SIZES)
def test_transformers_reads_saved_weights(sizes, tmp_path):
    theirs = original(sizes)
    assert_read_back(theirs, published(theirs, tmp_path / "theirs"), tmp_path / "ours")


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_raw_texts(kind, tmp_path):
    """With the tokenizer of the folder; the config lacks the fields that published files omit."""
    import torch
    from transformers import AutoTokenizer, SiglipConfig, SiglipModel

    saved(kind, tmp_path)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text_config = small | {"vocab_size": 700, "bos_token_id": 0, "eos_token_id": 2}
    theirs = SiglipModel(SiglipConfig(text_config=text_config, vision_config=small | {"image_size": 32}))
    published(theirs, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"] = small | {"vocab_size": 700}
    config["vision_config"] = small | {"image_size": 32}
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = load(tmp_path)
    texts = ["The green FROG!", "", "🐸", "the " * 100]
    batch = weights.preprocessing.batch({"text": texts})["text"]
    assert batch.x.shape == (4, 64) and (batch.length == 64).all()
    encoded = AutoTokenizer.from_pretrained(tmp_path)(
        texts, padding="max_length", truncation=True, max_length=64, return_tensors="pt"
    )
    with torch.no_grad():
        found = theirs.get_text_features(encoded["input_ids"]).pooler_output
    expected = torch.nn.functional.normalize(found, dim=-1)
    assert_same(weights.module.apply(weights.variables, batch, method="embed_text"), expected, "embedding")
    with pytest.raises(ValueError, match=r"'image' cannot be preprocessed: the weights came without preprocessor_config\.json"):
        weights.preprocessing.batch({"image": []})


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("vision_config", "vision_use_head", False, "vision_use_head = False; only True is supported"),
        ("text_config", "hidden_size", 24, r"text_model\.\S+ of shape \[.*16.*\]"),
        (None, "text_config", 3, "text_config = 3; it must be an object"),
    ],
)
def test_a_config_that_does_not_fit(part, field, value, message, tmp_path):
    published(original("tanh"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (config[part] if part else config)[field] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        load(tmp_path)


def test_a_tensor_that_cannot_be_split_in_three(tmp_path):
    from safetensors.numpy import load_file, save_file

    published(original("tanh"), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "vision_model.head.attention.in_proj_weight"
    tensors[name] = tensors[name][:47].copy()
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"in_proj_weight of shape \[47, 16\] cannot become params/image/pool"):
        load(tmp_path)
