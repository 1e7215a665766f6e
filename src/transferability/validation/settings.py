"""How encoders are trained on a target, and what comes out; no framework here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["FineTuning", "Measured", "Rates"]


@dataclass(frozen=True)
class FineTuning:
    """Settings of fine-tuning; the same for every encoder, or a comparison of encoders would compare settings.

    Attributes
    ----------
    learning_rates, weight_decays : tuple of float
        Of the encoder.
    frozen_norms : tuple of bool
        Whether batch normalisation keeps the mean and deviation it came with; tried only where there is any. With few
        samples a large network does better so, a small one that must change much does not.
        Every combination of these three is tried for `choice_epochs`; the smallest validation loss decides.
    head_factor : float
        How many times faster the head learns: it begins at zero.
    epochs, choice_epochs : int
        At most so many passes over the training part.
    patience : int
        Passes without a better validation loss after which training stops.
    batch_size : int
    validation_share : float
        Share of each class of the fitting rows that validates and is not trained on.
    """

    learning_rates: tuple[float, ...] = (1e-4, 1e-3)
    weight_decays: tuple[float, ...] = (1e-4, 1e-2)
    frozen_norms: tuple[bool, ...] = (False, True)
    head_factor: float = 10.0
    epochs: int = 20
    choice_epochs: int = 4
    patience: int = 5
    batch_size: int = 32
    validation_share: float = 0.2


@dataclass(frozen=True)
class Rates:
    """What was chosen on the validation part."""

    learning_rate: float
    weight_decay: float
    frozen_norm: bool = False


@dataclass(frozen=True)
class Measured:
    """What training gave.

    Attributes
    ----------
    accuracy, loss : float
        On the test rows; the loss in nats.
    validation_accuracy : float
    epochs : int
        Passes up to the weights that were kept.
    """

    accuracy: float
    loss: float
    validation_accuracy: float
    epochs: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return dict(vars(self))
