"""Accuracies of encoders on a target, by fine-tuning or linear probing; each one kept as soon as it is there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache as cache_result
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from transferability._schema import Shape
from transferability.encoders import Encoder, FeatureFiles
from transferability.errors import EncoderError, OptionError, TransferabilityError
from transferability.features import Features, extract_features
from transferability.pipeline import Split
from transferability.ranking.store import ResultStore, result_key
from transferability.validation.linear_probe import VERSION, probe
from transferability.validation.settings import CHOSEN, TRAINED, FineTuning, Hyperparameters, TrainingResult

if TYPE_CHECKING:
    from transferability.validation.finetune import FineTuner

__all__ = ["Method", "attempts", "data_identity", "encoder_identity", "measure"]

Method = Literal["finetune", "probe"]
_LAYOUT = 7  # of the keys: raised when a change of the code changes what is measured


def measure(
    encoder: Encoder | FeatureFiles,
    part: Split,
    method: Method = "finetune",
    *,
    seeds: Sequence[int] = (0, 1, 2),
    settings: FineTuning | None = None,
    store: ResultStore | None = None,
    batch_size: int | None = None,
    cache: bool = True,
    workers: int | None = None,
) -> list[TrainingResult]:
    """Train an encoder on a target, once for each seed, and measure it on the target's test rows.

    Parameters
    ----------
    encoder : Encoder
        For fine-tuning one that runs in torch, or an ONNX graph that can be converted; its weights are put back.
    part : Split
        The target and its rows (`transferability.pipeline.prepare`).
    method : {"finetune", "probe"}
        End to end, or a linear classifier on frozen features. The latter splits off its validation part by the seed.
    seeds : sequence of int
    settings : FineTuning, optional
    store : ResultStore, optional
        What it holds is not computed again; what is computed is put there at once.
    batch_size : int, optional
        For extracting features.
    cache : bool, default=True
        Whether features are kept.
    workers : int, optional
        Processes that decode pictures for fine-tuning; by default as many as pay.

    Returns
    -------
    list of TrainingResult
        One for each seed.

    Raises
    ------
    EncoderError
        If the encoder cannot be fine-tuned: functions cannot, nor quantised graphs.
    LabelError
        If the target has no labels.
    """
    runs = attempts(
        encoder,
        part,
        method,
        seeds=seeds,
        settings=settings,
        store=store,
        batch_size=batch_size,
        cache=cache,
        workers=workers,
    )
    found = []
    for _, run in runs:
        if isinstance(run, TransferabilityError):
            raise run
        found.append(run)
    return found


def attempts(
    encoder: Encoder | FeatureFiles,
    part: Split,
    method: Method = "finetune",
    *,
    seeds: Sequence[int] = (0, 1, 2),
    settings: FineTuning | None = None,
    store: ResultStore | None = None,
    batch_size: int | None = None,
    cache: bool = True,
    workers: int | None = None,
) -> Iterator[tuple[int, TrainingResult | TransferabilityError]]:
    """Train as `measure` does; yield each seed with its result, or with the reason why that run failed.

    Raises
    ------
    TransferabilityError
        If no run could begin.
    """
    if not seeds:
        message = "`seeds` must hold one number or more; got none."
        raise OptionError(message)
    settings = settings or FineTuning()
    subject = {"encoder": encoder_identity(encoder), "data": data_identity(part), "layout": _LAYOUT}
    work = _Kept(store, encoder.name, part.name, subject)
    if method == "probe":
        yield from _each(seeds, _probe(encoder, part, work, batch_size, cache))
        return
    if isinstance(encoder, FeatureFiles):
        message = f"encoder {encoder.name!r} is a file of features, and cannot be fine-tuned. "
        message += "Take method 'probe' of `validate`."
        raise EncoderError(message)
    from transferability.validation.finetune import FineTuner
    from transferability.validation.precision import number_format

    @cache_result
    def tuner() -> FineTuner:  # what is in the store needs none
        return FineTuner(
            encoder, part.dataset, part.fit_rows, part.test_rows, settings, groups=part.groups, workers=workers
        )

    options = asdict(settings) | {"number_format": number_format(encoder, settings)}
    chosen = work.do("finetune-choice", {"settings": options}, CHOSEN, lambda: vars(tuner().choose()))
    hyperparameters = Hyperparameters(**{name: chosen[name] for name in Hyperparameters.__dataclass_fields__})

    def tuned(seed: int) -> dict[str, Any]:
        about = {"settings": options, "seed": seed}
        return work.do("finetune", about, TRAINED, partial(_run, encoder.name, tuner, hyperparameters, seed))

    yield from _each(seeds, tuned)


def _each(
    seeds: Sequence[int], run: Callable[[int], dict[str, Any]]
) -> Iterator[tuple[int, TrainingResult | TransferabilityError]]:
    for seed in seeds:
        try:
            result = run(int(seed))
        except TransferabilityError as error:
            yield int(seed), error
        else:
            yield int(seed), TrainingResult(**{name: result[name] for name in TrainingResult.__dataclass_fields__})


def encoder_identity(encoder: Encoder | FeatureFiles) -> dict[str, Any]:
    """Return what decides the features, as JSON values; the name alone where the encoder cannot tell."""
    identity = None if isinstance(encoder, FeatureFiles) else encoder.identity()
    return {"name": encoder.name} if identity is None else identity


def data_identity(part: Split) -> dict[str, Any]:
    """Return a hash of the rows, their contents and labels, and the split."""
    labels = np.zeros(0) if part.dataset.labels is None else part.dataset.labels
    total = hashlib.sha256()
    for rows in (part.fit_rows, part.test_rows, labels):
        total.update(np.ascontiguousarray(rows, dtype=np.int64).tobytes())
    if part.groups is not None:  # rows that belong together decide which rows validate
        total.update(np.ascontiguousarray(part.groups, dtype=np.int64).tobytes())
    return {"contents": part.dataset.fingerprint(), "rows": total.hexdigest()}


class _Kept:
    """Results of one encoder on one target."""

    def __init__(self, store: ResultStore | None, encoder: str, target: str, subject: dict[str, Any]) -> None:
        self._store, self._encoder, self._target, self._subject = store, encoder, target, subject

    def do(self, kind: str, parts: dict[str, Any], shape: Shape, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the result, from the store if it is there."""
        if self._store is None:
            return work()
        key = result_key(kind, **self._subject, **parts)
        kept = self._store.get(key, shape)
        if kept is not None and not kept.failed:
            return kept.result
        started = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - started
        self._store.put(key, kind, self._encoder, self._target, result | parts, seconds, failed=False)
        return result


def _run(encoder: str, tuner: Callable[[], FineTuner], hyperparameters: Hyperparameters, seed: int) -> dict[str, Any]:
    return tuner().run(hyperparameters, seed).checked(encoder).to_dict() | vars(hyperparameters)


def _probe(
    encoder: Encoder | FeatureFiles, part: Split, work: _Kept, batch_size: int | None, cache: bool
) -> Callable[[int], dict[str, Any]]:
    @cache_result
    def features() -> Features:  # what is in the store needs none
        return extract_features(encoder, part.dataset, batch_size=batch_size, cache=cache)

    def fitted(seed: int) -> dict[str, Any]:
        fit, test = part.tasks(features())
        return probe(fit.features, fit.require_labels(), test.features, test.require_labels(), seed=seed).to_dict()

    return lambda seed: work.do("probe", {"version": VERSION, "seed": seed}, TRAINED, partial(fitted, seed))
