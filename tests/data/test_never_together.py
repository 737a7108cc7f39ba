"""NeverTogether keeps one of two modalities of each training group, and everything elsewhere."""

import numpy as np
import pytest

from mmjax.data import from_arrays
from mmjax.data.check import check_dataset
from mmjax.data.decode import DataError
from mmjax.data.never_together import NeverTogether

ROWS = 60
SPLIT = np.array(["train"] * 40 + ["validation"] * 10 + ["test"] * 10)


def data():
    random = np.random.default_rng(0)
    inputs = {name: list(random.normal(size=(ROWS, 3)).astype(np.float32)) for name in ("image", "text", "audio")}
    inputs["text"][3] = inputs["audio"][4] = None
    inputs["image"][4] = inputs["image"][5] = None
    group = np.arange(ROWS) // 2
    return from_arrays(inputs, {"label": np.arange(ROWS) % 2}, groups=group, split=SPLIT)


def test_a_training_group_keeps_one_of_them():
    before, after = data().load(), NeverTogether(data()).load()
    check_dataset(after)
    old, new = before.splits["train"].pointer, after.splits["train"].pointer
    np.testing.assert_array_equal(new["image"], old["image"])
    audio, text = new["audio"] >= 0, new["text"] >= 0
    assert not (audio & text).any() and audio.any() and text.any()
    group = after.metadata["train"]["group"]
    for number in np.unique(group):
        assert not (audio[group == number].any() and text[group == number].any())
    for name in ("audio", "text"):
        kept = new[name] >= 0
        np.testing.assert_array_equal(new[name][kept], old[name][kept])
    present = (np.stack([new[name] for name in new]) >= 0).any(axis=0)
    np.testing.assert_array_equal(after.splits["train"].weight > 0, present)
    for split in ("validation", "test"):
        np.testing.assert_array_equal(after.splits[split].pointer["text"], before.splits[split].pointer["text"])
    removed = sum(int((old[name] >= 0).sum() - (new[name] >= 0).sum()) for name in ("audio", "text"))
    assert after.dropped["training inputs, so that audio and text never occur together"] == removed > 30
    assert after.fingerprint != before.fingerprint


def test_wrong_modalities_are_named():
    with pytest.raises(DataError, match=r"NeverTogether.modalities: the data have no modality 'video'; they have audio, image"):
        NeverTogether(data(), ("video", "text")).load()
    with pytest.raises(DataError, match=r"name at least two, each once"):
        NeverTogether(data(), ("text", "text"))
