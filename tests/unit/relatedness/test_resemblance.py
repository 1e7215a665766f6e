"""Which reference class each target class lies nearest to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from transferability import ReferencePack, Task, TaskRelatedness
from transferability.display.likeness import likeness
from transferability.errors import LabelError
from transferability.relatedness.packs.nearest_classes import nearest_classes
from transferability.relatedness.results.summary import NearestClass
from transferability.statistics.low_rank import leading_factor

D = 50
AXES = np.random.default_rng(1).normal(size=(4, D)) * 6  # what tells no class from another, and is large
CENTRES = 3 * np.random.default_rng(2).normal(size=(6, D))


def task(seed: int, classes: list[int], name: str, names: list[str] | None = None, n: int = 120) -> Task:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(classes)
    noise = rng.normal(size=(n, 4)) @ AXES + rng.normal(size=(n, D))
    return Task(CENTRES[classes][y] + noise, y, name, names)


PACKS = [
    ReferencePack.from_task(task(0, [0, 1, 2], "first", ["zero", "one", "two"]), tau=1.0),
    ReferencePack.from_task(task(1, [3, 4, 5], "second"), tau=1.0),
]


def test_finds_the_classes_that_it_is_made_of() -> None:
    found = nearest_classes(task(2, [4, 0, 2], "new", ["a", "b", "c"]), PACKS)
    assert [(each.target_class, each.reference, each.reference_class) for each in found] == [
        ("a", "second", "1"),
        ("b", "first", "zero"),
        ("c", "first", "two"),
    ]
    assert all(each.share > 0.95 for each in found)


def test_distances_are_mahalanobis_under_the_packs_covariance() -> None:
    target = task(3, [0, 3, 1, 4], "new")
    target = Task(target.features + 2 * np.random.default_rng(0).normal(size=target.features.shape), target.labels)
    covariance = np.mean([pack.statistics.pooled / len(pack) for pack in PACKS], axis=0)
    scale = np.sqrt(np.diagonal(covariance))
    factor = leading_factor(covariance / np.outer(scale, scale), 16)
    sigma = factor @ factor.T
    sigma += np.diag(np.maximum(1 - np.diagonal(sigma), 0.05))
    inverse = np.linalg.inv(sigma * np.outer(scale, scale))
    means = np.concatenate([pack.statistics.means for pack in PACKS])
    steps = target.features[:, None] - means
    nearest = np.einsum("nkd,de,nke->nk", steps, inverse, steps).argmin(axis=1)
    plain = (steps**2).sum(axis=2).argmin(axis=1)
    assert (nearest != plain).mean() > 0.05  # the covariance matters here
    for k, each in enumerate(nearest_classes(target, PACKS)):
        counts = np.bincount(nearest[target.labels == k], minlength=6)
        assert each.share == pytest.approx(counts.max() / counts.sum())
        names = ["first: zero", "first: one", "first: two", "second: 0", "second: 1", "second: 2"]
        assert f"{each.reference}: {each.reference_class}" == names[int(counts.argmax())]
        second = int(np.argsort(-counts, kind="stable")[1])
        assert each.runner_up == (names[second] if counts[second] else None)


def test_needs_labels_and_bears_constant_features() -> None:
    with pytest.raises(LabelError, match="labels"):
        nearest_classes(Task(np.eye(4)), PACKS)
    x, y = np.ones((20, 3)), np.arange(20) % 2
    x[:, 0] += 4 * y
    pack = ReferencePack.from_task(Task(x, y), tau=1.0)
    assert [each.reference_class for each in nearest_classes(Task(x, y), [pack])] == ["0", "1"]


def test_said_in_a_sentence() -> None:
    result = TaskRelatedness(tau=1.0).fit(PACKS[0], task(4, [0, 1, 2], "new"))
    assert likeness(result) is None
    many = tuple(NearestClass(str(k), "digits" if k else "fashion\x1b", str(k), 0.5) for k in range(9))
    text = likeness(dataclasses.replace(result, nearest=many))
    assert "5 → digits: 5 (50 % of rows), …; by reference, of 9 classes: digits 8, fashion\\x1b 1." in text
    assert text.endswith(f"Closest reference: first, bound {result.bound:.3f}.")
    assert "\x1b" not in text
    own = dataclasses.replace(result, reference="own other half").with_references([result], many[:2])
    own = dataclasses.replace(own, others=(result, dataclasses.replace(result, reference="own other half")))
    assert likeness(own).endswith(f"first, bound {result.bound:.3f} (own other half: {result.bound:.3f}).")
    assert not own.reference_chosen
