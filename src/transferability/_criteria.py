"""The criteria of a ranking: three quantities of the transferred classifier, or a score.

The transferred classifier h′ is the reference's classifier, applied to the target through the fitted map. The
*transferred accuracy* is its accuracy (higher is better), the *transferred loss* its mean cross-entropy, the *bound* an
upper bound on that loss on the rows measured (both in nats, lower is better). The first two need samples of the target
and their labels. The transferred accuracy does not depend on τ through the confidence of h′.
"""

from __future__ import annotations

from typing import Literal

from transferability.errors import OptionError

__all__ = [
    "BOUND",
    "HIGHER_IS_BETTER",
    "QUANTITIES",
    "TRANSFERRED",
    "TRANSFERRED_ACCURACY",
    "TRANSFERRED_LOSS",
    "Quantity",
    "in_words",
    "quantity_of",
    "unknown",
]

Quantity = Literal["transferred_accuracy", "transferred_loss", "bound"]
TRANSFERRED_ACCURACY: Quantity = "transferred_accuracy"
TRANSFERRED_LOSS: Quantity = "transferred_loss"
BOUND: Quantity = "bound"
TRANSFERRED = (TRANSFERRED_ACCURACY, TRANSFERRED_LOSS)
"""Those that are measured on samples of the target with their labels."""
HIGHER_IS_BETTER: dict[Quantity, bool] = {TRANSFERRED_ACCURACY: True, TRANSFERRED_LOSS: False, BOUND: False}
QUANTITIES: tuple[Quantity, ...] = tuple(HIGHER_IS_BETTER)


def quantity_of(criterion: str) -> Quantity:
    """Return the quantity that a ranking speaks of: the one it is sorted by, or the bound where that is a score.

    Examples
    --------
    >>> quantity_of("transferred_loss"), quantity_of("logme")
    ('transferred_loss', 'bound')
    """
    return next((each for each in QUANTITIES if each == criterion), BOUND)


def in_words(criterion: str) -> str:
    """Return a criterion as tables and titles name it."""
    return criterion.replace("_", " ") if criterion in TRANSFERRED else criterion


def unknown(criterion: str, target: str) -> OptionError:
    """Return the error for whoever asks for the transferred accuracy or loss where nobody knows it."""
    return OptionError(
        f"`criterion` must not be {criterion!r} for target {target!r}: it is measured on samples with labels, and none "
        "are known. Sort by 'bound' or a score, or leave it out."
    )
