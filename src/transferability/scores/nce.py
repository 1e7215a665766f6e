r"""NCE: negative conditional entropy of the target labels given source labels of the same samples.

.. math:: \text{NCE} = -H(Y \mid Z) = \sum_{y, z} \hat P(y, z) \log \frac{\hat P(y, z)}{\hat P(z)}

Tran, Nguyen and Hassner [1]_.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from transferability._array import as_numpy
from transferability._class_numbers import class_codes
from transferability.errors import LabelError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import as_features
from transferability.statistics.labels import conditional_entropy

__all__ = ["SCORES", "NceResult", "nce"]


@dataclass(frozen=True)
class NceResult(ScoreResult):
    """NCE."""

    name: ClassVar[str] = "nce"
    upper_bound: ClassVar[float] = 0.0  # the lower bound is −log K
    needs: ClassVar[frozenset[str]] = frozenset({"source_probabilities", "labels"})


def nce(source_labels: Any, labels: Any) -> NceResult:
    """Return the negative conditional entropy of labels given source labels.

    Higher is better; between −log K and 0, in nats.

    Parameters
    ----------
    source_labels : array of int of shape (n_samples,)
        Source class of each target sample, in practice the arg max of the source classifier's output. Any integers.
    labels : array of shape (n_samples,)
        Target classes: integers, whole floats, booleans or strings.

    Returns
    -------
    NceResult

    Raises
    ------
    LabelError
        If an argument is not as said above.

    Notes
    -----
    Cost O(n log n). Mind the order of the arguments: with them swapped it is another quantity (public scripts have
    both). Labels are read on the host, whatever library they come from. PACTran's code enters probabilities in place
    of labels, which is yet another number.

    References
    ----------
    .. [1] Tran, Nguyen, Hassner. Transferability and hardness of supervised classification tasks. ICCV 2019.

    Examples
    --------
    >>> round(float(nce([5, 5, 7, 7], [0, 1, 2, 2])), 4)
    -0.3466
    """
    checked = class_codes(labels)
    source = as_numpy(source_labels)
    if source.ndim != 1 or source.dtype.kind not in "iu" or len(source) != len(checked):
        message = (
            f"`source_labels` and `labels` must be integers, one of each per sample; got {len(checked)} labels and "
            f"source labels of {source.dtype} of shape {source.shape}. From probabilities take p.argmax(axis=1)."
        )
        raise LabelError(message)
    _, columns = np.unique(source, return_inverse=True)
    n_classes, n_sources = int(checked.max()) + 1, int(columns.max()) + 1
    counts = np.bincount(checked * n_sources + columns, minlength=n_classes * n_sources)
    return NceResult(0.0 - conditional_entropy(counts.reshape(n_classes, n_sources) / len(checked)))


def _from_inputs(inputs: ScoreInputs) -> NceResult:
    probabilities, xp = as_features(inputs.source_probabilities, "source_probabilities")
    return nce(xp.argmax(probabilities, axis=1), inputs.checked_labels)


SCORES = (
    ScoreInfo(
        "nce",
        NceResult,
        description="−H(label | predicted source class)",
        range="−log K … 0, nats",
        cost="O(n Z)",
        limitations="encoders without a classifier of their own; more source classes than samples: it is near 0",
        function=_from_inputs,
    ),
)
