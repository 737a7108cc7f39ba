"""Corruptions of images against SciPy, Pillow and plain loops of the published definitions."""

import colorsys
import io
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mmjax.robust.corruptions import CIFAR10_C, IMAGENET_C, Brightness, changed, filters
from mmjax.robust.corruptions.digital import affine
from mmjax.robust.corruptions.jpeg import jpeg, quantisers

SMOOTH = ndimage.gaussian_filter(np.random.default_rng(0).random((16, 16, 4)), (1.2, 1.2, 0))
IMAGE = np.float32((SMOOTH - SMOOTH.min()) / (SMOOTH.max() - SMOOTH.min()))
COLOURS = jnp.asarray(IMAGE[..., :3])


@pytest.fixture(scope="module")
def severities():
    """{name: [the image at severity 0, 1 and 5]} of all corruptions by one program with a traced severity."""

    @jax.jit
    def run(image, severity):
        return {name: changed(change, jax.random.key(0), image, severity) for name, change in CIFAR10_C.items()}

    found = [run(IMAGE, severity) for severity in (0, 1, 5)]
    return {name: [np.asarray(of[name]) for of in found] for name in CIFAR10_C}


def test_there_are_the_fifteen_of_imagenet_c():
    assert list(IMAGENET_C) == list(CIFAR10_C) and len(IMAGENET_C) == 15
    assert all(len(change.levels) == 5 for suite in (IMAGENET_C, CIFAR10_C) for change in suite.values())


def test_severity_0_is_the_identity_and_5_is_worse_than_1(severities):
    for name, (none, mild, strong) in severities.items():
        np.testing.assert_array_equal(none, IMAGE, err_msg=name)
        assert np.all((strong >= 0) & (strong <= 1)), name
        np.testing.assert_array_equal(strong[..., 3], IMAGE[..., 3], err_msg=name)  # alpha
        assert np.square(strong - IMAGE).mean() > np.square(mild - IMAGE).mean() > 0 or name == "elastic_transform", name


def test_brightness_and_contrast_follow_their_formulas(severities):
    for row, column in ((0, 0), (3, 5)):
        hue, saturation, value = colorsys.rgb_to_hsv(*map(float, IMAGE[row, column, :3]))
        wanted = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.3, 1))
        np.testing.assert_allclose(severities["brightness"][2][row, column, :3], wanted, atol=1e-5)
    mean = IMAGE[..., :3].mean(axis=(0, 1))
    np.testing.assert_allclose(severities["contrast"][2][..., :3], (IMAGE[..., :3] - mean) * 0.15 + mean, atol=1e-5)
    black = Brightness()(jax.random.key(0), jnp.zeros((1, 1, 3)), 2)
    np.testing.assert_allclose(black, 0.2)


def test_noise_has_its_published_size(severities):
    noise = (severities["gaussian_noise"][1] - IMAGE)[..., :3]
    inside = (IMAGE[..., :3] > 0.2) & (IMAGE[..., :3] < 0.8)
    assert noise[inside].std() == pytest.approx(0.04, rel=0.15)
    replaced = severities["impulse_noise"][2][..., :3] != IMAGE[..., :3]
    assert replaced.mean() == pytest.approx(0.07, abs=0.02)
    assert set(np.unique(severities["impulse_noise"][2][..., :3][replaced])) == {0, 1}
    photons = severities["shot_noise"][2][..., :3] * 50
    np.testing.assert_allclose(photons, np.round(photons), atol=1e-4)


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.3])
def test_gaussian_blur_is_that_of_scipy(sigma):
    found = filters.gaussian_blur(COLOURS, sigma)
    np.testing.assert_allclose(found, ndimage.gaussian_filter(COLOURS, (sigma, sigma, 0), mode="nearest"), atol=1e-5)
    found = filters.gaussian_blur(COLOURS, sigma, truncate=3.0, mode="symmetric")
    wanted = ndimage.gaussian_filter(COLOURS, (sigma, sigma, 0), mode="reflect", truncate=3.0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_disks_and_correlation_are_those_of_the_published_code():
    """The disk by loops over its definition; OpenCV's border mode of a correlation is SciPy's "mirror"."""
    kernel = np.zeros((17, 17))
    for y in range(-8, 9):
        for x in range(-8, 9):
            kernel[y + 8, x + 8] = x * x + y * y <= 4**2
    tap = np.exp(-0.5 * (np.arange(-1, 2) / 0.5) ** 2)
    smooth = np.outer(tap, tap) / tap.sum() ** 2
    kernel = ndimage.correlate(kernel / kernel.sum(), smooth, mode="mirror")
    np.testing.assert_allclose(filters.disk(4, 0.5, 10)[2:-2, 2:-2], kernel, atol=1e-7)
    found = filters.convolved(COLOURS, jnp.asarray(kernel, jnp.float32)[:, :, ])
    wanted = [ndimage.correlate(np.asarray(COLOURS)[..., c], kernel, mode="mirror") for c in range(3)]
    np.testing.assert_allclose(found, np.stack(wanted, axis=-1), atol=1e-5)


def test_motion_blur_is_that_of_imagemagick():
    """Half a Gaussian of 2 r + 1 taps along (cos, sin), each offset rounded, and the edge repeated: a loop over its source."""
    weight = np.exp(-0.5 * (np.arange(7) / 2.0) ** 2)
    wanted, x = np.zeros_like(COLOURS), np.asarray(COLOURS)
    for row in range(16):
        for column in range(16):
            for tap in range(7):
                right = int(np.ceil(tap * np.cos(np.deg2rad(30)) - 0.5))
                down = int(np.ceil(tap * np.sin(np.deg2rad(30)) - 0.5))
                wanted[row, column] += weight[tap] / weight.sum() * x[min(row + down, 15), min(column + right, 15)]
    blur = jax.jit(filters.motion_blur, static_argnames="taps")
    found = blur(COLOURS, jnp.float32(3), jnp.float32(2), jnp.float32(30), taps=11)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 1.06, 1.75, 4.5])
def test_zoom_is_that_of_the_published_code(factor):
    kept = int(np.ceil(16 / factor))
    top = (16 - kept) // 2
    large = ndimage.zoom(COLOURS[top : top + kept, top : top + kept], (factor, factor, 1), order=1)
    trim = (large.shape[0] - 16) // 2
    matrix = filters.zoom_matrix(16, factor)
    found = filters.apply_rows_and_columns(matrix, matrix, COLOURS)
    np.testing.assert_allclose(found, large[trim : trim + 16, trim : trim + 16], atol=1e-5)


@pytest.mark.parametrize("size", [4, 9, 15])
def test_boxes_are_those_of_pillow(size):
    image = Image.fromarray(np.uint8(IMAGE[..., :3] * 255))
    wanted = np.asarray(image.resize((size, size), Image.Resampling.BOX).resize((16, 16), Image.Resampling.BOX), np.float32)
    matrix = filters.box_matrix(size, 16) @ filters.box_matrix(16, size)
    found = filters.apply_rows_and_columns(matrix, matrix, jnp.asarray(np.asarray(image), jnp.float32))
    np.testing.assert_allclose(found, wanted, atol=1.01)  # Pillow rounds to bytes twice


def test_pixels_are_shuffled_as_by_the_published_loops():
    random = np.random.default_rng(1)
    offsets, wanted = random.integers(-2, 2, (2, 16, 16, 2)), np.array(COLOURS)
    for turn in range(2):
        for row in range(16 - 2, 2, -1):
            for column in range(16 - 2, 2, -1):
                right, down = offsets[turn, row, column]
                a, b = wanted[row, column], wanted[row + down, column + right]
                wanted[row, column], wanted[row + down, column + right] = b, a  # NumPy views: the second is a copy of itself
    found = jax.jit(filters.shuffled)(COLOURS, jnp.asarray(offsets), jnp.int32(2), jnp.int32(2))
    np.testing.assert_array_equal(found, wanted)


def test_plasma_is_the_diamond_square_algorithm():
    """Every point of a finer grid is the mean of its four neighbours on the torus plus noise of at most wibble^2."""
    size, decay = 8, 2.0
    field = np.asarray(jax.jit(filters.plasma, static_argnums=1)(jax.random.key(3), size, decay), np.float64)
    assert field.min() == 0 and field.max() == 1
    at, step, wibble, bounds = (lambda i, j: field[i % size, j % size]), size, 100.0, []
    while step >= 2:
        half = step // 2
        for i in range(0, size, step):
            for j in range(0, size, step):
                corners = at(i, j) + at(i + step, j) + at(i, j + step) + at(i + step, j + step)
                bounds.append((abs(at(i + half, j + half) - corners / 4), wibble**2))
                for row, column in ((i, j + half), (i + half, j)):
                    near = at(row - half, column) + at(row + half, column) + at(row, column - half) + at(row, column + half)
                    bounds.append((abs(at(row, column) - near / 4), wibble**2))
        step, wibble = half, wibble / decay
    span = 1 / max(of / limit for of, limit in bounds)  # the field was divided by its range
    assert all(of * span <= limit * (1 + 1e-3) for of, limit in bounds)
    assert np.mean([of * span / limit for of, limit in bounds]) > 0.2


def test_affine_maps_are_those_of_scipy():
    """OpenCV maps the points by the matrix and reads the source by its inverse; its border is SciPy's "mirror"."""
    shifts = np.float32([[1, 0.5], [-1, 0.3], [0.4, -0.8]])
    points = np.float32([[13, 13], [13, 3], [3, 3]])
    back = np.linalg.solve(np.c_[points + shifts, np.ones(3)], points)  # (x, y, 1) -> (x, y) of the source
    matrix = np.array([[back[1, 1], back[0, 1]], [back[1, 0], back[0, 0]]])
    channel = lambda c: ndimage.affine_transform(np.asarray(COLOURS)[..., c], matrix, back[2, ::-1], order=1, mode="mirror")
    np.testing.assert_allclose(affine(COLOURS, jnp.asarray(shifts)), np.stack([channel(c) for c in range(3)], -1), atol=1e-4)


def test_jpeg_is_nearly_that_of_libjpeg():
    """Pixels differ by rounding, and in few blocks by a step of the quantiser; grey images have the rounding alone."""
    pixels, compress = np.uint8(255 * IMAGE[..., :3]), jax.jit(jpeg)
    for quality in (7.0, 25.0, 80.0):
        Image.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG", quality=int(quality))
        read = Image.open(buffer)
        for number, table in enumerate(quantisers(quality)):
            np.testing.assert_array_equal(np.asarray(table).ravel(), read.quantization[number])
        found = np.asarray(compress(jnp.asarray(pixels / 255, jnp.float32), quality)) * 255
        wanted = np.asarray(read, np.float32)
        assert np.median(np.abs(found - wanted)) <= 1 and np.abs(found - wanted).mean() < 0.3 * np.abs(found - pixels).mean()
        Image.fromarray(pixels[..., 0]).save(buffer := io.BytesIO(), "JPEG", quality=int(quality))
        grey = np.asarray(compress(jnp.asarray(pixels[..., :1] / 255, jnp.float32), quality))[..., 0] * 255
        assert np.abs(grey - np.asarray(Image.open(buffer), np.float32)).mean() < 0.5


def test_elastic_transform_without_displacement_is_the_affine_map():
    change = replace(CIFAR10_C["elastic_transform"], levels=((0, 0, 0),) * 5)
    np.testing.assert_allclose(jax.jit(change.__call__)(jax.random.key(0), COLOURS, 3), COLOURS, atol=1e-4)
