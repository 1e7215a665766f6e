r"""LEEP: how well the source classifier's own classes predict the target's, through their empirical joint.

.. math:: \text{LEEP} = \frac1n \sum_i \log \sum_z \hat P(y_i \mid z)\, \theta(x_i)_z, \qquad
          \hat P(y, z) = \frac1n \sum_{i : y_i = y} \theta(x_i)_z

Nguyen et al. [1]_, equation 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat

from transferability._array import Array, IntArray, Namespace
from transferability._class_numbers import class_codes
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._probabilities import as_probabilities
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import class_sums, row_blocks

__all__ = ["SCORES", "LeepResult", "expected_empirical_log", "leep"]


@dataclass(frozen=True)
class LeepResult(ScoreResult):
    """LEEP."""

    name: ClassVar[str] = "leep"
    upper_bound: ClassVar[float] = 0.0
    needs: ClassVar[frozenset[str]] = frozenset({"source_probabilities", "labels"})


def leep(source_probabilities: Any, labels: Any) -> LeepResult:
    """Return LEEP of source probabilities for target labels.

    Higher is better; ≤ 0, in nats per sample.

    Parameters
    ----------
    source_probabilities : array of shape (n_samples, n_source_classes)
        Softmax output of the source classifier on the target samples, of any library that follows the array API
        standard; the work stays on its device.
    labels : array of shape (n_samples,)
        Target classes: integers, whole floats, booleans or strings.

    Returns
    -------
    LeepResult

    Raises
    ------
    FeatureError, LabelError
        If an argument is not as said above.

    Notes
    -----
    Cost O(n Z + K Z) for Z source classes. Against public implementations: a source class of zero mass counts for
    nothing (nan in the LogME and transfer-learning-library code); the sign is the paper's (PACTran's code returns
    the negative), and so is the logarithm (left out in SFDA's code).

    References
    ----------
    .. [1] Nguyen et al. LEEP: a new measure to evaluate transferability of learned representations. ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]])
    >>> round(float(leep(p, np.array([0, 0, 1, 1]))), 4)
    -0.3426
    """
    array, xp = as_probabilities(source_probabilities)
    return LeepResult(expected_empirical_log(xp, array, class_codes(labels, array.shape[0])))


def expected_empirical_log(xp: Namespace, probabilities: Array, labels: IntArray) -> float:
    """LEEP of checked input; `probabilities` (n, Z) need not be float64."""
    n, n_classes = probabilities.shape[0], int(labels.max()) + 1
    device = array_api_compat.device(probabilities)
    joint = xp.zeros((n_classes, probabilities.shape[1]), dtype=xp.float64, device=device)
    for start, block in row_blocks(xp, probabilities):
        joint += class_sums(xp, block, labels[start : start + block.shape[0]], n_classes)
    mass = xp.sum(joint, axis=0)
    conditional = joint / xp.where(mass > 0, mass, 1.0)  # P(y | z), (K, Z)
    total = 0.0
    for start, block in row_blocks(xp, probabilities):
        own = xp.asarray(labels[start : start + block.shape[0]], device=device)
        total += float(xp.sum(xp.log(xp.linalg.vecdot(block, xp.take(conditional, own, axis=0)))))
    return min(0.0, total / int(n))  # rounding must not leave the range


def _from_inputs(inputs: ScoreInputs) -> LeepResult:
    return leep(inputs.source_probabilities, inputs.checked_labels)


SCORES = (
    ScoreInfo(
        "leep",
        LeepResult,
        description="mean log probability of the label through the source classes",
        range="≤ 0, nats",
        cost="O(n Z)",
        limitations="encoders without a classifier of their own",
        function=_from_inputs,
    ),
)
