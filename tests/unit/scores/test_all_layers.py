"""Ridge regression on all layers: against refitting without each sample, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest

from transferability import scores
from transferability.errors import FeatureError, LabelError, OptionError


@pytest.fixture
def layers() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    early = rng.normal(size=(40, 6)) + 0.5 * rng.normal(size=(4, 6))[labels]
    return [early, np.tanh(early @ rng.normal(size=(6, 9))) * 50 + 3, rng.normal(size=(40, 70))]


LABELS = np.arange(40) % 4


def standardised(layers: list[np.ndarray]) -> np.ndarray:
    """Return the concatenation whose kernel is the mean of the layers' kernels."""
    parts = [(layer - layer.mean(0)) / layer.std(0) / layer.shape[1] ** 0.5 for layer in layers]
    return np.hstack(parts) / len(layers) ** 0.5


def test_it_is_the_error_of_refitting_without_each_sample(layers: list[np.ndarray]) -> None:
    result = scores.ridge_all_layers(layers, LABELS)
    features, targets = standardised(layers), np.eye(4)[LABELS]
    strength = result.ridge * np.linalg.eigvalsh(features @ features.T).mean()
    error, alone, right = 0.0, 0.0, 0
    for out in range(40):
        kept = np.arange(40) != out
        x, y = features[kept], targets[kept]
        centred = x - x.mean(0)
        weights = np.linalg.solve(centred.T @ centred + strength * np.eye(x.shape[1]), centred.T @ (y - y.mean(0)))
        predicted = y.mean(0) + (features[out] - x.mean(0)) @ weights
        error += ((targets[out] - predicted) ** 2).sum()
        alone += ((targets[out] - y.mean(0)) ** 2).sum()
        right += predicted.argmax() == LABELS[out]
    assert float(result) == pytest.approx(1 - error / alone, rel=1e-8)
    assert result.accuracy == right / 40


def test_no_other_ridge_of_the_grid_is_better(layers: list[np.ndarray]) -> None:
    features = standardised(layers)
    values, vectors = np.linalg.eigh(features @ features.T)
    centred = np.eye(4)[LABELS] - 0.25
    errors = []
    for ridge in np.logspace(-4, 3, 29):
        hat = vectors @ np.diag(values / (values + ridge * values.mean())) @ vectors.T
        errors.append((((centred - hat @ centred) / (1 - 1 / 40 - np.diag(hat))[:, None]) ** 2).sum())
    alone = (centred**2).sum() * (40 / 39) ** 2
    assert float(scores.ridge_all_layers(layers, LABELS)) == pytest.approx(1 - min(errors) / alone, rel=1e-8)


def test_it_tells_labels_from_noise() -> None:
    rng = np.random.default_rng(1)
    noise = [rng.normal(size=(200, 30)) for _ in range(3)]
    labels = np.arange(200) % 4
    assert abs(float(scores.ridge_all_layers(noise, labels))) < 0.02
    assert float(scores.ridge_all_layers([*noise[:2], np.eye(4)[labels]], labels)) > 0.9


def test_scale_shift_order_and_copies_do_not_matter(layers: list[np.ndarray]) -> None:
    value = float(scores.ridge_all_layers(layers, LABELS))
    changed = [layers[1] * 1e6 - 40, np.hstack([layers[2], layers[2]]), layers[0] * 1e-6]
    assert float(scores.ridge_all_layers(changed, LABELS)) == pytest.approx(value, rel=1e-7)
    with_constants = [np.full((40, 3), 1e9), np.hstack([layers[0], np.ones((40, 2))]), *layers[1:]]
    result = scores.ridge_all_layers(with_constants, LABELS)
    assert float(result) == pytest.approx(value, rel=1e-7)
    assert result.n_layers == 3
    assert float(scores.ridge_all_layers(layers[:2], LABELS)) != pytest.approx(value, rel=1e-3)


def test_many_samples_are_represented_by_some(layers: list[np.ndarray]) -> None:
    whole, drawn = scores.ridge_all_layers(layers, LABELS), scores.ridge_all_layers(layers, LABELS, max_samples=30)
    assert not whole.notes
    assert not scores.ridge_all_layers(layers, LABELS, max_samples=len(LABELS)).notes
    assert drawn.notes == ("computed on 30 of 40 samples.",)
    other = scores.ridge_all_layers(layers, LABELS, max_samples=30, seed=1)
    assert len({float(whole), float(drawn), float(other)}) == 3


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda layers: {"layers": []}, FeatureError, "`layers` must hold one array or more"),
        (lambda layers: {"layers": [layers[0], layers[1][:-1]]}, FeatureError, r"`layers\[1\]` must have a row"),
        (lambda layers: {"layers": [np.ones((40, 3))]}, FeatureError, "must not all be constant"),
        (lambda layers: {"layers": [layers[0], layers[1][:, 0]]}, FeatureError, r"`layers\[1\]`"),
        (lambda layers: {"labels": LABELS[:-1]}, LabelError, "`labels`"),
        (lambda layers: {"max_samples": 2.5}, OptionError, "`max_samples` must be a positive integer"),
    ],
)  # fmt: skip
def test_it_refuses(layers: list[np.ndarray], change, error: type[Exception], match: str) -> None:
    arguments = {"layers": layers, "labels": LABELS} | change(layers)
    with pytest.raises(error, match=match):
        scores.ridge_all_layers(**arguments)


def test_a_feature_far_from_the_origin_is_not_constant(layers: list[np.ndarray]) -> None:
    shifted = [layer + 1e8 for layer in layers]
    expected = float(scores.ridge_all_layers(layers, LABELS))
    assert float(scores.ridge_all_layers(shifted, LABELS)) == pytest.approx(expected, rel=1e-6)


def test_a_feature_that_is_constant_but_for_rounding_says_nothing(layers: list[np.ndarray]) -> None:
    noise = 1e-5 * np.random.default_rng(1).normal(size=(40, 30))
    constants = np.float32(100 + noise)  # two or three values, next to each other in this precision
    assert constants.std() > 0
    with_constants = [np.hstack([layers[0], constants]), *layers[1:]]
    assert float(scores.ridge_all_layers(with_constants, LABELS)) == float(scores.ridge_all_layers(layers, LABELS))
