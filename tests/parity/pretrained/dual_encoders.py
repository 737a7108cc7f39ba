"""Shared by the tests of CLIP and SigLIP: both encoders are compared with the original's."""

import jax
import numpy as np

from mmjax.pretrained import load, save
from mmjax.types import Padded
from tests.parity.originals import assert_parity

TABLE = "text_model.embeddings.token_embedding.weight"


def assert_encoders_agree(theirs, weights, texts, images, their_image_tokens, **options):
    """Compares tokens, embeddings and logits, and the gradients with respect to the images and the token embeddings.

    texts: Padded of NumPy arrays. images: float32 [b h w c]. their_image_tokens: last hidden state -> our encoder's tokens.
    options: further arguments of the original.
    """
    import torch

    params, module = weights.variables["params"], weights.module
    ids, mask = torch.tensor(texts.x), np.asarray(texts.mask)

    def ours(images):
        outputs = module.apply({"params": params}, {"image": images, "text": texts})
        tokens = {
            name: getattr(module, name).encoder.apply({"params": params[name]["encoder"]}, x).x
            for name, x in (("image", images), ("text", texts))
        }
        return tokens | {name: outputs[name] for name in ("image.embedding", "text.embedding", "logits")}

    def original(images):
        found = theirs(input_ids=ids, pixel_values=images.permute(0, 3, 1, 2), **options)
        return {
            "image": their_image_tokens(found.vision_model_output.last_hidden_state),
            "text": found.text_model_output.last_hidden_state,
            "image.embedding": found.image_embeds,
            "text.embedding": found.text_embeds,
            "logits": found.logits_per_image,
        }

    assert_parity(ours, original, images, {"text": mask})

    def our_texts(table):
        text = params["text"] | {"encoder": params["text"]["encoder"] | {"word": {"embedding": table}}}
        return {"text.embedding": module.apply({"params": params | {"text": text}}, texts, method="embed_text")}

    def their_texts(table):
        inputs = {"input_ids": ids, "pixel_values": torch.tensor(images).permute(0, 3, 1, 2)}
        return {"text.embedding": torch.func.functional_call(theirs, {TABLE: table}, (), inputs | options).text_embeds}

    assert_parity(our_texts, their_texts, params["text"]["encoder"]["word"]["embedding"])


def assert_read_back(theirs, source, folder):
    import torch

    weights = load(source)
    save(weights, folder)
    state = theirs.state_dict()
    for name, value in type(theirs).from_pretrained(folder).state_dict().items():
        assert torch.equal(value, state[name]), name
    jax.tree.map(np.testing.assert_array_equal, load(folder).variables, weights.variables)


def random_images(count, side, channels, seed=2):
    return np.random.default_rng(seed).normal(size=(count, side, side, channels)).astype(np.float32)


def random_texts(vocabulary, lengths, end, padding, size=None):
    """Random ids below `end` other than the padding, followed by `end`, then padding."""
    random = np.random.default_rng(3)
    x = random.integers(3, end, size=(len(lengths), size or max(lengths)))
    steps = np.arange(x.shape[1])[None]
    last = np.array(lengths)[:, None] - 1
    x = np.where(steps == last, end, np.where(steps > last, padding, x))
    assert x.max() < vocabulary
    return Padded(x, np.array(lengths))
