"""One pass of an encoder over a batch: every output checked, batches halved where memory does not suffice."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transferability._array import as_numpy
from transferability.datasets import Dataset
from transferability.encoders import Encoder, preprocess_of, start
from transferability.encoders._state import undisturbed
from transferability.encoders.base import Running
from transferability.errors import EncoderError, one_line, passes_through
from transferability.features.meter import count_items
from transferability.features.prepare import Batch
from transferability.features.store import DType

__all__ = ["Model", "Started", "preparing", "where"]

_log = logging.getLogger(__name__)

_ITEMS = {
    "image": "pictures (PIL)",
    "text": "texts",
    "array": "arrays of features",
    "tokens": "words of sentences",
}
"""What an encoder that prepares nothing is given."""
Rows = dict[str, npt.NDArray[np.floating]]


class Model:
    """An encoder whose outputs are checked, whatever it is.

    Parameters
    ----------
    encoder : Encoder
    dataset : Dataset
        For messages that name rows.
    outputs : sequence of str
    dtype : {"float32", "float16"}
        What rows are rounded to.
    """

    def __init__(self, encoder: Encoder, dataset: Dataset, outputs: Sequence[str], dtype: DType) -> None:
        self._encoder = encoder
        self._dataset = dataset
        self._outputs = list(outputs)
        self._dtype = np.dtype(dtype)
        self._fits: int | None = None  # rows that the device's memory is known to hold, once it did not hold some
        self._widths: dict[str, int] = {}

    @property
    def fits(self) -> int | None:
        """How many rows the device's memory holds, once it did not hold some."""
        return self._fits

    def __call__(self, rows: Sequence[int], batch: Batch) -> Rows:
        """Return each output of a batch, (n, width); see `start`."""
        return self.start(rows, batch).result()

    def start(self, rows: Sequence[int], batch: Batch) -> Started:
        """Give the encoder a batch; one that computes on a GPU is not waited for.

        Raises
        ------
        EncoderError
            If the encoder fails, here or when the result is taken, or returns anything but one finite row per item, as
            long as those before.
        """
        began = time.perf_counter()
        parts: list[_Part] = []
        done = 0
        while done < len(rows):
            n = min(self._fits or len(rows), len(rows) - done)
            running = self._attempt(rows[done : done + n], batch[done : done + n])
            if running is not None:
                parts.append(_Part(rows[done : done + n], running))
                done += n
            elif n == 1:
                message = f"encoder {self._encoder.name!r} runs out of memory with a single item, "
                message += f"{where(self._dataset, rows[done : done + 1])}. Use a device with more, or smaller inputs."
                raise EncoderError(message)
            else:
                # Halves of a power of two: a run that goes on after a kill finds the same sizes, hence the same bytes.
                self._fits = 1 << ((n - 1).bit_length() - 1)
                _log.info("encoder %s: batches of %d do not fit into memory, now %d", self._encoder.name, n, self._fits)
        return Started(self, parts, time.perf_counter() - began)

    def rows_of(self, parts: Sequence[_Part]) -> Rows:
        """Return what was computed of a batch, checked; waits for it."""
        found = []
        for rows, running in parts:
            with self._speaking(rows):
                outputs = running.result()
                found.append({name: self._checked(as_numpy(outputs[name]), name, rows) for name in self._outputs})
        if len(found) == 1:
            return found[0]
        return {name: np.concatenate([part[name] for part in found]) for name in self._outputs}

    def _attempt(self, rows: Sequence[int], batch: Batch) -> Running | None:
        """Return what is being computed, or None if memory does not suffice."""
        try:
            with self._speaking(rows, halves=True):
                running = start(self._encoder, batch, self._outputs)
                count_items(len(rows))
                return running
        except BaseException as error:
            if passes_through(error) or not _out_of_memory(error):
                raise
        # Here and not above: while the error is handled, its traceback keeps the tensors that filled the memory.
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()
        return None

    @contextmanager
    def _speaking(self, rows: Sequence[int], *, halves: bool = False) -> Iterator[None]:
        """Turn what an encoder raises on these rows into a sentence, and keep what it sets to itself.

        Whoever halves the batch then gets the error of too little memory as it is.
        """
        try:
            with undisturbed():
                yield
        except BaseException as error:
            if passes_through(error) or (halves and _out_of_memory(error)):
                raise
            items = "" if preprocess_of(self._encoder) else f", {_ITEMS[self._dataset.modality]}"
            message = f"encoder {self._encoder.name!r} failed on {where(self._dataset, rows)}{items}: "
            message += f"{type(error).__name__}: {one_line(error)}."
            raise EncoderError(message) from error

    def _checked(self, values: npt.NDArray[np.floating], name: str, rows: Sequence[int]) -> npt.NDArray[np.floating]:
        said = f"encoder {self._encoder.name!r}" + (f", output {name!r}," if len(self._outputs) > 1 else "")
        if values.ndim != 2 or len(values) != len(rows) or values.shape[1] == 0 or values.dtype.kind not in "fiu":
            message = f"{said} must return one row of numbers per item, ({len(rows)}, n_features); "
            message += f"got {values.dtype} of shape {values.shape} for {where(self._dataset, rows)}."
            raise EncoderError(message)
        width = self._widths.setdefault(name, values.shape[1])
        if values.shape[1] != width:
            message = f"{said} must return rows of one length; it returned {width} numbers for the first rows of data "
            message += f"{self._dataset.name!r} and {values.shape[1]} from {where(self._dataset, rows)}. "
            message += "An input size that follows the picture's is the usual cause."
            raise EncoderError(message)
        with np.errstate(over="ignore"):  # what is beyond the dtype becomes infinite and is named below
            rounded = values.astype(self._dtype)
        finite = np.isfinite(rounded).all(axis=1)
        if not finite.all():
            bad = int(np.argmin(finite))
            if np.isfinite(values[bad]).all():
                message = f"{said} returned {np.abs(values[bad]).max():.3g} for "
                message += f"{where(self._dataset, rows[bad : bad + 1])}, more than {self._dtype} holds. "
                message += "Keep float32." if self._dtype == np.float16 else "Scale the features."
                raise EncoderError(message)
            message = f"{said} returned NaN or infinity for {where(self._dataset, rows[bad : bad + 1])}. "
            message += "Look at that row; if it is in order, the encoder overflows: try another device or precision."
            raise EncoderError(message)
        return rounded


class _Part(NamedTuple):
    """As many rows of a batch as memory holds."""

    rows: Sequence[int]
    running: Running


class Started:
    """A batch that an encoder computes."""

    def __init__(self, model: Model, parts: Sequence[_Part], seconds: float) -> None:
        self._model, self._parts, self._seconds = model, parts, seconds

    @property
    def finished(self) -> bool:
        """Whether `result` would not wait."""
        return all(running.finished for _, running in self._parts)

    @property
    def seconds(self) -> float:
        """How long the device computed it, once there is a result."""
        told = [running.seconds for _, running in self._parts]
        return self._seconds if None in told else sum(each for each in told if each is not None)

    def result(self) -> Rows:
        """Return each output, (n, width), checked; waits for it."""
        return self._model.rows_of(self._parts)


@contextmanager
def preparing(encoder: Encoder, dataset: Dataset, rows: Sequence[int]) -> Iterator[None]:
    """Turn what the preprocessing of an encoder raises on these rows into a sentence."""
    try:
        yield
    except BaseException as error:
        if passes_through(error):
            raise
        message = f"the preprocessing of encoder {encoder.name!r} failed on {where(dataset, rows)}: "
        message += f"{type(error).__name__}: {one_line(error)}."
        raise EncoderError(message) from error


def where(dataset: Dataset, rows: Sequence[int]) -> str:
    """Return rows in words, by their ids."""
    first, last = (repr(str(dataset.all_ids[dataset.rows[row]])) for row in (rows[0], rows[-1]))
    in_order = isinstance(rows, range)
    said = f"row {first}" if len(rows) == 1 else f"rows {first} {'to' if in_order else 'and others, such as'} {last}"
    return f"{said} of data {dataset.name!r}"


def _out_of_memory(error: BaseException) -> bool:
    """Tell by name and words, since each library has an error of its own and none may be imported here."""
    said = str(error).lower()
    return (
        type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in said
        or "failed to allocate memory" in said  # ONNX Runtime
        or isinstance(error, MemoryError)
    )
