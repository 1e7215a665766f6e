"""One experiment from beginning to end on made-up data, and once more from what it kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the layout that `_data.py` reads: stripes of ten directions and widths."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("cifar10", "mnist", "mnist_m_cifar"):
        parts = {}
        for part, n in (("train", 1400), ("test", 600)):
            labels = np.arange(n) % 10
            angle, where = labels[:, None, None] * np.pi / 10, np.arange(12)
            wave = np.sin(where[:, None] * np.cos(angle) + where[None, :] * np.sin(angle))
            pixels = 127 + 70 * wave + 25 * rng.normal(size=wave.shape)
            parts |= {f"x_{part}": np.clip(pixels, 0, 255).astype(np.uint8), f"y_{part}": labels}
        np.savez(folder / f"{name}.npz", class_names=np.array([f"c{k}" for k in range(10)]), **parts)
    return folder


@pytest.mark.slow
def test_fig13_ends_with_claims_and_resumes(data: Path, tmp_path: Path) -> None:
    place = {"TRANSFERABILITY_CACHE": str(tmp_path / "features"), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "fig13_tau.py", "--data", str(data), "--quick", "--out", str(tmp_path / "out")]
    command += ["--cache", str(tmp_path / "cache")]
    found = []
    for _ in range(2):
        done = subprocess.run(
            command, cwd=EXPERIMENTS, env=os.environ | place, capture_output=True, text=True, encoding="utf-8",
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("VERDICT") == 3  # of each cost
        found.append(json.loads((tmp_path / "out" / "fig13_tau-quick.json").read_text(encoding="utf-8")))
    assert all(each["verdict"] in ("held", "held in part", "did not hold") for each in found[0]["claims"])
    assert all(row["bound"] >= row["transferred_loss"] for row in found[0]["rows"])
    assert found[0]["rows"] == found[1]["rows"]
    assert "pre-trained" not in done.stdout  # the second run found everything
    assert (tmp_path / "out" / "fig13_tau-quick.png").stat().st_size < 100_000
