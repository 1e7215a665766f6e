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
    "COUNTED_ONCE",
    "HIGHER_IS_BETTER",
    "OWN_HALF",
    "QUANTITIES",
    "TRANSFERRED",
    "TRANSFERRED_ACCURACY",
    "TRANSFERRED_LOSS",
    "Quantity",
    "quantity_of",
    "unknown",
]

OWN_HALF = "own other half"
"""Name of the reference that is a half of the target itself."""
COUNTED_ONCE = "intervals count copies of a row once"
"""How notes on copies begin."""
Quantity = Literal["transferred_accuracy", "transferred_loss", "bound"]
TRANSFERRED_ACCURACY: Quantity = "transferred_accuracy"
TRANSFERRED_LOSS: Quantity = "transferred_loss"
BOUND: Quantity = "bound"
TRANSFERRED = (TRANSFERRED_ACCURACY, TRANSFERRED_LOSS)
"""Those that are measured on samples of the target with their labels."""
HIGHER_IS_BETTER: dict[Quantity, bool] = {TRANSFERRED_ACCURACY: True, TRANSFERRED_LOSS: False, BOUND: False}
QUANTITIES: tuple[Quantity, ...] = tuple(HIGHER_IS_BETTER)


def quantity_of(criterion: str, *, accuracy_known: bool) -> Quantity:
    """Return the quantity that a ranking speaks of: the one it is sorted by, else the accuracy, else the bound.

    Examples
    --------
    >>> quantity_of("transferred_loss", accuracy_known=True), quantity_of("logme", accuracy_known=True)
    ('transferred_loss', 'transferred_accuracy')
    """
    otherwise = TRANSFERRED_ACCURACY if accuracy_known else BOUND
    return next((each for each in QUANTITIES if each == criterion), otherwise)


def unknown(criterion: str, target: str) -> OptionError:
    """Return the error for whoever asks for the transferred accuracy or loss where nobody knows it."""
    return OptionError(
        f"`criterion` must not be {criterion!r} for target {target!r}: it is measured on samples with labels, and none "
        "are known. Sort by 'bound' or a score, or leave it out."
    )
