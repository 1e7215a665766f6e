"""Encoders that are far from what was expected of them."""

import numpy as np

from transferability.ranking.expected import KnownAccuracy, surprises


def test_an_accuracy_within_its_interval_is_no_surprise() -> None:
    """The log odds of 100 % of many rows are far from any of 30 rows, of which the known accuracies are."""
    rng = np.random.default_rng(0)
    n_surprises = 0
    for _ in range(40):
        x = rng.uniform(0.3, 0.8, size=(4, 5))
        y = np.clip(x + rng.choice([0.02, 0.1, 0.2]) * rng.normal(size=x.shape), 0, 1)
        known = [
            KnownAccuracy(f"{t}", f"{k}", round(30 * x[t, k]) / 30, round(30 * y[t, k]) / 30, 30, 30)
            for t in range(4)
            for k in range(5)
        ]
        for accuracy in (0.0, 1.0):
            for pair, expected in surprises([KnownAccuracy("here", "a", 0.7, accuracy, 1000, 1000)], known):
                assert not expected.low <= pair.fine_tuned <= expected.high
                n_surprises += 1
    assert n_surprises > 10
