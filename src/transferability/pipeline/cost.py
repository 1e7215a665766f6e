"""What thousands of classes cost, said before it is paid."""

from __future__ import annotations

import logging

__all__ = ["warn_of_cost"]

_WORTH_A_WORD = 60.0  # CPU seconds
_log = logging.getLogger(__name__)


def expected_seconds(n_reference: int, n_target: int, n_fits: int = 1) -> float:
    """Return the CPU seconds of comparing so many classes with so many, of five rows each; more rows take longer.

    Measured with 64 features: 0.4 s for 100 × 100 classes, 1.4 s for 200 × 200, 4.4 s for 400 × 400.

    Examples
    --------
    >>> round(expected_seconds(100, 100), 1), round(expected_seconds(400, 400), 1)
    (0.4, 4.6)
    """
    return float(n_fits * 0.4 * (n_reference * n_target / 1e4) ** 0.88)


def warn_of_cost(what: str, n_reference: int, n_target: int, n_fits: int = 1) -> None:
    """Say in the log how long it may take, where that is long."""
    seconds = expected_seconds(n_reference, n_target, n_fits)
    if seconds >= _WORTH_A_WORD:
        _log.warning(
            "%s: %s × %s classes, expect %.0f minutes of CPU time or more. Fewer classes take less, by the square.",
            what, f"{n_reference:,}", f"{n_target:,}", max(1.0, seconds / 60),
        )  # fmt: skip
