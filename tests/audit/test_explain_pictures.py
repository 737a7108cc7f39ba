"""Made-up attributions of sounds and series: their pictures, and the recordings beside them."""

import io

import numpy as np
from PIL import Image

from mmjax.audit.explain_pictures import AGAINST, FOR, _entry, shown_maps
from mmjax.audit.part import AuditedPart
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.inputs import SeriesInput, SoundInput
from mmjax.types import Padded, Units


def frames(item):
    """Recordings -> three frames, of which one is padding, with two bands."""
    return Padded(np.float32([[[0, 1], [1, 0], [9, 9]]]), np.full(len(item.x), 2))


SOUND = Column(1, lambda number: Padded(np.zeros(4, np.int16), np.int32(4)), frames, parse=SoundInput(16_000, 4))
VALUES = np.float32([[0, -2], [1, 0], [0, 0]])  # against the upper band of the first frame, for the lower one of the second


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)))


def test_a_spectrogram_has_time_to_the_right_and_low_bands_below():
    entry, picture = _entry(SOUND, 0, VALUES)
    assert entry == {} and pixels(picture).shape == (2, 2, 3)  # without the padding
    np.testing.assert_array_equal(pixels(picture)[0, 0], AGAINST)
    np.testing.assert_array_equal(pixels(picture)[1, 1], np.round((255 + FOR) / 2))  # the frame's largest value is white
    assert (pixels(picture)[1, 0] == round(255 * 0.75)).all() and (pixels(picture)[0, 1] == round(255 * 0.75)).all()


def test_a_series_has_its_channels_as_rows():
    item = Padded(np.float32([[0, 4, 4], [4, 4, 4]]), np.int32(2))
    column = Column(1, lambda number: item, identity, parse=SeriesInput(3, 2))
    _, picture = _entry(column, 0, np.float32([[0, 0, 5], [0, 0, 0]]))
    assert pixels(picture).shape == (3, 2, 3)  # channels, steps
    np.testing.assert_array_equal(pixels(picture)[0, 0], FOR)  # the last channel is on top
    assert (pixels(picture)[2, 0] == round(255 * 0.75)).all() and (pixels(picture)[2, 1] == 255).all()


def test_recordings_are_files_beside_their_pictures():
    """The second unit has no recording to play, the third no sound."""
    rows = Rows({"voice": np.array([0, 0, -1])}, {}, np.ones(3))
    media = lambda row: {"sound": b"mp3 of 0"} if row == 0 else {}
    number, target, metadata = np.arange(3), {"name": np.array(["frog", "car", "cat"])}, {"id": np.array(["x", "y", "z"])}
    data = Dataset({"voice": SOUND}, {"test": rows}, {"test": metadata}, "made", media=media)
    units = Units(target, np.ones(3, np.float32), number, metadata, number, number)
    part = object.__new__(AuditedPart)
    part.__dict__["dataset"] = data
    panels, files = shown_maps(part, units, [0, 1, 2], {"Grad-CAM": {"voice": np.stack([VALUES] * 3)}})
    assert files["sound0.mp3"] == b"mp3 of 0" and len(files) == 3
    first, second = ({"modality": "voice", "picture": f"Grad-CAM-voice-{k}.png"} for k in range(2))
    assert panels[0]["title"] == "Grad-CAM" and panels[0]["examples"] == [
        {"id": "x", "target": "frog", "maps": [first | {"sound": "sound0.mp3"}]},
        {"id": "y", "target": "car", "maps": [second]},
        {"id": "z", "target": "cat", "maps": []},
    ]


def test_features_that_were_hidden_together_are_shown_as_one():
    entry, picture = _entry(SOUND, 0, np.float32([1, 1, 0, -4, 2, 2, 2]))
    assert entry == {
        "words": ["feature 3", "features 4 to 6", "features 0 to 1", "feature 2"],
        "weights": [-1.0, 0.5, 0.25, 0.0],
    }
    assert picture is None
