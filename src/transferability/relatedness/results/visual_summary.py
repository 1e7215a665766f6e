"""A few points and samples of a result, for its pictures: a bounded amount of data, whatever the size of the tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transferability._array import IntArray

__all__ = ["GRID", "MAX_SHOWN", "VisualSummary"]

GRID = 1000
"""Points lie on a grid of so many steps: finer than a picture shows, and short to write."""
MAX_SHOWN = 1000
"""Classes of which accuracies and look-alikes are told."""


@dataclass(frozen=True, eq=False)
class VisualSummary:
    """Points and look-alikes of one result; a bounded amount of data, whatever the size of the tasks.

    Attributes
    ----------
    reference, before, after : arrays of int of shape (n, 2)
        Places on a grid of `GRID` steps of reference points, target points as they are, and target points after the
        map. `before` is empty where the two tasks differ in dimension.
    reference_classes, target_classes : arrays of int of shape (n,)
        The target class that each point belongs to or is matched with; −1 for an unmatched reference class.
    lookalikes : tuple of tuples of (reference class, share)
        Per target class: what the reference's classifier takes its mapped samples for, the largest mean probabilities.
    class_accuracy : tuple of float or None
        Per target class: accuracy of the transferred classifier; nan where there are none, None
        without labels.
    target_samples, reference_samples : dict of class name to tuple of dict
        Pictures and texts to look at (see `report.samples`); empty where there are none.
    """

    reference: IntArray
    before: IntArray
    after: IntArray
    reference_classes: IntArray
    target_classes: IntArray
    lookalikes: tuple[tuple[tuple[str, float], ...], ...]
    class_accuracy: tuple[float, ...] | None
    target_samples: dict[str, tuple[dict[str, str], ...]] = field(default_factory=dict)
    reference_samples: dict[str, tuple[dict[str, str], ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        accuracy = self.class_accuracy
        return {
            "points": {
                "grid": GRID,
                **{name: getattr(self, name).tolist() for name in ("reference", "before", "after")},
                **{name: getattr(self, name).tolist() for name in ("reference_classes", "target_classes")},
            },
            "lookalikes": [[[name, round(share, 4)] for name, share in each] for each in self.lookalikes],
            "class_accuracy": None if accuracy is None else [None if x != x else round(x, 4) for x in accuracy],
            "target_samples": {name: list(each) for name, each in self.target_samples.items()},
            "reference_samples": {name: list(each) for name, each in self.reference_samples.items()},
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> VisualSummary:
        """Return the details that `to_dict` wrote; what it left out is empty."""
        points = record.get("points") or dict.fromkeys(_POINTS, ())
        accuracy = record.get("class_accuracy")
        return cls(
            **{name: np.array(points[name], dtype=np.int64).reshape(-1, 2) for name in _POINTS[:3]},
            **{name: np.array(points[name], dtype=np.int64) for name in _POINTS[3:]},
            lookalikes=tuple(tuple((name, share) for name, share in row) for row in record.get("lookalikes", ())),
            class_accuracy=None if accuracy is None else tuple(math.nan if x is None else x for x in accuracy),
            target_samples={name: tuple(each) for name, each in record.get("target_samples", {}).items()},
            reference_samples={name: tuple(each) for name, each in record.get("reference_samples", {}).items()},
        )


_POINTS = ("reference", "before", "after", "reference_classes", "target_classes")


Details = VisualSummary
"""The name before version 0.2, which pickles hold."""
