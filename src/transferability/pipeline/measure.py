"""One encoder, one target: relatedness to its references, and the other scores."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import softmax

from transferability._threads import threads_for
from transferability._validate import told_of_features
from transferability.display.column_table import COLUMNS
from transferability.display.columns import column_named
from transferability.encoders.trainable import fine_tunable
from transferability.errors import LabelError, OptionError, UnknownNameError, nearest_names
from transferability.pipeline.cost import warn_of_cost
from transferability.pipeline.data import Part, Progress, Split
from transferability.pipeline.describe import SampleCache, described, nearest
from transferability.pipeline.extraction import Extraction, Loaded, LoadedReference
from transferability.pipeline.installed_packs import installed_packs, relate_to_packs
from transferability.pipeline.packs import fingerprint_of
from transferability.pipeline.whole_encoder import whole_encoder
from transferability.ranking.entry import EncoderCost, LinearProbe, Ranked, ScoreColumn
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.results.copies import FOLDS_DIVIDE, counted_once
from transferability.relatedness.results.result import Relatedness
from transferability.scores.probing import cross_fitted_probe, probe
from transferability.scores.registry import ScoreInputs, available, compute_many
from transferability.task import Task

__all__ = ["Measurement", "related", "relatedness_of", "score_columns"]


def score_columns(scores: Sequence[str], criterion: str | None = None) -> list[ScoreColumn]:
    """Return the scores to compute, each once, the criterion among them where it is one and not a column.

    Raises
    ------
    UnknownNameError
        If there is no score of a name, and no column where it is the criterion.
    OptionError
        If the criterion is a score of something that no ranking has.
    """
    known = available()
    sorts_by_column = criterion is None or column_named(criterion) is not None
    wanted = [*(known if "all" in scores else scores), *(() if sorts_by_column else (criterion,))]
    for name in wanted:
        if name not in known:
            raise _unknown(name, list(known), sorts=name == criterion)
    if not sorts_by_column and (absent := known[str(criterion)].needs & _IN_NO_RANKING.keys()):
        message = f"`criterion` must be known in a ranking; score {criterion!r} needs "
        message += f"{' and '.join(_IN_NO_RANKING[each] for each in sorted(absent))}, which a ranking has not. "
        raise OptionError(message + f"Call transferability.scores.{criterion} for each encoder.")
    return [ScoreColumn(name, known[name].higher_is_better) for name in dict.fromkeys(wanted)]


_IN_NO_RANKING = {"label_embeddings": "embeddings of the class names"}


def _unknown(name: str, scores: Sequence[str], *, sorts: bool) -> UnknownNameError:
    """Return the error for a name that is no score, nor a column to sort by."""
    title = name.replace("-", " ")
    column = next((each for each in COLUMNS if title in (each.key, each.title.replace("-", " "))), None)
    if sorts and column is not None and column.key == "confirmed_accuracy":
        message = f"nothing is sorted by {column.title!r}: the first encoders are fine-tuned when the order is known "
        return UnknownNameError(message + "(--confirm 3), and the answer then rests on it.")
    parts = [part.strip() for part in name.split(",")]
    if len(parts) > 1 and not sorts:
        fix = "; on the command line repeat the option: " + " ".join(f"--score {part}" for part in parts)
        return UnknownNameError(f"`scores` must be one name each; got {name!r}. Write {parts!r}{fix}.")
    columns = [column.key for column in COLUMNS if column.higher_is_better is not None]
    known = f"Columns to sort by: {', '.join(columns)}. " if sorts else ""
    if sorts and column is not None:
        return UnknownNameError(f"nothing is sorted by {column.title!r}, of which no value is better. {known}".strip())
    hint = nearest_names(name, [*columns, *scores] if sorts else scores)
    hint = hint or f"{known}Scores: transferability score --list."
    return UnknownNameError(f"no {'column or score' if sorts else 'score'} is called {name!r}. {hint}")


@told_of_features("the transfer")
def relatedness_of(
    estimator: TaskRelatedness,
    panel: Sequence[LoadedReference],
    fit: Task | ReferencePack,
    test: Task | None,
    target: Part,
) -> Relatedness:
    """Relate a target to all its references, or to its own other half where there are none.

    A target with more classes than any reference would leave its transferred accuracy capped. The union of the
    references and the target's own half then join them.
    """
    folds = target.folds if isinstance(target, Split) else None
    if not panel:
        return _counted_once(estimator.fit(None, fit, target_test=test, folds=folds), target, fit, test)
    largest = max(each.fit.n_classes for each in panel)
    warn_of_cost(target.name, largest, fit.n_classes or largest, len(panel) * len(folds or (0,)))
    by_samples = isinstance(fit, Task) and estimator.solver != "statistics"
    crowded = by_samples and isinstance(fit, Task) and fit.labels is not None and fit.n_classes > largest
    if crowded and isinstance(estimator.matching, str):  # a given matching is one with the classes of single references
        estimator = copy.copy(estimator)
        estimator.union = True
    references, tests = [each.fit for each in panel], [each.test for each in panel]
    result = estimator.fit(references, fit, tests, test, folds=folds if by_samples else None)
    if crowded:
        with suppress(LabelError):  # too few rows of a class for two halves
            own = estimator.fit(None, fit, target_test=test, folds=folds)
            result = result.beside(own)
            result = replace(result, notes=tuple(dict.fromkeys((*result.notes, *own.notes))))
    return _counted_once(result, target, fit, test)


def _counted_once(result: Relatedness, target: Part, fit: Task | ReferencePack, test: Task | None) -> Relatedness:
    """Return a result whose intervals count items of one class that are copies, or look alike, once."""
    measured = test if result.evaluated_on == "test" else fit
    if not isinstance(target, Split) or not isinstance(measured, Task) or result.evaluated_on == "fit":
        return result
    # These folds keep copies together: what they divide are different items that one encoder does not tell apart.
    result = replace(result, notes=tuple(note for note in result.notes if not note.startswith(FOLDS_DIVIDE)))
    rows = target.test_rows if result.evaluated_on == "test" else np.arange(len(target.dataset))
    alike = target.copies(rows, measured.labels)  # labels may come with features
    if alike is None:
        return result
    copies = alike if result.first_copies is None else alike[result.first_copies]
    return replace(counted_once(result, copies), others=tuple(counted_once(each, copies) for each in result.others))


def related(
    estimator: TaskRelatedness,
    view: Loaded | None,
    panel: Sequence[LoadedReference],
    fit: Task | ReferencePack,
    test: Task | None,
    target: Part,
    *,
    packs: bool,
) -> tuple[Relatedness, str | None]:
    """Relate a target as `relatedness_of` does, to installed packs too where asked, and say which are left out."""
    serves = estimator.solver == "alternating" and estimator.space == "reference"
    if not packs or not serves or not isinstance(fit, Task) or fit.labels is None:
        return relatedness_of(estimator, panel, fit, test, target), None
    installed, note = installed_packs(fingerprint_of(view))
    try:
        own = relatedness_of(estimator, panel, fit, test, target)
    except LabelError:  # too few rows of a class for two halves
        own = None
    folds = target.folds if isinstance(target, Split) else None
    result = relate_to_packs(estimator, own, installed, fit, test, folds)
    # Without a pack to take its place the own half says what is wrong.
    if result is None:
        return relatedness_of(estimator, panel, fit, test, target), note
    return _counted_once(result, target, fit, test), note


@told_of_features("the linear probe")
def _linear_probe(fit: Task | ReferencePack, test: Task | None, target: Part, seed: int) -> LinearProbe | None:
    """Train a linear classifier on the target, on the rows and folds that the relatedness was fitted on."""
    if not isinstance(fit, Task) or fit.labels is None or not isinstance(target, Split):
        return None
    with threads_for(float(len(fit)) * fit.n_features * fit.n_classes):
        if target.folds is not None:
            found = cross_fitted_probe(fit.features, fit.labels, target.folds)
        elif test is not None and test.labels is not None:
            found = probe(fit.features, fit.labels, test.features, test.labels, seed=seed)
        else:
            return None
    return LinearProbe(found.accuracy, found.loss)


@dataclass(frozen=True)
class Measurement:
    """What is measured of every encoder and target alike."""

    estimator: TaskRelatedness
    columns: Sequence[ScoreColumn]
    seed: int
    progress: Progress | None = None
    samples: SampleCache = field(default_factory=dict)
    installed: bool = False  # whether installed packs join the target's own other half

    @property
    def needs(self) -> frozenset[str]:
        """Names of the inputs that the scores want, as in `ScoreInputs`."""
        known = available()
        return frozenset().union(*(known[column.name].needs for column in self.columns))

    def __call__(self, view: Loaded, extraction: Extraction, target: Part, references: Sequence[Part]) -> Ranked:
        """Return the relatedness of a target under one encoder, and its scores."""
        started = time.perf_counter()
        panel = extraction.panel(view, references, every=False)
        estimator, target, fit, test = extraction.compared(self.estimator, view, target, panel)
        if self.progress:
            self.progress(f"{view.name}: relatedness", 0, 1)
        result, note = related(estimator, view, panel, fit, test, target, packs=self.installed and not references)
        result = described(result, panel, fit, test, target, self.samples)
        if isinstance(fit, ReferencePack):
            values: dict[str, float] = {}
            notes = {column.name: "needs samples of the target, not a pack." for column in self.columns}
        else:
            values, notes = self._scores(view, fit, panel, result, extraction, target)
        notes |= extraction.notes(view, [target, *references]) | ({"reference packs": note} if note else {})
        keys = extraction.cache_keys(view, [target, *references])
        trained = _linear_probe(fit, test, target, self.seed)
        seconds = time.perf_counter() - started
        cost = EncoderCost(dimension=fit.n_features)
        can_train = fine_tunable(view)
        return Ranked(
            *(view.name, view.n_parameters, result, values, notes, seconds, keys, trained, cost),
            fine_tunable=can_train,
            **whole_encoder(view)._asdict(),
        )

    def _scores(
        self,
        view: Loaded,
        target: Task,
        panel: Sequence[LoadedReference],
        result: Relatedness,
        extraction: Extraction,
        part: Part,
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Return the values of the scores on the fitting part, and notes on those that need one.

        The closest reference is the reference of the scores that want one. Its classifier also replaces the
        encoder's own where source-class probabilities are wanted and the encoder gives none.
        """
        closest = nearest(panel, result)
        reference = None if closest is None else closest.fit
        if not self.columns:
            return {}, {}
        probabilities = extraction.probabilities(part)
        own = probabilities is not None
        scaler = result.transform.reference_scaler
        if "source_probabilities" in self.needs and probabilities is None and len(scaler.mean) == target.n_features:
            logits = result.reference_classifier.logits(scaler.apply(target.features))
            probabilities = softmax(logits, axis=1)
        inputs = ScoreInputs(
            features=target.features,
            labels=target.labels if result.pseudo_labels is None else result.pseudo_labels,
            source_probabilities=probabilities,
            layers=extraction.layers(view, part),
            reference=reference if isinstance(reference, Task) else None,
            n_parameters=view.n_parameters,
            pseudo_labels=result.pseudo_labels is not None,
            seed=self.seed,
        )
        with threads_for(float(len(target)) * target.n_features**2):
            results, skipped = compute_many([column.name for column in self.columns], inputs)
        notes = {name: " ".join(each.notes) for name, each in results.items() if each.notes}
        for name, each in results.items():
            if "source_probabilities" in each.needs:
                whose = "the encoder's own" if own else f"those of the reference {result.reference!r}"
                said = f"source classes are {whose}."
                notes[name] = f"{notes[name]} {said}" if name in notes else said
        return {name: float(each) for name, each in results.items()}, notes | skipped
