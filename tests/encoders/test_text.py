"""Text encoders with hand-set weights, and error messages. `tests/parity` compares BERT with the original code."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.describe import as_json
from mmjax.encoders.bert import BERT
from mmjax.encoders.text import BagOfEmbeddings, TextRNN
from mmjax.nn.recurrent import GRU, LSTM, Bidirectional
from mmjax.types import Padded

IDS = Padded(jnp.array([[3, 1, 2, 2], [2, 0, 3, 3], [1, 1, 1, 1]]), jnp.array([4, 2, 0]))
SMALL = BERT(vocabulary=5, width=8, depth=1, heads=2, hidden=12, positions=6)


def init_params(module, ids=IDS):
    return jax.jit(module.init)(jax.random.key(0), ids)["params"]


def run(module, params, ids=IDS):
    return jax.jit(module.apply)({"params": params}, ids)


def test_bag_is_the_mean_of_the_valid_tokens():
    module = BagOfEmbeddings(vocabulary=4, embedding=2)
    table = jnp.array([[1.0, 0.0], [0.0, 2.0], [4.0, 4.0], [0.0, 6.0]])
    chex.assert_shape(init_params(module)["embed"]["embedding"], table.shape)
    tokens = run(module, {"embed": {"embedding": table}})
    # (0, 6) + (0, 2) + 2 (4, 4) over 4; (4, 4) + (1, 0) over 2; zero.
    np.testing.assert_array_equal(tokens.x[:, 0], [[2.0, 4.0], [2.5, 2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(tokens.mask, [[True], [True], [False]])


@pytest.mark.parametrize("layer", [LSTM(3), Bidirectional(GRU(3))], ids=["lstm", "bidirectional gru"])
def test_text_rnn_equals_the_layer_over_the_embeddings(layer):
    module = TextRNN(vocabulary=4, embedding=2, layer=layer)
    params = init_params(module)
    states = jax.jit(layer.apply)({"params": params["layer"]}, params["embed"]["embedding"][IDS.x], IDS.mask)
    one = run(module, params)
    chex.assert_trees_all_close(one.x[:, 0], layer.last(states, IDS.length), atol=1e-6)
    np.testing.assert_array_equal(one.mask[:, 0], IDS.length > 0)
    every = run(module.clone(every_step=True), params)
    chex.assert_trees_all_close((every.x, every.mask), (states, IDS.mask), atol=1e-6)


def test_the_json_of_an_encoder_includes_its_layer():
    described = as_json(TextRNN(vocabulary=4, layer=Bidirectional(GRU(3))))
    assert described["layer"]["class"] == "mmjax.nn.recurrent:Bidirectional"
    assert described["layer"]["layer"] == {"class": "mmjax.nn.recurrent:GRU", "features": 3, "dtype": {"dtype": "float32"}}
    assert TextRNN(4) == TextRNN(4, layer=LSTM(128)) != TextRNN(4, layer=LSTM(64))


def test_bert_uses_positions_and_ignores_padding():
    params = init_params(SMALL)
    tokens = run(SMALL, params)
    chex.assert_shape(tokens.x, (3, 4, 8))
    chex.assert_trees_all_equal(tokens.mask, IDS.mask)
    chex.assert_tree_all_finite(tokens.x)
    # Equal tokens at different positions differ, and the second example does not depend on its padding.
    assert np.abs(np.asarray(tokens.x[0, 2] - tokens.x[0, 3])).max() > 1e-3
    other = run(SMALL, params, IDS.replace(x=IDS.x.at[1, 2:].set(4)))
    chex.assert_trees_all_equal(other.x[1, :2], tokens.x[1, :2])
    # Post-norm: the last operation is a layer norm, with initial scale 1 and bias 0.
    np.testing.assert_allclose(jnp.mean(tokens.x, axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(jnp.var(tokens.x, axis=-1), 1, rtol=1e-4)


def test_sequences_longer_than_the_positions_raise():
    with pytest.raises(ValueError, match=r"BERT\.positions is 6 .* at most 6 tokens, but the sequences are padded to 7"):
        jax.eval_shape(SMALL.init, jax.random.key(0), Padded(jnp.zeros((2, 7), int), jnp.array([3, 3])))
