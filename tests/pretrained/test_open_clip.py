"""open_clip's folders: which files are read and written, and one line for damaged settings. Parity is in tests/parity."""

import copy
import json

import jax
import numpy as np
import pytest

from mmjax.pretrained import WeightsError, load, save
from mmjax.pretrained.architectures import architecture_of
from mmjax.pretrained.convert import to_tensors
from mmjax.pretrained.files import OPEN_CLIP, write_arrays
from mmjax.pretrained.images import ImagePreprocessing, round_half
from mmjax.pretrained.source import Source

CLIP = {
    "embed_dim": 6,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 8, "layers": 1, "width": 8, "head_width": 4, "patch_size": 4, "mlp_ratio": 2.0},
    "text_cfg": {"context_length": 5, "vocab_size": 9, "width": 8, "heads": 2, "layers": 1, "mlp_ratio": 1.5},
}
COLOURS = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "resize_mode": "shortest"}
CONFIG = {"model_cfg": CLIP, "preprocess_cfg": COLOURS}


def architecture(config):
    return architecture_of(Source("here", config, file=OPEN_CLIP[0], tensors={}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of open_clip, with random weights under the names of our table."""
    folder = tmp_path_factory.mktemp("clip")
    made = architecture(CONFIG)
    shapes = jax.eval_shape(made.module.init, jax.random.key(0), made.example_input)
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)
    (folder / OPEN_CLIP[0]).write_text(json.dumps(CONFIG))
    write_arrays(folder / OPEN_CLIP[1], to_tensors(made.names, variables))
    return folder


def test_a_folder_is_read_and_written(folder, tmp_path):
    weights = load(folder)
    expected = ImagePreprocessing(8, 2, (8, 8), 1 / 255, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), round_half)
    assert weights.preprocessing.image == expected and weights.preprocessing.text is None
    save(weights, tmp_path)
    for name in OPEN_CLIP:
        assert (tmp_path / name).is_file()
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path).variables, weights.variables)


def test_the_file_of_settings_belongs_to_the_file_of_weights(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))  # of the other library, whose weights are missing
    assert load(tmp_path).config == CONFIG
    (tmp_path / "model.safetensors").write_bytes((folder / OPEN_CLIP[1]).read_bytes())
    with pytest.raises(WeightsError, match=r"config\.json lacks 'vision_config'"):
        load(tmp_path)


@pytest.mark.parametrize("section", ["vision_cfg", "text_cfg", "model_cfg", "preprocess_cfg"])
def test_damaged_settings_give_one_line(section):
    read = "act_kwargs norm_kwargs qk_norm hf_model_name pool_type custom_text init_logit_bias timm_model_name".split()
    names = {**(CONFIG.get(section) or CLIP.get(section)), **dict.fromkeys(read)}
    for name in names:
        for wrong in (-1, 0, 1e400, 2.5, True, "x", [], [3, 4], {}, {"eps": -1, "approximate": 3}, float("nan")):
            config = copy.deepcopy(CONFIG)
            part = config[section] if section in config else config["model_cfg"][section]
            part[name] = wrong
            try:
                architecture(config)
            except WeightsError as error:
                assert "\n" not in str(error)
                assert "open_clip_config.json" in str(error) or "resize_mode" in str(error)


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("vision_cfg", "patch_size", 16, "vision_cfg: open_clip_config.json has patch_size = 16; it must be at most the side"),
        ("vision_cfg", "ls_init_value", 0.1, "ls_init_value = 0.1; only None is supported"),
        ("vision_cfg", "image_size", [8, 12], "images of 8 x 12 pixels need resize_mode = 'squash'"),
        ("text_cfg", "embed_cls", True, "embed_cls = True; only False, None is supported"),
        ("vision_cfg", "timm_model_name", "vit_base_patch16_siglip_224", "only 'map' is supported"),
    ],
)
def test_settings_that_are_not_supported(section, field, value, message):
    config = copy.deepcopy(CONFIG)
    config["model_cfg"][section][field] = value
    if field == "timm_model_name":
        config["model_cfg"][section]["timm_pool"] = "avg"
    with pytest.raises(WeightsError, match=message):
        architecture(config)
