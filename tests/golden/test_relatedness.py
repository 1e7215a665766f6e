"""The bound against stored values of independent code: plain NumPy, POT and SciPy, in relatedness/make.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from transferability import Task, certify
from transferability.relatedness.certificate import transformed_losses
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier, fit_lipschitz_softmax
from transferability.relatedness.costs import GROUND_COSTS
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import ClassPoints, assign_classes
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.tasks.sample import Sample

HERE = Path(__file__).parent / "relatedness"
VALUES = json.loads((HERE / "values.json").read_text())
TOLERANCE = 1e-8  # two exact solvers in float64
TERMS = ("reference_loss", "label_mismatch", "distribution_mismatch")
CLASS_MAPS = {"one_to_one": [3, 0, 4], "all_on_two": [1, 1, 2]}


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(HERE / "tasks.npz") as archive:
        return {key: archive[key] for key in archive.files}


def classifier_of(stored: dict[str, np.ndarray]) -> SoftmaxClassifier:
    W = stored["weights"]
    tau = float(np.linalg.norm(W[:, None] - W, axis=2).max())
    return SoftmaxClassifier(W, stored["intercept"], 0.0, 0.0, tau, 0.0, True, 0)


@pytest.mark.parametrize("kind", ["loss", "euclidean"])
@pytest.mark.parametrize("labels", ["shares", "one_to_one", "all_on_two"])
def test_terms(stored: dict[str, np.ndarray], kind: str, labels: str) -> None:
    expected = VALUES[kind][labels]
    classifier = classifier_of(stored)
    shares = stored["shares"] if labels == "shares" else np.eye(5)[CLASS_MAPS[labels]]
    transform = LabelTransform(shares)
    reference = Sample(stored["reference"], stored["reference_labels"])
    target = Sample(stored["target"], stored["target_labels"])
    feature_map = AffineMap(stored["map"], stored["offset"])
    cost = GROUND_COSTS[kind](classifier, classifier.certified_tau)
    found = cost.certify(reference, target, feature_map, transform)
    assert found.terms == pytest.approx([expected[term] for term in TERMS], rel=TOLERANCE)
    assert found.bound >= expected["transferred_loss"]
    logits = classifier.logits(feature_map.apply(target.features))
    losses, predictions = transformed_losses(logits, target.labels, transform, found.priors)
    assert losses.mean() == pytest.approx(expected["transferred_loss"], rel=TOLERANCE)
    assert np.mean(predictions == target.labels) == pytest.approx(expected["transferred_accuracy"], rel=TOLERANCE)


@pytest.mark.parametrize("kind", ["loss", "euclidean"])
@pytest.mark.parametrize("labels", CLASS_MAPS)
def test_certify(stored: dict[str, np.ndarray], kind: str, labels: str) -> None:
    classifier = classifier_of(stored)
    found = certify(
        Task(stored["reference"], stored["reference_labels"]),
        Task(stored["target"], stored["target_labels"]),
        classifier.logits,
        lambda z: z @ stored["map"].T + stored["offset"],
        class_map=CLASS_MAPS[labels],
        lipschitz=classifier.certified_tau if kind == "euclidean" else None,
    )
    for name, value in VALUES[kind][labels].items():
        assert getattr(found, name) == pytest.approx(value, rel=TOLERANCE), name


@pytest.mark.parametrize("kind", ["loss", "euclidean"])
def test_best_classes(stored: dict[str, np.ndarray], kind: str) -> None:
    classifier = classifier_of(stored)
    reference = Sample(stored["reference"], stored["reference_labels"])
    target = Sample(stored["target"], stored["target_labels"])
    cost = GROUND_COSTS[kind](classifier, classifier.certified_tau)
    places = cost.places(reference, target, AffineMap(stored["map"], stored["offset"]))
    rng = np.random.default_rng(0)
    points = [
        ClassPoints(place, part.labels, k, rng)
        for place, part, k in zip(places, (reference, target), (5, 3), strict=True)
    ]
    losses = cost.losses(reference)
    per_class = np.bincount(reference.labels, weights=losses) / np.bincount(reference.labels)
    chosen = assign_classes(cost.pair_costs(*points, per_class), points[1].priors)  # type: ignore[call-arg]
    assert chosen.tolist() == VALUES[kind]["best"]["class_map"]
    found = cost.certify(
        reference,
        target,
        AffineMap(stored["map"], stored["offset"]),
        LabelTransform.from_class_map(chosen, 5),
    )
    assert found.bound == pytest.approx(VALUES[kind]["best"]["bound"], rel=TOLERANCE)


def test_lipschitz_classifier(stored: dict[str, np.ndarray]) -> None:
    tau, optimum = VALUES["lipschitz"]["tau"], VALUES["lipschitz"]["optimum"]
    h = fit_lipschitz_softmax(stored["reference"], stored["reference_labels"], tau)
    assert optimum - 1e-6 <= h.loss <= 1.01 * optimum
    assert h.loss - h.gap <= optimum + 1e-6  # the lower bound it claims is one
