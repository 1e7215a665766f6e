import numpy as np
import pytest
from PIL import Image

from transferability.encoders.image_input import IMAGENET_MEAN, IMAGENET_STD, PictureInput

RAW = {"mean": 0.0, "std": 1.0}


def test_normalisation_channels_and_layout():
    picture = Image.new("RGB", (4, 4), (255, 51, 0))
    rgb = PictureInput((2, 2)).batch([picture])
    assert (rgb.shape, rgb.dtype) == ((1, 3, 2, 2), np.float32)
    expected = (np.array([1, 0.2, 0]) - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(rgb[0, :, 1, 1], expected, rtol=1e-6)
    bgr = PictureInput((2, 2), channels="BGR", layout="NHWC", **RAW).batch([picture, picture])
    np.testing.assert_allclose(bgr, np.broadcast_to([0, 0.2, 1], (2, 2, 2, 3)), rtol=1e-6)
    grey = PictureInput((3, 2), channels="L", **RAW).batch([picture])
    assert grey.shape == (1, 1, 3, 2)
    np.testing.assert_allclose(grey, round(0.299 * 255 + 0.587 * 51) / 255, rtol=1e-6)


@pytest.fixture
def halves():
    """Return 40 × 20 pixels: a white left half, a red right half."""
    pixels = np.full((20, 40, 3), 255, dtype=np.uint8)
    pixels[:, 20:, 1:] = 0
    return Image.fromarray(pixels)


def test_short_cuts_off_the_ends(halves):
    green = PictureInput((10, 10), filter="box", **RAW).batch([halves])[0, 1]
    np.testing.assert_array_equal(green[:, :5], 1)  # the window is the middle half
    np.testing.assert_array_equal(green[:, 5:], 0)


def test_long_adds_black_borders(halves):
    red = PictureInput((10, 10), fit="long", filter="box", **RAW).batch([halves])[0, 0]
    assert red.any(axis=1).tolist() == [False] * 2 + [True] * 5 + [False] * 3  # 10 × 5 within 10 × 10


def test_stretch_keeps_everything(halves):
    green = PictureInput((10, 8), fit="stretch", filter="box", **RAW).batch([halves])[0, 1]
    assert green.shape == (10, 8)
    np.testing.assert_array_equal(green[:, :4], 1)
    np.testing.assert_array_equal(green[:, 4:], 0)


def test_resize_then_window(halves):
    green = PictureInput((4, 4), resize=8, fit="stretch", filter="box", **RAW).batch([halves])[0, 1]
    np.testing.assert_array_equal(green, np.repeat([[1, 1, 0, 0]], 4, axis=0))
    assert PictureInput((10, 10), resize=20).batch([Image.new("RGB", (1, 500))]).shape == (1, 3, 10, 10)


def test_identity_tells_settings_apart():
    first, second = PictureInput((4, 4)), PictureInput((4, 4), resize=8)
    assert first.identity() != second.identity()
    assert first.identity()["size"] == [4, 4]
