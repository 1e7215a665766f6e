"""The linear head of fine-tuning: a probe of the frozen features, trained first. Imports torch.

A random head sends gradients of noise through the encoder (Kumar, Raghunathan, Jones, Ma and Liang, *Fine-Tuning can
Distort Pretrained Features and Underperform Out-of-Distribution*, ICLR 2022); a head of zeros, none until it has
learned something, and the probe, few, as it has fitted the rows already.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from transferability._array import FloatArray, IntArray
from transferability._threads import threads_for
from transferability.scores._softmax_regression import SoftmaxRegression, fit_softmax_regression

__all__ = ["Head", "fit_head", "loss_and_accuracy"]

_FIRST_RIDGE = 0.1  # of the mean loss on standardised features
_STEP = 10.0
_MOST_STEPS = 6  # in one direction
_CUT = 5.0  # standard deviations at which features are cut for the probe, as `transferability.scores.probing` does
_TOLERANCE = 1e-5


class Head(nn.Module):  # type: ignore[misc]
    """A linear classifier of standardised features.

    Features are standardised by the mean and deviation that they have before training: encoders differ in the scale of
    their features by orders of magnitude, and one range of learning rates must serve them all.
    """

    def __init__(self, mean: FloatArray, scale: FloatArray, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy(scale.astype(np.float32)))
        self.linear = nn.Linear(len(mean), n_classes)
        self.forget()

    def forget(self) -> None:
        """Let every class have the same logit."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, (n, d) -> (n, K)."""
        return self.linear((features - self.mean) / self.scale)


def fit_head(
    features: FloatArray, labels: IntArray, held_out: FloatArray, held_out_labels: IntArray, n_classes: int
) -> Head:
    """Return a head that is a softmax regression of the features.

    Parameters
    ----------
    features, labels : (n, d), (n,)
        To fit on.
    held_out, held_out_labels : (m, d), (m,)
        Their loss chooses the ridge, among powers of ten.
    n_classes : int

    Notes
    -----
    Cost: 0.3 CPU seconds a ridge for 800 rows of 1,280 features and ten classes, and four or five ridges.
    """
    mean, deviation = features.mean(0), features.std(0)
    # A feature that is all but dead now may wake up; divided by what it varies now it would drown the others.
    scale = np.maximum(deviation, 0.3 * np.sqrt(np.mean(deviation**2)) + 1e-30)
    head = Head(mean, scale, n_classes)
    z, z_held_out = (np.clip((each - mean) / scale, -_CUT, _CUT) for each in (features, held_out))

    def solve(ridge: float) -> tuple[float, SoftmaxRegression]:
        fit = fit_softmax_regression(z, labels, ridge, tolerance=_TOLERANCE)
        return _loss(fit.logits(z_held_out), held_out_labels), fit

    with threads_for(features.size * n_classes):
        best = solve(_FIRST_RIDGE)
        for factor in (1 / _STEP, _STEP):
            for step in range(1, _MOST_STEPS + 1):
                tried = solve(_FIRST_RIDGE * factor**step)
                if not tried[0] < best[0]:
                    break
                best = tried
    fit = best[1]
    n_seen = fit.weights.shape[1]  # the last classes may have all of their rows among those held out
    with torch.no_grad():
        head.linear.weight[:n_seen] = torch.from_numpy(fit.weights.T.astype(np.float32))
        intercepts = fit.intercepts - fit.mean @ fit.weights
        head.linear.bias[:n_seen] = torch.from_numpy(intercepts.astype(np.float32))
        head.linear.bias[n_seen:] = float(intercepts.min())
    return head


def loss_and_accuracy(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the mean cross-entropy of logits, (n, K), and the share of rows whose label has the largest."""
    loss = nn.functional.cross_entropy(logits, labels)
    return float(loss), float((logits.argmax(1) == labels).double().mean())


def _loss(logits: FloatArray, labels: IntArray) -> float:
    """Return the mean cross-entropy; infinite for a class that the fit has never seen."""
    logits = np.pad(logits, ((0, 0), (0, max(0, int(labels.max()) + 1 - logits.shape[1]))), constant_values=-np.inf)
    shifted = logits - logits.max(1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(1))
    return float(np.mean(log_sums - shifted[np.arange(len(labels)), labels]))
