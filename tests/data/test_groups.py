"""Connected components against matrix powers, and near-duplicates among drawings made by hand."""

import numpy as np
import pytest

from mmjax.data.groups import connected_groups, near_duplicates, pairs_sharing_a_key, same_drawings


def test_groups_are_numbered_by_first_appearance():
    # 0; the chain 1-3-4, in another order; 2
    np.testing.assert_array_equal(connected_groups(5, [(4, 3), (3, 1)]), [0, 1, 2, 1, 1])
    np.testing.assert_array_equal(connected_groups(3, []), [0, 1, 2])
    assert connected_groups(0, []).shape == (0,)


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_the_connected_components(seed):
    """The reference: i reaches j in a power of the adjacency matrix exactly if they are connected."""
    rng = np.random.default_rng(seed)
    n = 40
    pairs = rng.integers(0, n, (25, 2))
    reach = np.eye(n, dtype=int)
    reach[pairs[:, 0], pairs[:, 1]] = reach[pairs[:, 1], pairs[:, 0]] = 1
    for _ in range(6):  # 2**6 steps exceed the longest path
        reach = (reach @ reach > 0).astype(int)
    groups = connected_groups(n, pairs.tolist())
    np.testing.assert_array_equal(groups[:, None] == groups[None], reach > 0)


@pytest.mark.parametrize("pair", [(0, 3), (-1, 0)])
def test_an_edge_outside_the_graph_is_refused(pair):
    with pytest.raises(ValueError, match=r"must lie in \[0, 3\)"):
        connected_groups(3, [pair])


def test_shared_keys_join():
    keys = [{"a"}, {"b", "c"}, set(), {"c"}, {"a", "b"}]
    # a joins 0 and 4, b joins 1 and 4, c joins 1 and 3: all but example 2
    np.testing.assert_array_equal(connected_groups(5, pairs_sharing_a_key(keys)), [0, 0, 1, 0, 0])


def drawing(side: int, top: int, left: int, colour: tuple[int, int, int], size: int = 40) -> np.ndarray:
    """An L of `side` px on a transparent canvas: not its own mirror image."""
    canvas = np.zeros((size, size, 4), np.uint8)
    third = side // 3
    canvas[top:top + side, left:left + third] = (*colour, 255)
    canvas[top + side - third:top + side, left:left + side] = (*colour, 255)
    return canvas


RED, BLUE = (200, 30, 30), (30, 30, 200)


@pytest.mark.parametrize("other", [
    drawing(24, 2, 2, RED),  # equal
    drawing(24, 12, 9, RED),  # moved
    drawing(30, 5, 5, RED),  # larger
    drawing(24, 2, 2, RED)[:, ::-1],  # mirrored
    drawing(24, 2, 2, (203, 33, 28)),  # a shade off
], ids=["equal", "moved", "larger", "mirrored", "shade"])
def test_near_duplicates_are_found(other):
    pairs, distances = near_duplicates([drawing(24, 2, 2, RED), np.ascontiguousarray(other)], 0.05)
    assert pairs.tolist() == [[0, 1]]
    assert distances[0] <= 0.05


@pytest.mark.parametrize("other", [
    drawing(24, 2, 2, BLUE),
    np.ascontiguousarray(drawing(24, 2, 2, RED)[::-1]),  # upside down is a different drawing, as with p and b
    np.zeros((40, 40, 4), np.uint8),
], ids=["colour", "upside down", "empty"])
def test_different_images_are_not_pairs(other):
    pairs, _ = near_duplicates([drawing(24, 2, 2, RED), other], 0.17)
    assert pairs.shape == (0, 2)


def test_a_white_shape_differs_from_an_empty_image():
    pairs, _ = near_duplicates([drawing(24, 2, 2, (255, 255, 255)), np.zeros((40, 40, 4), np.uint8)], 0.17)
    assert pairs.shape == (0, 2)


def test_thin_drawings_are_not_equal():
    """A bar and a diagonal on an empty background differ in few pixels, but in all that is drawn."""
    bar, diagonal = np.zeros((2, 48, 48, 4), np.uint8)
    bar[:, 24], bar[0], bar[-1] = (0, 0, 0, 255), (0, 0, 0, 255), (0, 0, 0, 255)
    diagonal[range(48), range(48)] = (0, 0, 0, 255)
    assert near_duplicates([bar, diagonal], 0.17)[0].shape == (0, 2)


def test_fewer_than_two_images():
    assert near_duplicates([], 0.1)[0].shape == (0, 2)
    assert near_duplicates([drawing(24, 2, 2, RED)], 0.1)[0].shape == (0, 2)


def test_an_odd_mirrored_sign_is_found():
    """A thin < of 41 px, which is not aligned with the pixels of the thumbnail, and its mirror image >."""
    sign = np.zeros((128, 128, 4), np.uint8)
    for step in range(41):
        for row in (40 + step // 2, 40 - step // 2):
            sign[row : row + 3, 20 + step] = (0, 0, 0, 255)
    assert near_duplicates([sign, np.ascontiguousarray(sign[:, ::-1])], 0.01)[0].tolist() == [[0, 1]]


def test_same_drawing_with_another_detail():
    # A block of 64 x 64 px in two colours that differ in one of its 16 cells of 16 x 16: black -> white changes only colour,
    # 3 of 4 channels, so the share is (3/16) / (4 + 4 - 3/16) of the block's ink = 0.024; another shade everywhere is more.
    block = np.zeros((96, 96, 4), np.uint8)
    block[16:80, 16:80, 3] = 255
    detail, other = block.copy(), block.copy()
    detail[32:48, 32:48, :3] = 255
    other[16:80, 16:80, :3] = 180
    np.testing.assert_array_equal(same_drawings([block, other, detail]), [[0, 2]])
    np.testing.assert_array_equal(same_drawings([block, detail], threshold=0.023), np.zeros((0, 2)))
    np.testing.assert_array_equal(same_drawings([block, detail], threshold=0.025), [[0, 1]])
    assert same_drawings([]).shape == (0, 2)
