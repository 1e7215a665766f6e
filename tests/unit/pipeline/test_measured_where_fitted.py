"""What is measured where it was fitted says nothing of new data: no interval, and no order by it."""

from __future__ import annotations

import dataclasses

import pytest
from bands import GOOD, NOISE, REFERENCE, SETTINGS, TARGET

from transferability import TaskRelatedness
from transferability.errors import OptionError
from transferability.pipeline import Settings, make_pack, rank, relate
from transferability.ranking.result import Ranking

STATISTICS = TaskRelatedness(solver="statistics", ground_cost="gamma")


def test_statistics_are_measured_on_a_test_part() -> None:
    ranking = rank(TARGET, REFERENCE, [NOISE, GOOD], relatedness=STATISTICS, settings=SETTINGS)
    assert (ranking.criterion, ranking.best.encoder) == ("transferred_accuracy", "rows")
    for entry, standing in zip(ranking, ranking.standings, strict=True):
        assert entry.relatedness.evaluated_on == "test"
        assert standing is not None
        assert standing.n_rows == len(entry.relatedness.transferred_correct) == 18
        assert standing.low <= entry.relatedness.transferred_accuracy <= standing.high
        assert entry.probe is not None  # on the same rows
        assert (entry.probe.accuracy * 18) % 1 == pytest.approx(0)
    (related,) = relate(REFERENCE, TARGET, GOOD, relatedness=STATISTICS, settings=SETTINGS)
    assert related.evaluated_on == "test"
    assert related.interval() == dataclasses.replace(ranking.standings[0], n_shared=1, **_ends(related))


def _ends(related: object) -> dict[str, float]:
    found = related.interval()  # type: ignore[attr-defined]
    return {"low": found.low, "high": found.high}  # of one encoder alone


def test_folds_of_statistics_are_refused() -> None:
    settings = Settings(cache=False, folds=5)
    with pytest.raises(OptionError, match="`folds` must be left out where everything is compared by statistics"):
        rank(TARGET, REFERENCE, GOOD, relatedness=STATISTICS, settings=settings)
    with pytest.raises(OptionError, match=r"packs without rows\); got 5"):
        relate(REFERENCE, TARGET, GOOD, relatedness=STATISTICS, settings=settings)
    pack = make_pack(REFERENCE, GOOD, settings=SETTINGS, rows=0)
    with pytest.raises(OptionError, match="measured on a test part: `test_share` is its share"):
        relate(pack, TARGET, GOOD, settings=settings)
    (found,) = relate(pack, TARGET, GOOD, settings=Settings(cache=False, folds=1))
    assert (found.solver, found.evaluated_on) == ("statistics", "test")


def test_a_ranking_of_training_accuracies_has_no_intervals_and_is_not_sorted_by_them() -> None:
    ranking = rank(TARGET, REFERENCE, [NOISE, GOOD], settings=SETTINGS)
    fitted = [
        dataclasses.replace(entry, relatedness=dataclasses.replace(entry.relatedness, evaluated_on="fit"))
        for entry in ranking
    ]
    again = Ranking.sort(fitted, (), None, (), ranking.target, ranking.references)
    assert again.criterion == "bound"
    assert again.standings == again.intervals("transferred_accuracy") == again.p_best == [None, None]
    assert again.records[0]["transferred_accuracy_low"] is None
    assert Ranking.sort(fitted, (), "transferred_accuracy", (), "t", ()).best.encoder == "rows"
