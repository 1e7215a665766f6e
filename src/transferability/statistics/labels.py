"""Conditional entropy of labels: what knowing one labelling leaves unsaid of another."""

from __future__ import annotations

from scipy.special import xlogy

from transferability._array import FloatArray

__all__ = ["conditional_entropy"]


def conditional_entropy(joint: FloatArray) -> float:
    r"""Return :math:`H(\text{row} \mid \text{column})` of a joint distribution, in nats.

    Parameters
    ----------
    joint : array of shape (n_rows, n_columns)
        Non-negative, summing to one. Columns of zero mass contribute nothing.

    Examples
    --------
    >>> import numpy as np
    >>> conditional_entropy(np.array([[0.5, 0.0], [0.0, 0.5]]))
    0.0
    """
    columns = joint.sum(axis=0)
    return max(0.0, float(xlogy(columns, columns).sum() - xlogy(joint, joint).sum()))
