"""Rankings and relations for the tests of the report: small, and real."""

from __future__ import annotations

import numpy as np
import pytest

from transferability.datasets.arrays import picture_arrays
from transferability.datasets.base import Dataset
from transferability.encoders.function import FunctionEncoder
from transferability.pipeline import Settings, rank, relate
from transferability.ranking.result import Ranking
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.results.result import Relatedness

SETTINGS = Settings(cache=False)
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)> {{ 7*7 }} [link](javascript:alert(1)) | `x`',
    "\u202eright to left\u202c עברית 🦜\x00\x07" + "long " * 2000,
)


def stripes(name: str, seed: int, names: tuple[str, ...] = ("top", "middle", "bottom")) -> Dataset:
    """Return pictures of 12 × 12 with a bright band in one of three places."""
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % 3
    pixels = rng.integers(0, 90, size=(60, 12, 12), dtype=np.uint8)
    for row, label in enumerate(labels):
        pixels[row, 4 * label : 4 * label + 4] += np.uint8(150)
    return picture_arrays(name, pixels, labels, names, name)


def rows(items: list) -> np.ndarray:
    return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=1) for each in items])


def pixels(items: list) -> np.ndarray:
    return np.stack([np.asarray(each.convert("L"), dtype=float).ravel() for each in items])


def noise(items: list) -> np.ndarray:
    return np.stack([np.random.default_rng(int(np.asarray(each)[0, 0, 0])).normal(size=6) for each in items])


def broken(items: list) -> np.ndarray:
    return np.full((len(items), 3), np.nan)


ENCODERS = [FunctionEncoder(f"python:{each.__name__}", each) for each in (rows, noise, pixels, broken)]


@pytest.fixture(scope="session")
def hostile_names() -> tuple[str, ...]:
    return HOSTILE


@pytest.fixture(scope="session")
def ranking() -> Ranking:
    panel = [stripes("lines", 1), stripes("edges", 2)]
    # Several τ, so that there is a choice to draw, and a cost whose map moves these features.
    estimator = TaskRelatedness([0.1, 0.2], ground_cost="loss", scale=False)
    return rank(stripes("bands", 0), panel, ENCODERS, relatedness=estimator, scores=["logme"], settings=SETTINGS)


@pytest.fixture(scope="session")
def hostile_ranking() -> Ranking:
    """Names that a report must show as text: of data, encoders and classes."""
    encoders = [FunctionEncoder(name, each) for name, each in zip(HOSTILE, (rows, pixels, noise), strict=True)]
    encoders.append(FunctionEncoder(HOSTILE[0] + " broken", broken))
    target, reference = stripes(HOSTILE[1], 0, HOSTILE), stripes(HOSTILE[0], 1, HOSTILE[::-1])
    return rank(target, reference, encoders, scores=["logme"], settings=SETTINGS)


@pytest.fixture(scope="session")
def relations() -> list[Relatedness]:
    references, targets = [stripes("lines", 1), stripes("edges", 2)], [stripes("bands", 0), stripes("edges", 2)]
    return relate(references, targets, ENCODERS[0], settings=SETTINGS)
