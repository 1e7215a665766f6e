"""What encoders are ranked by: one of two losses, or a score.

The *transferred loss* is the loss on the target of h′, the reference's classifier moved there by the fitted map; the
*bound* is what the certificate promises that loss not to exceed. Both are in nats, and lower is better. The transferred
loss orders encoders more as fine-tuning does; it is known only with samples of the target and their labels.
"""

from __future__ import annotations

from typing import Literal, get_args

from transferability.errors import OptionError

__all__ = ["BOUND", "LOSSES", "TRANSFERRED_LOSS", "Loss", "in_words", "loss_of", "loss_unknown"]

Loss = Literal["transferred_loss", "bound"]
TRANSFERRED_LOSS: Loss = "transferred_loss"
BOUND: Loss = "bound"
LOSSES: tuple[Loss, ...] = get_args(Loss)


def loss_of(criterion: str) -> Loss:
    """Return the loss that a ranking speaks of: the one it is sorted by, or the bound where that is a score.

    Examples
    --------
    >>> loss_of("transferred_loss"), loss_of("logme")
    ('transferred_loss', 'bound')
    """
    return TRANSFERRED_LOSS if criterion == TRANSFERRED_LOSS else BOUND


def in_words(criterion: str) -> str:
    """Return a criterion as tables and titles name it."""
    return "transferred loss" if criterion == TRANSFERRED_LOSS else criterion


def loss_unknown(target: str) -> OptionError:
    """Return the error for whoever asks for the transferred loss where nobody knows it."""
    return OptionError(
        f"`criterion` must not be 'transferred_loss' for target {target!r}: that loss is measured on samples with "
        "labels, and none are known. Sort by 'bound' or a score, or leave it out."
    )
