"""Pictures to arrays, for encoders whose files do not bring a preprocessing of their own (ONNX graphs mostly).

Encoders of timm, torchvision and transformers never come here: their libraries know how they must be fed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "PictureInput", "PixelType"]

PixelType = Literal["float32", "float16", "float64", "uint8"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PictureInput:
    """How a picture becomes the tensor that a model was trained on: scale, crop, normalise.

    The picture is scaled by `fit`, a window of `size` around its centre is cut out (beyond the border it is black),
    and each channel becomes `(pixel / 255 − mean) / std`.

    Parameters
    ----------
    size : (height, width)
        What the model sees, in pixels.
    resize : int, optional
        Length that `fit` scales to; the larger side of `size` if None.
    fit : {"short", "long", "stretch"}
        Which side becomes `resize` long: the shorter one (the crop then cuts the rest off), the longer one (the window
        then adds black borders), or both, whatever this does to the proportions (without `resize`: exactly `size`).
    filter : {"bilinear", "bicubic", "lanczos", "box"}
        Interpolation, as in Pillow.
    channels : {"RGB", "BGR", "L"}
        Order of the channels, or grey.
    mean, std : tuple of float, or float
        Per channel in the order fed, for pixels in 0..1.
    layout : {"NCHW", "NHWC"}
        Order of the axes of a batch.
    dtype : {"float32", "float16", "float64", "uint8"}
        Of the batch; uint8 are pixels as they are, without mean and deviation.
    """

    size: tuple[int, int] = (224, 224)
    resize: int | None = None
    fit: Literal["short", "long", "stretch"] = "short"
    filter: Literal["bilinear", "bicubic", "lanczos", "box"] = "bicubic"
    channels: Literal["RGB", "BGR", "L"] = "RGB"
    mean: tuple[float, ...] | float = IMAGENET_MEAN
    std: tuple[float, ...] | float = IMAGENET_STD
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: PixelType = "float32"

    def batch(self, pictures: Sequence[Image.Image]) -> npt.NDArray[Any]:
        """Return the pictures as one batch, (n, c, h, w) or (n, h, w, c)."""
        pixels = np.stack([self.window(picture) for picture in pictures])  # (n, h, w, c) uint8
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        values = pixels if self.dtype == "uint8" else (pixels.astype(np.float32) / np.float32(255) - mean) / std
        if self.layout == "NCHW":
            values = values.transpose(0, 3, 1, 2)  # (n, h, w, c) -> (n, c, h, w)
        return np.ascontiguousarray(values, dtype=self.dtype)

    def one(self, picture: Image.Image) -> npt.NDArray[Any]:
        """Return one picture as an array (c, h, w) or (h, w, c)."""
        row: npt.NDArray[Any] = self.batch([picture])[0]
        return row

    def identity(self) -> dict[str, Any]:
        """Return every field, for cache keys; the type of pixels where it is not float32."""
        fields = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in fields.items() if (key, value) != ("dtype", "float32")}

    def window(self, picture: Image.Image) -> npt.NDArray[np.uint8]:
        """Return the pixels (h, w, c) of one picture that the network sees, before their order and scale change."""
        from PIL.Image import Resampling

        picture = picture.convert("L" if self.channels == "L" else "RGB")
        height, width = self.size
        scaled = picture.resize(self._scaled_size(*picture.size), Resampling[self.filter.upper()])
        left, top = int((scaled.width - width) / 2), int((scaled.height - height) / 2)  # negative: a border, as wide
        pixels = np.asarray(scaled.crop((left, top, left + width, top + height)))
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _scaled_size(self, width: int, height: int) -> tuple[int, int]:
        if self.fit == "stretch":
            return (self.resize, self.resize) if self.resize else (self.size[1], self.size[0])
        side = min(width, height) if self.fit == "short" else max(width, height)
        factor = (self.resize or max(self.size)) / side
        return max(1, round(width * factor)), max(1, round(height * factor))
