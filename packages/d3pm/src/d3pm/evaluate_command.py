"""The command `d3pm evaluate`: what it tells of a checkpoint, by name. `d3pm.evaluation` computes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from d3pm.checkpoint import load_checkpoint
from d3pm.data import load_data
from d3pm.device import choose_device
from d3pm.errors import OptionError
from d3pm.evaluation import evaluate
from d3pm.quality import check_quality, measure_quality

__all__ = ["run_evaluate"]


def run_evaluate(
    checkpoint: Path,
    data: str | None = None,
    *,
    chosen: Mapping[str, int | None],
    seed: int = 0,
    quality: int = 0,
    options: Mapping[str, Any],
    device: str | None = None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return the figures by name: what is `chosen` of an `EvaluateConfig` takes the place of the recipe's entries.

    `options` are those of the samples that `quality` is measured on.
    """
    model = load_checkpoint(checkpoint, choose_device(device))
    settings = dataclasses.replace(model.config.evaluate, **{k: v for k, v in chosen.items() if v is not None})
    if not quality and any(value is not None for value in options.values()):
        given = ", ".join(f"{key} = {value}" for key, value in options.items() if value is not None)
        message = f"`quality` must be asked for with what is of its samples alone ({given}). Add --quality N."
        raise OptionError(message)
    source = model.config.data if data is None else dataclasses.replace(model.config.data, path=data)
    dataset = load_data(source, model.spec)
    if quality:
        check_quality(model, quality)
    result = evaluate(model, dataset, settings, seed)
    values: dict[str, Any] = {
        "bits": result.bits_per_position,
        "unit": model.spec.unit,
        "monte_carlo_error": result.monte_carlo_error,
        "standard_error": result.standard_error,
        "prior_bits": result.prior_bits,
        "marginal_bits": dataset.marginal_bits(),
        "examples": len(result.nats),
        "step": settings.step,
        **dataclasses.asdict(model.denoiser.conventions),
    }
    if model.spec.n_classes:
        values["condition"] = "class" if dataset.spec.n_classes else "none"
        if not dataset.spec.n_classes:
            say("The data have no labels: the bound is of the model without their classes.")
    words = dataset.n_words(settings.examples)
    if words:
        values["perplexity"] = result.perplexity(words)
    if quality:
        values.update(measure_quality(model, dataset, quality, seed, options))
    return values
