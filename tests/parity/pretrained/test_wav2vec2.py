"""wav2vec 2.0: weights are exchanged with transformers in both directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.pretrained import WeightsError, load, save
from mmjax.types import Padded
from tests.parity.originals import assert_parity, published

pytestmark = pytest.mark.parity

SIZES = {
    "base": dict(
        feat_extract_norm="group",
        conv_bias=False,
        do_stable_layer_norm=False,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        conv_dim=[8, 12, 8],
        conv_kernel=[10, 3, 2],
        conv_stride=[5, 2, 2],
        num_conv_pos_embeddings=6,
        num_conv_pos_embedding_groups=4,
    ),
    "large": dict(
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=12,
        conv_dim=[6, 6],
        conv_kernel=[4, 3],
        conv_stride=[3, 2],
        num_conv_pos_embeddings=37,  # more than our block size, and odd
        num_conv_pos_embedding_groups=2,
        hidden_act="gelu_new",
        layer_norm_eps=1e-3,
    ),
    "mixed": dict(
        feat_extract_norm="group",
        conv_bias=True,
        do_stable_layer_norm=True,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=1,
        intermediate_size=24,
        conv_dim=[5],
        conv_kernel=[8],
        conv_stride=[8],
        num_conv_pos_embeddings=2,
        num_conv_pos_embedding_groups=1,
        feat_extract_activation="relu",
    ),
}
LENGTHS = np.array([200, 123, 41])


def original(name, kind="Wav2Vec2Model"):
    import transformers

    return getattr(transformers, kind)(transformers.Wav2Vec2Config(**SIZES[name]))


def waves():
    return np.random.default_rng(5).normal(size=(len(LENGTHS), LENGTHS.max())).astype(np.float32)


@pytest.mark.parametrize("name", SIZES)
def test_each_clip_alone(name, tmp_path):
    """Ours in one padded batch; the original on each clip separately, as it was trained."""
    import torch

    theirs = original(name)
    weights = load(published(theirs, tmp_path))
    assert weights.unused == ("masked_spec_embed",)
    counts = [int(theirs._get_feat_extract_output_lengths(int(length))) for length in LENGTHS]
    mask = np.arange(max(counts)) < np.array(counts)[:, None]

    def our_tokens(x):
        tokens = weights.module.apply(weights.variables, Padded(x, jnp.asarray(LENGTHS)))
        return {"tokens": tokens.x, "mask": tokens.mask.astype(jnp.float32)}

    def their_tokens(x):
        each = [theirs(row[None, :length]).last_hidden_state[0] for row, length in zip(x, LENGTHS)]
        padded = torch.nn.utils.rnn.pad_sequence(each, batch_first=True)
        return {"tokens": padded, "mask": torch.tensor(mask.astype(np.float32))}

    assert_parity(our_tokens, their_tokens, waves(), {"tokens": mask})


def test_a_padded_batch(tmp_path):
    """Models with layer norms accept an attention mask. The gradient beyond the length is zero."""
    import torch

    theirs = original("large")
    weights = load(published(theirs, tmp_path))
    real = (np.arange(LENGTHS.max()) < LENGTHS[:, None]).astype(np.float32)
    tokens = weights.module.apply(weights.variables, Padded(jnp.asarray(waves()), jnp.asarray(LENGTHS)))
    mask = np.asarray(tokens.mask)
    assert not mask.all()

    def our_tokens(x):
        return {"tokens": weights.module.apply(weights.variables, Padded(x, jnp.asarray(LENGTHS))).x}

    def their_tokens(x):
        call = theirs(x * torch.tensor(real), attention_mask=torch.tensor(real).long())
        return {"tokens": call.last_hidden_state}

    assert_parity(our_tokens, their_tokens, waves(), {"tokens": mask})


@pytest.mark.parametrize("kind", ["Wav2Vec2Model", "Wav2Vec2ForPreTraining", "Wav2Vec2ForCTC", "Wav2Vec2ForXVector"])
def test_transformers_reads_saved_weights(kind, tmp_path):
    """All tensors except the embedding of masked steps."""
    import torch
    import transformers

    theirs = original("base", kind)
    folder = published(theirs, tmp_path / "theirs")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    weights = load(folder)
    assert weights.preprocessing.normalize is False
    save(weights, tmp_path / "ours")
    back = transformers.Wav2Vec2Model.from_pretrained(tmp_path / "ours")
    state = theirs.state_dict()
    for name, value in back.state_dict().items():
        prefix = "" if kind == "Wav2Vec2Model" else "wav2vec2."
        assert name == "masked_spec_embed" or torch.equal(value, state[prefix + name]), name
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path / "ours").variables, weights.variables)


def test_old_names_of_weight_norm(tmp_path):
    """weight_norm had other parameter names before torch 2.0; most published files have those."""
    from safetensors.numpy import load_file, save_file

    folder = published(original("large"), tmp_path)
    weights = load(folder)
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    tensors = load_file(folder / "model.safetensors")
    for new, name in old.items():
        at = f"encoder.pos_conv_embed.conv.{new}"
        tensors[at.replace(new, name)] = tensors.pop(at)
    save_file(tensors, folder / "model.safetensors")
    jax.tree.map(np.testing.assert_array_equal, load(folder).variables, weights.variables)


@pytest.mark.parametrize(
    ("change", "named"),
    [(('"add_adapter": false', '"add_adapter": true'), "add_adapter"), (("[\n    5,", "["), "of different lengths")],
)
def test_unsupported_settings_are_named(change, named, tmp_path):
    config = published(original("base"), tmp_path) / "config.json"
    changed = config.read_text().replace(*change)
    assert changed != config.read_text()
    config.write_text(changed)
    with pytest.raises(WeightsError, match=named):
        load(tmp_path)
