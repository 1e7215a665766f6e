r"""The label side of the transformation: prior `D`, label map `B`, and what they cost.

A coupling of the label sets is a non-negative matrix :math:`M` of shape (K_T, K_R) whose row sums are the target's
priors. Everything follows from it: :math:`D_j = \sum_i M_{ij}` and :math:`B_{ij} = M_{ij} / D_j`, hence
:math:`B D = P_T` exactly, and the label mismatch (Eq. 1 of the paper)

.. math:: H(Y'' \mid Y'; B, D) = - \sum_{ij} M_{ij} \log B_{ij}.

Kept are the *shares* :math:`M_{ij} / P_T(i)`: with them the transformation carries over to a sample with other priors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from transferability._array import FloatArray, IntArray

__all__ = ["LabelTransform"]


@dataclass(frozen=True, eq=False)
class LabelTransform:
    """Where each target class comes from: row ``i`` of `shares` is a distribution over reference classes."""

    shares: FloatArray  # (K_T, K_R), rows sum to 1

    @classmethod
    def from_class_map(cls, class_map: IntArray, n_reference_classes: int) -> LabelTransform:
        """Build the transform that takes each target class from one reference class."""
        shares = np.zeros((len(class_map), n_reference_classes))
        shares[np.arange(len(class_map)), class_map] = 1.0
        return cls(shares)

    @classmethod
    def from_matrices(cls, B: FloatArray, D: FloatArray, *, drop: float = 1e-3) -> LabelTransform:
        """Build the transform nearest to `B` and `D`: shares below `drop` are left out, rows are rescaled."""
        joint = B * D
        shares = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
        shares[shares < drop] = 0.0
        empty = shares.sum(axis=1) == 0
        if empty.any():  # a target class that B forgot takes the reference class that fits it best
            shares[empty, B[empty].argmax(axis=1)] = 1.0
        return cls(shares / shares.sum(axis=1, keepdims=True))

    @property
    def class_map(self) -> IntArray:
        """The reference class with the largest share, per target class."""
        largest: IntArray = self.shares.argmax(axis=1)
        return largest

    @property
    def classes_in_use(self) -> IntArray:
        """The reference classes with a share in some target class; all of them where there is only one."""
        used: IntArray = np.flatnonzero(self.shares.sum(axis=0) > 0)
        return used if len(used) > 1 else np.arange(self.shares.shape[1])

    def D(self, priors: FloatArray) -> FloatArray:
        """Return the transformed reference prior, shape (K_R,)."""
        transformed: FloatArray = priors @ self.shares
        return transformed

    def B(self, priors: FloatArray) -> FloatArray:
        """Return ``P(y'' = i | y' = j)``, shape (K_T, K_R), columns summing to 1.

        Columns of reference classes without mass say nothing about the target: they are uniform.
        """
        joint = priors[:, None] * self.shares
        total = joint.sum(axis=0)
        uniform = np.full_like(joint, 1.0 / len(joint))
        B: FloatArray = np.divide(joint, total, out=uniform, where=total > 0)
        return B

    def entropy_per_class(self, priors: FloatArray, B: FloatArray | None = None) -> FloatArray:
        """Return each target class's part of the label mismatch, in nats, shape (K_T,).

        With a `B` that was fitted to other priors it is a part of the cross-entropy, which is never smaller.
        """
        joint = priors[:, None] * self.shares
        B = self.B(priors) if B is None else B
        per_class: FloatArray = xlogy(joint, np.where(joint > 0, B, 1.0)).sum(axis=1)
        return np.abs(per_class)  # never positive before; abs rather than minus, as −0.0 is ugly in a table
