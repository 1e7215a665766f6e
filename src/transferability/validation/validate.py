"""Measure encoders by training, and hold transferred accuracy and loss, bound and scores against what came out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from transferability._criteria import HIGHER_IS_BETTER, OWN_HALF, QUANTITIES
from transferability.datasets import Dataset
from transferability.encoders import Encoder, FeatureFiles, load_encoder
from transferability.errors import TaskError, TransferabilityError, is_wrong_call
from transferability.features import extract_features
from transferability.pipeline import Progress, Settings, Split, prepare, rank
from transferability.pipeline.measure import score_columns
from transferability.pipeline.refusals import check_target_names
from transferability.ranking.result import ScoreColumn, Skipped
from transferability.ranking.store import ResultStore, result_key
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.references import LEAST_ROWS
from transferability.scores.registry import ScoreInputs, compute_many
from transferability.validation.measure import Method, attempts, data_identity, encoder_identity
from transferability.validation.result import Observation, Validation
from transferability.validation.settings import FineTuning, TrainingResult

__all__ = ["validate"]

BASELINE = "size"
"""Number of parameters: what a score must beat to be worth computing."""
_LAYOUT = 3  # of what is kept; raise it whenever the same key would mean another result
_NO_HALVES = (
    f"no transferred accuracy, loss and bound: a class has fewer than {LEAST_ROWS} fitting rows, too few for the "
    "target's own other half. Add rows, or give a reference."
)


def validate(
    encoders: Sequence[str | Encoder | FeatureFiles],
    targets: Sequence[str | Dataset],
    references: Sequence[str | Dataset] = (),
    *,
    method: Method = "finetune",
    seeds: Sequence[int] = (0, 1, 2),
    scores: Sequence[str] = ("all",),
    relatedness: TaskRelatedness | None = None,
    settings: Settings | None = None,
    tuning: FineTuning | None = None,
    store: ResultStore | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Train every encoder on every target, and compare with what was said of it without training.

    Parameters
    ----------
    encoders : sequence of str or Encoder
        One that fails is skipped and reported; the others go on. Functions take method "probe" only, and so do
        ONNX graphs that cannot be converted.
    targets : sequence of str or Dataset
        With labels.
    references : sequence of str or Dataset
        The references of transferred accuracy, transferred loss and bound. By default the other targets; of one target
        alone its own other half, as in `rank`: half of the fitting rows is the reference of the other half.
    method : {"finetune", "probe"}
    seeds : sequence of int
    scores : sequence of str
        Beside transferred accuracy and loss, bound and number of parameters, which are always there.
    relatedness : TaskRelatedness, optional
        By default as `rank` has it.
    settings : Settings, optional
        What is said before sees the fitting rows, as training does; accuracies are of the test rows.
    tuning : FineTuning, optional
    store : ResultStore, optional
        Kinds 'finetune', 'finetune-choice', 'probe' and 'scores'. What it holds is not computed again.
    progress : callable (what, done, total), optional

    Returns
    -------
    Validation

    Raises
    ------
    UnknownNameError
        If there is no score of a name; before anything is computed.
    TransferabilityError
        If data or options are at fault, or no encoder could be measured.
    """
    settings = replace(settings or Settings(), folds=1)  # what is said before must not see the test rows
    estimator = relatedness or TaskRelatedness(seed=settings.seed)
    parts = [prepare(each, settings) for each in targets]
    check_target_names(parts)
    panel = [prepare(each, settings) for each in references]
    score_names = score_columns([*scores, BASELINE])
    names = [each.name for each in score_names]
    observations: list[Observation] = []
    skipped: list[Skipped] = []
    errors: list[TransferabilityError] = []
    for each in encoders:
        name = each if isinstance(each, str) else each.name
        for number, part in enumerate(parts):
            if progress:
                progress(f"{name}: {method} on {part.name}", number, len(parts))
            try:
                encoder = each = _loaded(each, settings)  # once
                others = panel or [other for other in parts if other is not part]
                values = _predictions(encoder, part, others, names, estimator, settings, store)
                runs = attempts(
                    encoder,
                    part,
                    method,
                    seeds=seeds,
                    settings=tuning,
                    store=store,
                    batch_size=settings.batch_size,
                    cache=settings.cache,
                )
                measured, failed = _sorted_out(runs)
            except TransferabilityError as error:
                skipped.append(Skipped(f"{name} on {part.name}", str(error)))
                errors.append(error)
                continue
            unknown = () if others or _has_halves(part) else (_NO_HALVES,)
            observations.append(_observed(name, part, measured, failed, values, unknown))
            skipped += [Skipped(f"{name} on {part.name}, seed {seed}", str(error)) for seed, error in failed.items()]
    if not observations:
        message = f"no encoder could be measured. {'; '.join(f'{each.encoder}: {each.reason}' for each in skipped)}"
        raise TaskError(message) from (errors[0] if all(map(is_wrong_call, errors)) else None)
    columns = [
        ScoreColumn(name, higher)
        for name, higher in HIGHER_IS_BETTER.items()
        if any(name in each.values for each in observations)
    ]
    return Validation(method, tuple(observations), (*columns, *score_names), tuple(skipped))


def _sorted_out(
    runs: Iterable[tuple[int, TrainingResult | TransferabilityError]],
) -> tuple[dict[int, TrainingResult], dict[int, TransferabilityError]]:
    """Return results and failures by seed; raise the first failure where nothing was measured before it."""
    measured: dict[int, TrainingResult] = {}
    failed: dict[int, TransferabilityError] = {}
    for seed, run in runs:
        if isinstance(run, TrainingResult):
            measured[seed] = run
        elif not measured:
            raise run
        else:
            failed[seed] = run
    return measured, failed


def _observed(
    encoder: str,
    part: Split,
    measured: Mapping[int, TrainingResult],
    failed: Mapping[int, TransferabilityError],
    values: dict[str, float],
    unknown: tuple[str, ...],
) -> Observation:
    runs = measured.values()
    probes = tuple(run.probe_accuracy for run in runs if run.probe_accuracy is not None)
    of_how_many = f"{len(measured)} of {len(measured) + len(failed)} runs"
    notes = {seed: run.note for seed, run in measured.items() if run.note}
    notes |= dict.fromkeys(failed, f"this run failed, and the accuracy is that of {of_how_many}.")
    said = tuple(f"seed {seed}: {note}" for seed, note in notes.items())
    n_fit, n_test = part.n_different(part.fit_rows), part.n_different(part.test_rows)
    accuracies = tuple(run.accuracy for run in runs)
    return Observation(encoder, part.name, accuracies, values, probes, unknown + said, n_fit, n_test)


def _loaded(encoder: str | Encoder | FeatureFiles, settings: Settings) -> Encoder | FeatureFiles:
    if not isinstance(encoder, str):
        return encoder
    return load_encoder(encoder, device=settings.device, trust_remote_code=settings.trust_remote_code)


def _predictions(
    encoder: Encoder | FeatureFiles,
    part: Split,
    panel: Sequence[Split],
    names: Sequence[str],
    estimator: TaskRelatedness,
    settings: Settings,
    store: ResultStore | None,
) -> dict[str, float]:
    """Return what is said without training, from the store if it is there."""
    about = {
        "layout": _LAYOUT,
        "encoder": encoder_identity(encoder),
        "target": data_identity(part),
        "references": [data_identity(each) for each in panel],
        "scores": list(names),
        "relatedness": {name: _plain(value) for name, value in vars(estimator).items()},
        "settings": {name: asdict(settings)[name] for name in ("seed", "test_share", "use_labels")},
        "version": version("transferability"),
    }
    if not panel and _has_halves(part):
        about["references"] = OWN_HALF
    key = result_key("scores", **about)
    kept = store.get(key) if store is not None else None
    if kept is not None and not kept.failed:
        return dict(kept.result)
    started = time.perf_counter()
    if panel or _has_halves(part):
        references: list[Any] = [each.dataset for each in panel]
        entry = rank(
            part.dataset, references, [encoder], relatedness=estimator, scores=names, settings=settings, packs=False
        ).entries[0]
        values = {name: entry.value(name) for name in QUANTITIES} | entry.scores
    else:
        values = _scores_alone(encoder, part, names, settings)
    values = {name: value for name, value in values.items() if math.isfinite(value)}
    if store is not None:
        seconds = time.perf_counter() - started
        store.put(key, "scores", encoder.name, part.name, values, seconds, failed=False)
    return values


def _has_halves(part: Split) -> bool:
    """Tell whether each class has the fitting rows that the target's own other half needs."""
    labels = part.dataset.labels
    if labels is None:
        return False
    return bool(np.bincount(labels[part.fit_rows], minlength=int(labels.max()) + 1).min() >= LEAST_ROWS)


def _scores_alone(
    encoder: Encoder | FeatureFiles, part: Split, names: Sequence[str], settings: Settings
) -> dict[str, float]:
    """Return the scores that need no reference."""
    features = extract_features(encoder, part.dataset, batch_size=settings.batch_size, cache=settings.cache)
    task, _ = part.tasks(features)
    inputs = ScoreInputs(
        features=task.features, labels=task.labels, n_parameters=encoder.n_parameters, seed=settings.seed
    )
    return {name: float(each) for name, each in compute_many(names, inputs)[0].items()}


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
