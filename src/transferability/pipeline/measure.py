"""One encoder, one target: relatedness to a panel of references, and the other scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from scipy.special import softmax

from transferability._array import FloatArray
from transferability._criteria import QUANTITIES
from transferability._threads import threads_for
from transferability.errors import UnknownNameError, nearest_names
from transferability.pipeline.data import Part, Progress
from transferability.pipeline.describe import Seen, described, nearest
from transferability.pipeline.extraction import Extraction, Loaded, Panelist
from transferability.ranking.result import Ranked, ScoreColumn
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.pack import ReferencePack
from transferability.relatedness.result import Relatedness
from transferability.scores.registry import ScoreInputs, available, compute_many
from transferability.task import Task

__all__ = ["Measurement", "score_columns"]


def score_columns(scores: Sequence[str], criterion: str | None = None) -> list[ScoreColumn]:
    """Return the scores to compute, each once, the criterion among them where it is one.

    Raises
    ------
    UnknownNameError
        If there is no score of a name.
    """
    known = available()
    wanted = [*(known if "all" in scores else scores), *(() if criterion in (None, *QUANTITIES) else (criterion,))]
    for name in wanted:
        if name not in known:
            message = f"no score is called {name!r}. {nearest_names(name, [*QUANTITIES, *known])}"
            raise UnknownNameError(message)
    return [ScoreColumn(name, known[name].higher_is_better) for name in dict.fromkeys(wanted)]


@dataclass(frozen=True)
class Measurement:
    """What is measured of every encoder and target alike."""

    estimator: TaskRelatedness
    columns: Sequence[ScoreColumn]
    seed: int
    progress: Progress | None = None
    seen: Seen = field(default_factory=dict)

    @property
    def needs_probabilities(self) -> bool:
        """Tell whether a score wants source-class probabilities."""
        known = available()
        return any("source_probabilities" in known[column.name].needs for column in self.columns)

    def __call__(self, view: Loaded, extraction: Extraction, target: Part, references: Sequence[Part]) -> Ranked:
        """Return the relatedness of a target under one encoder, and its scores."""
        started = time.perf_counter()
        fit, test = extraction.target(view, target)
        panel = extraction.panel(view, references, every=False)
        if self.progress:
            self.progress(f"{view.name}: relatedness", 0, 1)
        result = self.estimator.fit([each.fit for each in panel], fit, [each.test for each in panel], test)
        result = described(result, panel, test, target, self.seen)
        if isinstance(fit, ReferencePack):
            values: dict[str, float] = {}
            notes = {column.name: "needs samples of the target, not a pack." for column in self.columns}
        else:
            values, notes = self._scores(view, fit, panel, result, extraction.probabilities(target))
        keys = extraction.cache_keys(view, [target, *references])
        return Ranked(view.name, view.n_parameters, result, values, notes, time.perf_counter() - started, keys)

    def _scores(
        self,
        view: Loaded,
        target: Task,
        panel: Sequence[Panelist],
        result: Relatedness,
        probabilities: FloatArray | None,
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Return the values of the scores on the fitting part, and notes on those that need one.

        The reference whose bound stands is the reference of the scores that want one. Its classifier also stands in
        for the encoder's own where source-class probabilities are wanted and the encoder gives none.
        """
        reference = nearest(panel, result).fit
        own = probabilities is not None
        if probabilities is None:
            logits = result.reference_classifier.logits(result.transform.reference_scaler.apply(target.features))
            probabilities = softmax(logits, axis=1)
        inputs = ScoreInputs(
            features=target.features,
            labels=target.labels if result.pseudo_labels is None else result.pseudo_labels,
            source_probabilities=probabilities,
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
