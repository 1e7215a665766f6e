"""How encoders are trained on a target, and what comes out; no framework here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from transferability.errors import EncoderError

__all__ = ["CHOSEN", "TRAINED", "FineTuning", "HeadStart", "Hyperparameters", "TrainingResult"]

_STEPS_OF_A_TRY = 50  # at least, as far as `epochs` allows: after fewer, the fastest head wins
HeadStart = Literal["fresh", "probe"]


@dataclass(frozen=True)
class FineTuning:
    """Settings of fine-tuning; the same for every encoder, or a comparison of encoders would compare settings.

    Attributes
    ----------
    learning_rates : tuple of float
        Tried first, each for `choice_epochs` and at least 50 steps; the smallest validation loss decides. Where the
        smallest or the largest of several wins, the next of the series is tried too, as long as the loss falls and at
        most three times.
    frozen_norms : tuple of bool
        Whether batch normalisation keeps the mean and deviation it came with; tried only where there is any, after the
        learning rate. With few samples a large network does better so, one that must change much does not.
    weight_decays : tuple of float
        Tried last, with what was chosen before.
    head_starts : tuple of {"fresh", "probe"}
        What the head begins as, tried with every learning rate: zero, or the linear probe of the frozen features
        (LP-FT, Kumar et al., ICLR 2022). The probe fits few rows closely, which leaves the encoder little to learn
        from them: docs/validate.md has figures.
    head_factor : float
        How many times faster a fresh head learns than the encoder; the probe learns as the encoder does.
    epochs, choice_epochs : int
        Passes over the training part, and those of a try. Where the try of what was chosen was more accurate on the
        validation part than the run of `epochs`, one as long as the try is trained too; the more accurate is kept.
    batch_size : int
    validation_share : float
        Share of each class of the fitting rows that validates and is not trained on.
    augmentation : bool
        Whether training pictures are shifted and zoomed by up to a tenth.
    mixed_precision : bool
        Whether torch multiplies in bfloat16 where that is safe and the processor has instructions for it: GPUs since
        Ampere, CPUs with AVX-512 BF16 or AMX. Weights stay in float32, as does a network that computes in nothing else.
    """

    learning_rates: tuple[float, ...] = (1e-5, 1e-4, 1e-3)
    frozen_norms: tuple[bool, ...] = (True, False)
    head_starts: tuple[HeadStart, ...] = ("fresh", "probe")
    weight_decays: tuple[float, ...] = (1e-2,)
    head_factor: float = 10.0
    epochs: int = 20
    choice_epochs: int = 4
    batch_size: int = 32
    validation_share: float = 0.2
    augmentation: bool = False
    mixed_precision: bool = True

    def epochs_of_a_try(self, n_train: int) -> int:
        """Return for how many passes over so many rows a setting is tried."""
        steps = math.ceil(n_train / self.batch_size)
        return min(max(self.choice_epochs, math.ceil(_STEPS_OF_A_TRY / steps)), self.epochs)


CHOSEN = {
    "learning_rate": float,
    "weight_decay": float,
    "frozen_norm": bool,
    "head?": str,
    "tried_accuracy?": (float, None),
}
"""What is kept of `Hyperparameters`."""
TRAINED = {
    "accuracy": float,
    "loss": float,
    "validation_accuracy": float,
    "epochs": int,
    "probe_accuracy": (float, None),
    "validation_loss": (float, None),
}
"""What is kept of a `TrainingResult`."""


@dataclass(frozen=True)
class Hyperparameters:
    """What was chosen on the validation part, and its accuracy there in a try; None where nothing was tried."""

    learning_rate: float
    weight_decay: float
    frozen_norm: bool = False
    head: HeadStart = "fresh"
    tried_accuracy: float | None = None


@dataclass(frozen=True)
class TrainingResult:
    """What training gave.

    Attributes
    ----------
    accuracy, loss : float
        On the test rows; the loss in nats.
    validation_accuracy, validation_loss : float
        On rows that chose the weights. The loss is None where nothing was fine-tuned.
    epochs : int
        Passes up to the weights that were kept; 0 where none was better than the linear probe of the frozen features.
    probe_accuracy : float or None
        Of that linear probe, on the test rows; None where nothing was fine-tuned.
    """

    accuracy: float
    loss: float
    validation_accuracy: float
    epochs: int
    probe_accuracy: float | None = None
    validation_loss: float | None = None

    @property
    def note(self) -> str:
        """What must be said of it; empty where nothing must."""
        if self.probe_accuracy is None:
            return ""
        frozen = "the linear probe of the frozen features"
        probe = f"{frozen}, {100 * self.probe_accuracy:.1f} %"
        if self.epochs == 0:
            return f"no epoch of fine-tuning was better on the validation rows than {frozen}; this is the probe."
        if self.accuracy < self.probe_accuracy:
            return f"fine-tuning ended at {100 * self.accuracy:.1f} %, below {probe}."
        return ""

    def checked(self, encoder: str) -> TrainingResult:
        """Return this result of an encoder.

        Raises
        ------
        EncoderError
            If it is not of finite numbers.
        """
        for name, value in vars(self).items():
            if value is not None and not math.isfinite(value):
                message = f"encoder {encoder!r} failed in training: its {name.replace('_', ' ')} is {value}. "
                raise EncoderError(message + "Try a smaller learning rate.")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return dict(vars(self))
