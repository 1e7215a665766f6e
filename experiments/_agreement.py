"""How a criterion agrees with fine-tuned accuracy over encoders: measures of the field, intervals, noise ceiling."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import weightedtau

__all__ = ["MEASURES", "Truth", "agreement", "ceiling", "paired_intervals", "read_truth"]

Cells = Mapping[tuple[str, str], float]
"""By encoder and target."""
MEASURES = ("pearson", "kendall", "weighted kendall", "regret of the first", "regret of three")


@dataclass(frozen=True)
class Truth:
    """Accuracies after fine-tuning: of every seed, and their means, by encoder and target."""

    runs: Mapping[tuple[str, str], Sequence[float]]

    @property
    def means(self) -> dict[tuple[str, str], float]:
        """Mean over seeds."""
        return {cell: float(np.mean(values)) for cell, values in self.runs.items()}

    def noise(self, target: str) -> float:
        """Return the standard deviation between seeds of a target, pooled over the encoders with several."""
        several = [values for (_, name), values in self.runs.items() if name == target and len(values) > 1]
        squares = sum(float(np.var(values) * len(values)) for values in several)
        return (squares / sum(len(values) - 1 for values in several)) ** 0.5


def read_truth(folder: Path, encoders: Sequence[str]) -> Truth:
    """Read ``finetuned_truth.json``, without the encoders that are not compared (an untrained one)."""
    runs: dict[tuple[str, str], list[float]] = {}
    for run in json.loads((folder / "finetuned_truth.json").read_text())["runs"]:
        if run["encoder"] in encoders:
            runs.setdefault((run["encoder"], run["target"]), []).append(run["accuracy"])
    return Truth(runs)


def _columns(values: Cells, truth: Cells, target: str, encoders: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Return which encoders have both numbers, and the numbers."""
    place = [i for i, encoder in enumerate(encoders) if (encoder, target) in truth and (encoder, target) in values]
    names = [encoders[i] for i in place]
    return np.array(place), *(np.array([cells[name, target] for name in names]) for cells in (values, truth))


def agreement(values: Cells, truth: Cells, target: str, encoders: Sequence[str]) -> dict[str, float]:
    """Return the measures of agreement on one target; higher values should mean higher accuracy. Regret in points."""
    _, said, true = _columns(values, truth, target, encoders)
    order = np.argsort(-said, kind="stable")
    pearson, kendall = _correlations(said, true, np.ones((1, len(said))))
    regrets = [100 * float(true.max() - true[order[:first]].max()) for first in (1, 3)]
    # Its own measure of ties in rank asks for distinct values; a criterion that is constant agrees with nothing.
    weighted = float(weightedtau(said, true).statistic) if np.ptp(said) else 0.0
    return dict(zip(MEASURES, (float(pearson[0]), float(kendall[0]), weighted, *regrets), strict=True))


def _correlations(said: np.ndarray, true: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Pearson's and Kendall's correlation with each row of `counts` (b, m) saying how often an encoder is drawn.

    0 where either is constant.
    """
    total = counts.sum(1, keepdims=True)
    x, y = (values - counts @ values[:, None] / total for values in (said, true))  # (b, m)
    covariance, spread_x, spread_y = ((counts * each).sum(1) for each in (x * y, x * x, y * y))
    signs_x, signs_y = (np.sign(values[:, None] - values) for values in (said, true))  # (m, m)
    pairs = [np.einsum("bi,ij,bj->b", counts, each, counts) for each in (signs_x * signs_y, signs_x**2, signs_y**2)]
    return _ratio(covariance, spread_x * spread_y), _ratio(pairs[0], pairs[1] * pairs[2])


def _ratio(top: np.ndarray, squared: np.ndarray) -> np.ndarray:
    return np.where(squared > 1e-24, top / np.sqrt(np.maximum(squared, 1e-24)), 0.0)


def paired_intervals(
    criteria: Mapping[str, Cells], truth: Cells, targets: Sequence[str], encoders: Sequence[str], resamples: int = 2000
) -> dict[str, dict[str, list[float]]]:
    """Return 95 % intervals of each criterion's mean correlations over targets, and of its differences to the best.

    Encoders are drawn with replacement, the same for every criterion and target; the best is the one of the largest
    mean of Pearson's correlation.
    """
    counts = np.random.default_rng(0).multinomial(len(encoders), np.full(len(encoders), 1 / len(encoders)), resamples)
    counts = counts[(counts > 0).sum(1) > 3].astype(float)
    drawn, whole = {}, {}
    for name, values in criteria.items():
        parts = [_columns(values, truth, target, encoders) for target in targets]
        drawn[name] = np.mean([_correlations(said, true, counts[:, place]) for place, said, true in parts], axis=0)
        whole[name] = np.mean([_correlations(said, true, np.ones((1, len(said))))[0] for _, said, true in parts])
    best = max(whole, key=lambda name: whole[name])
    found: dict[str, dict[str, list[float]]] = {}
    for name, both in drawn.items():
        found[name] = {}
        for measure, values, of_best in zip(MEASURES, both, drawn[best], strict=False):
            found[name][measure] = np.quantile(values, (0.025, 0.975)).tolist()
            found[name][f"{measure}, less the best"] = np.quantile(values - of_best, (0.025, 0.975)).tolist()
    return found


def ceiling(truth: Truth, target: str, encoders: Sequence[str], draws: int = 2000) -> dict[str, float]:
    """Return the mean agreement of the truth with itself under the noise between seeds: what no criterion exceeds.

    The noise of a cell is normal with the deviation of its target, over the root of its number of seeds.
    """
    means, generator = truth.means, np.random.default_rng(0)
    names = [encoder for encoder in encoders if (encoder, target) in means]
    found = []
    for _ in range(draws):
        noisy = {
            (name, target): means[name, target]
            + generator.normal(0, truth.noise(target) / len(truth.runs[name, target]) ** 0.5)
            for name in names
        }
        found.append(agreement({cell: means[cell] for cell in noisy}, noisy, target, names))
    return {measure: float(np.mean([each[measure] for each in found])) for measure in MEASURES}
