"""Data from arrays compare by content, have fingerprints of every byte, and are described without arrays."""

import json

import numpy as np
import pytest

from mmjax.data import from_arrays
from mmjax.data.custom import Images, Texts
from mmjax.data.decode import DataError
from mmjax.data.text import BPE
from mmjax.describe import as_json, from_json
from tests.data.custom.arrays import IMAGES, LABELS, SPLIT, VECTORS, N, everything


def test_data_compare_by_their_content():
    one, same = everything(), everything()
    assert one == same and hash(one) == hash(same)
    changed = IMAGES.copy()
    changed[3, 0, 0, 0] ^= 1
    assert from_arrays({"image": changed}) != from_arrays({"image": IMAGES})
    assert everything(kinds={"image": Images(size=5)}) != one


def test_the_fingerprint_depends_on_every_byte_and_option():
    base = dict(inputs={"vector": VECTORS}, targets={"label": LABELS}, split=SPLIT)
    changed = VECTORS.copy()
    changed[9, 2] = np.nextafter(changed[9, 2], 9)
    others = [
        base | {"inputs": {"vector": changed}},
        base | {"targets": {"label": [*LABELS[:-1], "b"]}},
        base | {"split": [*SPLIT[:5], "valid", *SPLIT[6:]]},
        base | {"ids": [f"r{row}" for row in range(N)]},
        base | {"groups": [0, 0, *range(1, 9)]},
        base | {"metadata": {"speaker": ["x"] * N}},
        base | {"inputs": {"text": [f"word {row}" for row in range(N)]}},
        base | {"inputs": {"text": [f"word {row}" for row in range(N)]}, "kinds": {"text": Texts(BPE(50))}},
    ]
    prints = [from_arrays(**arguments).load().fingerprint for arguments in [base, *others]]
    assert len(set(prints)) == len(prints)
    assert from_arrays(**base).load().fingerprint == prints[0]


def test_changed_arrays_are_refused():
    images = IMAGES.copy()
    data = from_arrays({"image": images})
    images[0, 0, 0, 0] ^= 1
    with pytest.raises(DataError, match="the arrays have changed since from_arrays was called"):
        data.load()


def test_the_description_has_no_arrays():
    text = json.dumps(as_json(everything()))
    assert len(text) < 5000
    again = from_json(json.loads(text))
    assert again == everything()
    with pytest.raises(DataError, match="call from_arrays again"):
        again.load()
