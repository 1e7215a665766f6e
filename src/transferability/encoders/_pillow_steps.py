"""Torchvision's scaling and cutting of pictures, which Pillow does: the same pixels in a process without torch.

Worker processes prepare pictures with these. One that imports torch starts seconds later and takes 200 MB more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability.encoders.base import Item

__all__ = ["CentreCut", "Scale", "Window", "in_pillow"]

_RESAMPLINGS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True)
class Window:
    """The steps of a library's transform that make a picture of a picture."""

    steps: tuple[Callable[[Any], Any], ...]

    def __call__(self, item: Item) -> npt.NDArray[np.uint8]:
        """Return the pixels (h, w, c) that the network sees."""
        for step in self.steps:
            item = step(item)
        return np.asarray(item)


@dataclass(frozen=True)
class Scale:
    """`torchvision.transforms.Resize` of Pillow's pictures."""

    size: tuple[int, ...]  # of the shorter side, or height and width
    resampling: str

    def __call__(self, item: Item) -> Item:
        """Return the picture in this size."""
        from PIL.Image import Resampling

        width, height = item.size
        if len(self.size) == 2:
            size = self.size[1], self.size[0]
        elif width <= height:
            size = self.size[0], int(self.size[0] * height / width)
        else:
            size = int(self.size[0] * width / height), self.size[0]
        return item if size == item.size else item.resize(size, Resampling[self.resampling.upper()])


@dataclass(frozen=True)
class CentreCut:
    """`torchvision.transforms.CenterCrop` of Pillow's pictures; what lies outside is black."""

    height: int
    width: int

    def __call__(self, item: Item) -> Item:
        """Return the middle of the picture."""
        left, top = _start(item.width, self.width), _start(item.height, self.height)
        return item.crop((left, top, left + self.width, top + self.height))


def _start(there: int, wanted: int) -> int:
    return -((wanted - there) // 2) if wanted > there else round((there - wanted) / 2)


def in_pillow(steps: Iterable[Callable[[Any], Any]]) -> tuple[Callable[[Any], Any], ...]:
    """Return steps of a torchvision transform, those that Pillow does without torch."""
    return tuple(map(_without_torch, steps))


def _without_torch(step: Any) -> Callable[[Any], Any]:
    kind = f"{type(step).__module__}.{type(step).__name__}"
    if kind == "torchvision.transforms.transforms.CenterCrop":
        return CentreCut(*map(int, step.size))
    if kind == "torchvision.transforms.transforms.Resize" and step.max_size is None:
        size = (step.size,) if isinstance(step.size, int) else tuple(map(int, step.size))
        resampling = str(getattr(step.interpolation, "value", ""))
        if resampling in _RESAMPLINGS and len(size) in (1, 2):
            return Scale(size, resampling)
    whole: Callable[[Any], Any] = step
    return whole
