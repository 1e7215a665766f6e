"""What a data set is: rows with an id, an item (a picture, a text, an array) and perhaps a label or a target."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol, overload

import numpy as np
import numpy.typing as npt

from transferability._array import BoolArray, FloatArray, IntArray
from transferability._class_numbers import name_integers, number_classes
from transferability.errors import DatasetError, LabelError, RowError, TransferabilityError

__all__ = ["Dataset", "Ids", "Item", "Modality", "number_labels", "text_bytes"]

Modality = Literal["image", "text", "array", "tokens"]
Item = Any
"""What the data set's `modality` says: a PIL picture in RGB; a str or, for a pair, a tuple of two; an array of one
dimension; for "tokens" a tuple (words, position): the words of a sentence, and which of them the row is about."""


class Ids(Protocol):
    """What `Dataset.all_ids` must be able to do: an array of str can, and so can more compact things (`_ids.py`)."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, rows: int) -> str: ...
    @overload
    def __getitem__(self, rows: IntArray) -> npt.NDArray[np.str_]: ...


_NO_TEXT = b"\xff"  # begins no text in UTF-8
_READING = 2  # grows when the same bytes become other items: features computed of the former ones are not theirs


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows with stable ids, read one by one when they are needed.

    A new kind of data is a function that returns one of these: see `datasets/folder.py`, the shortest example. Its
    reader is a small frozen dataclass rather than a pair of closures, so that the data set can be pickled and rows be
    decoded in other processes.

    Attributes
    ----------
    name : str
        Short, fit for a table and for a file name.
    modality : {"image", "text", "array", "tokens"}
        What the items are.
    all_ids : Ids of length n_all
        What each row is, the same in every run and in any subset; an array of str, or as compact as `_ids.py` has it.
    read : callable
        Position in `all_ids` to item, decoded. A failure becomes a `DatasetError` that names the row.
    content : callable
        Position in `all_ids` to the bytes that decide the item, for the fingerprint.
    all_labels : array of int of shape (n_all,), or None
        Classes 0..K−1.
    all_targets : array of float of shape (n_all,) or (n_all, n_outputs), or None
        Numbers to predict, or 0 and 1 for each of several labels, in place of classes.
    class_names : tuple of str, or None
        One per class.
    chosen : array of int of shape (n,), or None
        The positions that a subset consists of; None for all.
    all_in_test : array of bool of shape (n_all,), or None
        The rows that the data themselves keep for measuring, where they come in splits.
    inspect : callable, or None
        Position in `all_ids` to the size of its content in bytes, reading little of it; raises what `read` would
        raise, as far as that shows without decoding.
    pieces : callable, or None
        Position in `all_ids` to one-dimensional buffers that make up `content` and lie in memory already: hashed where
        they lie, they need not be copied.
    notes : tuple of str
        What a reader must know of how the data were read: what was left out, which column might hold labels.
    """

    name: str
    modality: Modality
    all_ids: Ids | npt.NDArray[np.str_]
    read: Callable[[int], Item]
    content: Callable[[int], bytes]
    all_labels: IntArray | None = None
    class_names: tuple[str, ...] | None = None
    chosen: IntArray | None = None
    all_targets: FloatArray | None = None
    all_in_test: BoolArray | None = None
    inspect: Callable[[int], int] | None = None
    pieces: Callable[[int], tuple[Any, ...]] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.rows) == 0:
            message = f"data {self.name!r} has no rows."
            raise DatasetError(message)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        classes = "no labels" if self.class_names is None else f"{len(self.class_names)} classes"
        if self.all_targets is not None:
            classes = "1 target" if self.all_targets.ndim == 1 else f"{self.all_targets.shape[1]} targets"
        return f"Dataset({self.name!r}: {len(self):,} {self.modality} rows, {classes})"

    @cached_property
    def rows(self) -> IntArray:
        """Positions in `all_ids` of the rows, shape (n,)."""
        return np.arange(len(self.all_ids)) if self.chosen is None else self.chosen

    @property
    def ids(self) -> npt.NDArray[np.str_]:
        """What each row is, shape (n,)."""
        return self.all_ids[self.rows]

    @property
    def labels(self) -> IntArray | None:
        """Classes of the rows, shape (n,), or None."""
        return None if self.all_labels is None else self.all_labels[self.rows]

    @property
    def targets(self) -> FloatArray | None:
        """Numbers to predict, shape (n,) or (n, n_outputs), or None."""
        return None if self.all_targets is None else self.all_targets[self.rows]

    @property
    def in_test(self) -> BoolArray | None:
        """Which rows the data themselves keep for measuring, shape (n,), or None."""
        return None if self.all_in_test is None else self.all_in_test[self.rows]

    def items(self, rows: Iterable[int]) -> list[Item]:
        """Return the items of these rows, decoded.

        Raises
        ------
        RowError
            If one cannot be read; the message names its id.
        """
        return [self._at(int(self.rows[row]), self.read) for row in rows]

    def content_of(self, row: int) -> bytes:
        """Return the bytes that decide the item of a row.

        Raises
        ------
        RowError
            If they cannot be read; the message names the row's id.
        """
        content: bytes = self._at(int(self.rows[row]), self.content)
        return content

    def subset(self, rows: Sequence[int] | IntArray) -> Dataset:
        """Return the data set of these rows; ids, labels and class numbers stay what they are."""
        return replace(self, chosen=self.rows[np.asarray(rows, dtype=np.int64)])

    def fingerprint(self, rows: Iterable[int] | None = None) -> str:
        """Return a hash of modality, ids and contents of the rows, in order: equal only for equal items.

        Contents, because sizes and modification times lie: unpacking, copying and checking out change times without
        contents, and some tools restore times over changed contents. Reading the bytes costs little beside decoding
        them. Labels and targets are left out: features do not depend on them.

        Parameters
        ----------
        rows : iterable of int, optional
            Of these rows only: the same as `subset(rows).fingerprint()`, and no other row's contents are read.
        """
        return self._fingerprint if rows is None else self._hash(int(self.rows[row]) for row in rows)

    def row_keys(self, rows: Iterable[int]) -> npt.NDArray[np.uint8]:
        """Return a hash of modality and content for each of these rows, shape (n, 16): equal only for equal items.

        Ids are left out, so that a row keeps its key in any subset, order or file.
        """
        start = hashlib.blake2b(f"{self.modality} {_READING} ".encode(), digest_size=16)
        keys = bytearray()
        for row in rows:
            total = start.copy()
            for piece in (self.content_of(row),) if self.pieces is None else self.pieces(int(self.rows[row])):
                total.update(piece)
            keys += total.digest()
        return np.frombuffer(bytes(keys), dtype=np.uint8).reshape(-1, 16)

    @cached_property
    def _fingerprint(self) -> str:
        return self._hash(map(int, self.rows))

    def _hash(self, positions: Iterable[int]) -> str:
        total = hashlib.sha256(f"{self.modality} {_READING}".encode())
        for position in positions:
            parts = str(self.all_ids[position]).encode("utf-8", "surrogatepass"), self._at(position, self.content)
            for part in parts:
                total.update(len(part).to_bytes(8, "little"))  # lengths first, so that parts cannot run together
                total.update(part)
        return total.hexdigest()

    def _at(self, position: int, get: Callable[[int], Any]) -> Any:
        try:
            return get(position)
        except DatasetError as error:
            raise RowError(str(error)) from error
        except TransferabilityError:
            raise
        except (OSError, ValueError) as error:
            message = f"row {str(self.all_ids[position])!r} of data {self.name!r} cannot be read: {error}. "
            message += "Replace or remove it."
            raise RowError(message) from error


def text_bytes(*parts: str) -> bytes:
    """Return the content of a text or of a pair of texts: no text has that of a pair, and no two pairs have one."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    if len(encoded) == 1:
        return encoded[0]
    return b"".join((_NO_TEXT, *(len(part).to_bytes(8, "little") for part in encoded), *encoded))


def number_labels(values: Any, source: str, class_names: Sequence[str] | None = None) -> tuple[IntArray, list[str]]:
    """Return labels as integers from 0 without gaps, and a name for each class.

    Strings and booleans are numbered in sorted order. Integers and whole floats are numbered by value and named by it;
    where there are class names, they are places among these, and names without a row are left out.

    Parameters
    ----------
    values : array of shape (n,) or (n, 1)
        Integers, whole floats, strings or booleans.
    source : str
        Where they come from, for messages.
    class_names : sequence, optional
        One name per class number.

    Raises
    ------
    LabelError
        For labels of another kind, or numbers that have no name among those given.

    Examples
    --------
    >>> number_labels([3, 1, 3], "three ratings")
    (array([1, 0, 1]), ['1', '3'])
    """
    numbers, names = number_classes(values, f"labels of {source}")
    if names is not None:
        return numbers, list(names)
    places, found = name_integers(numbers)
    if class_names is None:
        return places, list(found or map(str, range(int(places.max(initial=-1)) + 1)))
    present = np.unique(numbers)
    unnamed = next((int(each) for each in present if not 0 <= each < len(class_names)), None)
    if unnamed is not None:
        row = int(np.argmax(numbers == unnamed))
        message = (
            f"`class_names` of {source} must name every class; got {len(class_names)} names, and row {row} has the "
        )
        message += f"label {unnamed}. Labels are places in the names, from 0."
        raise LabelError(message)
    return places, [str(class_names[each]) for each in present]
