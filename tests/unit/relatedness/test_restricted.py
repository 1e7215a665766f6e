"""The classifier of some of a pack's classes, by its definition."""

import numpy as np
import pytest
from scipy.special import log_softmax

from transferability.relatedness.classifier.lipschitz import fit_lipschitz_softmax
from transferability.relatedness.packs.reference import _restricted
from transferability.relatedness.tasks.sample import Sample


def test_it_has_the_loss_and_the_accuracy_of_its_rows() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    features = 1.5 * np.eye(4, 6)[labels] + rng.normal(size=(80, 6))
    whole, kept = fit_lipschitz_softmax(features, labels, 1.5), np.array([0, 2, 3])
    rows = np.isin(labels, kept)
    sample = Sample(features[rows], np.searchsorted(kept, labels[rows]))
    found = _restricted(whole, kept, sample)
    logits = whole.logits(sample.features)[:, kept]
    losses = -log_softmax(logits, axis=1)[np.arange(len(sample.labels)), sample.labels]
    assert found.loss == pytest.approx(losses.mean())
    assert found.accuracy == pytest.approx((logits.argmax(axis=1) == sample.labels).mean())
    distances = [np.linalg.norm(whole.weights[j] - whole.weights[k]) for j in kept for k in kept]
    assert found.certified_tau == pytest.approx(min(max(distances), whole.certified_tau))
    np.testing.assert_allclose(found.logits(sample.features), logits)
