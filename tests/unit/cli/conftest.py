"""Feature files that the tests of the command have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_runs import HOSTILE

from transferability.features import write_features


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Return feature files of two labelled tasks, one without labels, and one with hostile class names."""
    made = {}
    for seed, name in enumerate(["near", "goal", "bare", "hostile"]):
        rng = np.random.default_rng(seed)
        labels = np.arange(60) % 3
        features = (4 * np.eye(3, 5)[labels] + rng.normal(size=(60, 5))).astype(np.float32)
        path = tmp_path / f"{name}.npz"
        names = HOSTILE if name == "hostile" else ["a", "b", "c"]
        write_features(path, features, None if name == "bare" else labels, None if name == "bare" else names)
        made[name] = f"features:{path}"
    return made
