"""Rows that repeat: what intervals count, and that no accuracy is shown beside an interval of other rows."""

from __future__ import annotations

import numpy as np
import pytest
from bands import rows

from transferability.cli.show import caveats
from transferability.datasets.arrays import picture_arrays
from transferability.datasets.base import Dataset
from transferability.display.columns import shown_columns
from transferability.encoders.function import FunctionEncoder
from transferability.pipeline import Settings, load_part, rank, relate
from transferability.report.render import to_html, to_markdown
from transferability.report.summarize import summarize

SETTINGS = Settings(cache=False)
ROWS = FunctionEncoder("rows", rows)


def _columns(items: list) -> np.ndarray:
    return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=0) for each in items])


COLUMNS = FunctionEncoder("columns", _columns)


def _noise(n: int, copied: np.ndarray, labels: np.ndarray) -> Dataset:
    """Return n pictures of noise, and some of them again."""
    pixels = np.random.default_rng(0).integers(0, 250, size=(n, 8, 8)).astype(np.uint8)
    return picture_arrays("copies", np.concatenate([pixels, pixels[copied]]), labels, ["a", "b"], "copies")


def contrary() -> Dataset:
    """Return 50 pictures of class a, of which 20 are of class b too."""
    return _noise(50, np.arange(20), np.repeat([0, 1], [50, 20]))


def repeated() -> Dataset:
    """Return 50 pictures of two classes, the last 60 times more."""
    return _noise(50, np.full(60, 49), np.concatenate([np.arange(50) % 2, np.ones(60, dtype=int)]))


def test_copies_of_different_classes_are_different_rows() -> None:
    part = load_part(contrary(), SETTINGS)
    assert part.n_different(np.arange(70)) == 70
    assert part.n_different(np.arange(50)) == 50
    assert load_part(repeated(), SETTINGS).n_different(np.arange(110)) == 50


@pytest.mark.parametrize("data", [contrary, repeated])
@pytest.mark.parametrize("folds", ["auto", 1])
def test_no_interval_is_shown_beside_an_accuracy_outside_of_it(data: object, folds: int) -> None:
    settings = Settings(cache=False, folds=folds)
    ranking = rank(data(), None, [ROWS, COLUMNS], settings=settings)  # type: ignore[operator]
    record = ranking.to_dict()
    shown = [column.key for column in shown_columns(record["ranking"], record["columns"], ranking.criterion)]
    beside = shown[shown.index("transferred_accuracy_interval") - 1]
    for entry, bar in zip(record["ranking"], summarize(ranking)["parts"][0]["front"]["rows"], strict=True):
        low, high = entry["transferred_accuracy_low"], entry["transferred_accuracy_high"]
        assert low <= entry[beside] <= high
        assert bar["low"] is None or bar["low"] <= bar["accuracy"] <= bar["high"]
    ranking.plot(kind="front")
    (result,) = relate(None, data(), ROWS, settings=settings)  # type: ignore[operator]
    standing = result.interval()
    assert standing is not None
    assert standing.low <= standing.value <= standing.high


def test_every_contradicting_copy_counts() -> None:
    """Of 50 of class a and 20 of them of class b too, counting the first copy alone left class b out."""
    (entry,) = rank(contrary(), None, [ROWS], settings=SETTINGS).records
    assert entry["standing"]["n_rows"] == 70
    assert entry["standing"]["value"] == pytest.approx(entry["transferred_accuracy"])
    assert entry["different_rows"] is None
    assert entry["probe_rows"] == 70


def test_where_copies_change_the_accuracy_every_rendering_says_what_intervals_count() -> None:
    ranking = rank(repeated(), None, [ROWS, COLUMNS], settings=SETTINGS)
    for entry in ranking.records:
        assert entry["different_rows"] == {
            "accuracy": entry["standing"]["value"],
            "n_rows": 50,
            "n_all": 110,
        }
    said = "intervals count copies of a row once: 50 different rows of 110; accuracy and loss count every row."
    assert caveats(ranking).count(said) == 1
    summary = summarize(ranking)
    fact = next(each for each in summary["parts"][0]["answer"]["facts"] if each["label"] == "Transferred accuracy")
    value = f"{100 * ranking.records[0]['different_rows']['accuracy']:.1f} %"
    assert fact["note"].startswith(f"{value} of the 50 different rows, on new data ")
    for text in (to_html(summary), to_markdown(summary)):
        assert said in text
        assert "of different rows" in text.lower()  # the heading of the column


def test_a_relation_names_the_accuracy_that_its_interval_is_of() -> None:
    (result,) = relate(None, repeated(), ROWS, settings=SETTINGS)
    standing = result.interval()
    assert standing is not None
    summary = summarize(result)
    fact = summary["parts"][0]["answer"]["facts"][0]
    assert fact["note"].startswith(f"{100 * standing.value:.1f} % of the different rows, on new data ")
    assert any(note.startswith("intervals count copies of a row once") for note in summary["parts"][0]["notes"])
    assert "intervals count copies of a row once" in to_html(summary)
    assert "intervals count copies of a row once" in to_markdown(summary)
    single = summarize(relate(None, contrary(), ROWS, settings=SETTINGS)[0])["parts"][0]["answer"]["facts"][0]
    assert single["note"].startswith("on new data ")


def test_items_that_one_encoder_does_not_tell_apart_are_no_copies_on_both_sides() -> None:
    """Folds keep copies together; those of one encoder alone are different items with the same features."""

    def brightness(items: list) -> np.ndarray:
        return np.stack([np.full(3, float(np.asarray(each).mean() > 125)) for each in items])

    weak = FunctionEncoder("brightness", brightness)
    ranking = rank(repeated(), None, [ROWS, weak], settings=SETTINGS)
    assert not any("on both" in note or "folds given" in note for note in ranking["brightness"].relatedness.notes)
