"""Pictures of every depth and size to 8-bit RGB."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from transferability.datasets import images
from transferability.datasets.images import inspect_picture, open_picture
from transferability.errors import DatasetError

rng = np.random.default_rng(0)
GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6  # colour types of PNG


def png_of_16_bits(values, colours):
    """Return (h, w, channels) of up to 16 bits as a PNG file, which Pillow cannot write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def tiff_of_16_bits(values, order):
    """Return (h, w, 3) of up to 16 bits as an uncompressed TIFF file in the byte order given."""
    height, width = values.shape[:2]
    pixels = values.astype(f"{order}u2").tobytes()
    at = 8 + 2 + 9 * 12 + 4
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, at),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, at + 6),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack(f"{order}H2x" if kind == 3 and count == 1 else f"{order}I", value)
        head += struct.pack(f"{order}HHI", tag, kind, count) + packed
    return head + struct.pack(f"{order}I", 0) + struct.pack(f"{order}3H", 16, 16, 16) + pixels


def encoded(picture, kind="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def pixels_of(source):
    picture = open_picture(source, "it")
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("colours", [GREY, RGB, RGBA])
def test_sixteen_bits_are_scaled_by_those_in_use(bits, colours):
    top = 2**bits - 1
    values = rng.integers(0, top + 1, (5, 6, {GREY: 1, RGB: 3, RGBA: 4}[colours]))
    values[0, 0] = top
    if colours == RGBA:
        values[..., 3] = 65535
    expected = np.broadcast_to(values[..., :3] * 255 // top, (5, 6, 3))
    np.testing.assert_allclose(pixels_of(png_of_16_bits(values, colours)), expected, atol=bits == 16)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_of_tiff_in_either_byte_order(order):
    values = rng.integers(0, 4096, (5, 6, 3))
    values[0, 0] = 4095
    np.testing.assert_array_equal(pixels_of(tiff_of_16_bits(values, order)), values * 255 // 4095)


def test_sixteen_bits_with_transparency_that_cannot_be_told_are_refused():
    values = np.full((2, 2, 2), 65535)
    np.testing.assert_array_equal(pixels_of(png_of_16_bits(values, GREY_ALPHA)), np.full((2, 2, 3), 255))
    values[..., 0] = 4095
    with pytest.raises(DatasetError, match="picture it cannot be read: it has 16 bits, few of them in use"):
        open_picture(png_of_16_bits(values, GREY_ALPHA), "it")


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(images, "_MOST_PIXELS", 5_000)
    monkeypatch.setattr(images, "_KEPT_PIXELS", 1_700)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P", "1", "LA"])
def test_a_picture_larger_than_any_encoder_sees_is_reduced(mode, small_limits):
    source = encoded(Image.new(mode, (80, 70)), "TIFF" if mode == "CMYK" else "PNG")
    assert open_picture(source, "it").size == (40, 35)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_large_jpeg_is_decoded_small(monkeypatch):
    gradient = np.tile(np.linspace(0, 255, 13_000).astype(np.uint8), (13_000, 1))
    source = encoded(Image.fromarray(gradient), "JPEG")
    decoded = []
    original = Image.Image.reduce
    monkeypatch.setattr(
        Image.Image, "reduce", lambda self, *a, **k: decoded.append(self.size) or original(self, *a, **k)
    )
    picture = open_picture(source, "it")
    assert (picture.size, decoded) == ((3250, 3250), [])  # by the decoder itself
    row = np.asarray(picture)[1000, :, 0].astype(int)
    assert abs(row - np.linspace(0, 255, 3250)).max() < 4


def test_a_reduced_picture_is_upright(small_limits):
    pixels = np.zeros((72, 80), dtype=np.uint8)
    pixels[:, :40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG"):
        picture = open_picture(encoded(Image.fromarray(pixels), kind, exif=exif), "it")
        assert picture.size == (36, 40)
        assert picture.getpixel((18, 5))[0] > 250  # type: ignore[index]
        assert picture.getpixel((18, 35))[0] < 5  # type: ignore[index]


def test_photographs_keep_their_size():
    assert open_picture(encoded(Image.new("L", (8000, 6000)), "BMP"), "it").size == (8000, 6000)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_picture_that_is_cut_off_shows_without_decoding_all(kind, tmp_path):
    whole = encoded(Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)), kind)
    for source in (whole, whole + b"\0" * 20):
        path = tmp_path / "a"
        path.write_bytes(source)
        assert inspect_picture(source, "it") == inspect_picture(path, "it") == len(source)
    for source in (whole[:100], whole[: len(whole) * 3 // 4], b"", b"text"):
        path.write_bytes(source)
        for given in (source, path):
            with pytest.raises(DatasetError, match="picture it cannot be read"):
                inspect_picture(given, "it")


def test_bytes_behind_the_end_of_a_jpeg_are_no_damage():
    whole = encoded(Image.new("RGB", (20, 20)), "JPEG")
    assert inspect_picture(whole + b"what a camera appends", "it") == len(whole) + 21


def test_whatever_a_decoder_raises_names_the_picture(monkeypatch):
    def fail(*_args, **_options):
        raise IndexError

    whole = encoded(Image.new("RGB", (20, 20)))
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(DatasetError, match=r"picture it cannot be read: IndexError\. Replace or remove it"):
        open_picture(whole, "it")
