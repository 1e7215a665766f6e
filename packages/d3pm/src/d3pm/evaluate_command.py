"""The command `d3pm evaluate`: what it tells of a checkpoint, by name. `d3pm.evaluation` computes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from d3pm.checkpoint import Checkpoint, load_checkpoint
from d3pm.config import EvaluateConfig
from d3pm.data import load_data
from d3pm.device import choose_device
from d3pm.errors import OptionError
from d3pm.evaluation import evaluate
from d3pm.generation import GenerationConfig
from d3pm.quality import check_quality, measure_quality
from d3pm.times import sampling_times

__all__ = ["run_evaluate", "text_of"]

# What is shown beside the bound, and what it means.
FIGURES = {
    "marginal_bits": "cost of the test data by the token frequencies of the training data alone",
    "prior_bits": "L_T, a part of the bound: what is left of the data at the largest noise",
    "examples": "",
    "perplexity": "per word",
    "inception_score": "",
    "fid": "against the training pictures",
}


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

    `options` are those of samples: the bound is of the model that draws in `n_steps` of them, where that is given;
    `quality` is measured on samples drawn so.
    """
    model = load_checkpoint(checkpoint, choose_device(device))
    settings = dataclasses.replace(model.config.evaluate, **{k: v for k, v in chosen.items() if v is not None})
    sampler = _check_samples(model, options, quality)
    times = _times_of_samples(model, sampler) if options.get("n_steps") is not None else None
    if times is not None and chosen.get("step") is not None:
        message = "`step` and `sample_steps` both say of how many steps the bound is; pass one of them."
        raise OptionError(message)
    source = model.config.data if data is None else dataclasses.replace(model.config.data, path=data)
    dataset = load_data(source, model.spec)
    model.config.loss.say_untrained("which the bound includes")
    result = evaluate(model, dataset, settings, seed, times)
    values: dict[str, Any] = {
        "bits": result.bits_per_position,
        "unit": model.spec.unit,
        "monte_carlo_error": result.monte_carlo_error,
        "standard_error": result.standard_error,
        "prior_bits": result.prior_bits,
        "marginal_bits": dataset.marginal_bits(),
        "examples": len(result.nats),
        "step": settings.step if times is None else None,
        "bound_of": _bound_of(model, settings, sampler, times, options.get("n_steps") is not None),
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


def text_of(values: Mapping[str, Any], tell_steps: bool = False) -> list[str]:
    """Return the figures as lines of text; `tell_steps` says of which steps the bound is."""
    bound = f"bound of {values['bound_of']}" if tell_steps else "bound"
    lines = [f"{values['bits']:.4f} {values['unit']} ({bound}; ± {values['monte_carlo_error']:.4f} from the draws)"]
    for key, meaning in FIGURES.items():
        if key in values:
            lines.append(f"{key.replace('_', ' ')}: {values[key]:.6g}" + (f" ({meaning})" if meaning else ""))
    return lines


def _check_samples(model: Checkpoint, options: Mapping[str, Any], quality: int) -> GenerationConfig:
    """Return how samples are drawn; refuse options that cannot be, before anything is computed."""
    if not quality and options.get("final") is not None:
        message = f"`final` = {options['final']} is of samples, which only `quality` draws. Add --quality N."
        raise OptionError(message)
    sampler = model.config.sample.override(**options)
    if quality or sampler != model.config.sample:
        sampler.check(model.process, model.denoiser, model.spec.shape)
    if options.get("n_steps") is not None:
        sampling_times(model.process, options["n_steps"], sampler.grid)
    if quality:
        check_quality(model, quality)
    return sampler


def _blocks(model: Checkpoint, sampler: GenerationConfig) -> bool:
    """Return whether samples are filled in block by block, which is a law of its own."""
    return 0 < sampler.block < model.spec.shape[-1]


def _times_of_samples(model: Checkpoint, sampler: GenerationConfig) -> list[float] | None:
    """Return the times that samples visit; None where no bound of their law is known."""
    if sampler.method != "ancestral" or _blocks(model, sampler) or model.denoiser.conventions.mode == "score":
        return None
    return sampling_times(model.process, sampler.n_steps, sampler.grid)


def _bound_of(
    model: Checkpoint,
    settings: EvaluateConfig,
    sampler: GenerationConfig,
    times: Sequence[float] | None,
    asked: bool,
) -> str:
    """Say in how many steps the model draws whose bound is told, and how the samples differ from it."""
    if times is not None:
        differences = _differences(model, sampler)
        without = f", without the samples' {' and '.join(differences)}" if differences else ""
        return f"sampling in {len(times) - 1} steps, {sampler.grid} grid{without}"
    n_steps = model.process.n_steps
    whole = "continuous time" if n_steps is None else f"T = {n_steps} steps, {settings.step} at once"
    if not asked:
        return whole
    blocks = f" per block of {sampler.block}" if _blocks(model, sampler) else ""
    return f"{whole}: none is known of samples in {sampler.n_steps}{blocks}"


def _differences(model: Checkpoint, sampler: GenerationConfig) -> list[str]:
    """Return what makes ancestral samples differ from the law that is bounded."""
    chosen = {
        f"{sampler.n_corrections} corrections": sampler.n_corrections > 0,
        f"temperature {sampler.temperature:g}": sampler.temperature != 1,
        f"top_p {sampler.top_p:g}": sampler.top_p != 1,
        "final argmax": (sampler.final or model.denoiser.conventions.final) == "argmax",
    }
    return [name for name, differs in chosen.items() if differs]
