"""Random tasks over every public option: what is certified holds; `benchmarks/attacks.py` has any number of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

spec = importlib.util.spec_from_file_location("attacks", Path(__file__).parents[2] / "benchmarks" / "attacks.py")
assert spec is not None
assert spec.loader is not None
attacks: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(attacks)


@pytest.mark.parametrize("start", [0, 20, pytest.param(40, marks=pytest.mark.slow)])
def test_what_is_certified_holds(start: int) -> None:
    counts = [attacks.attack(k) for k in range(start, start + 20)]
    assert [each["failures"] for each in counts if each.get("failures")] == []
    assert sum(each.get("certified", 0) for each in counts) > 5


def test_rounding_of_features_far_from_zero_breaks_no_bound() -> None:
    # A target in float32 whose rows are all 3e6, not standardised: nothing but rounding is between bound and loss.
    assert attacks.attack(22499)["failures"] == []


def test_folds_are_certified_each_by_itself() -> None:
    # The map to all rows has a certificate, those of the folds, which measure the bound, have none.
    assert attacks.attack(7911)["failures"] == []
    _, results = attacks.fit_one(7911)
    second = results[1]
    assert second.bound < second.transferred_loss
    assert not second.certified
    assert second.transform.lipschitz <= second.tau * second.scale * (1 + 1e-9)
