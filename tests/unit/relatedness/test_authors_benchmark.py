"""`benchmarks/authors.py` on files of its layout: their transformations are measured as ours are."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

spec = importlib.util.spec_from_file_location("authors", Path(__file__).parents[3] / "benchmarks" / "authors.py")
assert spec is not None
assert spec.loader is not None
authors: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(authors)


def test_their_transformations_and_ours_are_measured_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres, parts = 3 * np.eye(3, 5), {}
    for task in ("ref", "tgt"):
        for part in ("train", "test"):
            labels = np.arange(60) % 3
            parts[f"{task}_{part}"] = (centres[labels] + rng.normal(size=(60, 5))).astype(np.float32)
            parts[f"{task}_{part}_y"] = labels  # type: ignore[assignment]
    np.savez(tmp_path / "features_mnist_to_digits.npz", **parts)
    theirs = {"W": 0.02 * centres.T, "c": np.zeros(3), "A": np.eye(5), "A_bar": np.eye(5), "b": np.zeros((5, 1))}
    saved = tmp_path / "transfer_mnist_to_digits_LearnedA_seed2023.npz"
    np.savez(saved, **theirs, B=np.eye(3), D=np.full(3, 1 / 3))
    first, ours, best = authors.algorithm1_runs(tmp_path, "digits", "LearnedA", 0, epochs=20, batch_size=30)
    assert first.bound == pytest.approx(first.reference_loss + authors.TAU * first.W)
    assert first.label_mismatch == 0
    assert first.reference_loss == ours.reference_loss  # the same h_R
    assert 0 < ours.W < 2 * first.W
    assert best.reference_loss < ours.reference_loss  # trained for it
    for run in (first, ours, best):
        assert run.bound >= run.reference_loss > 0
        assert run.accuracy > 80
