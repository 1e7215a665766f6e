"""When a race is held by itself, and what one saves of features that are computed already, or with references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from transferability.cli.app import app
from transferability.datasets import Dataset
from transferability.encoders.function import FunctionEncoder
from transferability.encoders.precomputed import FeatureArrays
from transferability.pipeline import Settings, prepare, rank
from transferability.pipeline.race import race_by_default
from transferability.pipeline.race_samples import Sampler, fit_sizes_of

SETTINGS = Settings(cache=False)
N, D = 2_400, 8


def rows_of(name: str, n: int, n_classes: int = 4, *, labelled: bool = True) -> Dataset:
    """Return rows that are their number, and the number of their data set."""
    key = sum(name.encode())
    return Dataset(
        name,
        "array",
        np.arange(n).astype(np.str_),
        read=lambda row: np.array([key, row, row % n_classes]),
        content=lambda row: f"{name} {row}".encode(),
        all_labels=np.arange(n) % n_classes if labelled else None,
        class_names=tuple(map(str, range(n_classes))) if labelled else None,
    )


def features_of(name: str, n: int, strength: float) -> np.ndarray:
    """Return features of these rows in which the class shows so clearly."""
    noise = np.random.default_rng([sum(name.encode()), int(100 * strength)]).normal(size=(n, D))
    return strength * np.eye(4, D)[np.arange(n) % 4] + noise


def computed(strengths: list[float]) -> list[FeatureArrays]:
    """Return encoders whose features of a target and a reference are computed already."""
    names = {"t": N, "r": 800}
    return [FeatureArrays(f"s{s:g}", {name: features_of(name, n, s) for name, n in names.items()}) for s in strengths]


def test_a_race_of_computed_features_finds_the_first_of_the_full_ranking_with_its_numbers() -> None:
    encoders = computed([0.2, 3.0, 0.5, 2.9, 1.0, 0.0])
    data = rows_of("t", N), rows_of("r", 800)
    full = rank(*data, encoders, settings=SETTINGS)
    raced = rank(*data, encoders, settings=SETTINGS, race=1)
    race = raced.provenance["race"]
    stayed = {each.encoder: each.relatedness for each in raced.entries}
    assert raced.best.encoder == full.best.encoder
    assert {"s0.2", "s0.5", "s1", "s0"} == {each["encoder"] for each in race["dropped"]}
    for entry in full.entries[: len(stayed)]:
        assert stayed[entry.encoder].bound == entry.relatedness.bound
        np.testing.assert_array_equal(stayed[entry.encoder].transferred_losses, entry.relatedness.transferred_losses)
    assert race["items_are"] == "fitted"
    assert [each["n_rows"] for each in race["rounds"]] == fit_sizes_of(1_680, 4) == [300]
    n_fitted = 300 + 300  # of the target and the reference, for each of six; then all of those that stay
    assert race["items"] == pytest.approx(6 * n_fitted + 2 * (1_680 + 560), abs=6 * 4)
    assert race["items_of_all"] == 6 * (1_680 + 560)


def test_a_sample_to_fit_on_leaves_the_test_rows_whole() -> None:
    target = prepare(rows_of("t", N), SETTINGS)
    sampler = Sampler(target, [], SETTINGS, computed=True)
    assert sampler.sizes() == [300]
    sample = sampler(300)
    rows = sample.target.dataset.rows
    assert set(rows[sample.target.test_rows]) == set(target.test_rows)
    assert set(rows[sample.target.fit_rows]) < set(target.fit_rows)
    counts = np.bincount(sample.target.dataset.labels[sample.target.fit_rows])
    assert counts.sum() == 300
    assert counts.max() - counts.min() <= 4
    assert rows[sample.drawn].tolist() == target.test_rows.tolist()
    assert (sample.sizes, sample.weight) == ((300,), 300 / 720)
    assert set(rows) < set(sampler(900).target.dataset.rows)
    few = Sampler(prepare(rows_of("t", 600), SETTINGS), [], SETTINGS, computed=True)  # measured in folds
    assert few.sizes() == [150, 300]
    assert few(150).target.folds is not None


def test_most_encoders_see_the_reference_that_the_pilots_choose() -> None:
    """The far reference has nothing in common with the target, and no encoder but the pilots encodes a row of it."""
    seen: Counter[tuple[str, int]] = Counter()

    def encoder(name: str, strength: float) -> FunctionEncoder:
        def see(items: Any) -> np.ndarray:
            found = []
            for key, row, label in items:
                seen[name, int(key)] += 1
                rng = np.random.default_rng([int(key), int(row), int(10 * strength)])
                clear = strength * np.eye(4, D)[int(label)] * (key != sum(b"far"))
                found.append(clear + rng.normal(size=D))
            return np.stack(found)

        see.modality = "array"  # type: ignore[attr-defined]
        return FunctionEncoder(name, see)

    strengths = {"a": 3.0, "b": 0.3, "c": 0.5, "d": 2.8}
    encoders = [encoder(name, strength) for name, strength in strengths.items()]
    data = rows_of("t", 500), [rows_of("near", 300), rows_of("far", 300)]
    raced = rank(*data, encoders, settings=SETTINGS, race=1)
    race = raced.provenance["race"]
    assert {each["encoder"] for each in race["dropped"]} == {"b", "c"}
    far = {name: seen[name, sum(b"far")] for name in strengths}
    trial = 4
    assert (far["b"], far["c"]) == (0, 0)
    assert far["a"] >= 300
    assert far["d"] >= 300
    assert race["items"] <= sum(seen.values()) - trial * len(encoders)
    full = rank(*data, encoders, settings=SETTINGS)
    assert raced.best.encoder == full.best.encoder
    assert raced.best.relatedness.transferred_loss == full.best.relatedness.transferred_loss
    assert raced.best.relatedness.reference == full.best.relatedness.reference == "near"


def test_a_race_by_itself_is_of_many_encoders_and_rows_and_by_an_exact_test() -> None:
    target = prepare(rows_of("t", 500), SETTINGS)
    nine = [f"packaged:{k}" for k in range(9)]
    assert race_by_default(target, nine, None, SETTINGS)
    assert race_by_default(target, nine, "transferred_loss", SETTINGS)
    assert race_by_default(prepare(rows_of("t", N), SETTINGS), computed([0.1 * k for k in range(9)]), None, SETTINGS)
    assert not race_by_default(target, computed([0.1 * k for k in range(9)]), None, SETTINGS)  # few rows
    assert not race_by_default(target, nine[:8], None, SETTINGS)
    assert not race_by_default(target, nine, "bound", SETTINGS)
    assert not race_by_default(target, nine, "logme", SETTINGS)
    assert not race_by_default(target, nine, None, Settings(use_labels=False))
    assert not race_by_default(prepare(rows_of("t", 300), SETTINGS), nine, None, SETTINGS)
    assert not race_by_default(prepare(rows_of("t", 500, labelled=False), SETTINGS), nine, None, SETTINGS)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return what runs `rank` on so many feature files of encoders, the first of them the best."""
    monkeypatch.chdir(tmp_path)
    labels = np.arange(N) % 4
    for k in range(9):
        features = features_of("t", N, 3.0 if k == 0 else 0.1 * k)
        np.savez(tmp_path / f"e{k}.npz", features=features, labels=labels)

    def run(n_encoders: int, *arguments: str) -> Result:
        encoders = [word for k in range(n_encoders) for word in ("-e", f"features:e{k}.npz")]
        return CliRunner().invoke(app, ["rank", "features:e0.npz", *encoders, *arguments], catch_exceptions=False)

    return run


def test_the_command_races_more_than_eight_encoders_and_says_so(command: Callable[..., Result]) -> None:
    done = command(9)
    assert "race: the default for more than 8 encoders; --no-race ranks all." in " ".join(done.stderr.split())
    assert "8 of 9 encoders left a race" in done.stdout
    whole = command(9, "--no-race")
    assert "race" not in whole.stdout + whole.stderr
    assert whole.stdout.count("features:e") == 9
