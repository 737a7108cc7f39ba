"""BERT loaded from what transformers saves, and saved so that transformers reads it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.pretrained import load, save
from mmjax.types import Sequence
from tests.parity.originals import assert_parity, published

pytestmark = pytest.mark.parity

SIZES = [  # vocabulary, width, depth, heads, hidden, positions; lengths
    ((50, 16, 2, 2, 40, 12), [9, 4, 1]),
    ((20, 24, 1, 4, 96, 7), [7, 3]),
    ((99, 32, 3, 1, 32, 20), [6, 6, 2, 5]),
]


def original(sizes):
    from transformers import BertConfig, BertModel

    vocabulary, width, depth, heads, hidden, positions = sizes
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=hidden,
        max_position_embeddings=positions,
    )
    return BertModel(config)


@pytest.mark.parametrize(("sizes", "lengths"), SIZES)
def test_bert(sizes, lengths, tmp_path):
    """The gradient is by the table of words: numbers themselves have none."""
    import torch

    theirs = original(sizes)
    weights = load(published(theirs, tmp_path))
    assert all(name.startswith("pooler.") for name in weights.unused)
    rng = np.random.default_rng(1)
    numbers = rng.integers(1, sizes[0], size=(len(lengths), max(lengths)))  # torch has no gradient for number 0, [PAD]
    words = Sequence(jnp.asarray(numbers), jnp.array(lengths))
    mask = np.asarray(words.mask)

    def our_tokens(table):
        variables = {"params": {**weights.variables["params"], "word": {"embedding": table}}}
        return {"tokens": weights.module.apply(variables, words).x}

    def their_tokens(table):
        call = torch.func.functional_call(
            theirs,
            {"embeddings.word_embeddings.weight": table},
            (torch.tensor(numbers),),
            {"attention_mask": torch.tensor(mask.astype(int))},
        )
        return {"tokens": call.last_hidden_state}

    table = weights.variables["params"]["word"]["embedding"]
    assert_parity(our_tokens, their_tokens, table, {"tokens": mask})


def test_transformers_reads_what_we_save(tmp_path):
    import torch
    from transformers import BertModel

    theirs = original(SIZES[0][0])
    weights = load(published(theirs, tmp_path / "theirs"))
    save(weights, tmp_path / "ours")
    back = BertModel.from_pretrained(tmp_path / "ours", add_pooling_layer=False)
    state = theirs.state_dict()
    for name, value in back.state_dict().items():
        assert torch.equal(value, state[name]), name
    again = load(tmp_path / "ours")
    jax.tree.map(np.testing.assert_array_equal, again.variables, weights.variables)
