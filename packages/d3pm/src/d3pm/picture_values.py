"""From a PIL picture of any mode to values from 0 to 255: the same for training and for encoding."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from d3pm.errors import DataError, require_extra

__all__ = ["faults_of", "is_picture", "picture_values", "shown"]

GREY = ("1", "L", "LA")
SCALES = tuple((1 << bits) - 1 for bits in (8, 10, 12, 14, 16))


def is_picture(item: Any) -> bool:
    """Return whether it is a PIL picture."""
    return hasattr(item, "convert") and hasattr(item, "getbands")


def shown(picture: Any, name: str, argument: str = "path") -> Any:
    """Return a picture as a viewer shows it, in mode "L" if it is grey, else "RGB".

    Turned upright as its EXIF data say; transparent parts on white, because what lies under them is often garbage; 16
    bits scaled to 8 by the fewest bits (8, 10, 12, 14, 16) that hold the largest value of the picture, because many
    cameras and scanners fill 10 to 14 of them; palettes, CMYK, YCbCr and HSV converted to RGB. Grey are the modes 1, L,
    LA and those of 16 bits. Mode F is refused: floating-point values have no known range. So `transferability` reads
    pictures too.

    Parameters
    ----------
    picture : PIL.Image.Image
        Of 16-bit colours Pillow keeps the upper byte alone. Where few of the 16 bits are in use, the lower ones are
        read from the file, if the picture was opened from one and is not decoded yet.
    name, argument : str
        What to call it in messages, and the argument that it came by.

    Raises
    ------
    DataError
        If it cannot be read, naming it.
    """
    image, ops = (require_extra(f"PIL.{part}", "data", "reading pictures") for part in ("Image", "ImageOps"))
    with faults_of(name, argument):
        raw_modes = _raw_modes(picture)
        upright = ops.exif_transpose(_all_bits(picture, raw_modes, image))
        if upright.mode.startswith("I"):  # 16 bits of grey: convert("RGB") would cut off at 255
            values = np.asarray(upright)
            if values.size and (values.min() < 0 or values.max() > SCALES[-1]):
                message = f"grey values from {values.min()} to {values.max()} fit neither 8 nor 16 bits"
                raise ValueError(message)
            return image.fromarray(_to_8_bits(values))
        if upright.mode == "F":
            message = "floating-point grey values have no known range; save it with 8 or 16 bits"
            raise ValueError(message)
        grey = upright.mode in GREY or any(raw_mode.startswith("LA") for raw_mode in raw_modes)
        if upright.has_transparency_data:
            opaque = upright.convert("RGBA")
            upright = image.alpha_composite(image.new("RGBA", opaque.size, "white"), opaque)
        return upright.convert("L" if grey else "RGB")


def picture_values(picture: Any, mode: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return uint8 (H, W) or (H, W, 3) of a picture that is `shown`, in mode "L" or "RGB".

    Scaled to a size (W, H) with its middle cut out where the shape differs (bicubic, as `PIL.ImageOps.fit`).
    """
    converted = picture.convert(mode)
    if size is not None and converted.size != size:
        converted = require_extra("PIL.ImageOps", "data", "scaling pictures").fit(converted, size)
    return np.asarray(converted)


@contextmanager
def faults_of(name: str, argument: str = "path") -> Iterator[None]:
    """Say which picture cannot be read, whatever a decoder raises."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # decoders raise what they like on damaged files
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        message = f"`{argument}` must hold pictures; {name} cannot be read: {reason}. Remove or replace it."
        raise DataError(message) from error


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale values of up to 16 bits by the fewest bits that hold the largest."""
    largest = next(top for top in SCALES if values.max(initial=0) <= top)
    return (values.astype(np.uint32) * 255 // largest).astype(np.uint8)


def _raw_modes(picture: Any) -> list[str]:
    """Return how the file of a picture that is not decoded yet holds its pixels: "RGB;16B", for example."""
    arguments = [tile.args for tile in getattr(picture, "tile", None) or [] if tile.args]
    return [str(each if isinstance(each, str) else each[0]) for each in arguments]


def _all_bits(picture: Any, raw_modes: list[str], image: Any) -> Any:
    """Return a picture whose colours have 16 bits, of which the upper ones may be empty, with 8 full bits.

    Where the upper bytes alone leave it dark, the file is read once more as if its byte order were the other one.
    """
    if picture.mode not in ("RGB", "RGBA") or not any(";16" in raw_mode for raw_mode in raw_modes):
        return picture
    upper = np.asarray(picture)  # (H, W, 3 | 4)
    source = getattr(picture, "filename", "")
    if upper[..., :3].max(initial=0) >= 64 or not source:  # 16 bits are in use
        return picture
    if any(raw_mode.startswith("LA") for raw_mode in raw_modes):
        message = "it has 16 bits, few of them in use, and transparency; save it with 8 bits"
        raise ValueError(message)
    with image.open(source) as again:
        again.tile = [_other_byte(tile) for tile in again.tile]
        values = upper.astype(np.uint16) << 8 | np.asarray(again)
    channels = [_to_8_bits(part) for part in (values[..., :3], values[..., 3:]) if part.shape[-1]]
    scaled = image.fromarray(np.concatenate(channels, axis=-1))
    scaled.info = picture.info
    return scaled


def _other_byte(tile: Any) -> Any:
    """Return what decodes a tile of 16-bit colours with its bytes swapped."""
    little = sys.byteorder == "little"
    swapped = {"16B": "16L", "16L": "16B", "16N": "16B" if little else "16L"}
    raw_mode = tile.args if isinstance(tile.args, str) else tile.args[0]
    colours, _, depth = raw_mode.partition(";")
    other = f"{colours};{swapped[depth]}"
    return tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:]))
