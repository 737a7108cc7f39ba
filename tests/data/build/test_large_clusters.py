"""Clusters of more copies than one round of the search compares are one group."""

import numpy as np

from mmjax.data.build.duplicates import find_duplicates, leak_free_groups
from mmjax.data.build.image_match import NEIGHBOURS, image_duplicates, look
from mmjax.data.build.nearest import pairs_between_groups
from mmjax.data.build.planted import pitch_shifted
from mmjax.data.build.split import split_by_group
from mmjax.data.decode import decode_image
from mmjax.data.groups import connected_groups
from tests.data.build.files import drawing, encoded, item, melody, sound

COPIES = NEIGHBOURS + 2  # in each cluster, so more than a round of the search has candidates


def one_group_and_split(groups: np.ndarray) -> None:
    """The first items are copies of one, and every other item is alone, with splits of 5 seeds."""
    assert groups.tolist() == [0] * 2 * COPIES + list(range(1, len(groups) - 2 * COPIES + 1))
    for seed in range(5):
        splits, _ = split_by_group(groups, ["x"] * len(groups), 5, seed, seed)
        assert len(set(splits[: 2 * COPIES])) == 1


def test_two_large_clusters_of_one_image_are_one_group():
    """One cluster is of a crop; its members differ in compression. Within a cluster, scores are above .9995, across .9965."""
    whole = drawing(500, 96)
    pair = whole, np.ascontiguousarray(whole[6:90, 6:90])
    copies = [encoded(pixels, "JPEG", quality=80 + k) for pixels in pair for k in range(COPIES)]
    looks = [look(decode_image(file, "")) for file in copies] + [look(drawing(k)) for k in range(20)]
    found = image_duplicates(looks, 0.99, np.arange(len(looks)))
    one_group_and_split(connected_groups(len(looks), found.above(0.99).tolist()))


def test_two_large_clusters_of_one_recording_are_one_group():
    """One cluster is pitch shifted; its members differ in gain."""
    pair = melody(500), pitch_shifted(melody(500), 2.0)
    copies = [sound(wave * np.float32(0.95**k)) for wave in pair for k in range(COPIES)]
    files = copies + [sound(melody(k)) for k in range(25)]
    items = [item(str(k), audio=file) for k, file in enumerate(files)]
    one_group_and_split(leak_free_groups(items, [find_duplicates(items, "audio", copies=20)]))


def test_a_search_between_groups_by_hand():
    """Angles 0, 1, 2 and 40, 41, 42 degrees are two clusters; one neighbour each joins only (0 1), (1 2), (40 41), (41 42)."""
    angle = np.deg2rad([0.0, 1.0, 2.1, 40.0, 41.0, 42.1, 180.0])
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)[:, None]
    scored = []

    def score(found):
        scored.extend(zip(found.query.tolist(), found.key.tolist()))
        return np.where((found.query < 3) == (found.key < 3), 1.0, 0.9)

    joined = pairs_between_groups(points, score, 0.9, np.arange(7), 1, 0.5)
    assert joined.pairs.tolist() == [[0, 1], [0, 3], [1, 2], [1, 3], [2, 3], [2, 4], [2, 5], [3, 4], [4, 5]]
    assert joined.above(1.0).tolist() == [[0, 1], [1, 2], [3, 4], [4, 5]]
    scored.clear()
    apart = pairs_between_groups(points, score, 0.95, np.arange(7), 1, 0.5)  # the second round joins nothing, and is the last
    assert len(scored) == 12 and apart.pairs.tolist() == joined.pairs.tolist()
    known = pairs_between_groups(points, score, 2.0, np.array([0, 0, 0, 1, 1, 1, 2]), 1, 0.5)  # nothing reaches 2
    assert known.pairs.tolist() == joined.pairs.tolist()
