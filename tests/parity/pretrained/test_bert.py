"""BERT and related encoders: weights are exchanged with transformers in both directions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.attention import gelu_tanh
from mmjax.pretrained import WeightsError, load, save
from mmjax.types import Padded
from tests.parity.originals import assert_parity, published

pytestmark = pytest.mark.parity

SIZES = [  # vocabulary, width, depth, heads, hidden, positions; activation, epsilon of the norms; lengths
    ((50, 16, 2, 2, 40, 12), ("gelu", 1e-12), [9, 4, 1]),
    ((20, 24, 1, 4, 96, 7), ("relu", 1e-5), [7, 3]),
    ((99, 32, 3, 1, 32, 20), ("gelu_new", 1e-3), [6, 6, 2, 5]),
]
KINDS = {"bert": ("BertModel", 0), "xlm-roberta": ("XLMRobertaModel", 1), "distilbert": ("DistilBertModel", 0)}
"""model_type -> (class, id of the padding)."""


def original(kind, sizes, rest, headed=""):
    """headed: a class with a head for the same config."""
    import transformers

    vocabulary, width, depth, heads, hidden, positions = sizes
    activation, epsilon = rest
    class_name, padding = KINDS[kind]
    model = getattr(transformers, headed or class_name)
    distilled = kind == "distilbert"
    names = {"dim": width, "n_layers": depth, "n_heads": heads, "hidden_dim": hidden, "activation": activation}
    if not distilled:
        names = {
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "intermediate_size": hidden,
            "hidden_act": activation,
            "layer_norm_eps": epsilon,
            "type_vocab_size": 1 + padding,
        }
    positions += (padding + 1) * (kind == "xlm-roberta")
    config = {"vocab_size": vocabulary, "max_position_embeddings": positions, "pad_token_id": padding}
    return model(model.config_class(**config, **names))


@pytest.mark.parametrize(("sizes", "rest", "lengths"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_tokens(kind, sizes, rest, lengths, tmp_path):
    """The gradient is with respect to the token embeddings, since ids have none. RoBERTa counts positions from the padding's
    id, so padded ids must have it."""
    import torch

    theirs = original(kind, sizes, rest)
    weights = load(published(theirs, tmp_path))
    assert all(name.startswith("pooler.") for name in weights.unused)
    padding = KINDS[kind][1]
    rng = np.random.default_rng(1)
    ids = rng.integers(padding + 1, sizes[0], size=(len(lengths), max(lengths)))
    ids = np.where(np.arange(max(lengths)) < np.array(lengths)[:, None], ids, padding)
    texts = Padded(jnp.asarray(ids), jnp.array(lengths))
    mask = np.asarray(texts.mask)

    def our_tokens(table):
        variables = {"params": {**weights.variables["params"], "word": {"embedding": table}}}
        return {"tokens": weights.module.apply(variables, texts).x}

    def their_tokens(table):
        call = torch.func.functional_call(
            theirs,
            {"embeddings.word_embeddings.weight": table},
            (torch.tensor(ids),),
            {"attention_mask": torch.tensor(mask.astype(int))},
        )
        return {"tokens": call.last_hidden_state}

    table = weights.variables["params"]["word"]["embedding"]
    assert_parity(our_tokens, their_tokens, table, {"tokens": mask})


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_saved_weights(kind, tmp_path):
    import torch
    import transformers

    theirs = original(kind, *SIZES[0][:2])
    weights = load(published(theirs, tmp_path / "theirs"))
    save(weights, tmp_path / "ours")
    plain = {} if kind == "distilbert" else {"add_pooling_layer": False}
    back = getattr(transformers, KINDS[kind][0]).from_pretrained(tmp_path / "ours", **plain)
    state = theirs.state_dict()
    for name, value in back.state_dict().items():
        assert torch.equal(value, state[name]), name
    again = load(tmp_path / "ours")
    jax.tree.map(np.testing.assert_array_equal, again.variables, weights.variables)


@pytest.mark.parametrize(
    ("kind", "headed"),
    [
        ("bert", "BertForPreTraining"),
        ("bert", "BertForSequenceClassification"),
        ("xlm-roberta", "XLMRobertaForMaskedLM"),
        ("xlm-roberta", "XLMRobertaForQuestionAnswering"),
        ("distilbert", "DistilBertForMaskedLM"),
        ("distilbert", "DistilBertForSequenceClassification"),
    ],
)
def test_models_with_a_head_have_the_same_encoder(kind, headed, tmp_path):
    theirs = original(kind, *SIZES[1][:2], headed=headed)
    weights = load(published(theirs, tmp_path))
    expected = theirs.base_model.embeddings.position_embeddings.weight.detach().numpy()
    np.testing.assert_array_equal(weights.variables["params"]["position"], expected)
    assert weights.unused


def test_old_names_of_norm_parameters(tmp_path):
    """Google's bert-base-uncased has them. Both sides load them, and transformers reads the saved weights."""
    import torch
    from safetensors.numpy import load_file, save_file
    from transformers import BertModel

    theirs = original("bert", *SIZES[0][:2])
    plain = load(published(theirs, tmp_path / "plain"))
    published(theirs, tmp_path / "old")
    file = tmp_path / "old" / "model.safetensors"
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in load_file(file).items()
    }
    assert sum("gamma" in name for name in renamed) == 5
    save_file(renamed, file, metadata={"format": "pt"})
    old = load(tmp_path / "old")
    jax.tree.map(np.testing.assert_array_equal, old.variables, plain.variables)
    save(old, tmp_path / "ours")
    state = theirs.state_dict()
    for name, value in BertModel.from_pretrained(tmp_path / "ours", add_pooling_layer=False).state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_act", "swish2", "hidden_act = 'swish2'; supported are gelu, "),
        ("is_decoder", True, "is_decoder = True; only False is supported"),
        ("position_embedding_type", "relative_key", "only 'absolute' is supported"),
        ("num_hidden_layers", 3, r"missing encoder\.layer\.2\."),
        ("num_hidden_layers", 1, r"BERT has no parameters for encoder\.layer\.1\."),
        ("vocab_size", 51, r"word_embeddings\.weight of shape \[50, 16\]"),
    ],
)
def test_a_config_that_does_not_fit(field, value, message, tmp_path):
    published(original("bert", *SIZES[0][:2]), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(WeightsError, match=message):
        load(tmp_path)


def test_activations_and_epsilon_are_read(tmp_path):
    module = load(published(original("bert", *SIZES[2][:2]), tmp_path)).module
    assert module.activation is gelu_tanh and module.epsilon == 1e-3
