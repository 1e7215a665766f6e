"""Which settings an encoder is fine-tuned with: those of the smallest validation loss in short tries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from transferability.errors import EncoderError
from transferability.validation.schedule import walk
from transferability.validation.settings import FineTuning, Hyperparameters

__all__ = ["choose"]


def choose(
    settings: FineTuning,
    try_out: Callable[[Hyperparameters], tuple[float, float]],
    *,
    normalised: bool,
    encoder: str,
) -> Hyperparameters:
    """Return what was tried with the smallest loss, with the accuracy of its try.

    Learning rates are tried for each beginning of the head, as a probe wants smaller ones than a fresh head, then
    normalisation and weight decay with the best of both. Nothing is tried where there is no choice.

    Parameters
    ----------
    settings : FineTuning
        What to try.
    try_out : callable
        Trains with hyperparameters; returns validation loss, inf where it was not finite, and accuracy.
    normalised : bool
        Whether the network has batch normalisation.
    encoder : str
        Its name, for errors.

    Raises
    ------
    EncoderError
        If no learning rate gives a finite loss.
    """
    tries: dict[Hyperparameters, tuple[float, float]] = {}

    def loss(tried: Hyperparameters) -> float:
        if tried not in tries:
            tries[tried] = try_out(tried)
        return tries[tried][0]

    def best_of(tried: list[Hyperparameters]) -> Hyperparameters:
        return tried[0] if len(tried) == 1 else min(tried, key=loss)

    def with_best_rate(tried: Hyperparameters) -> Hyperparameters:
        if len(settings.learning_rates) == 1:
            return tried
        rates = sorted(settings.learning_rates)
        return replace(tried, learning_rate=walk(lambda rate: loss(replace(tried, learning_rate=rate)), rates))

    norms = settings.frozen_norms if normalised else (False,)
    first = Hyperparameters(settings.learning_rates[0], settings.weight_decays[0], norms[0])
    best = best_of([with_best_rate(replace(first, head=each)) for each in settings.head_starts])
    best = best_of([replace(best, frozen_norm=each) for each in norms])
    best = best_of([replace(best, weight_decay=each) for each in settings.weight_decays])
    if tries and not math.isfinite(loss(best)):
        rates = ", ".join(f"{rate:g}" for rate in sorted({each.learning_rate for each in tries}))
        message = f"encoder {encoder!r} cannot be fine-tuned: its loss is not finite at any of the "
        raise EncoderError(message + f"learning rates {rates}. Take smaller ones.")
    return replace(best, tried_accuracy=tries[best][1]) if tries else best
