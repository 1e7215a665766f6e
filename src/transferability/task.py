"""A task: what an encoder makes of a labelled, or unlabelled, data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._class_numbers import name_integers, number_classes, place_names
from transferability._validate import check_features, check_labels
from transferability.errors import LabelError, TaskError

__all__ = ["Task"]


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """Features and labels of one classification task, checked once.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite; float32 and float64 are kept as they are and not copied.
    labels : array of shape (n_samples,), optional
        Classes: integers, floats with whole values, strings or booleans. Integers 0..K−1 are class numbers; any other
        labels are numbered in order and name the classes. None for an unlabelled task.
    name : str, default="task"
        Shown in results.
    class_names : sequence of str, optional
        One name per class, shown in results; integer labels are then places among them, and each has a sample. For an
        unlabelled target it also says how many classes there are.

    Raises
    ------
    FeatureError
        If the features have the wrong dtype or rank or hold NaN or infinity.
    LabelError
        If the labels are of another kind, differ in length, or leave a class empty that has a name.
    TaskError
        If the class names do not fit the labels.

    Examples
    --------
    >>> import numpy as np
    >>> Task(np.eye(4), [0, 1, 0, 1], name="corners")
    Task('corners': 4 samples, 4 features, 2 classes)
    """

    features: FloatArray
    labels: IntArray | None = None
    name: str = "task"
    class_names: tuple[str, ...] | None = None

    def __init__(
        self,
        features: Any,
        labels: Any | None = None,
        name: str = "task",
        class_names: Sequence[Any] | None = None,
    ) -> None:
        checked = check_features(features, f"features of task {name!r}")
        object.__setattr__(self, "features", checked)
        checked_labels = None
        if labels is not None:
            argument = f"labels of task {name!r}"
            numbers, found_names = number_classes(labels, argument)
            if found_names is None and class_names is None:
                numbers, class_names = name_integers(numbers)
            if found_names is not None:
                numbers, class_names = place_names(numbers, found_names, class_names, argument)
            checked_labels = check_labels(numbers, len(checked), argument, class_names=class_names)
        object.__setattr__(self, "labels", checked_labels)
        object.__setattr__(self, "name", str(name))
        names = None if class_names is None else tuple(str(each) for each in class_names)
        if names is not None and checked_labels is not None and len(names) <= int(checked_labels.max()):
            message = (
                f"`class_names` of task {name!r} must name every class; "
                f"got {len(names)} names for {int(checked_labels.max()) + 1} classes."
            )
            raise TaskError(message)
        if names is not None and checked_labels is not None and len(names) > int(checked_labels.max()) + 1:
            message = (
                f"class {int(checked_labels.max()) + 1} ({names[int(checked_labels.max()) + 1]!r}) of task {name!r} "
                "has no sample. Remove it from `class_names` or add samples of it."
            )
            raise LabelError(message)
        object.__setattr__(self, "class_names", names)

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        n, d = self.features.shape
        classes = f"{self.n_classes} classes" if self.n_classes else "no labels"
        return f"Task({self.name!r}: {n:,} samples, {d:,} features, {classes})"

    def _repr_html_(self) -> str:
        from transferability.display.formats import percent
        from transferability.display.notebook import table_html

        n, d = self.features.shape
        rows = [["samples", f"{n:,}"], ["features", f"{d:,} ({self.features.dtype})"]]
        if self.labels is None:
            rows.append(["labels", "none"])
        else:
            priors = self.class_priors
            rows.append(["classes", f"{self.n_classes:,}, shares {percent(priors.min())} to {percent(priors.max())}"])
        if self.class_names:
            shown = ", ".join(self.class_names[:10])
            rows.append(["class names", shown + (", …" if len(self.class_names) > 10 else "")])
        return table_html(f"Task {self.name}", [], rows)

    @property
    def n_features(self) -> int:
        """Dimension of the features."""
        return int(self.features.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 if neither labels nor class names are known."""
        if self.class_names is not None:
            return len(self.class_names)
        return 0 if self.labels is None else int(self.labels.max()) + 1

    @property
    def class_priors(self) -> FloatArray:
        """Share of the samples in each class, shape (n_classes,)."""
        return np.bincount(self.require_labels(), minlength=self.n_classes) / len(self)

    def require_labels(self) -> IntArray:
        """Return the labels, or say that they are needed."""
        if self.labels is None:
            message = f"task {self.name!r} has no labels, and they are needed here. Pass Task(features, labels)."
            raise LabelError(message)
        return self.labels

    def numbered(self, labels: IntArray, class_names: tuple[str, ...]) -> Task:
        """Return the task with other class numbers; classes may be without a sample, as those of a test part."""
        task = object.__new__(type(self))
        for name, value in (vars(self) | {"labels": labels, "class_names": class_names}).items():
            object.__setattr__(task, name, value)
        return task

    def subset(self, rows: IntArray) -> Task:
        """Return the task on these rows."""
        labels = None if self.labels is None else self.labels[rows]
        if labels is not None and self.class_names is None:  # numbered anew, classes would change without a word
            labels = check_labels(labels, len(labels), f"labels of task {self.name!r}")
        return Task(self.features[rows], labels, self.name, self.class_names)
