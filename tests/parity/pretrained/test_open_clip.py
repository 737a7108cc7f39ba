"""open_clip's CLIP and SigLIP: embeddings, logits, gradients, zero-shot classes, retrieval metrics, and saved files."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from mmjax.nn.attention import gelu, gelu_tanh
from mmjax.pretrained import WeightsError, load, save
from mmjax.pretrained.open_clip import TRUNKS
from mmjax.types import Padded
from tests.parity.originals import assert_parity
from tests.parity.pretrained.dual_encoders import assert_retrieval, assert_zero_shot, diagonal_metrics, random_texts
from tests.parity.pretrained.open_clip_models import imported, published

pytestmark = pytest.mark.parity


def vision(size, **fields):
    return {"image_size": size, **fields}


CONFIGS = {
    # a rectangular image with 3 rows and 1 column of pixels beyond the last patch, heads of 6, a perceptron of 3.25 widths
    "quick": {
        "embed_dim": 12,
        "quick_gelu": True,
        "vision_cfg": vision([11, 9], width=24, layers=1, head_width=6, patch_size=4, mlp_ratio=3.25),
        "text_cfg": {"context_length": 9, "vocab_size": 30, "width": 16, "heads": 2, "layers": 2},
    },
    # exact GELU, one head, other epsilons, a fixed position table, and a bias of the logits with the text encoder unpacked
    "exact": {
        "embed_dim": 20,
        "init_logit_bias": -10,
        "vision_cfg": vision(12, width=16, layers=3, head_width=16, patch_size=3, norm_kwargs={"eps": 1e-3},
                             pos_embed_type="sin_cos_2d"),
        "text_cfg": {"context_length": 7, "vocab_size": 41, "width": 24, "heads": 4, "layers": 1, "mlp_ratio": 1.5,
                     "act_kwargs": {"approximate": "tanh"}, "norm_kwargs": {"eps": 1e-2}},
    },
    # a text encoder of its own, whose end token is not the one of the highest id, with a biased projection
    "custom": {
        "embed_dim": 8,
        "custom_text": True,
        "quick_gelu": False,
        "vision_cfg": vision(8, width=32, layers=2, head_width=8, patch_size=8, act_kwargs={"approximate": "tanh"}),
        "text_cfg": {"context_length": 12, "vocab_size": 50, "width": 32, "heads": 1, "layers": 3, "pool_type": "eos",
                     "eos_id": 29, "proj_bias": True},
    },
    # SigLIP: timm's image encoder with attention pooling (12 heads); texts are padded, and the encoder attends to the padding
    "siglip": {
        "embed_dim": 24,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": vision(12, timm_model_name="vit_base_patch32_siglip_12", timm_pool="map", timm_proj="none"),
        "text_cfg": {"context_length": 6, "vocab_size": 35, "width": 20, "heads": 5, "layers": 2, "no_causal_mask": True,
                     "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}},
    },
}  # fmt: skip
END = {"quick": 29, "exact": 40, "custom": 29, "siglip": 34}


@pytest.fixture(scope="module", autouse=True)
def tiny_siglip():
    """timm's own entry points have full sizes. This one has the name of a known encoder and 24 numbers in 12 heads."""
    _, timm = imported()

    def vit_base_patch32_siglip_12(pretrained=False, **given):
        fields = {"img_size": 12, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 12, "mlp_ratio": 1.5}
        fields |= {"class_token": False, "global_pool": "map", "act_layer": "gelu_tanh"}
        fields |= {name: given[name] for name in ("num_classes", "global_pool")}
        return timm.models.vision_transformer.VisionTransformer(**fields)

    timm.models.register_model(vit_base_patch32_siglip_12)


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request, tmp_path_factory):
    """(name, the original, its folder, our weights)."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = published(CONFIGS[request.param], folder)
    return request.param, theirs, folder, load(folder)


def texts_of(name, count=4):
    words = CONFIGS[name]["text_cfg"]
    size = words["context_length"]
    lengths = [size - i % 3 for i in range(count)]  # short texts would be equal, and tie
    texts = random_texts(words["vocab_size"], lengths, END[name], padding=0, size=size)
    return Padded(texts.x, np.full(count, size)) if name == "siglip" else texts


def images_of(theirs, count):
    height, width = theirs.visual.image_size
    return np.random.default_rng(5).normal(size=(count, height, width, 3)).astype(np.float32)


def encoded(theirs, images, ids):
    """The original's normalised embeddings."""
    import torch

    with torch.no_grad():
        image = theirs.encode_image(torch.tensor(images).permute(0, 3, 1, 2), normalize=True)
        return image, theirs.encode_text(torch.tensor(ids), normalize=True)


def test_embeddings_logits_and_gradients(pair):
    import torch

    name, theirs, _, weights = pair
    assert not weights.unused
    texts, images = texts_of(name), images_of(theirs, 5)
    ids = torch.tensor(texts.x)

    def ours(x):
        found = weights.module.apply(weights.variables, {"image": x, "text": texts})
        return {one: found[one] for one in ("image.embedding", "text.embedding", "logits")}

    def original(x):
        x = x.permute(0, 3, 1, 2)
        image, text = theirs.encode_image(x, normalize=True), theirs.encode_text(ids, normalize=True)
        return {"image.embedding": image, "text.embedding": text, "logits": theirs.get_logits(x, ids)[0]}

    assert_parity(ours, original, images)


def test_zero_shot_classes(pair):
    """open_clip averages a class's normalised texts, and normalises again; its tokenizer is replaced by a table of ids."""
    import torch
    from open_clip import build_zero_shot_classifier

    name, theirs, _, weights = pair
    classes, templates = ("frog", "car", "tree"), ("a {}", "one {} here", "{}", "no {}")
    every = [template.format(one) for one in classes for template in templates]
    texts, images = texts_of(name, len(every)), images_of(theirs, 40)
    at = {text: i for i, text in enumerate(every)}
    tokenizer = lambda some: torch.tensor(texts.x[[at[one] for one in some]])
    table = build_zero_shot_classifier(theirs, tokenizer, classes, templates)
    image, _ = encoded(theirs, images, texts.x)
    expected = theirs.logit_scale.exp().item() * (image @ table).numpy()

    assert_zero_shot(weights, images, texts, len(classes), expected)


def test_retrieval_metrics(pair):
    """Of open_clip's evaluation: ranks of the diagonal in both directions."""
    name, theirs, _, weights = pair
    texts, images = texts_of(name, 30), images_of(theirs, 30)
    image, text = encoded(theirs, images, texts.x)
    expected = diagonal_metrics(image, text, theirs.logit_scale.exp())
    assert_retrieval(weights, images, texts, expected)


def test_open_clip_reads_saved_weights(pair, tmp_path):
    import torch

    _, theirs, _, weights = pair
    save(weights, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"open_clip_config.json", "open_clip_model.safetensors"}
    found = imported()[0].create_model(f"local-dir:{tmp_path}", load_weights=True)
    state = theirs.state_dict()
    for name, value in found.state_dict().items():
        assert torch.equal(value.reshape(state[name].shape), state[name]), name
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path).variables, weights.variables)


def test_the_preprocessing_of_the_folder(pair):
    _, theirs, _, weights = pair
    height, width = theirs.visual.image_size
    image = weights.preprocessing.image
    assert image.size == (height, width) and image.crop is None
    assert image.mean == (0.4, 0.5, 0.6) and image.deviation == (0.2, 0.3, 0.25)


def test_known_image_encoders_are_timms():
    """Heads and activation of every SigLIP encoder that open_clip's published configs name."""
    import torch

    open_clip, timm = imported()
    names = {open_clip.get_model_config(one)["vision_cfg"].get("timm_model_name", "") for one in open_clip.list_models()}
    names = sorted(one for one in names if "_siglip_" in one and "gap" not in one and "pe_core" not in one)
    assert len(names) >= 8
    for name in names:
        with torch.device("meta"):
            block = timm.create_model(name, num_classes=0).blocks[0]
        tanh = "Tanh" in type(block.mlp.act).__name__
        known = TRUNKS.get(name) or TRUNKS[name.rpartition("_")[0]]
        assert known == (block.attn.num_heads, gelu_tanh if tanh else gelu), name


def test_canonical_texts(tmp_path):
    """As open_clip cleans them for SigLIP, with a tokenizer trained here."""
    from mmjax.pretrained.source import Source
    from mmjax.pretrained.texts import TextPreprocessing
    from mmjax.pretrained.tokenizer_files import CANONICAL
    from tests.parity.pretrained.test_texts import saved

    saved("siglip", tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    texts = ["A photo_of a FROG!", "  two,\tbananas ", "", "don't (stop)", "été, Öl_Ünder"]
    theirs = imported()[0].tokenizer.HFTokenizer(str(tmp_path), context_length=16, clean="canonicalize")(texts)
    ours = TextPreprocessing.of(Source("here", {}, tensors={}, folder=tmp_path), 16, attend_to_padding=True)
    ours = dataclasses.replace(ours, rules=dataclasses.replace(ours.rules, **CANONICAL))
    np.testing.assert_array_equal(ours.batch(texts).x, theirs.numpy())


@pytest.mark.parametrize(
    ("name", "part", "field", "value", "message"),
    [
        ("quick", "vision_cfg", "pool_type", "avg", "vision_cfg: open_clip_config.json has pool_type = 'avg'; only 'tok' is"),
        ("quick", "vision_cfg", "layers", [3, 4, 6, 3], r"layers = \[3, 4, 6, 3\]; it must be an integer"),
        ("quick", "text_cfg", "hf_model_name", "xlm-roberta-base", "hf_model_name = 'xlm-roberta-base'; only None"),
        ("quick", "text_cfg", "no_causal_mask", True, "pool_type = 'argmax'; only 'last' is supported"),
        ("quick", "text_cfg", "layers", 1, r"TwoTowers has no parameters for transformer\.resblocks\.1\."),
        ("quick", "text_cfg", "width", 24, r"of shape \[.*16.*\]"),
        ("siglip", "vision_cfg", "timm_model_name", "convnext_base", "'convnext_base'; it must be one of vit_base"),
        ("siglip", "vision_cfg", "image_size", 16, r"pos_embed of shape \[1, 9, 24\]"),
    ],
)
def test_a_config_that_is_not_supported(name, part, field, value, message, tmp_path):
    published(CONFIGS[name], tmp_path)
    file = tmp_path / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"][part][field] = value
    file.write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message) as error:
        load(tmp_path)
    assert "\n" not in str(error.value)
