"""Checks of source probabilities: what the classifier of an encoder says of each target sample."""

from __future__ import annotations

from typing import Any

from transferability._array import Array, Namespace
from transferability.errors import FeatureError
from transferability.statistics._inputs import as_features, row_blocks

__all__ = ["as_probabilities"]

_SUM_TOLERANCE = 1e-3  # half precision softmax over a thousand classes stays within it; logits do not


def as_probabilities(probabilities: Any, argument: str = "source_probabilities") -> tuple[Array, Namespace]:
    """Return probabilities of shape (n_samples, n_source_classes), checked where they are, and their namespace.

    Raises
    ------
    FeatureError
        If they are no finite numbers of two dimensions, or a row is negative somewhere or does not sum to one.
    """
    array, xp = as_features(probabilities, argument)
    for start, block in row_blocks(xp, array):
        bad = (xp.min(block, axis=1) < 0) | (xp.abs(xp.sum(block, axis=1) - 1) > _SUM_TOLERANCE)
        if bool(xp.any(bad)):
            row = start + int(xp.argmax(xp.astype(bad, xp.int64)))
            message = (
                f"`{argument}` must be probabilities, each row ≥ 0 with sum 1; row {row} is not. "
                "Turn logits into probabilities first: scipy.special.softmax(logits, axis=1)."
            )
            raise FeatureError(message)
    return array, xp
