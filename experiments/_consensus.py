"""Criteria made of others: the mean of several, and what fine-tuning the same encoders on other targets says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from _agreement import Cells
from scipy.stats import rankdata

__all__ = ["consensus", "track_record"]


def consensus(criteria: Mapping[str, Cells], names: Sequence[str]) -> tuple[Cells, Cells]:
    """Return the mean of criteria standardised over the encoders of a target, and the mean of their ranks."""
    means: dict[tuple[str, str], float] = {}
    ranks: dict[tuple[str, str], float] = {}
    for target in sorted({target for _, target in criteria[names[0]]}):
        cells = [cell for cell in criteria[names[0]] if cell[1] == target]
        values = np.array([[criteria[name][cell] for cell in cells] for name in names])  # (criteria, encoders)
        standard = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
        means |= dict(zip(cells, standard.mean(0).tolist(), strict=True))
        ranks |= dict(zip(cells, rankdata(values, axis=1).mean(0).tolist(), strict=True))
    return means, ranks


def track_record(truth: Cells) -> Cells:
    """Return the mean fine-tuned accuracy on the *other* targets, each standardised over its encoders.

    What an encoder's own results elsewhere foretell: no criterion that ranks encoders alike on every target, their
    accuracy on ImageNet say, can be expected to know more.
    """
    standard = {}
    for target in {target for _, target in truth}:
        column = {cell: value for cell, value in truth.items() if cell[1] == target}
        mean, spread = np.mean(list(column.values())), np.std(list(column.values()))
        standard |= {cell: (value - mean) / spread for cell, value in column.items()}
    return {
        (encoder, target): float(
            np.mean([z for (name, other), z in standard.items() if name == encoder and other != target])
        )
        for encoder, target in truth
    }
