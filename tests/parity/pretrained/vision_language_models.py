"""Shared by the tests of vision-language models: transformers' models with random weights, prompts with several images, with
one and with none, and the comparison of logits, gradients and greedy tokens.

Our side takes one padded batch, the original each prompt alone and without padding.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.nn.search import greedy
from mmjax.pretrained import load, save
from mmjax.pretrained.image_prompts import named_vectors
from mmjax.types import Batch, Padded
from tests.parity.originals import assert_parity, randomised

START, END, IMAGE, TOKENS = 1, 59, 58, 6
TEXT = {
    "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20, "num_key_value_heads": 1,
    "max_position_embeddings": 96, "vocab_size": 64, "bos_token_id": START, "eos_token_id": END, "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 10, "image_size": 12,
    "patch_size": 4,
}  # fmt: skip


def original(kind, seed=0, **config):
    """A model of transformers with random weights. config: of its configuration; "text_config" and so on as dictionaries."""
    import transformers

    found = transformers.CONFIG_MAPPING[kind](**config)
    found._attn_implementation = "eager"
    return randomised(transformers.AutoModelForMultimodalLM.from_config(found, attn_implementation="eager"), seed=seed)


@cache
def rows(per_image, side, last=7, image_tokens=(IMAGE,), channels=3):
    """([ids of each prompt], [images [k side side c] of each]): two images, none, one at the beginning. last: the last id."""
    random = np.random.default_rng(3)
    words = lambda n: random.integers(2, 50, n).tolist()
    image = [*image_tokens[:-1], *[image_tokens[-1]] * per_image]
    ids = [
        [START, *words(2), *image, *words(1), *image, *words(2), last],
        [START, *words(5), last],
        [START, *image, *words(3), last],
    ]
    pixels = [random.normal(size=(k, side, side, channels)).astype(np.float32) for k in (2, 0, 1)]
    return ids, pixels


def padded(ids, vocabulary, numbers=None):
    """Our ids. numbers: of the vectors of each row; None for 0, 1, 2, ..."""
    numbers = numbers or [range(row.count(IMAGE)) for row in ids]
    named = [named_vectors(row, IMAGE, own, vocabulary) for row, own in zip(ids, numbers)]
    x = np.full((len(ids), max(map(len, ids))), 3, np.int32)
    for row, tokens in zip(x, named):
        row[: len(tokens)] = tokens
    return Padded(jnp.asarray(x), jnp.array([len(row) for row in ids]))


def assert_answers(theirs, tmp_path, ids, pixels, forward, numbers=None, extend=lambda batch: batch):
    """Logits, gradients with respect to the pixels, and tokens of greedy search; weights that are read back.

    forward: (ids [1 n], images [k h w c] as torch tensors) -> the original's logits [1 n v] of one prompt. numbers: as in
    `padded`. extend: changes our batch. Returns our weights.
    """
    import torch

    theirs.save_pretrained(tmp_path / "theirs")
    weights = load(tmp_path / "theirs")
    module, variables = weights.module, weights.variables
    decoder = module.decoders["text"]
    assert (decoder.prompt, decoder.end) == ((START,), END)
    prompts = padded(ids, decoder.vocabulary, numbers)
    counts = np.array([len(images) for images in pixels])
    place = np.cumsum(counts) - counts

    def batch_of(flat):
        """flat: all images [n h w c] -> the batch; images beyond the length are other images."""
        index = np.minimum(place[:, None] + np.arange(counts.max())[None], counts.sum() - 1)
        images = Padded(flat[index], jnp.asarray(counts))
        return extend(Batch({"image": images}, {"image": jnp.asarray(counts > 0)}, {}, jnp.ones(len(ids))))

    def ours(flat):
        targets = {"text": jnp.roll(prompts.x, -1, axis=1)}
        return {"logits": module.apply(variables, batch_of(flat).replace(targets=targets))["text"]}

    def original_logits(flat):
        parts = []
        for row, first, count in zip(ids, place, counts):
            images = flat[first : first + count]
            logits = forward(torch.tensor([row]), images)[0]
            parts.append(torch.nn.functional.pad(logits, (0, 0, 0, prompts.x.shape[1] - len(row))))
        return {"logits": torch.stack(parts)}

    flat = np.concatenate(pixels)
    assert_parity(ours, original_logits, flat, {"logits": np.asarray(prompts.mask)})

    @jax.jit
    def answers(flat):
        batch = batch_of(flat)
        apply = lambda *given, method: module.apply(variables, *given, method=method)
        tokens = apply(batch, method="encode")
        cache = apply("text", tokens, batch.present, prompts.x.shape[1] + TOKENS, method="init_cache")
        return greedy(lambda ids, cache: apply("text", ids, cache, method="step"), cache, prompts, TOKENS, END)

    found = answers(jnp.asarray(flat))
    for number, (row, images) in enumerate(zip(ids, pixels)):
        with torch.no_grad():
            longer = list(row)
            while len(longer) < len(row) + TOKENS:
                token = int(forward(torch.tensor([longer]), torch.tensor(images))[0, -1].argmax())
                if token in (END, IMAGE):  # of which the original expects vectors
                    break
                longer.append(token)
        expected, length = longer[len(row) :], int(found.length[number])
        assert found.x[number, : len(expected)].tolist() == expected
        assert length == len(expected) or (token == IMAGE and length > len(expected))
    _assert_read_back(theirs, weights, tmp_path / "ours")
    return weights


def _assert_read_back(theirs, weights, folder):
    """transformers reads what `save` writes; tensors without a use are not saved."""
    import torch
    from safetensors import safe_open

    save(weights, folder)
    mine, its = (safe_open(place / "model.safetensors", "pt") for place in (folder, folder.parent / "theirs"))
    with mine, its:
        assert set(mine.keys()) | set(weights.unused) == set(its.keys())
        assert all(torch.equal(mine.get_tensor(name), its.get_tensor(name)) for name in mine.keys())
