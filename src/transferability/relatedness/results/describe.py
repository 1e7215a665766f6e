r"""What pictures of a result need and its numbers do not hold: a few points, seen by the reference's classifier.

Points are drawn where the loss cost lives: in the space of logits :math:`W u + c`, up to a constant per point, which
softmax ignores. Reference points and target points, before and after the map :math:`f`, are projected on the two axes
along which the reference points and the mapped target points vary most (PCA). Two classes have one such axis; the
second is then where the features vary most otherwise. Everything is bounded in size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from transferability._array import FloatArray, IntArray
from transferability.relatedness.results.result import Relatedness
from transferability.relatedness.results.visual_summary import GRID, MAX_SHOWN, VisualSummary
from transferability.task import Task

__all__ = ["GRID", "MAX_SHOWN", "VisualSummary", "describe"]

_MAX_POINTS = 150  # of each task
_LOOKALIKES = 3


def describe(result: Relatedness, reference: Task, target: Task, *, seed: int = 0) -> VisualSummary:
    """Look at samples of both tasks through a result.

    Parameters
    ----------
    result : Relatedness
    reference, target : Task
        Samples of the tasks of the result, best those that it was measured on. A target without labels gets the
        predictions of the transferred classifier.
    seed : int, default=0
        Draws the points.

    Notes
    -----
    Cost O(n d K) for the logits of the target; 150 points of each task take part in the pictures.
    """
    transform = result.transform
    used = np.flatnonzero(transform.D > 0)
    used = used if len(used) > 1 else np.arange(len(transform.D))
    weights, intercept = transform.weights[used], transform.intercept[used]
    mapped = transform.apply(target.features) @ weights.T + intercept
    predicted = (softmax(mapped, axis=1) @ transform.B[:, used].T).argmax(axis=1)
    labels = predicted if target.labels is None else target.labels

    rng = np.random.default_rng(seed)
    stands_for = np.full(len(transform.D), -1)
    for i in reversed(range(len(result.class_map))):  # of several target classes the first
        if result.class_map[i] >= 0:
            stands_for[result.class_map[i]] = i
    rows = _draw(np.flatnonzero(np.isin(reference.require_labels(), used)), rng)
    columns = _draw(np.arange(len(target)), rng)
    same_space = transform.feature_map.shape[0] == transform.feature_map.shape[1]
    drawn = (
        transform.reference_scaler.apply(reference.features[rows]),
        transform.apply(target.features[columns]),
        transform.target_scaler.apply(target.features[columns]) if same_space else np.empty((0, weights.shape[1])),
    )
    places = _project([_seen(each, weights, intercept) for each in drawn])
    if len(used) == 2:  # one direction decides: the other axis of the picture is where features vary otherwise
        places = _project(_with_second_axis(drawn, places, weights))
    on_grid = _on_grid(places)
    return VisualSummary(
        reference=on_grid[0],
        after=on_grid[1],
        before=on_grid[2],
        reference_classes=stands_for[reference.require_labels()[rows]],
        target_classes=labels[columns],
        lookalikes=_lookalikes(softmax(mapped, axis=1), labels, used, result),
        class_accuracy=None if target.labels is None else _accuracies(predicted, labels, len(result.class_map)),
    )


def _draw(rows: IntArray, rng: np.random.Generator) -> IntArray:
    return rows if len(rows) <= _MAX_POINTS else np.sort(rng.choice(rows, _MAX_POINTS, replace=False))


def _seen(features: FloatArray, weights: FloatArray, intercept: FloatArray) -> FloatArray:
    logits = features @ weights.T + intercept
    centred: FloatArray = logits - logits.mean(axis=1, keepdims=True)
    return centred


def _project(parts: Sequence[FloatArray]) -> list[FloatArray]:
    """Project points on the two axes along which those of the first two parts vary most: (n, K) -> (n, 2)."""
    settled = np.concatenate(parts[:2])
    middle = settled.mean(axis=0)
    _, _, axes = np.linalg.svd(settled - middle, full_matrices=False)
    axes = axes[:2]
    # A sign of its own for each axis, so that the same data give the same picture everywhere.
    axes = axes * np.where(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1) < 0, -1.0, 1.0)
    return [(each - middle) @ axes.T for each in parts]


def _with_second_axis(
    features: Sequence[FloatArray], places: Sequence[FloatArray], weights: FloatArray
) -> list[FloatArray]:
    """Return the first coordinate of the places, and the main direction of the features that the classifier ignores."""
    direction = weights[0] - weights[1]
    direction = direction / (float(np.linalg.norm(direction)) or 1.0)
    aside = _project([each - np.outer(each @ direction, direction) for each in features])
    spread = [np.concatenate(each[:2])[:, 0].std() for each in (places, aside)]
    ratio = spread[0] / spread[1] / 2 if spread[1] > 0 else 0.0
    return [np.stack([x[:, 0], ratio * y[:, 0]], axis=1) for x, y in zip(places, aside, strict=True)]


def _on_grid(places: Sequence[FloatArray]) -> list[IntArray]:
    """Round to the grid that holds all but the outermost hundredth of the points."""
    low, high = np.percentile(np.concatenate(places), [1, 99], axis=0)
    span = float((high - low).max()) or 1.0
    centre = (low + high) / 2  # one scale for both axes: distances are what the picture is about
    return [np.clip(np.rint(((each - centre) / span / 1.06 + 0.5) * GRID), 0, GRID).astype(np.int64) for each in places]


def _lookalikes(
    probabilities: FloatArray, labels: IntArray, used: IntArray, result: Relatedness
) -> tuple[tuple[tuple[str, float], ...], ...]:
    found: list[tuple[tuple[str, float], ...]] = []
    for i in range(min(len(result.class_map), MAX_SHOWN)):
        members = labels == i
        if not members.any():
            found.append(())
            continue
        mean = probabilities[members].mean(axis=0)
        best = np.argsort(-mean, kind="stable")[:_LOOKALIKES]
        found.append(tuple((result.reference_class_names[used[k]], float(mean[k])) for k in best))
    return tuple(found)


def _accuracies(predicted: IntArray, labels: IntArray, n_classes: int) -> tuple[float, ...]:
    counts = np.bincount(labels, minlength=n_classes)
    hits = np.bincount(labels[predicted == labels], minlength=n_classes)
    shares = np.divide(hits, counts, out=np.full(n_classes, np.nan), where=counts > 0)
    return tuple(float(x) for x in shares[:MAX_SHOWN])
