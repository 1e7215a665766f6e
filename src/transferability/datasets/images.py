"""Pictures of any mode to 8-bit RGB, upright."""

from __future__ import annotations

import io
import math
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transferability.errors import DatasetError, MissingExtraError, require_extra

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["as_rgb", "as_uint8", "inspect_picture", "open_picture", "picture_bytes"]

_MOST_BYTES = 1 << 31
_MOST_PIXELS = 50_000_000  # of a picture that is decoded as it is
_KEPT_PIXELS = 1 << 24  # of one that has more
_REDUCIBLE = frozenset({"L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"})  # others hold numbers that cannot be averaged
_SCALES = tuple((1 << bits) - 1 for bits in (8, 10, 12, 14, 16))
# How a whole file ends, give or take zeros. A JPEG file may have more behind its end, and is then decoded to be sure.
_LAST_BYTES = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9", "GIF": b";"}
_TAIL = 64


def open_picture(source: Path | bytes, name: str) -> Image.Image:
    """Read one picture as RGB.

    Turned upright as its EXIF data say; transparent parts on white (what lies under them is often garbage); 16 bits
    scaled to 8, by the fewest bits (8, 10, 12, 14, 16) that hold the largest value, because many cameras and scanners
    fill 10 to 14 of them; CMYK and palettes converted; the first frame of an animation. More than 50 million pixels
    are reduced by a whole factor to at most 17 million, while they are decoded where the format can: no encoder looks
    at so many, and a batch of them would fill the memory.

    Parameters
    ----------
    source : Path or bytes
        A file, or the contents of one.
    name : str
        What to call it in messages.

    Raises
    ------
    DatasetError
        If it cannot be read, naming it.
    MissingExtraError
        Without Pillow.
    """
    require_extra("PIL", "images", "reading pictures")
    from PIL import ImageOps

    with _faults_of(name), _opened(source) as picture:
        factor = _reduction(picture, _MOST_PIXELS)
        if factor > 1:  # a JPEG file is decoded to half, a quarter or an eighth
            picture.draft(None, (picture.width // factor, picture.height // factor))
            factor = _reduction(picture, _KEPT_PIXELS)
        whole = _scaled_colours(picture, source)
        ImageOps.exif_transpose(whole, in_place=True)
        if factor == 1:
            return as_rgb(whole)
        return as_rgb(whole.reduce(factor)) if whole.mode in _REDUCIBLE else as_rgb(whole).reduce(factor)


def inspect_picture(source: Path | bytes, name: str) -> int:
    """Return the size of a picture in bytes, once its header and its end are sound.

    Decodes nothing but a picture that seems to be cut off; damage in the middle shows only when it is read.

    Raises
    ------
    DatasetError
        If it is no picture, or is cut off, naming it.
    """
    require_extra("PIL", "images", "reading pictures")
    with _faults_of(name):
        size = len(source) if isinstance(source, bytes) else _regular_size(source)
        with _opened(source) as picture:
            mark = _LAST_BYTES.get(picture.format or "")
        if mark is None or _end(source).rstrip(b"\0").endswith(mark):
            return size
    open_picture(source, name)
    return size


def picture_bytes(path: Path) -> bytes:
    """Return the contents of a picture's file."""
    _regular_size(path)
    return path.read_bytes()


def _regular_size(path: Path) -> int:
    """Return the size of a file in bytes; raise ValueError for a pipe or a device, which would be read for ever."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        message = "it is a folder, a pipe or a device, not a file"
        raise ValueError(message)
    if status.st_size > _MOST_BYTES:
        message = f"it has {status.st_size:,} bytes; pictures may have {_MOST_BYTES:,}"
        raise ValueError(message)
    return status.st_size


def as_uint8(pixels: npt.NDArray[Any], source: str) -> npt.NDArray[np.uint8]:
    """Return a stack of pictures, (n, h, w), (n, h, w, 1|3|4) or, as torch has them, (n, 1|3, h, w), as uint8.

    Floats in 0..1 are scaled by 255; whole ones in 0..255 are taken as they are.

    Raises
    ------
    DatasetError
        For another shape, dtype or range.
    """
    if pixels.ndim == 4 and pixels.shape[1] in (1, 3) and pixels.shape[-1] not in (1, 3, 4):
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.ndim == 4 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[-1] not in (3, 4)) or 0 in pixels.shape[1:]:
        message = f"pictures of {source} must be (n, height, width) or (n, height, width, 3); got {pixels.shape}."
        if pixels.ndim == 2:
            message += " Rows of features belong in an array named `features`, with `labels` beside it."
        raise DatasetError(message)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    low, high = (pixels.min(initial=0), pixels.max(initial=0)) if pixels.dtype.kind in "iuf" else (np.nan, np.nan)
    if pixels.dtype.kind == "f" and low >= 0 and high <= 1:  # false for NaN too
        return np.round(pixels * 255).astype(np.uint8)
    is_whole = pixels.dtype.kind in "iu" or (pixels.dtype.kind == "f" and bool((pixels == np.round(pixels)).all()))
    if is_whole and low >= 0 and high <= 255:
        return pixels.astype(np.uint8)
    message = f"pictures of {source} must hold integers 0..255 or floats 0..1; "
    message += f"got {pixels.dtype} from {low} to {high}. Scale them first."
    raise DatasetError(message)


def as_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode in RGB; raises ValueError for grey values of an unknown range."""
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bits of grey, held as I;16 or I: convert("RGB") would cut off at 255
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            message = f"grey values from {values.min()} to {values.max()} fit neither 8 nor 16 bits"
            raise ValueError(message)
        return Image.fromarray(_to_8_bits(values)).convert("RGB")
    if picture.mode == "F":
        message = "floating-point grey values have no known range; save it with 8 or 16 bits"
        raise ValueError(message)
    if picture.has_transparency_data:
        opaque = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return picture.convert("RGB")


def _to_8_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scale values of up to 16 bits by the fewest bits that hold the largest."""
    largest = next(top for top in _SCALES if values.max(initial=0) <= top)
    return (values.astype(np.uint32) * 255 // largest).astype(np.uint8)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    """Open a picture without decoding it."""
    from PIL import Image

    if isinstance(source, Path):
        _regular_size(source)
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
        yield picture


def _scaled_colours(picture: Image.Image, source: Path | bytes) -> Image.Image:
    """Return a picture whose colours have 16 bits, of which the upper ones may be empty, with 8 full bits.

    Pillow keeps the upper byte of such colours alone. Where that leaves the picture dark, the lower byte is decoded
    too, by reading the file as if its byte order were the other one.
    """
    from PIL import Image

    tiles = getattr(picture, "tile", [])
    raw_modes = [tile.args if isinstance(tile.args, str) else tile.args[0] for tile in tiles if tile.args]
    if picture.mode not in ("RGB", "RGBA") or not any(";16" in str(raw_mode) for raw_mode in raw_modes):
        return picture
    upper = np.asarray(picture)  # (h, w, 3 | 4)
    if upper[..., :3].max(initial=0) >= 64:  # 16 bits are in use
        return picture
    if any(raw_mode.startswith("LA") for raw_mode in raw_modes):
        message = "it has 16 bits, few of them in use, and transparency; save it with 8 bits"
        raise ValueError(message)
    with _opened(source) as again:
        again.tile = [_other_byte(tile) for tile in again.tile]  # type: ignore[attr-defined]
        values = upper.astype(np.uint16) << 8 | np.asarray(again)
    channels = [_to_8_bits(values[..., :3])]
    if values.shape[-1] == 4:
        channels.append(_to_8_bits(values[..., 3:]))
    scaled = Image.fromarray(np.concatenate(channels, axis=-1))
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


@contextmanager
def _faults_of(name: str) -> Iterator[None]:
    """Say which picture cannot be read, whatever a decoder raises."""
    try:
        yield
    except (DatasetError, MissingExtraError):
        raise
    except Exception as error:  # decoders raise what they like on damaged files
        message = f"picture {name} cannot be read: {_reason(error)}. Replace or remove it."
        raise DatasetError(message) from error


def _reduction(picture: Image.Image, most: int) -> int:
    """Return the whole factor by which both sides of a picture of more than `most` pixels must shrink."""
    n_pixels = picture.width * picture.height
    return math.ceil(math.sqrt(n_pixels / _KEPT_PIXELS)) if n_pixels > most else 1


def _end(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[-_TAIL:]
    with source.open("rb") as stream:
        stream.seek(-min(_TAIL, source.stat().st_size), os.SEEK_END)
        return stream.read(_TAIL)


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is of no known picture format"
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
