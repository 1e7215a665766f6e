"""Picture files that are not 8-bit grey or RGB, some of which Pillow cannot write."""

import struct
import zlib

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)
RGB, GREY_ALPHA, RGBA = 2, 4, 6  # colour types of PNG


def png_of_16_bits(path, values, colours):
    """Write (h, w, channels) of up to 16 bits, which Pillow cannot."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colours, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def noise(*shape):
    return RNG.integers(256, size=shape).astype(np.uint8)


def turned(path, size):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(*size, 3)).save(path, exif=exif)


def see_through(path, size):
    picture = Image.fromarray(noise(*size, 3)).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    picture.save(path, transparency=3)


def ink(path, size):
    """Black ink whose shape is in the alpha channel alone."""
    picture = np.zeros((*size, 4), np.uint8)
    picture[..., 3] = noise(*size)
    Image.fromarray(picture).save(path)


def of_mode(mode):
    return lambda path, size: Image.fromarray(noise(*size, 3)).convert(mode).save(path)


def of_12_bits(n_channels, colours):
    def write(path, size):
        values = RNG.integers(4096, size=(*size, n_channels))
        values[0, 0] = 4095
        if n_channels == 4:
            values[..., 3] = 65535
        png_of_16_bits(path, values, colours)

    return write


# Each: the file's ending, whether it is grey, and what writes one of a height and width.
KINDS = {
    "bilevel": ("png", True, of_mode("1")),
    "grey": ("png", True, of_mode("L")),
    "grey and alpha": ("png", True, lambda path, size: Image.fromarray(noise(*size, 2)).save(path)),
    "palette": ("png", False, of_mode("P")),
    "palette with transparency": ("png", False, see_through),
    "RGB": ("png", False, of_mode("RGB")),
    "RGBA": ("png", False, lambda path, size: Image.fromarray(noise(*size, 4)).save(path)),
    "ink in alpha": ("png", False, ink),
    "CMYK": ("tif", False, of_mode("CMYK")),
    "YCbCr": ("jpg", False, of_mode("YCbCr")),
    "upside": ("jpg", False, turned),
    "16 bits": ("png", True, lambda path, size: Image.fromarray(noise(*size).astype(np.uint16) * 257).save(path)),
    "10 bits": ("tif", True, lambda path, size: Image.fromarray(noise(*size).astype(np.uint16) * 4).save(path)),
    "32 bits": ("tif", True, lambda path, size: Image.fromarray(noise(*size).astype(np.int32) * 16).save(path)),
    "12 bits of RGB": ("png", False, of_12_bits(3, RGB)),
    "12 bits of RGBA": ("png", False, of_12_bits(4, RGBA)),
    "16 bits and alpha": (
        "png", True, lambda path, size: png_of_16_bits(path, RNG.integers(65536, size=(*size, 2)), GREY_ALPHA)
    ),
}  # fmt: skip


def write(folder, kind, n=10, size=(8, 8)):
    """Write pictures of a kind; return their files and whether they are grey."""
    ending, grey, make = KINDS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{i}.{ending}" for i in range(n)]
    for file in files:
        make(file, size)
    return files, grey
