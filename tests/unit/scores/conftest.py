"""Labelled features for the tests of the scores."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def clusters() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    return rng.normal(size=(120, 6)) + 1.5 * rng.normal(size=(3, 6))[labels], labels
