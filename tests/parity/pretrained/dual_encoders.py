"""Shared by the tests of CLIP and SigLIP: both encoders are compared with the original's."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.metrics import retrieval
from mmjax.metrics.ranking import rank_outcomes, relevant_positions
from mmjax.pretrained import load, save
from mmjax.tasks import ZeroShot
from mmjax.types import Padded, Units
from tests.parity.originals import assert_parity, assert_same

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


def assert_zero_shot(weights, images, texts, classes, expected):
    """The logits [images classes] of the task ZeroShot, and their accuracy. texts: of each class in turn, equally many."""
    apply, module, images = weights.module.apply, weights.module, jnp.asarray(images)
    query = apply(weights.variables, images, method=module.embed_image)
    prompt = apply(weights.variables, texts, method=module.embed_text)
    temperature = float(apply(weights.variables, {"image": images[:1], "text": texts})["temperature"])
    both, rows = np.concatenate([query, prompt]), np.arange(len(query) + len(prompt))
    is_prompt = rows >= len(query)
    label = np.r_[np.zeros(len(query), int), np.repeat(np.arange(classes), len(prompt) // classes)]
    target = {"label": label, "prompt": is_prompt}
    units = Units(target, (~is_prompt).astype(np.float32), rows, {}, rows, rows)
    task = ZeroShot("image.embedding", "text.embedding", temperature=temperature)
    found = task._logits({"query": both, "prompt": both}, units)[: len(query)]
    assert_same(found, expected, "zero-shot logits")
    predicted = task.outcomes({"query": both, "prompt": both}, units)["predicted"][: len(query)]
    np.testing.assert_array_equal(predicted, expected.argmax(axis=1))


def diagonal_metrics(image, text, scale):
    """`get_clip_metrics` of open_clip_train.train 3.3.0, whose module needs torchvision. image, text: tensors of pairs."""
    import torch

    metrics = {}
    per_image = scale * image @ text.t()
    for name, logit in {"image": per_image, "text": per_image.t()}.items():
        ranking = torch.argsort(logit, descending=True)
        found = torch.where(ranking == torch.arange(len(text)).view(-1, 1))[1].detach().numpy()
        metrics |= {f"{name}_median": np.median(found) + 1, f"{name}_mrr": np.mean(1 / (found + 1))}
        metrics |= {f"{name}_R@{k}": np.mean(found < k) for k in (1, 5, 10)}
    return metrics


def assert_retrieval(weights, images, texts, expected):
    """Our metrics of pairs of images and texts, in both directions. expected: of `diagonal_metrics`."""
    outputs = weights.module.apply(weights.variables, {"image": jnp.asarray(images), "text": texts})
    both = {name: np.asarray(outputs[f"{name}.embedding"]) for name in ("image", "text")}
    match, weight = np.arange(len(images), dtype=np.int32), jnp.ones(len(images))
    for own, other in (("image", "text"), ("text", "image")):
        parts = relevant_positions(both[own], both[other], match, match)
        positions, count = (np.concatenate(part) for part in zip(*parts))
        outcomes = rank_outcomes(positions, count, len(match), 10)
        metrics = {f"R@{k}": retrieval.recall_at(k) for k in (1, 5, 10)}
        metrics |= {"median": retrieval.median_rank, "mrr": retrieval.reciprocal_rank}
        for name, metric in metrics.items():
            np.testing.assert_allclose(metric(outcomes, weight), expected[f"{own}_{name}"], atol=1e-4, err_msg=name)


def assert_applications(theirs, weights, texts, images, classes=3, **options):
    """Zero-shot logits and retrieval metrics of transformers' embeddings, texts being as many as images."""
    import torch

    with torch.no_grad():
        found = theirs(input_ids=torch.tensor(texts.x), pixel_values=torch.tensor(images).permute(0, 3, 1, 2), **options)
        scale = theirs.logit_scale.exp()
        assert_retrieval(weights, images, texts, diagonal_metrics(found.image_embeds, found.text_embeds, scale))
        mean = torch.nn.functional.normalize(found.text_embeds.unflatten(0, (classes, -1)).mean(dim=1), dim=-1)
        assert_zero_shot(weights, images, texts, classes, (scale * found.image_embeds @ mean.T).numpy())
