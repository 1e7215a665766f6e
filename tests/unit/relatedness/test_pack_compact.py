"""Compact packs: small, near what they were made of, and refused where they are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors import safe_open
from safetensors.numpy import save_file

from transferability import ReferencePack, Task, TaskRelatedness
from transferability.errors import FileDamagedError, OptionError
from transferability.statistics.low_rank import leading_factor


def task(seed: int, n: int = 300, d: int = 80, classes: int = 5) -> Task:
    axes, centres = np.random.default_rng(7).normal(size=(6, d)), np.random.default_rng(8).normal(size=(classes, d))
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    scale = np.geomspace(1e-3, 1e3, d)
    return Task(
        (5 + 2 * centres[y] + rng.normal(size=(n, 6)) @ axes + 0.3 * rng.normal(size=(n, d))) * scale, y, "wide"
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReferencePack, ReferencePack, Path]:
    made = ReferencePack.from_task(task(0), task(1), tau="scaled", covariance="shared")
    path = made.save(tmp_path_factory.mktemp("packs") / "small.safetensors", compact=True)
    return made, ReferencePack.load(path), path


def test_size_is_as_said(both: tuple[ReferencePack, ReferencePack, Path]) -> None:
    made, _, path = both
    K, d, r = 5, 80, 16
    wanted = 2 * d * (r + 2 * K + 6) + 2 * made.n_rows * K
    assert wanted < path.stat().st_size < wanted + 4 * made.n_rows + 4_000


def test_statistics_come_back_to_three_digits(both: tuple[ReferencePack, ReferencePack, Path]) -> None:
    made, back, _ = both
    scale = made.scaler.scale
    assert_array_equal(back.statistics.counts, made.statistics.counts)
    assert_allclose(back.statistics.means / scale, made.statistics.means / scale, atol=5e-3)
    pooled, restored = (each.statistics.pooled / np.outer(scale, scale) / len(made) for each in (made, back))
    assert_allclose(np.diagonal(restored), np.diagonal(pooled), rtol=5e-3)
    assert np.linalg.norm(restored - pooled) < 0.1 * np.linalg.norm(pooled)  # six directions are nearly all there is
    assert np.linalg.eigvalsh(restored).min() > -1e-9
    assert_allclose(back.statistics.diagonals.sum(axis=0), np.diagonal(back.statistics.pooled), rtol=1e-12)
    assert back.statistics.form == "shared"


def test_classes_of_another_spread_keep_it(tmp_path: Path) -> None:
    """In standard deviations of each feature, though one is a thousand times another and the classes differ on it."""
    rng = np.random.default_rng(3)
    y = np.arange(600) % 2
    spread = np.where(y[:, None] == 0, [1e-3, 1.0], [4e-3, 2.0])  # (n, 2), of small and of large features
    task = Task(np.repeat(spread, 20, axis=1) * rng.normal(size=(600, 40)), y)
    made = ReferencePack.from_task(task, covariance="shared")
    back = ReferencePack.load(made.save(tmp_path / "small.safetensors", compact=True))
    counts, scale = made.statistics.counts[:, None], made.scaler.scale
    own, restored = ((each.statistics.diagonals / counts / scale**2).sum(axis=1) for each in (made, back))
    assert own[1] > 4 * own[0]
    assert_allclose(restored, own, rtol=0.01)


def test_classifiers_keep_their_lipschitz_constant(both: tuple[ReferencePack, ReferencePack, Path]) -> None:
    made, back, _ = both
    ours, theirs = made.heads[0].classifier, back.heads[0].classifier
    assert theirs.certified_tau <= back.heads[0].tau
    assert_allclose(theirs.weights, ours.weights, atol=2e-3 * np.abs(ours.weights).max())
    assert_allclose(back.heads[0].held_out.logits, made.heads[0].held_out.logits, rtol=1e-3, atol=1e-3)


def test_bounds_hold_and_are_nearly_the_same(both: tuple[ReferencePack, ReferencePack, Path]) -> None:
    made, back, _ = both
    target = task(2, 150, classes=4)
    results = [TaskRelatedness().fit(each, target, folds=3) for each in (made, back)]
    assert results[1].bound == pytest.approx(results[0].bound, abs=0.02)
    assert results[1].certified
    assert results[1].bound >= results[1].transferred_loss
    estimate = TaskRelatedness(solver="statistics").fit(back, back)
    assert estimate.distribution_mismatch < 0.1


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    wide = task(0)
    large = Task(100 * wide.features, wide.labels)
    made = ReferencePack.from_task(large, tau="scaled", covariance="shared", standardize=False)
    with pytest.raises(OptionError, match=r"`compact` must be left out: `.*` of the pack holds .*65,504"):
        made.save(tmp_path / "x.safetensors", compact=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("means", lambda a: a.astype(np.float64), "`means` must be float16"),
        ("widths", lambda a: -a, "`widths` holds values"),
        ("deviations", lambda a: a[:3], "`deviations` must be float16 of shape"),
        ("factor", lambda a: a[:, :0], "where features were expected"),
        ("factor", lambda a: a * np.float16(np.inf), "`factor` holds values"),
        ("logits_0", lambda a: a.astype(np.float32), "`logits_0` must be float16"),
        ("weights_0", lambda a: 2 * a, "Lipschitz constant"),
        ("scaler_scale", lambda a: 0 * a, "`scaler_scale` holds values"),
    ],
)
def test_hostile_files(
    both: tuple[ReferencePack, ReferencePack, Path], tmp_path: Path, name: str, value: Any, message: str
) -> None:
    with safe_open(both[2], framework="numpy") as file:
        about = json.loads(file.metadata()["transferability"])
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    with np.errstate(invalid="ignore"):
        arrays[name] = np.ascontiguousarray(value(arrays[name]))
    path = tmp_path / "changed.safetensors"
    save_file(arrays, path, metadata={"transferability": json.dumps(about)})
    with pytest.raises(FileDamagedError, match=message):
        ReferencePack.load(path)


@pytest.mark.parametrize("d", [3, 20, 60])
def test_leading_factor_is_the_best_of_its_rank(d: int) -> None:
    rng = np.random.default_rng(d)
    a = rng.normal(size=(d, d))
    covariance = a @ a.T
    factor = leading_factor(covariance, 4)
    values = np.linalg.eigvalsh(covariance)
    left = np.linalg.norm(covariance - factor @ factor.T)
    assert left == pytest.approx(np.sqrt((values[:-4] ** 2).sum()), rel=1e-8, abs=1e-8)
    assert_array_equal(leading_factor(covariance, 4), factor)
    assert not leading_factor(np.zeros((d, d)), 4).any()
