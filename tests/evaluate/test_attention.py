"""Attention maps: the weights of both decoders in NumPy, their modalities, words of ids, and bins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.text import Characters, Subwords, Words
from mmjax.decoders import AttentionLSTM, Decoder
from mmjax.encoders import Features
from mmjax.evaluate.attention import AttentiveDecoder, KeepsTokens, Writes, binned, has_weights, modality_weights, words_of
from mmjax.fusion import Append, Concat, JoinTokens
from mmjax.heads import TokenLogits
from mmjax.model import Multimodal
from mmjax.tasks import Generate
from mmjax.types import Batch, Padded

DECODERS = {
    "transformer": Decoder(7, width=4, depth=2, heads=2, hidden=5, positions=6, prompt=(5, 6), end=0),
    "lstm": AttentionLSTM(7, width=3, embedding=4, attention=5, prompt=(5, 6), end=0),
}
IDS = np.array([[3, 2, 4, -1], [1, -1, -1, -1]])
MODEL = Multimodal(
    {"image": Features(4), "audio": Features(4)}, JoinTokens(width=4), decoders=DECODERS
)  # audio has 2 tokens, the image 3


@pytest.fixture(scope="module")
def case():
    """A batch of two examples, the second one without audio, drawn variables, and the weights of both decoders."""
    random = np.random.default_rng(0)
    lengths = {"image": [3, 2], "audio": [2, 2]}
    inputs = {
        name: Padded(jnp.asarray(random.normal(size=(2, max(of), 3)), jnp.float32), jnp.array(of))
        for name, of in lengths.items()
    }
    present = {"image": jnp.ones(2, bool), "audio": jnp.array([True, False])}
    batch = Batch(inputs, present, dict.fromkeys(DECODERS, jnp.asarray(IDS)), jnp.ones(2))
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), batch)
    variables = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), shapes)
    functions = {name: modality_weights(MODEL, name) for name in DECODERS}
    run = jax.jit(lambda variables, batch: {name: function(variables, batch) for name, function in functions.items()})
    return batch, jax.tree.map(np.float64, variables["params"]), jax.tree.map(np.asarray, run(variables, batch))


def dense(p, x):
    return x @ p["kernel"] + p.get("bias", 0)


def norm(p, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def memory_of(p, batch, row):
    """The valid tokens of both modalities, audio first, [n 4]."""
    parts = []
    for name in ("audio", "image"):
        x = np.float64(batch.inputs[name].x[row])
        embed = p["fusion"][f"{name}_embed"]
        y = dense(embed["project"]["dense"], np.maximum(dense(p[f"encoders_{name}"]["dense"], x), 0)) + embed["position"]
        parts.append(y[: int(batch.inputs[name].length[row])] if batch.present[name][row] else y[:0])
    return np.concatenate(parts)


def split(x):
    return x.reshape(len(x), 2, 2).swapaxes(0, 1)  # two heads, two wide


def attention(p, x, context, mask):
    scores = split(dense(p["query"], x)) @ split(dense(p["key"], context)).swapaxes(1, 2) / np.sqrt(2)
    weights = softmax(np.where(mask, scores, -np.inf))
    mixed = (weights @ split(dense(p["value"], context))).swapaxes(0, 1).reshape(len(x), 4)
    return weights.mean(axis=0), dense(p["out"], mixed)


def transformer_weights(p, ids, memory):
    """The cross-attention of the second block after each id."""
    x = p["word"]["embedding"][ids] + p["position"][: len(ids)]
    causal = np.tril(np.ones((len(ids), len(ids)), bool))
    for block in (p["block0"], p["block1"]):
        y = norm(block["norm1"], x)
        x = x + attention(block["attention"], y, y, causal)[1]
        weights, attended = attention(block["cross"], norm(block["norm_cross"], x), memory, True)
        x = x + attended
        y = dense(block["up"], norm(block["norm2"], x))
        x = x + dense(block["down"], np.asarray(jax.nn.gelu(y, approximate=False), np.float64))
    return weights


def lstm_weights(p, ids, memory):
    """alpha of equation 5 before each step, from the equations of Xu et al. (2015)."""
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    cell, alphas = p["steps"], []
    h, c = (np.tanh(dense(p[name], memory.mean(axis=0))) for name in ("start_hidden", "start_cell"))
    for token in ids:
        alpha = softmax(dense(cell["score"], np.tanh(dense(p["key"], memory) + dense(cell["query"], h)))[:, 0])
        z = sigmoid(dense(cell["gate"], h)) * (alpha @ memory)
        gates = dense(p["input"], p["word"]["embedding"][token]) + dense(cell["recurrent"], h) + dense(cell["context"], z)
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        alphas.append(alpha)
    return np.array(alphas)


@pytest.mark.parametrize(("name", "by_hand"), [("transformer", transformer_weights), ("lstm", lstm_weights)])
def test_weights_by_hand(case, name, by_hand):
    """The weights at id k follow the prompt (5, 6) and the ids before it."""
    batch, params, found = case
    for row, count in ((0, 3), (1, 1)):
        before = np.array([5, 6, *IDS[row, : count - 1]])
        expected = by_hand(params[f"decoders_{name}"], before, memory_of(params, batch, row))[1:]
        of = {modality: leaf["weights"][row, :count][:, leaf["mask"][row]] for modality, leaf in found[name].items()}
        assert [of[modality].shape for modality in ("audio", "image")] == [(count, 2 - 2 * row), (count, 3 - row)]
        np.testing.assert_allclose(np.concatenate([of["audio"], of["image"]], axis=1), expected, atol=1e-5)
        np.testing.assert_allclose(expected.sum(axis=1), 1)
    masked = np.concatenate([leaf["weights"][1][:, ~leaf["mask"][1]] for leaf in found[name].values()], axis=1)
    assert masked.shape == (4, 3) and (masked == 0).all()


def test_maps_need_a_decoder_and_a_fusion_that_keeps_tokens():
    assert has_weights(MODEL, Generate("lstm")) and isinstance(MODEL.decoders["lstm"], AttentiveDecoder)
    assert has_weights(MODEL.clone(fusion=Append()), Generate("transformer")) and isinstance(Append(), KeepsTokens)
    assert not has_weights(MODEL.clone(fusion=Concat()), Generate("lstm"))
    assert not has_weights(MODEL.clone(heads={"text": TokenLogits(7)}), Generate("text"))
    assert isinstance(Generate("lstm"), Writes) and not has_weights(MODEL, object())


@pytest.mark.parametrize("trainer", [Words(), Subwords(30), Characters()], ids=["words", "subwords", "characters"])
def test_words_of_ids(trainer):
    texts = ["a red bird sings", "two red cats sing", "a cat sings"] * 2
    tokenizer = trainer.train(texts)
    for text in texts[:3]:
        ids = tokenizer.ids(text)
        words, positions = words_of(tokenizer, [*ids[:2], 1, *ids[2:], -1, -1])  # an unknown token, and padding
        assert words == text.split()
        owned = [k for at in positions for k in at]
        assert owned == sorted(owned) and 2 not in owned
        assert all(tokenizer.text([ids[k - (k > 2)] for k in at]) == word for word, at in zip(words, positions))
    assert words_of(tokenizer, [-1, -1]) == ([], [])


def test_many_tokens_are_added_up_in_bins():
    weights = np.arange(14.0).reshape(2, 7)
    assert binned(weights, 7) is weights
    np.testing.assert_array_equal(binned(weights, 3), [[0 + 1, 2 + 3, 4 + 5 + 6], [7 + 8, 9 + 10, 11 + 12 + 13]])
