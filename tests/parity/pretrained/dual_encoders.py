"""What the tests of CLIP and SigLIP share: two towers beside the original's."""

import jax
import numpy as np

from mmjax.pretrained import load, save
from mmjax.types import Padded
from tests.parity.originals import assert_parity

TABLE = "text_model.embeddings.token_embedding.weight"


def assert_towers_agree(theirs, weights, words, pictures, their_image_tokens, **given):
    """Tokens, embeddings and logits of both, and gradients by the pictures and by the text's table. words: Padded of NumPy
    arrays; pictures: float32 [b h w c]; their_image_tokens: last hidden state -> what our tower gives; given: more that the
    original takes."""
    import torch

    params, module = weights.variables["params"], weights.module
    numbers, mask = torch.tensor(words.x), np.asarray(words.mask)

    def ours(pictures):
        outputs = module.apply({"params": params}, {"image": pictures, "text": words})
        alone = {
            name: getattr(module, name).encoder.apply({"params": params[name]["encoder"]}, x).x
            for name, x in (("image", pictures), ("text", words))
        }
        return alone | {name: outputs[name] for name in ("image.embedding", "text.embedding", "logits")}

    def original(pictures):
        found = theirs(input_ids=numbers, pixel_values=pictures.permute(0, 3, 1, 2), **given)
        return {
            "image": their_image_tokens(found.vision_model_output.last_hidden_state),
            "text": found.text_model_output.last_hidden_state,
            "image.embedding": found.image_embeds,
            "text.embedding": found.text_embeds,
            "logits": found.logits_per_image,
        }

    assert_parity(ours, original, pictures, {"text": mask})

    def our_texts(table):
        text = params["text"] | {"encoder": params["text"]["encoder"] | {"word": {"embedding": table}}}
        return {"text.embedding": module.apply({"params": params | {"text": text}}, words, method="embed_text")}

    def their_texts(table):
        inputs = {"input_ids": numbers, "pixel_values": torch.tensor(pictures).permute(0, 3, 1, 2)}
        return {"text.embedding": torch.func.functional_call(theirs, {TABLE: table}, (), inputs | given).text_embeds}

    assert_parity(our_texts, their_texts, params["text"]["encoder"]["word"]["embedding"])


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
    return Padded(x, np.array(lengths))
