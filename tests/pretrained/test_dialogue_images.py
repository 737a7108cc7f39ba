"""Dialogues with no, one or several images at any place: from a file of JSON lines to a model that trains on them."""

import io
import json
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmjax.data.custom import Images, KFold, SplitColumn
from mmjax.data.dataset import stack
from mmjax.data.decode import DataError
from mmjax.data.formats.dialogue_files import DialogueFile
from mmjax.decoders import Factored, Interleaved, LanguageModel
from mmjax.decoders.interleaved import BEGIN
from mmjax.encoders import EachImage
from mmjax.fusion import MLPConnector
from mmjax.model import Multimodal
from mmjax.pretrained.dialogue_data import Dialogues, _items
from mmjax.tasks.likelihood import token_nats
from mmjax.types import Batch, Padded, Tokens
from tests.pretrained.tiny import language_folder

pytest.importorskip("tokenizers")
TEMPLATE = """{% for m in messages %}{{ m.role[0] }}:{% if m.role == "assistant" %}{% generation %}{{ m.content + "\n" }}
{%- endgeneration %}{% else %}{{ m.content + "\n" }}{% endif %}{% endfor %}"""
COLOURS = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "k": (0, 0, 0)}
# "<r>" is the image r.png, "<?>" one that is absent; questions and answers in turn.
TALKS = {
    "several": "<r>o<g>|r|a<b>|b<k>",
    "one": "x<g>|g",
    "none": "x|y",
    "absent": "x<?>|y",
    "many": "<r><g><b><k><r>|r",
    "first": "<r>o<g>|r",
    "second": "<g>o<r>|g",
}


def messages(talk):
    def part(image, text):
        return {"type": "text", "text": text} if text else {"type": "image", "image": None if image == "?" else f"{image}.png"}

    content = lambda text: [part(*one) for one in re.findall("<(.)>|([^<]+)", text)] if "<" in text else text
    return [{"role": ("user", "assistant")[n % 2], "content": content(of)} for n, of in enumerate(talk.split("|"))]


def line(talk, **fields):
    return json.dumps({"messages": messages(talk), **fields})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images, a language model, and the dialogues of the splits, with blank lines between them."""
    folder = tmp_path_factory.mktemp("talks")
    for name, colour in COLOURS.items():
        Image.new("RGB", (3, 2), colour).save(folder / f"{name}.png")
    (language_folder(folder / "language") / "chat_template.jinja").write_text(TEMPLATE)
    names = {"train": {*TALKS} - {"absent"}, "val": {"none"}, "test": {*TALKS} - {"many"}}
    named = [(split, name) for split, own in names.items() for name in TALKS if name in own]
    lines = [line(TALKS[name], id=f"{split}-{name}", split=split) for split, name in named]
    (folder / "talks.jsonl").write_text("\n\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def data(folder):
    file = DialogueFile(folder / "talks.jsonl", Images(size=2), SplitColumn())
    found = "4 of 6 dialogues of the test split have an image that training dialogues have too; put them into one group"
    with pytest.warns(UserWarning, match=found):
        return Dialogues(file, vectors=2, source=str(folder / "language"), row_tokens=80, row_images=4).load()


def written(ids, data):
    """Ids as text: vectors as their numbers in brackets, BEGIN as ^."""
    vocabulary, text = data.sizes["text"]["vocabulary"], lambda token: data.tokenizers["text"].text([token])
    one = lambda token: "^" if token == BEGIN else f"[{token - vocabulary}]" if token >= vocabulary else text(token)
    return "".join(one(token) for token in ids.tolist() if token >= 0)


def row_of(data, split, name):
    return data.metadata[split]["id"].tolist().index(f"{split}-{name}")


def shown(data, split, row):
    """The colours of a row's images."""
    item = data.columns["image"].read(int(data.splits[split].pointer["image"][row]))
    names = {colour: name for name, colour in COLOURS.items()}
    return "".join(names[tuple(x[0, 0, :3].tolist())] for x in item.x[: int(item.length)])


def test_images_stand_where_they_are_mentioned(data):
    """Two vectors each; in answers they have no loss. An absent image leaves nothing, and a fifth one is too many."""
    assert data.dropped == {"absent images": 1, "dialogues of more than 4 images": 1}
    test = data.splits["test"]
    row, none = row_of(data, "test", "several"), row_of(data, "test", "none")
    assert written(test.targets["text"][row], data) == "u:[0][1]o[2][3]\na:r\nu:a[4][5]\na:b[6][7]\n"
    assert written(test.targets["answer"][row], data) == "r\nb\n" and shown(data, "test", row) == "rgbk"
    absent = row_of(data, "test", "absent")
    assert test.pointer["image"][[none, absent]].tolist() == [-1, -1]
    assert test.targets["text"][absent].tolist() == test.targets["text"][none].tolist()
    # Longest first, each where there is room for its tokens and for four images.
    train = data.splits["train"]
    rows = [written(ids, data).split("^") for ids in train.targets["text"]]
    assert rows[0][0] == "u:[0][1]o[2][3]\na:r\nu:a[4][5]\na:b[6][7]\n" and rows[0][1:] == ["u:x\na:y\n"]
    assert rows[1][:2] == ["u:[0][1]o[2][3]\na:r\n", "u:[4][5]o[6][7]\na:g\n"]
    assert rows[2] == ["u:x[0][1]\na:g\n"]
    assert [shown(data, "train", row) for row in range(3)] == ["rgbk", "rggr", "g"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", r"talks\.jsonl: line 3 is not JSON"),
        ("[]", r"line 3 is '\[\]'; it must be an object such as {\"messages\": \[\.\.\.\]}"),
        ('{"messages": "a"}', r"line 3: 'a' is no list of messages, {\"role\": "),
        ('{"messages": [{"content": "a"}]}', "line 3: message 1 is .* it must be an object with a role and a content"),
        ('{"messages": [{"role": "user", "content": 1}]}', "line 3: message 1: the content is '1'; it must be a text or"),
        (line("a<b>").replace("image", "audio"), "line 3: message 1, part 2 is .*audio.*; it must be .*\"image\""),
        (line("a<b>").replace('"b.png"', "7"), "line 3: an image is .*7.*; it must name a file, or be null"),
        (line("a<z>"), r"talks\.jsonl: line 3, field 'image': .*z\.png' is not a file"),
        (line("a", id=7), r"line 1, field 'id': it is None; it must be a text or an integer"),
        (line("a", split="dev"), r"line 1, field 'split': None is not a split"),
    ],
)  # fmt: skip
def test_bad_lines_are_named(second, message, folder):
    (folder / "bad").mkdir(exist_ok=True)
    (folder / "bad" / "r.png").write_bytes((folder / "r.png").read_bytes())
    (folder / "bad" / "talks.jsonl").write_text(f"{line('<r>')}\n\n{second}\n")
    with pytest.raises(DataError, match=message):
        DialogueFile(folder / "bad" / "talks.jsonl", split=SplitColumn()).load()


def test_groups_and_media(folder):
    """Dialogues with an equal image share a fold, wherever it stands."""
    file, talks = folder / "folds.jsonl", ["<r>o<g>|a", "<b>|b", "a<g>|c", "<k>|d", "e|e", "<b><b>|f"]
    file.write_text("\n".join(map(line, talks)))
    data = DialogueFile(file, Images(size=2), KFold(3)).load()
    groups = {name: int(group) for of in data.metadata.values() for name, group in zip(of["id"].tolist(), of["group"])}
    assert [groups[f"folds.jsonl:{number}"] for number in range(1, 7)] == [0, 1, 0, 2, 3, 1]
    assert data.columns["image"].count == 4 and DialogueFile(file).at_fold(2).split.fold == 2
    (row,) = np.flatnonzero(data.metadata["test"]["id"] == "folds.jsonl:1")
    media = data.media(int(row))
    assert media["caption"] == "<image>o<image> | a"
    assert np.asarray(Image.open(io.BytesIO(media["image"])))[0, :, :3].tolist() == [[255, 0, 0]] * 2 + [[0, 255, 0]] * 2


def test_images_that_are_not_there(folder):
    """A marker in a text would move the images after it, so it is refused; so is the number of an image that is none."""
    file, talks = folder / "names.jsonl", {"train": "MARKER<r>|a", "val": "<r>|a", "test": "<r>|a"}
    file.write_text("\n".join(line(talk, split=split).replace("MARKER", "<image>") for split, talk in talks.items()))
    found = r"\(names\.jsonl:1\) of the train split: the dialogue has 2 times '<image>', but there are 1 inputs"
    with pytest.raises(DataError, match=found):
        Dialogues(DialogueFile(file, split=SplitColumn()), source=str(folder / "language")).load()
    for wrong in (4, -1, True, "r.png"):
        messages = [{"role": "user", "content": [{"type": "image", "image": wrong}]}]
        with pytest.raises(ValueError, match=f"an image is '{wrong}'; it must be a number from 0 to 3; DialogueFile reads"):
            _items(messages, 3, 4)
    messages[0]["content"][0]["image"] = 2
    assert _items(messages, 2, 4) == [2]
    with pytest.raises(ValueError, match="the first image is 2, but the row points to none"):
        _items(messages, -1, 4)  # such as a wrapper makes an image absent


class Pixels(nn.Module):
    """Two tokens per image."""

    @nn.compact
    def __call__(self, x, *, train=False):
        y = nn.Dense(16)(x.reshape(x.shape[0], -1)).reshape(x.shape[0], 2, 8)
        return Tokens(y, jnp.ones(y.shape[:2], bool))


@pytest.fixture(scope="module")
def model(data):
    language = LanguageModel(data.sizes["text"]["vocabulary"], width=8, depth=1, heads=2, kv_heads=1, hidden=12, end=2)
    decoders = {"text": Factored(Interleaved(language, (BEGIN,)))}
    return Multimodal({"image": EachImage(Pixels())}, MLPConnector(8), decoders=decoders)


@pytest.fixture(scope="module")
def batch_of(data):
    """(split, ids of rows) -> their batch of four, with rows of padding. Pixels of images that are not there are NaN."""
    column = data.columns["image"]
    x = jax.device_get(jax.jit(column.preprocess)(stack([column.read(number) for number in range(column.count)])))
    pixels = np.where(np.expand_dims(np.arange(4) < x.length[:, None], (2, 3, 4)), x.x, np.float32(np.nan))

    def batch_of(split, *names):
        rows, ids = data.splits[split], data.metadata[split]["id"].tolist()
        index = np.array([*map(ids.index, names), *[0] * (4 - len(names))])
        there = np.arange(4) < len(names)
        pointer = np.where(there, rows.pointer["image"][index], -1)
        targets = {name: np.where(there[:, None], of[index], -1) for name, of in rows.targets.items()}
        images = Padded(pixels[pointer], x.length[pointer])
        return Batch({"image": images}, {"image": pointer >= 0}, targets, rows.weight[index] * there)

    return batch_of


@pytest.fixture(scope="module")
def run(model):
    """(variables, batch) -> the nats of each token, and the gradients of their sum to the variables and to the pixels."""

    def total(variables, pixels, batch):
        inputs = {"image": batch.inputs["image"].replace(x=pixels)}
        nats = token_nats(model.apply(variables, batch.replace(inputs=inputs))["text"], batch.targets["answer"])
        return nats.sum(), nats

    @jax.jit
    def run(variables, batch):
        x = batch.inputs["image"].x
        (_, nats), gradients = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(variables, x, batch)
        return nats, *gradients

    return lambda *given: jax.device_get(run(*given))


@pytest.fixture(scope="module")
def variables(model, batch_of):
    random, shapes = np.random.default_rng(0), jax.eval_shape(model.init, jax.random.key(0), batch_of("test"))
    return jax.tree.map(lambda leaf: 0.5 * random.normal(size=leaf.shape).astype(np.float32), shapes)


def test_a_batch_is_its_dialogues_one_by_one(model, batch_of, run, variables):
    """With four, two, one and no images."""
    names, counts = ["test-several", "test-first", "test-one", "test-none"], [4, 2, 1, 0]
    together = batch_of("test", *names)
    nats, by_variable, by_pixel = run(variables, together)
    total = jax.tree.map(np.zeros_like, by_variable)
    for place, name in enumerate(names):
        own, gradient, pixels = run(variables, batch_of("test", name))
        np.testing.assert_allclose(own[0], nats[place], atol=1e-5)
        np.testing.assert_allclose(pixels[0], by_pixel[place], atol=1e-5)
        assert not pixels[1:].any()
        total = jax.tree.map(np.add, total, gradient)
        # Each image counts. The gradient of what is in the place of others is exactly 0, though they are NaN.
        strength = np.abs(by_pixel[place]).max(axis=(1, 2, 3))
        assert (strength[: counts[place]] > 1e-4).all() and not strength[counts[place] :].any()
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-4), by_variable, total)
    # In packed rows, where two dialogues have two images each.
    packed, _, by_packed = run(variables, batch_of("train", "train-several", "train-first", "train-one"))
    second, (several, first, one, none) = run(variables, batch_of("test", "test-second"))[0].sum(), nats.sum(axis=1)
    np.testing.assert_allclose(packed.sum(axis=1), [several + none, first + second, one, 0], rtol=1e-5)
    np.testing.assert_allclose(by_packed[1, :2], by_pixel[1, :2], atol=1e-5)


@pytest.mark.slow
def test_nothing_is_padded(model, batch_of, run, variables):
    """A dialogue without padding of images, tokens or rows has the losses that it has in a batch."""
    batch = batch_of("test", "test-several", "test-first")
    images, ids, answer = batch.inputs["image"], batch.targets["text"][1:2], batch.targets["answer"][1:2]
    length = int((ids >= 0).sum())
    x, present = Padded(images.x[1:2, :2], images.length[1:2]), {"image": np.ones(1, bool)}
    alone = Batch({"image": x}, present, {"text": ids[:, :length]}, batch.weight[1:2])
    found = jax.jit(lambda *given: token_nats(model.apply(*given)["text"], answer[:, :length]))(variables, alone)
    np.testing.assert_allclose(found[0], run(variables, batch)[0][1, :length], atol=1e-5)


def test_places_and_absence(data, batch_of, run, variables):
    """Only the image that an id names matters, not its number; without its images, a dialogue is its text."""
    batch, vocabulary = batch_of("test", *["test-first"] * 4), data.sizes["text"]["vocabulary"]
    images, ids, answer = batch.inputs["image"].x, batch.targets["text"], batch.targets["answer"]
    # The same; other places of the images; these and other ids; without ids.
    images[1:3, :2] = images[1:3, 1::-1]
    words = ids[3] < vocabulary
    ids[2] = np.where(words, ids[2], vocabulary + (ids[2] - vocabulary + 2) % 4)
    for of in (ids, answer):
        of[3] = [*of[3][words], *[-1] * (~words).sum()]
    nats = run(variables, batch)[0].sum(axis=1)
    assert abs(nats[1] - nats[0]) > 1e-3 and abs(nats[3] - nats[0]) > 1e-3
    np.testing.assert_allclose(nats[2], nats[0], rtol=1e-5)
    images[:] = np.nan
    blind, by_variable, by_pixel = run(variables, batch.replace(present={"image": np.zeros(4, bool)}))
    np.testing.assert_allclose(blind.sum(axis=1), nats[[3] * 4], rtol=1e-5)
    assert not by_pixel.any() and not any(leaf.any() for leaf in jax.tree.leaves(by_variable["params"]["encoders_image"]))


def test_a_model_learns_which_image_is_the_first(batch_of, run, variables):
    """From one packed row with two dialogues of two images each, by the signs of gradients; by chance, ln 2 each."""
    batch = batch_of("train", "train-first")
    for _ in range(40):
        change = run(variables, batch)[1]
        variables = jax.tree.map(lambda leaf, own: leaf - 0.02 * np.sign(own), variables, change)
    nats = run(variables, batch_of("test", "test-first", "test-second"))[0].sum(axis=1)
    assert (nats[:2] < math.log(2) / 2).all()
