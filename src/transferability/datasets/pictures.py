"""Pictures of any mode to 8-bit RGB, upright."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transferability.errors import DatasetError, require_extra

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["as_rgb", "as_uint8", "open_picture"]


def open_picture(source: Path | bytes, name: str) -> Image.Image:
    """Read one picture as RGB.

    Turned upright as its EXIF data say; transparent parts on white (what lies under them is often garbage); 16-bit
    grey scaled to 8 bits; CMYK and palettes converted; the first frame of an animation.

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
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            ImageOps.exif_transpose(picture, in_place=True)
            return as_rgb(picture)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        message = f"picture {name} cannot be read: {_reason(error)}. Replace or remove it."
        raise DatasetError(message) from error


def as_uint8(pixels: npt.NDArray[Any], source: str) -> npt.NDArray[np.uint8]:
    """Return a stack of pictures, (n, h, w) or (n, h, w, 1|3|4), as uint8.

    Floats must lie in 0..1 and are scaled by 255.

    Raises
    ------
    DatasetError
        For another shape, dtype or range.
    """
    if pixels.ndim == 4 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[-1] not in (3, 4)) or 0 in pixels.shape[1:]:
        message = f"pictures of {source} must be (n, height, width) or (n, height, width, 3); got {pixels.shape}."
        if pixels.ndim == 4 and pixels.shape[1] in (1, 3):
            message += " Put the channels last: x.transpose(0, 2, 3, 1)."
        raise DatasetError(message)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    low, high = (pixels.min(initial=0), pixels.max(initial=0)) if pixels.dtype.kind in "iuf" else (np.nan, np.nan)
    if pixels.dtype.kind == "f" and low >= 0 and high <= 1:  # false for NaN too
        return np.round(pixels * 255).astype(np.uint8)
    if pixels.dtype.kind in "iu" and low >= 0 and high <= 255:
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
        return Image.fromarray((values // 257).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        message = "floating-point grey values have no known range; save it with 8 or 16 bits"
        raise ValueError(message)
    if picture.has_transparency_data:
        opaque = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return picture.convert("RGB")


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    return "it is of no known picture format" if isinstance(error, UnidentifiedImageError) else str(error).rstrip(".")
