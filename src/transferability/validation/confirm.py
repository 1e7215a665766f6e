"""The first encoders of a ranking, fine-tuned briefly: up to four to the end, of more the better half in rounds.

Successive halving (Jamieson and Talwalkar, AISTATS 2016): of more than four, all train for a few epochs, and those with
the higher validation accuracy for longer, from the start, as their schedules differ. All that is done is kept at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from transferability.encoders import Encoder, FeatureFiles, OutputView, as_trainable
from transferability.errors import EncoderError, LabelError, TransferabilityError
from transferability.pipeline import Progress, Settings, Split
from transferability.pipeline.extraction import load
from transferability.pipeline.whole_encoder import base_of, model_hash
from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.ranking.store import ResultStore, result_key
from transferability.validation.measure import data_identity, encoder_identity
from transferability.validation.settings import CHOSEN, TRAINED, FineTuning, Hyperparameters, TrainingResult

__all__ = ["BRIEF", "Executor", "Job", "confirm", "first_trainable", "run_here"]

NamedEncoder = str | Encoder | FeatureFiles
"""An identifier, or an encoder with a name."""
BRIEF = FineTuning(epochs=12, choice_epochs=2, head_starts=("fresh",))
"""The recipe of a confirmation: settings are tried for two epochs or fifty steps, then come rounds, the last of 12.

The head begins fresh. Two epochs favour a head that begins as the probe, whose encoder then hardly moves.
"""
_SHORT = 4  # times shorter than the next is a round
_ALL = 4  # at most so many train to the end without a race: a short round before would save nothing
_LAST = 3  # of more, so many
_LAYOUT = 5  # of what is kept: raised when the same key would mean another result
_KIND = "confirm"
_KEPT = {**TRAINED, "validation_loss": float, "chosen": CHOSEN, "seconds": float}


@dataclass(frozen=True)
class Job:
    """Train one encoder once; all that another process needs for it."""

    encoder: NamedEncoder
    part: Split
    settings: Settings
    tuning: FineTuning
    epochs: int
    seed: int
    chosen: Hyperparameters | None = None  # None: to be chosen first


Executor = Callable[[Sequence[Job]], Iterable[tuple[int, dict[str, Any]]]]
"""Runs jobs that do not depend on each other; yields the place of each and what `train` returns, as soon as it ends."""


def run_here(jobs: Sequence[Job]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run jobs in this process, one after the other."""
    return enumerate(map(train, jobs))


def train(job: Job) -> dict[str, Any]:
    """Return a `TrainingResult` with what was chosen and the seconds it took, or {"reason": …}; JSON values."""
    from transferability.validation.finetune import FineTuner

    started = time.perf_counter()
    try:
        encoder = whole(load(job.encoder, replace(job.settings, layer=None)))
        tuner = FineTuner(
            encoder,
            job.part.dataset,
            job.part.fit_rows,
            job.part.test_rows,
            job.tuning,
            groups=job.part.groups,
            workers=job.settings.workers,
        )
        chosen = job.chosen or tuner.choose()
        result = tuner.run(chosen, job.seed, epochs=job.epochs).checked(encoder.name)
    except TransferabilityError as error:
        return {"reason": str(error)}
    return result.to_dict() | {"chosen": asdict(chosen), "seconds": time.perf_counter() - started}


def whole(encoder: Encoder | FeatureFiles) -> Encoder:
    """Return what is trained of an encoder: of a layer the whole model.

    Raises
    ------
    EncoderError
        If it is features alone.
    """
    if isinstance(encoder, FeatureFiles):
        message = f"encoder {encoder.name!r} is a file of features, and cannot be fine-tuned."
        raise EncoderError(message)
    return encoder.base if isinstance(encoder, OutputView) else encoder


def first_trainable(
    encoders: Mapping[str, NamedEncoder], count: int, settings: Settings
) -> tuple[dict[str, NamedEncoder], dict[str, str]]:
    """Return the first encoders that can be fine-tuned, and why those before them cannot, both by name.

    Each is loaded for that, in turn, until there are enough. Of two names of a model the first that works counts.
    """
    chosen: dict[str, NamedEncoder] = {}
    reasons: dict[str, str] = {}
    names: dict[str, str] = {}  # of those chosen, by the hash of the model
    for name, encoder in encoders.items():
        if len(chosen) == count:
            break
        try:
            loaded = whole(load(encoder, replace(settings, layer=None)))
            model = model_hash(loaded) or name
            if model in names:
                reasons[name] = f"it is {names[model]!r} by another name: both are the same model."
                continue
            as_trainable(loaded)
        except TransferabilityError as error:
            reasons[name] = str(error)
        else:
            chosen[name], names[model] = encoder, name
    return chosen, reasons


def confirm(
    encoders: Mapping[str, NamedEncoder] | Sequence[NamedEncoder],
    part: Split,
    *,
    ranked_as: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    tuning: FineTuning = BRIEF,
    store: ResultStore | None = None,
    executor: Executor = run_here,
    n_ranked: int | None = None,
    progress: Progress | None = None,
) -> Confirmation:
    """Fine-tune a shortlist of encoders on a target, and order them by fine-tuned accuracy.

    Parameters
    ----------
    encoders : sequence of str or Encoder, or mapping of name to these
        A few, as `Ranking` has them first. One that cannot be fine-tuned is reported. Of layers the whole is trained.
    part : Split
        The target and its rows (`transferability.pipeline.prepare`). A fifth of the fitting rows validates; accuracies
        are of the test rows.
    ranked_as : mapping, optional
        With a mapping of encoders: the rows of those that are ranked by a hidden layer, by the same names.
    settings : Settings, optional
        Seed, device, workers.
    tuning : FineTuning, optional
        Up to four encoders train for its `epochs`. Of more, three do in the last round; the one before has a quarter of
        these, and so on, as many rounds as halve the list to four and are no shorter than the tries of settings.
    store : ResultStore, optional
        Kind 'confirm'. What it holds is not computed again.
    executor : callable, optional
        Where the jobs of a round run; by default here, in turn. On a cluster: `validation.ray.run_on_ray`.
    n_ranked : int, optional
        How many encoders these are the first of, where a ranking that has seen the test rows chose them: intervals are
        then shared over all of them.
    progress : callable (what, done, total), optional

    Returns
    -------
    Confirmation

    Raises
    ------
    LabelError
        If the target has no labels.
    """
    if part.dataset.labels is None:
        message = f"data {part.name!r} must have labels to be trained on; got none."
        raise LabelError(message)
    race = _Race(part, settings or Settings(), tuning, store, executor)
    alive, rows = _by_name(encoders, ranked_as or {})
    rounds = _rounds(len(alive), tuning, len(part.fit_rows))
    entries: dict[str, Confirmed] = {}
    chosen: dict[str, Hyperparameters] = {}
    for number, epochs in enumerate(rounds):
        if progress:
            progress(f"fine-tuning {len(alive)} for {epochs} epochs on {part.name}", number, len(rounds))
        results = race.run([(name, alive[name], chosen.get(name)) for name in alive], epochs)
        for name, result in results.items():
            entries[name] = _entry(name, result, epochs, entries.get(name))
            if "reason" not in result:
                chosen[name] = Hyperparameters(**result["chosen"])
        # As within a run: a lower accuracy on the validation rows is behind, of equal ones a larger loss.
        done = [(name, each) for name, each in results.items() if "reason" not in each]
        behind = {name: (-each["validation_accuracy"], each["validation_loss"]) for name, each in done}
        n_kept = {1: len(behind), 2: _LAST}.get(len(rounds) - number, max(_LAST, -(-len(behind) // 2)))
        kept = sorted(behind, key=behind.__getitem__)[:n_kept]
        alive = {name: alive[name] for name in alive if name in kept}
    finished = [replace(each, finished=name in alive, ranked_as=rows.get(name)) for name, each in entries.items()]
    ordered = sorted(finished, key=lambda each: (each.accuracy is None, not each.finished, -(each.accuracy or 0.0)))
    different = None if part.groups is None else part.n_different(part.test_rows)
    return Confirmation(part.name, len(part.test_rows), tuple(ordered), tuple(rounds), different, n_ranked)


def _by_name(
    encoders: Mapping[str, NamedEncoder] | Sequence[NamedEncoder], ranked_as: Mapping[str, str]
) -> tuple[dict[str, NamedEncoder], dict[str, str]]:
    """Return whole encoders by name, and their rows in a ranking where these are layers."""
    alive, rows = dict[str, NamedEncoder](), dict(ranked_as)
    if isinstance(encoders, Mapping):
        return dict(encoders), rows
    for each in encoders:
        row = each if isinstance(each, str) else each.name
        name = row if isinstance(each, str) else base_of(each).name
        alive.setdefault(name, each)
        if row != name:
            rows.setdefault(name, row)
    return alive, rows


def _rounds(n_encoders: int, tuning: FineTuning, n_rows: int) -> list[int]:
    """Return the epochs of each round: the last has all, each before it a quarter, but no fewer than a try of settings.

    A shorter round would tell less than the tries did.
    """
    n_train = max(1, round(n_rows * (1 - tuning.validation_share)))
    rounds, tried = [tuning.epochs], tuning.epochs_of_a_try(n_train)
    while n_encoders > _ALL and (shorter := max(rounds[0] // _SHORT, tried)) < rounds[0]:
        rounds.insert(0, shorter)
        n_encoders = -(-n_encoders // 2)
    return rounds


def _entry(name: str, result: dict[str, Any], epochs: int, before: Confirmed | None) -> Confirmed:
    """Return what is known of an encoder after a round; one that fails in it keeps what the round before gave."""
    if "reason" in result:
        if before is None:
            return Confirmed(name, None, note=result["reason"])
        said = (
            f"the accuracy is that after {before.epochs} epochs, since training for {epochs} failed: {result['reason']}"
        )
        return replace(before, note=f"{before.note} {said}".strip())
    found = TrainingResult(**{field: result[field] for field in TrainingResult.__dataclass_fields__})
    return Confirmed(
        name,
        found.accuracy,
        found.probe_accuracy,
        epochs,
        learning_rate=result["chosen"]["learning_rate"],
        seconds=result["seconds"] + (0.0 if before is None else before.seconds),
        note=found.note,
        best_epoch=found.epochs,
    )


class _Race:
    """Rounds of training, with what is known of earlier runs."""

    def __init__(
        self, part: Split, settings: Settings, tuning: FineTuning, store: ResultStore | None, executor: Executor
    ) -> None:
        self._part, self._settings, self._tuning = part, settings, tuning
        self._store, self._executor = store, executor
        self._data = data_identity(part)

    def run(
        self, encoders: Sequence[tuple[str, NamedEncoder, Hyperparameters | None]], epochs: int
    ) -> dict[str, dict[str, Any]]:
        """Return the result of each encoder; those that are not in the store are trained together."""
        found: dict[str, dict[str, Any]] = {}
        jobs: dict[str, tuple[str | None, Job]] = {}
        for name, encoder, chosen in encoders:
            try:
                key = self._key(encoder, epochs)
            except TransferabilityError as error:
                found[name] = {"reason": str(error)}
                continue
            kept = self._store.get(key, _KEPT) if self._store is not None and key is not None else None
            if kept is not None and not kept.failed:
                found[name] = kept.result
            else:
                job = Job(encoder, self._part, self._settings, self._tuning, epochs, self._settings.seed, chosen)
                jobs[name] = (key, job)
        waiting = list(jobs)
        for place, result in self._executor([job for _, job in jobs.values()]) if jobs else ():
            name = waiting[place]
            key, _ = jobs[name]
            found[name] = result
            if self._store is not None and key is not None and "reason" not in result:
                self._store.put(key, _KIND, name, self._part.name, result, result["seconds"], failed=False)
        return {name: found[name] for name, *_ in encoders}

    def _key(self, encoder: NamedEncoder, epochs: int) -> str | None:
        """Return what a result is kept under; None where the encoder cannot tell what it depends on."""
        loaded = whole(load(encoder, replace(self._settings, layer=None)))
        if loaded.identity() is None:
            return None
        from transferability.validation.precision import number_format

        of_what = {"layout": _LAYOUT, "encoder": encoder_identity(loaded), "data": self._data}
        how = asdict(self._tuning) | {"number_format": number_format(loaded, self._tuning)}
        return result_key(_KIND, **of_what, tuning=how, epochs=epochs, seed=self._settings.seed)
