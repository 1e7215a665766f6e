"""What is called certified, at the edge; and how far guesses lean towards the reference's priors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from transferability.relatedness.certification import certification
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.costs.euclidean import EuclideanCost
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.solvers.pseudo_labels import _lean
from transferability.relatedness.solvers.solution import SampleSolution


@pytest.mark.parametrize(
    ("factor", "certified"), [(0.5, True), (1.0, True), (1.0001, False), (1.9, False), (3.0, False)]
)
def test_target_space_is_certified_up_to_tau_and_no_further(factor: float, certified: bool) -> None:
    found, reason = certification([scaling(factor)], labelled=True)
    assert found == certified
    assert reason.startswith("Certified" if certified else "Not certified")
    folds = [scaling(0.5), scaling(factor), scaling(0.25)]  # each must have a certificate of its own
    found, reason = certification(folds, labelled=True)
    assert found == certified
    assert f" {max(factor, 0.5):.4g}" in reason


def test_the_sentence_names_the_largest_constant_of_all_folds() -> None:
    found, reason = certification([scaling(1.0, "reference", tau) for tau in (0.25, 0.75, 0.5)], labelled=True)
    assert found
    assert "is 0.75-Lipschitz" in reason


def scaling(factor: float, space: str = "target", tau: float = 1.0) -> SampleSolution:
    """Return a solution whose map multiplies by a factor: the constant of its classifier in the target's space."""
    classifier = SoftmaxClassifier(np.array([[1.0, 0], [0, 0]]), np.zeros(2), 0.0, 0.0, tau, 0.0, True, 0)
    return SampleSolution(
        kept=np.arange(2),
        cost=EuclideanCost(classifier, 1.0, space),
        transform=LabelTransform(np.eye(2)),
        priors=np.array([0.5, 0.5]),
        feature_map=AffineMap(factor * np.eye(2), np.zeros(2)),
        push=None,
        labels=np.array([0, 1]),
        tau=1.0,
        scale=1.0,
        ridge=1.0,
        history=(),
        criterion=0.0,
    )


def test_guesses_lean_halfway_to_the_priors() -> None:
    """A target of two thirds of one class: the whole bias would make it one half, none would leave it as it looks."""
    rng = np.random.default_rng(0)
    position = np.concatenate([rng.normal(1.0, 0.7, 400), rng.normal(-1.0, 0.7, 200)])
    logits = np.column_stack([position, -position])
    plain = float((logits.argmax(axis=1) == 0).mean())
    leaning = float((_lean(logits, np.array([0.5, 0.5])) == 0).mean())
    sharp = 5 * logits / np.std(logits - logits.mean(axis=1, keepdims=True))
    low, high = -50.0, 50.0
    for _ in range(100):  # the whole bias, by bisection
        middle = (low + high) / 2
        mean = softmax(sharp + np.array([middle, 0.0]), axis=1)[:, 0].mean()
        low, high = (middle, high) if mean < 0.5 else (low, middle)
    whole = float(((sharp + np.array([middle, 0.0])).argmax(axis=1) == 0).mean())
    half = float(((sharp + np.array([middle / 2, 0.0])).argmax(axis=1) == 0).mean())
    assert whole < half < plain
    assert leaning == pytest.approx(half, abs=0.01)
