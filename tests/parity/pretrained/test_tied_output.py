"""Whether a vision-language model's output layer is its token embedding: all places where a config says so, with and without an
output layer in the file, against what transformers loads.
"""

import itertools
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmjax.pretrained import load
from tests.parity.pretrained.test_vision_language import CLIP, SIGLIP, text
from tests.parity.pretrained.vision_language_models import IMAGE, VISION, original

pytestmark = pytest.mark.parity

CONFIGS = {
    "llava": {**text("llama"), "vision_config": CLIP, "image_token_index": IMAGE},
    "llava_gemma": {**text("gemma", head_dim=4), "vision_config": CLIP, "image_token_index": IMAGE},
    "paligemma": {
        **text("gemma", head_dim=4, vocab_size=128), "projection_dim": 12, "hidden_size": 12,
        "vision_config": SIGLIP | {"projection_dim": 12}, "image_token_index": IMAGE,
    },
    "gemma3": {
        **text("gemma3_text", head_dim=4), "vision_config": SIGLIP | {"image_size": 16}, "mm_tokens_per_image": 4,
        "image_token_index": IMAGE,
    },
    "idefics3": {**text("llama"), "vision_config": VISION | {"image_size": 16}, "image_token_id": IMAGE},
}  # fmt: skip
SAID = (None, False, True)  # by tie_word_embeddings of the config and of text_config; None: not at all


def output_of(weights):
    """The table of our output layer, and whether it has parameters of its own."""
    params = weights.variables["params"]["decoders_text"]
    return np.asarray(params.get("output", params["word"]["embedding"])), "output" in params


@pytest.mark.parametrize("kind", CONFIGS)
def test_tied_outputs(kind, tmp_path):
    from transformers import AutoModelForMultimodalLM

    config = CONFIGS[kind]
    untied = {**config, "text_config": config["text_config"] | {"tie_word_embeddings": False}, "tie_word_embeddings": False}
    theirs = original(kind.removesuffix("_gemma"), **untied)
    theirs.save_pretrained(tmp_path)
    file, written = tmp_path / "model.safetensors", json.loads((tmp_path / "config.json").read_text())
    tensors = load_file(file)
    output = next(name for name in tensors if name.endswith("lm_head.weight"))
    for whole, own, in_file in itertools.product(SAID, SAID, (True, False)):
        said = {key: value for key, value in written.items() if key != "tie_word_embeddings"}
        said["text_config"] = {key: x for key, x in written["text_config"].items() if key != "tie_word_embeddings"}
        said |= {} if whole is None else {"tie_word_embeddings": whole}
        said["text_config"] |= {} if own is None else {"tie_word_embeddings": own}
        (tmp_path / "config.json").write_text(json.dumps(said))
        save_file({name: x for name, x in tensors.items() if in_file or name != output}, file, {"format": "pt"})
        case = f"config {whole}, text_config {own}, {'with' if in_file else 'without'} an output layer"
        loaded, found = AutoModelForMultimodalLM.from_pretrained(tmp_path, output_loading_info=True)
        if found["missing_keys"]:  # of which transformers makes random numbers
            assert not in_file, case
            continue
        table, is_own = output_of(load(tmp_path))
        np.testing.assert_array_equal(table, loaded.lm_head.weight.detach().numpy(), err_msg=case)
        assert is_own == in_file, case
