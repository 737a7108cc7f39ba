"""Whisper as the encoder and decoder of an experiment: weights, token ids of targets, prompts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from mmjax.data.decode import DataError
from mmjax.data.text import Tokenizer, text_targets
from mmjax.decoders.whisper import LANGUAGES, whisper_prompt
from mmjax.encoders import LoRA
from mmjax.fusion import Append
from mmjax.model import Multimodal
from mmjax.pretrained import WeightsError, load
from mmjax.pretrained.init import read_weights
from mmjax.pretrained.whisper_text import WhisperText
from mmjax.types import Batch, Padded
from tests.pretrained.tiny import whisper_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(whisper_folder(tmp_path_factory.mktemp("whisper") / "tiny"))


def test_one_source_initialises_encoder_and_decoder(folder):
    """The initialised model gives the logits of the published one; LoRA has the decoder's parameters under "base"."""
    weights = load(folder)
    encoder, decoder = weights.module.encoder, weights.module.decoder.clone(prompt=(2, 3), end=1)
    model = Multimodal({"audio": encoder.clone()}, Append(), decoders={"text": decoder})
    frames = Padded(jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 80)), jnp.float32), jnp.array([8, 8]))
    target = jnp.array([[4, 5, 1], [6, 1, -1]])
    batch = Batch({"audio": frames}, {"audio": jnp.ones(2, bool)}, {"text": target}, jnp.ones(2))
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    arrays = read_weights(shapes, {"encoders_audio": folder, "decoders_text": folder})
    published = weights.variables["params"]
    params = {"encoders_audio": published["encoder"], "decoders_text": published["decoder"]}
    assert jax.tree.structure(dict(shapes["params"])) == jax.tree.structure(params)
    for name, leaf in flatten_dict(params, sep="/").items():
        np.testing.assert_array_equal(arrays.pop(f"params/{name}"), leaf)
    assert not arrays
    found = jax.jit(model.apply)({"params": params}, batch)["text"]
    ids = jnp.array([[2, 3, 4, 5], [2, 3, 6, 1]])
    expected = weights.module.apply(weights.variables, {"frames": frames, "tokens": Padded(ids, jnp.array([4, 4]))})
    np.testing.assert_allclose(found, expected[:, 1:], rtol=1e-4, atol=1e-4)
    adapted = Multimodal({"audio": encoder.clone()}, Append(), decoders={"text": LoRA(decoder, rank=2)})
    shapes = jax.eval_shape(adapted.init, jax.random.key(0), batch)
    arrays = read_weights(shapes, {"decoders_text/base": folder})
    embedding = weights.variables["params"]["decoder"]["word"]["embedding"]
    np.testing.assert_array_equal(arrays["params/decoders_text/base/word/embedding"], embedding)
    with pytest.raises(WeightsError, match=r"weights\.encoders_audio: .* and the encoder are different modules"):
        read_weights(shapes, {"encoders_audio": f"{folder}#decoder"})


def test_targets_have_the_ids_of_whisper(folder):
    """w0 ... w9 are the ids 0 to 9; the end token is 10."""
    tokenizer = WhisperText(folder).train([])
    assert isinstance(tokenizer, Tokenizer) and tokenizer.vocabulary == 24 and tokenizer.end == 10
    values, truncated = text_targets(tokenizer, {0: "w3 w4", 1: "w5 w6 w7 w8"}, 2, 4)
    np.testing.assert_array_equal(values, [[3, 4, 10, -1], [5, 6, 7, 8]])
    assert truncated == 1 and tokenizer.text(values[0]) == "w3 w4" and tokenizer.ids(" ") == []
    np.testing.assert_array_equal(tokenizer.encode("w3", 3).x, [3, 10, 10])


def test_other_weights_have_no_text(tmp_path):
    from tests.pretrained.tiny import bert_folder

    with pytest.raises(DataError, match=r"WhisperText\.source: .* is not a Whisper model"):
        WhisperText(str(bert_folder(tmp_path / "bert"))).train([])


def test_prompts():
    """The ids of the multilingual tokenizer: <|cs|> is 50283, <|translate|> 50358, <|notimestamps|> 50363."""
    assert whisper_prompt("cs", "translate") == (50_258, 50_283, 50_358, 50_363) and len(LANGUAGES) == 99
    with pytest.raises(ValueError, match="language is 'xx'; the languages are en, zh"):
        whisper_prompt("xx")
    with pytest.raises(ValueError, match="task is 'sing'; it must be transcribe or translate"):
        whisper_prompt("cs", "sing")
