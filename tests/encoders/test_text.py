"""Text encoders by hand-set weights, and what their errors say. `tests/parity` compares BERT with the original's code."""

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

WORDS = Padded(jnp.array([[3, 1, 2, 2], [2, 0, 3, 3], [1, 1, 1, 1]]), jnp.array([4, 2, 0]))
SMALL = BERT(vocabulary=5, width=8, depth=1, heads=2, hidden=12, positions=6)


def start(module, words=WORDS):
    return jax.jit(module.init)(jax.random.key(0), words)["params"]


def run(module, params, words=WORDS):
    return jax.jit(module.apply)({"params": params}, words)


def test_bag_is_the_mean_of_the_real_words():
    module = BagOfEmbeddings(vocabulary=4, embedding=2)
    table = jnp.array([[1.0, 0.0], [0.0, 2.0], [4.0, 4.0], [0.0, 6.0]])
    chex.assert_shape(start(module)["embed"]["embedding"], table.shape)
    tokens = run(module, {"embed": {"embedding": table}})
    # (0, 6) + (0, 2) + 2 (4, 4) over 4; (4, 4) + (1, 0) over 2; nothing.
    np.testing.assert_array_equal(tokens.x[:, 0], [[2.0, 4.0], [2.5, 2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(tokens.mask, [[True], [True], [False]])


@pytest.mark.parametrize("layer", [LSTM(3), Bidirectional(GRU(3))], ids=["lstm", "gru both ways"])
def test_text_rnn_is_the_layer_over_the_embeddings(layer):
    module = TextRNN(vocabulary=4, embedding=2, layer=layer)
    params = start(module)
    states = jax.jit(layer.apply)({"params": params["layer"]}, params["embed"]["embedding"][WORDS.x], WORDS.mask)
    one = run(module, params)
    chex.assert_trees_all_close(one.x[:, 0], layer.last(states, WORDS.length), atol=1e-6)
    np.testing.assert_array_equal(one.mask[:, 0], WORDS.length > 0)
    every = run(module.clone(every_step=True), params)
    chex.assert_trees_all_close((every.x, every.mask), (states, WORDS.mask), atol=1e-6)


def test_a_field_that_holds_a_layer_is_part_of_the_resolved_experiment():
    told = as_json(TextRNN(vocabulary=4, layer=Bidirectional(GRU(3))))
    assert told["layer"]["class"] == "Bidirectional"
    assert told["layer"]["layer"] == {"class": "GRU", "features": 3, "dtype": "float32"}
    assert TextRNN(4) == TextRNN(4, layer=LSTM(128)) != TextRNN(4, layer=LSTM(64))


def test_bert_knows_places_and_ignores_padding():
    params = start(SMALL)
    tokens = run(SMALL, params)
    chex.assert_shape(tokens.x, (3, 4, 8))
    chex.assert_trees_all_equal(tokens.mask, WORDS.mask)
    chex.assert_tree_all_finite(tokens.x)
    # Equal words at other places differ, and the second example is the same when its padding is.
    assert np.abs(np.asarray(tokens.x[0, 2] - tokens.x[0, 3])).max() > 1e-3
    other = run(SMALL, params, WORDS.replace(x=WORDS.x.at[1, 2:].set(4)))
    chex.assert_trees_all_equal(other.x[1, :2], tokens.x[1, :2])
    # Post-norm: the last thing that happens to a token is a layer norm, whose scale is still 1 and offset 0.
    np.testing.assert_allclose(jnp.mean(tokens.x, axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(jnp.var(tokens.x, axis=-1), 1, rtol=1e-4)


def test_bert_refuses_sequences_beyond_its_positions():
    with pytest.raises(ValueError, match=r"BERT\.positions is 6, and the sequences are padded to 7"):
        jax.eval_shape(SMALL.init, jax.random.key(0), Padded(jnp.zeros((2, 7), int), jnp.array([3, 3])))
