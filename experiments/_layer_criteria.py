"""Criteria computed from all layers of an encoder: what was tried on the real zoo before `scores.ridge_all_layers`.

All start from one kernel per layer: K_l = Z_l Z_lᵀ / d_l with standardised features Z_l, so that each layer weighs the
same whatever its width; their mean is the kernel of the standardised, width-scaled concatenation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize, nnls

from transferability import Task, TaskRelatedness, scores
from transferability.datasets import folds

__all__ = ["all_layer_criteria", "last_layer_criteria", "spread"]

RIDGES = np.logspace(-4, 3, 29)  # in units of the mean eigenvalue


def spread(blocks: Sequence[np.ndarray], at_most: int = 16) -> list[np.ndarray]:
    """Return hidden layers evenly spread over depth, and the last features, as `rank` computes them."""
    *hidden, last = blocks
    places = np.linspace(0, len(hidden) - 1, min(len(hidden), at_most)).round().astype(int)
    return [*(hidden[place] for place in places), last]


def standardised(block: np.ndarray) -> np.ndarray:
    """Return the features that vary, standardised and divided by the root of their number, (n, d)."""
    centred = block.astype(np.float64) - block.mean(axis=0, dtype=np.float64)
    deviations = centred.std(axis=0)
    varies = deviations > 1e-7 * max(float(np.abs(block).max()), 1e-30)
    return centred[:, varies] / deviations[varies] / max(int(varies.sum()), 1) ** 0.5


def centre(kernel: np.ndarray) -> np.ndarray:
    """Return the kernel of centred features."""
    means = kernel.mean(axis=0)
    return kernel - means - means[:, None] + means.mean()


def ridge(kernel: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the leave-one-out share of variance explained and accuracy of ridge regression on a kernel."""
    n, targets = len(labels), np.eye(labels.max() + 1)[labels]
    values, vectors = np.linalg.eigh(centre(kernel))
    values, wanted = np.maximum(values, 0), targets - targets.mean(0)
    found = []
    for strength in RIDGES * values.mean():
        shrunk = values / (values + strength)
        residuals = wanted - vectors @ (shrunk[:, None] * (vectors.T @ wanted))
        residuals /= np.maximum(1 - 1 / n - vectors**2 @ shrunk, 1e-9)[:, None]
        found.append(((residuals**2).sum(), ((targets - residuals).argmax(1) == labels).mean()))
    error, accuracy = min(found)
    return float(1 - error / (wanted**2).sum() * ((n - 1) / n) ** 2), float(accuracy)


def aligned(kernels: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Return the combination of kernels, weights ≥ 0, that is best aligned with the labels (Cortes et al. 2012)."""
    wanted = np.eye(labels.max() + 1)[labels]
    ideal = centre(wanted @ wanted.T)
    flat = np.array([kernel.ravel() for kernel in kernels])
    products = flat @ flat.T
    root = np.linalg.cholesky(products + 1e-9 * np.trace(products) * np.eye(len(kernels)))
    weights, _ = nnls(root.T, np.linalg.solve(root, flat @ ideal.ravel()))
    return np.tensordot(weights / weights.sum(), np.array(kernels), 1)


def by_evidence(kernels: list[np.ndarray], labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the largest evidence of a Gaussian process per sample and class, and its combination of kernels.

    One weight per layer and the noise, the same for all classes.
    """
    n, wanted = len(labels), np.eye(labels.max() + 1)[labels]
    wanted = (wanted - wanted.mean(0)) / wanted.std(0)
    n_classes = wanted.shape[1]
    stacked = np.array([kernel * n / np.trace(kernel) for kernel in kernels])

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        weights = np.exp(logs)
        covariance = np.tensordot(weights[:-1], stacked, 1) + weights[-1] * np.eye(n)
        root, inverse = np.linalg.cholesky(covariance), np.linalg.inv(covariance)
        solved = inverse @ wanted
        value = n_classes * np.log(np.diag(root)).sum() + (wanted * solved).sum() / 2
        slope = (n_classes * inverse - solved @ solved.T) / 2
        gradient = np.append(np.tensordot(stacked, slope, 2), np.trace(slope)) * weights
        return value / n / n_classes, gradient / n / n_classes

    start = np.append(np.full(len(kernels), np.log(0.5 / len(kernels))), np.log(0.5))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-12, 4)] * len(start), options={"maxiter": 40})
    return -float(found.fun), np.tensordot(np.exp(found.x[:-1]), stacked, 1)


def arc_cosine(kernel: np.ndarray) -> np.ndarray:
    """Return the kernel of an infinitely wide layer of rectified units on these features (Cho and Saul 2009)."""
    norms = np.sqrt(np.maximum(np.diag(kernel), 1e-30))
    angles = np.arccos(np.clip(kernel / np.outer(norms, norms), -1, 1))
    return np.outer(norms, norms) * (np.sin(angles) + (np.pi - angles) * np.cos(angles)) / np.pi


def laplace(kernel: np.ndarray) -> np.ndarray:
    """Return the Laplace kernel of these features, its width the median distance."""
    lengths = np.diag(kernel)
    distances = np.sqrt(np.maximum(lengths[:, None] + lengths - 2 * kernel, 0))
    return np.exp(-distances / np.median(distances[np.triu_indices(len(kernel), 1)]))


def coordinates(kernel: np.ndarray) -> np.ndarray:
    """Return features (n, r) with this kernel but for its scale: rows of the mean length of r standardised features."""
    values, vectors = np.linalg.eigh(centre(kernel))
    kept = values > 1e-10 * values.max()
    return vectors[:, kept] * np.sqrt(values[kept] * kept.sum() * len(kernel) / values.sum())


def relatedness(features: np.ndarray, labels: np.ndarray, *, standardize: bool = True) -> tuple[float, float]:
    """Return the transferred accuracy and the bound, the target's other half as reference."""
    result = TaskRelatedness(standardize=standardize).fit(
        None, Task(features, labels), folds=tuple(folds(labels, 5, 0))
    )
    return float(result.transferred_accuracy), float(result.bound)


def last_layer_criteria(block: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return criteria of the last layer on the same rows: what all layers are compared with."""
    features = standardised(block)
    explained, accuracy = ridge(features @ features.T, labels)
    found = {"last layer: ridge": explained, "last layer: ridge, accuracy": accuracy}
    found["last layer: LogME"] = float(scores.logme(block, labels))
    found["last layer: kNN"] = float(scores.knn(block, labels))
    accuracy, bound = relatedness(block, labels)
    return found | {"last layer: transferred accuracy": accuracy, "last layer: bound": bound}


def all_layer_criteria(blocks: Sequence[np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Return criteria of all layers by name; higher is better but for the bound."""
    layers = [layer for layer in map(standardised, blocks) if layer.shape[1]]
    kernels = [layer @ layer.T for layer in layers]
    upper = kernels[len(kernels) // 2 :]
    whole = np.mean(kernels, axis=0)
    together = np.concatenate(layers, axis=1)
    result = scores.ridge_all_layers(blocks, labels)
    found = {"all layers: ridge": float(result), "all layers: ridge, accuracy": result.accuracy}
    found["all layers: LogME"] = float(scores.logme(together, labels))
    found["all layers: kNN"] = float(scores.knn(together, labels))
    found["upper half: ridge"] = ridge(np.mean(upper, axis=0), labels)[0]
    found["upper half: mean kNN"] = float(
        np.mean([float(scores.knn(each, labels)) for each in layers[len(layers) // 2 :]])
    )
    found["best single layer: ridge"] = max(ridge(kernel, labels)[0] for kernel in kernels)
    found["weighted layers: alignment, ridge"] = ridge(aligned(kernels, labels), labels)[0]
    evidence, weighted = by_evidence(kernels, labels)
    found |= {"weighted layers: evidence": evidence, "weighted layers: evidence, ridge": ridge(weighted, labels)[0]}
    found["arc-cosine kernel of all layers: ridge"] = ridge(arc_cosine(whole), labels)[0]
    found["arc-cosine kernel per layer: ridge"] = ridge(sum(arc_cosine(kernel) for kernel in kernels), labels)[0]
    found["Laplace kernel of all layers: ridge"] = ridge(laplace(whole), labels)[0]
    accuracy, bound = relatedness(coordinates(whole), labels, standardize=False)
    return found | {"all layers: transferred accuracy": accuracy, "all layers: bound": bound}
