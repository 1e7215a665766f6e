"""Accuracies beside what the scores said of them, and how well the two agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from transferability._array import FloatArray
from transferability.agreement import FEWEST_RESAMPLED, Agreement, Estimate, agreement, top_k_regret
from transferability.errors import TaskError, UnknownNameError, nearest_names
from transferability.ranking.result import ScoreColumn, Skipped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MeanAgreement", "Observation", "Validation"]

SCHEMA_VERSION = 1
_N_RESAMPLES = 500


@dataclass(frozen=True)
class Observation:
    """One encoder on one target.

    Attributes
    ----------
    encoder, target : str
    accuracies : tuple of float
        One for each seed.
    values : dict of str to float
        What transferred accuracy and loss, bound and scores said before; a score that says nothing here is left out.
    probe_accuracies : tuple of float
        Of the linear probe that fine-tuning began beside, one for each seed; empty where nothing was fine-tuned.
    notes : tuple of str
        What must be said of runs: that one is the probe itself, ended below it, or failed.
    n_fit, n_test : int or None
        Rows that scores were computed on, and that accuracies were measured on; copies counted once.
    """

    encoder: str
    target: str
    accuracies: tuple[float, ...]
    values: dict[str, float]
    probe_accuracies: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    n_fit: int | None = None
    n_test: int | None = None

    @property
    def accuracy(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.accuracies))

    @property
    def probe_accuracy(self) -> float | None:
        """Of the probe, mean over the seeds; None where nothing was fine-tuned."""
        return float(np.mean(self.probe_accuracies)) if self.probe_accuracies else None


@dataclass(frozen=True)
class MeanAgreement:
    """Agreement of one score with the accuracies, in the mean over targets.

    Intervals resample the encoders. There is none, its ends are None, where a target has fewer than five: what few
    resamples have a correlation there look precise and say nothing.
    """

    criterion: str
    pearson: Estimate
    kendall: Estimate
    regret: Estimate
    n_targets: int


@dataclass(frozen=True, eq=False)
class Validation:
    """What was measured, and how well it was predicted.

    Attributes
    ----------
    method : str
        "finetune" or "probe".
    observations : tuple of Observation
    columns : tuple of ScoreColumn
        Transferred accuracy and loss, bound and scores with their directions; "size", the number of parameters, is the
        baseline to beat.
    skipped : tuple of Skipped
        What could not be measured, and why.
    """

    method: str
    observations: tuple[Observation, ...]
    columns: tuple[ScoreColumn, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, in order."""
        return tuple(dict.fromkeys(each.target for each in self.observations))

    def pairs(self, criterion: str, target: str) -> tuple[FloatArray, FloatArray]:
        """Return values of a score and accuracies, of the encoders of a target that have both."""
        known = [each for each in self.observations if each.target == target and criterion in each.values]
        return np.array([each.values[criterion] for each in known]), np.array([each.accuracy for each in known])

    def agreement(self, criterion: str, target: str) -> Agreement | None:
        """Return the agreement on one target; None with fewer than three encoders, or where all are alike."""
        values, accuracies = self.pairs(criterion, target)
        try:
            return agreement(values, accuracies, higher_is_better=self._column(criterion).higher_is_better)
        except TaskError:
            return None

    @cached_property
    def means(self) -> tuple[MeanAgreement, ...]:
        """Agreement of each score in the mean over targets, best first by Kendall's τ."""
        found = [each for column in self.columns if (each := self._mean(column)) is not None]
        return tuple(sorted(found, key=lambda each: -each.kendall.value))

    def frame(self) -> list[dict[str, Any]]:
        """Return one row for each encoder and target; `pandas.DataFrame` takes it as it is."""
        return [
            {
                "encoder": each.encoder,
                "target": each.target,
                "accuracy": each.accuracy,
                "probe_accuracy": each.probe_accuracy,
                "notes": " ".join(each.notes),
            }
            | {column.name: each.values.get(column.name) for column in self.columns}
            for each in self.observations
        ]

    def plot(self, criterion: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw a score, by default the first column, against the accuracies; needs the extra `plot`."""
        from transferability.display.plots import plot_validation

        column = self.columns[0] if criterion is None else self._column(criterion)
        rows = [
            {"target": each.target, "value": each.values[column.name], "accuracy": each.accuracy}
            for each in self.observations
            if column.name in each.values
        ]
        truth = "accuracy after " + ("fine-tuning" if self.method == "finetune" else "linear probing")
        return plot_validation(rows, ax, criterion=column.name, truth=truth)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with the version of their layout."""
        per_target = {
            target: {
                column.name: found.to_dict()
                for column in self.columns
                if (found := self.agreement(column.name, target)) is not None
            }
            for target in self.targets
        }
        return {
            "schema": SCHEMA_VERSION,
            "method": self.method,
            "observations": [
                asdict(each) | {"accuracy": each.accuracy, "probe_accuracy": each.probe_accuracy}
                for each in self.observations
            ],
            "columns": [asdict(each) for each in self.columns],
            "agreement": per_target,
            "mean_agreement": [asdict(each) for each in self.means],
            "skipped": [asdict(each) for each in self.skipped],
        }

    def _column(self, criterion: str) -> ScoreColumn:
        for column in self.columns:
            if column.name == criterion:
                return column
        known = [column.name for column in self.columns]
        message = f"`criterion` must be one that was computed; got {criterion!r}. {nearest_names(criterion, known)}"
        raise UnknownNameError(message)

    def _mean(self, column: ScoreColumn) -> MeanAgreement | None:
        """Resample encoders, the same for all targets: an encoder is drawn with all that is known of it."""
        tables = [self._by_encoder(column, target) for target in self.targets]
        tables = [each for each in tables if _varied(each)]
        if not tables:
            return None
        values = _statistics(tables).tolist()
        if min(map(len, tables)) < FEWEST_RESAMPLED:
            pearson, kendall, regret = (Estimate(value, None, None) for value in values)
        else:
            low, high = np.percentile(_resampled(tables), [2.5, 97.5], axis=0).tolist()
            pearson, kendall, regret = (
                Estimate(value, min(a, value), max(b, value)) for value, a, b in zip(values, low, high, strict=True)
            )
        return MeanAgreement(column.name, pearson, kendall, regret, len(tables))

    def _by_encoder(self, column: ScoreColumn, target: str) -> dict[str, tuple[float, float]]:
        sign = 1 if column.higher_is_better else -1
        return {
            each.encoder: (sign * each.values[column.name], each.accuracy)
            for each in self.observations
            if each.target == target and column.name in each.values
        }


Table = dict[str, tuple[float, float]]


def _resampled(tables: Sequence[Table]) -> list[FloatArray]:
    """Return the statistics of resampled encoders, of resamples in which correlations are defined on every target."""
    encoders = sorted(set[str]().union(*(each.keys() for each in tables)))
    rng, numbers = np.random.default_rng(0), len(encoders)
    draws: list[FloatArray] = []
    while len(draws) < _N_RESAMPLES:
        names = [encoders[k] for k in rng.integers(numbers, size=numbers)]
        drawn = [_pick(table, names) for table in tables]
        if all(_varied(each) for each in drawn):
            draws.append(_statistics(drawn))
    return draws


def _pick(table: Table, names: Sequence[str]) -> Table:
    return {f"{k} {name}": table[name] for k, name in enumerate(names) if name in table}


def _varied(table: Table) -> bool:
    """Tell whether correlations are defined: three encoders, and neither column constant."""
    values = np.array(list(table.values()))
    return len(values) >= 3 and bool(np.ptp(values, axis=0).all())


def _statistics(tables: Sequence[Table]) -> FloatArray:
    """Return the means over targets of Pearson's r, Kendall's τ and the top-1 regret."""
    columns = [np.array(list(each.values())).T for each in tables]
    rows = [(np.corrcoef(a, b)[0, 1], _kendall(a, b), top_k_regret(a, b)) for a, b in columns]
    found: FloatArray = np.mean(rows, axis=0)
    return found


def _kendall(a: FloatArray, b: FloatArray) -> float:
    """Return τ_b as `scipy.stats.kendalltau` does, without the p-value that takes a hundred times as long."""
    signs_a, signs_b = (np.sign(each[:, None] - each) for each in (a, b))  # (n, n)
    return float((signs_a * signs_b).sum() / np.sqrt(np.abs(signs_a).sum() * np.abs(signs_b).sum()))
