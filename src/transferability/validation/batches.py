"""Prepared items of a data set, read once and kept: in memory, or beyond a budget in a file that memory maps.

Pictures are decoded and resized once, in worker processes where that pays, and not again in every epoch. Where the
encoder's preprocessing is a scaling of 8-bit pixels, pixels are kept, a quarter of the bytes, and scaled on the device:
what a black and a white picture become tells the scaling, and every picture is checked against it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferability._array import IntArray
from transferability.datasets import Dataset
from transferability.encoders import TrainableEncoder
from transferability.encoders.base import Preprocess
from transferability.errors import OutputError
from transferability.features.prefetch import prefetch
from transferability.features.preprocessing import Decoder

__all__ = ["KEEP_IN_MEMORY", "Batches", "PreparedItems"]

KEEP_IN_MEMORY = 2**30  # bytes of prepared items; more are kept in a file
_CHUNK = 64  # rows that are decoded together
_AHEAD = 2  # batches that are made before they are needed
_OFF_GRID = 0.01  # of a pixel's step: rounding of float32 is a hundredth of that

Batches = AbstractContextManager[Iterator[Any]]


class _Scaling(NamedTuple):
    """How pixels 0..255 became prepared values: `offset + step · pixel`, one of each per channel, broadcastable."""

    offset: npt.NDArray[np.float32]
    step: npt.NDArray[np.float32]

    def pixels(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8] | None:
        """Return the pixels that values came from; None where they came from none."""
        exact = (values - self.offset) / self.step
        pixels = np.rint(exact)
        if np.abs(exact - pixels).max() > _OFF_GRID or pixels.min() < 0 or pixels.max() > 255:
            return None
        whole: npt.NDArray[np.uint8] = pixels.astype(np.uint8)
        return whole


class PreparedItems:
    """Batches of some rows of a data set, as the encoder takes them, on its device.

    Parameters
    ----------
    encoder : TrainableEncoder
    dataset : Dataset
    rows : array of int
        Those that will be asked for.
    device : torch.device
    workers : int, optional
        Processes that decode, as `transferability.features` has them.
    """

    def __init__(
        self,
        encoder: TrainableEncoder,
        dataset: Dataset,
        rows: IntArray,
        device: torch.device,
        workers: int | None = None,
    ) -> None:
        self._dataset, self._rows, self._device, self._workers = dataset, np.unique(rows), device, workers
        self._prepare = encoder.preprocess
        self._store: Tensor | None = None
        self._scaling: _Scaling | None = None
        self._on_device: tuple[Tensor, Tensor] | None = None
        self._items: list[Any] | None = None  # of texts, and of pictures that differ in shape

    def batches(self, parts: Sequence[IntArray]) -> Batches:
        """Return a context that gives an iterator over the batches of these rows, made while others are computed on."""
        self._read()
        return prefetch((self._batch(part) for part in parts), lambda: _AHEAD)

    def first(self, count: int) -> Any:
        """Return the batch of the first rows."""
        self._read()
        return self._batch(self._rows[:count])

    def _batch(self, rows: IntArray) -> Any:
        places = np.searchsorted(self._rows, rows)
        if self._store is None:
            assert self._items is not None
            return [self._items[place] for place in places]
        batch = self._store[torch.from_numpy(places)]
        if self._device.type == "cuda":
            batch = batch.pin_memory()
        batch = batch.to(self._device, non_blocking=True)
        if self._on_device is not None:
            offset, step = self._on_device
            batch = torch.addcmul(offset, step, batch.float())
        return batch

    def _read(self) -> None:
        """Decode every row, once."""
        if self._store is not None or self._items is not None:
            return
        if self._prepare is None:
            self._items = self._dataset.items(self._rows)
            return
        done = 0
        for chunk in self._decoded():
            if self._items is None and (not isinstance(chunk, np.ndarray) or not self._keep(chunk, done)):
                self._items = [self._restored(place) for place in range(done)]
                self._store = None
            if self._items is not None:
                self._items.extend(chunk)
            done += len(chunk)
        if self._scaling is not None and self._store is not None:
            offset, step = (torch.from_numpy(each).to(self._device) for each in self._scaling)
            self._on_device = offset, step

    def _decoded(self) -> Iterator[Any]:
        decoder = Decoder(self._dataset, self._prepare, self._workers)
        parts = [self._rows[start : start + _CHUNK].tolist() for start in range(0, len(self._rows), _CHUNK)]
        waiting: deque[tuple[Any, list[int]]] = deque()
        left = len(self._rows)
        try:
            while parts or waiting:
                while parts and len(waiting) < decoder.ahead:
                    part = parts.pop(0)
                    waiting.append((decoder.submit(part), part))
                future, part = waiting.popleft()
                left -= len(part)
                yield decoder.result(future, part, left)
        finally:
            decoder.close()

    def _keep(self, chunk: npt.NDArray[Any], start: int) -> bool:
        """Put prepared rows into the store; return False where they do not fit its shape."""
        if start == 0:
            self._scaling = _scaling(self._prepare, chunk)
            self._store = self._allocate(chunk.shape[1:], np.dtype(np.uint8) if self._scaling else chunk.dtype)
        assert self._store is not None
        if chunk.shape[1:] != tuple(self._store.shape[1:]):
            return False
        rows: npt.NDArray[Any] | None = chunk if self._scaling is None else self._scaling.pixels(chunk)
        if rows is None:  # a picture whose values are no scaled pixels
            values = self._allocate(chunk.shape[1:], chunk.dtype)
            for place in range(start):
                values[place] = torch.from_numpy(self._restored(place))
            self._store, self._scaling, rows = values, None, chunk
        self._store[start : start + len(rows)] = torch.from_numpy(np.ascontiguousarray(rows))
        return True

    def _restored(self, place: int) -> npt.NDArray[Any]:
        assert self._store is not None
        row: npt.NDArray[Any] = self._store[place].numpy()
        return row if self._scaling is None else self._scaling.offset + self._scaling.step * row

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        """Return room for every row: in memory, or in a file that is gone when this process is."""
        whole = (len(self._rows), *shape)
        size = int(np.prod(whole)) * dtype.itemsize
        if size <= KEEP_IN_MEMORY:
            return torch.from_numpy(np.zeros(whole, dtype))
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if free < size:  # a mapped file that outgrows its disk kills the process
            message = f"prepared pictures of {self._dataset.name!r} need {size / 1e9:.1f} GB for fine-tuning, and "
            message += f"{folder} has {free / 1e9:.1f} GB. Free some, set TMPDIR to another folder, or limit the rows."
            raise OutputError(message)
        with tempfile.TemporaryFile() as file:  # has no name; what is mapped of it stays for as long as it is used
            return torch.from_numpy(np.memmap(file, dtype, "w+", shape=whole))


def _scaling(prepare: Preprocess | None, chunk: npt.NDArray[Any]) -> _Scaling | None:
    """Return how the preprocessing scales pixels; None where it does something else to them."""
    if prepare is None or chunk.dtype != np.float32 or chunk.ndim != 4:
        return None
    axis = 0 if chunk.shape[1] in (1, 3) else 2
    if chunk.shape[1 + axis] not in (1, 3):
        return None
    from PIL import Image

    others = tuple(k for k in range(3) if k != axis)
    ends = []
    for shade in (0, 255):
        plain = np.asarray(prepare(Image.new("RGB", (64, 64), (shade,) * 3)))
        if plain.shape != chunk.shape[1:] or np.ptp(plain, axis=others).any():
            return None
        ends.append(plain.mean(axis=others, keepdims=True, dtype=np.float64))
    offset, step = ends[0], (ends[1] - ends[0]) / 255
    if not np.isfinite(step).all() or not step.all():
        return None
    return _Scaling(offset.astype(np.float32), step.astype(np.float32))
