"""Images before training: drawn over white, then resized."""

import numpy as np

from mmjax.data.image import centre_crop, on_white, resize


def test_on_white_by_hand():
    """Red at alpha 255, 0 and 51 (a fifth): 255 * 4/5 = 204 of white remains. Alpha does not change."""
    red = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 51]]], np.uint8)
    assert on_white(red).tolist() == [[[255, 0, 0, 255], [255, 255, 255, 0], [255, 204, 204, 51]]]
    assert on_white(red).dtype == np.uint8 and red[0, 1].tolist() == [255, 0, 0, 0]
    assert on_white(red[..., :3]).tolist() == [[[255, 0, 0, 255]] * 3]  # opaque


def test_resize_shapes():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)
    assert resize(image, 5).shape == (5, 5, 4) and resize(image, 5).dtype == np.uint8
    square = image[:7]
    np.testing.assert_array_equal(resize(square, 7), square)


def test_resize_keeps_flat_channels_and_their_order():
    flat = np.broadcast_to(np.array([10, 200, 30, 255], np.uint8), (16, 12, 4))
    assert (resize(flat, 6) == [10, 200, 30, 255]).all()


def test_resize_keeps_up_and_left():
    """Only an upper left part is black: rows and columns are not exchanged, and nothing is mirrored."""
    image = np.full((16, 32, 4), 255, np.uint8)
    image[:8, :8] = 0  # half of the height, a quarter of the width
    small = resize(image, 8)[..., 0]
    assert (small[:3, 0] < 40).all() and (small[5:] > 215).all() and (small[:, 4:] > 215).all()


def test_resize_against_averages():
    """Lanczos at an eighth of the size is close to the average of each 8 x 8 block of a smooth image."""
    y, x = np.mgrid[:64, :64]
    smooth = (127 + 80 * np.sin(x / 20) * np.cos(y / 25)).astype(np.uint8)
    blocks = smooth.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    small = resize(np.repeat(smooth[..., None], 4, axis=-1), 8)[..., 0]
    assert np.abs(small[1:-1, 1:-1] - blocks[1:-1, 1:-1]).max() < 3


def test_colours_of_transparent_pixels_do_not_spread():
    """A white disc over transparent red, green or black: the same image after drawing over white."""
    y, x = np.mgrid[:32, :32]
    alpha = np.where((y - 16) ** 2 + (x - 16) ** 2 < 80, 255, 0)
    results = []
    for hidden in ([255, 0, 0], [0, 255, 0], [0, 0, 0]):
        colour = np.where(alpha[..., None] > 0, 255, np.array(hidden))
        results.append(resize(on_white(np.concatenate([colour, alpha[..., None]], axis=-1).astype(np.uint8)), 11))
    assert (results[0][..., :3] == 255).all()
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_centre_crop():
    """The centred square: a wide image loses its ends, a high one top and bottom."""
    wide = np.zeros((4, 8, 4), np.uint8)
    wide[:, 2:6] = np.arange(4, dtype=np.uint8)[None, :, None]
    np.testing.assert_array_equal(centre_crop(wide, 4), wide[:, 2:6])
    np.testing.assert_array_equal(centre_crop(wide.swapaxes(0, 1), 4), wide[:, 2:6].swapaxes(0, 1))
    assert centre_crop(wide, 3).shape == (3, 3, 4)
