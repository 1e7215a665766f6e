"""Measures of agreement that the experiments report, against SciPy."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr

ENCODERS = tuple("abcdefg")


@pytest.fixture(scope="module")
def module() -> ModuleType:
    path = Path(__file__).parents[2] / "experiments" / "_agreement.py"
    spec = importlib.util.spec_from_file_location("_agreement", path)
    assert spec is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["_agreement"] = loaded  # dataclasses look there
    spec.loader.exec_module(loaded)
    return loaded


def cells(values: np.ndarray, target: str = "t") -> dict[tuple[str, str], float]:
    return {(encoder, target): float(value) for encoder, value in zip(ENCODERS, values, strict=True)}


def test_agreement_is_that_of_scipy_and_regret_is_in_points(module: ModuleType) -> None:
    said, true = np.array([3.0, 1, 4, 1, 5, 9, 2]), np.array([0.5, 0.2, 0.9, 0.3, 0.7, 0.6, 0.1])
    found = module.agreement(cells(said), cells(true), "t", ENCODERS)
    assert found["pearson"] == pytest.approx(pearsonr(said, true)[0])
    assert found["kendall"] == pytest.approx(kendalltau(said, true)[0])  # with a tie
    assert found["regret of the first"] == pytest.approx(30)
    assert found["regret of three"] == pytest.approx(0)
    assert module.agreement(cells(np.ones(7)), cells(true), "t", ENCODERS)["weighted kendall"] == 0


def test_resamples_are_correlations_of_the_encoders_drawn(module: ModuleType) -> None:
    rng = np.random.default_rng(0)
    said, true = rng.normal(size=7), rng.normal(size=7)
    counts = np.array([[2.0, 0, 1, 1, 0, 2, 1], [1, 1, 1, 1, 1, 1, 1]])
    pearson, kendall = module._correlations(said, true, counts)
    for row, count in enumerate(counts):
        drawn = np.repeat(np.arange(7), count.astype(int))
        assert pearson[row] == pytest.approx(pearsonr(said[drawn], true[drawn])[0])
        assert kendall[row] == pytest.approx(kendalltau(said[drawn], true[drawn])[0])


def test_the_best_criterion_differs_by_nothing_from_itself(module: ModuleType) -> None:
    true = np.arange(7) / 10
    criteria = {"right": cells(true), "noisy": cells(true + np.array([0.3, 0, -0.2, 0.1, 0, 0.4, -0.3]))}
    found = module.paired_intervals(criteria, cells(true), ["t"], ENCODERS, 200)
    assert found["right"]["pearson, less the best"] == [0, 0]
    assert found["right"]["pearson"] == pytest.approx([1, 1])
    assert found["noisy"]["pearson, less the best"][0] < 0
    assert found["noisy"]["kendall"][0] < found["noisy"]["kendall"][1]


def test_noise_between_seeds_bounds_the_agreement(module: ModuleType) -> None:
    quiet = {(encoder, "t"): [place / 10, place / 10 + 0.001] for place, encoder in enumerate(ENCODERS)}
    loud = {cell: [values[0] - 0.4, values[1] + 0.4] for cell, values in quiet.items()}
    assert module.Truth(quiet).noise("t") == pytest.approx(0.001 / 2**0.5)
    ceilings = [module.ceiling(module.Truth(runs), "t", ENCODERS, 100)["pearson"] for runs in (quiet, loud)]
    assert ceilings[0] > 0.99 > ceilings[1] + 0.2
