"""What the tests of CLIP and SigLIP share: two towers beside the original's."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.pretrained import load, save
from mmjax.types import Sequence
from tests.parity.originals import assert_parity

TABLE = "text_model.embeddings.token_embedding.weight"


def assert_towers_agree(theirs, weights, words, pictures, their_image_tokens, **given):
    """Tokens, embeddings and logits of both, and gradients by the pictures and by the text's table. words: Sequence of NumPy
    arrays; pictures: float32 [b h w c]; their_image_tokens: last hidden state -> what our tower gives; given: more that the
    original takes."""
    import torch

    params, module = weights.variables["params"], weights.module
    numbers, mask = torch.tensor(words.x), np.asarray(words.mask)

    def ours(params, pictures):
        outputs = module.apply({"params": params}, {"image": pictures, "text": words})
        image, text = (
            getattr(module, name).encoder.apply({"params": params[name]["encoder"]}, x).x
            for name, x in (("image", pictures), ("text", words))
        )
        return {name: outputs[name] for name in ("image.embedding", "text.embedding", "logits")} | {
            "image": image,
            "text": text,
        }

    def original(table, pictures):
        inputs = {"input_ids": numbers, "pixel_values": pictures.permute(0, 3, 1, 2)}
        found = torch.func.functional_call(theirs, {TABLE: table}, (), inputs | given)
        return {
            "image.embedding": found.image_embeds,
            "text.embedding": found.text_embeds,
            "logits": found.logits_per_image,
            "image": their_image_tokens(found.vision_model_output.last_hidden_state),
            "text": found.text_model_output.last_hidden_state,
        }

    def with_table(table):
        text = params["text"]["encoder"] | {"word": {"embedding": table}}
        return params | {"text": params["text"] | {"encoder": text}}

    table = params["text"]["encoder"]["word"]["embedding"]
    assert_parity(lambda x: ours(params, x), lambda x: original(torch.tensor(table), x), pictures, {"text": mask})
    assert_parity(
        lambda x: ours(with_table(x), jnp.asarray(pictures)),
        lambda x: original(x, torch.tensor(pictures)),
        table,
        {"text": mask},
    )


def assert_saved_is_read(theirs, source, folder):
    import torch

    weights = load(source)
    save(weights, folder)
    state = theirs.state_dict()
    for name, value in type(theirs).from_pretrained(folder).state_dict().items():
        assert torch.equal(value, state[name]), name
    jax.tree.map(np.testing.assert_array_equal, load(folder).variables, weights.variables)


def drawn_pictures(count, side, channels, seed=2):
    return np.random.default_rng(seed).normal(size=(count, side, side, channels)).astype(np.float32)


def drawn_words(vocabulary, lengths, end, padding, size=None):
    """Numbers below `end` and not the padding, the last one the end; then padding."""
    random = np.random.default_rng(3)
    x = random.integers(3, end, size=(len(lengths), size or max(lengths)))
    steps = np.arange(x.shape[1])[None]
    last = np.array(lengths)[:, None] - 1
    x = np.where(steps == last, end, np.where(steps > last, padding, x))
    assert x.max() < vocabulary
    return Sequence(x, np.array(lengths))
