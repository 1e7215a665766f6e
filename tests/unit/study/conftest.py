"""A small study of feature files, and what writes others like it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transferability.features import write_features
from transferability.study import Study, load_study


def _write_task(path: Path, seed: int, shift: float = 0.0, d: int = 6) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(90) % 3
    write_features(path, 3 * np.eye(3, d)[labels] + shift + rng.normal(size=(90, d)), labels, ["a", "b", "c"])


@pytest.fixture
def write_task() -> Callable[..., None]:
    """Return what writes features of a task."""
    return _write_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, encoder in enumerate(("good", "wide")):
        (tmp_path / encoder).mkdir()
        for seed, data in enumerate(("photos", "scans", "drawings")):
            _write_task(tmp_path / encoder / f"{data}.npz", seed, shift=0.2 * seed, d=6 + 4 * number)
    for seed, data in enumerate(("photos", "scans", "drawings")):
        rng = np.random.default_rng(seed)
        np.savez(tmp_path / f"{data}.npz", x=rng.integers(0, 255, (90, 2, 2), dtype=np.uint8), y=np.arange(90) % 3)
    return tmp_path


@pytest.fixture
def written() -> Callable[..., Study]:
    """Return what writes the study file of a folder."""
    return _written


def _written(folder: Path, **changes: object) -> Study:
    """Return a study of two encoders and two targets; `changes` replace what the file says."""
    given: dict[str, object] = {
        "encoders": [f"features:{folder}/{name}/{{data}}.npz" for name in ("good", "wide")],
        "references": [f"npz:{folder}/photos.npz", f"npz:{folder}/drawings.npz"],
        "targets": [f"npz:{folder}/scans.npz", f"npz:{folder}/drawings.npz"],
        "results": str(folder / "results.sqlite"),
    } | changes
    # One split in the place of five folds: a study is the same around either, and fits are what takes time here.
    settings = changes.get("settings", {})
    given["settings"] = {"folds": 1} | settings if isinstance(settings, dict) else settings
    # TOML writes lists, numbers and texts as JSON does.
    tables = [name for name, value in given.items() if isinstance(value, dict)]
    lines = [f"{name} = {json.dumps(value)}" for name, value in given.items() if name not in tables]
    for name in tables:
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in given[name].items())]  # type: ignore[attr-defined]
    (folder / "study.toml").write_text("\n".join(lines))
    return load_study(folder / "study.toml")
