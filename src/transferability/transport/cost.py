r"""Ground costs between points of the reference and points of the target, both in the reference space.

Write :math:`u` for a reference point with label :math:`j`, :math:`u'` for a mapped target point, :math:`s(u)` for the
logits of the reference classifier. Each cost bounds what moving from :math:`u` to :math:`u'` can add to the loss:

.. math:: -\log h_j(u') + \log h_j(u) \;\le\; c\bigl((u, j), u'\bigr).

``exact``
    :math:`c = (\ell_j(u') - \ell_j(u))_+` with :math:`\ell_j = -\log h_j`: the change itself, where it is a rise. No
    cost with this property is smaller.
``loss``
    :math:`c = \max_k \Delta_k - \Delta_j` with :math:`\Delta = s(u') - s(u)`. Never negative; zero wherever the target
    point is classified at least as firmly as the reference point; blind to directions that the classifier ignores. It
    follows from :math:`\operatorname{lse}(s') \le \operatorname{lse}(s) + \max_k \Delta_k` and holds for any logits,
    linear in the features or not.
``euclidean``
    :math:`c = \tau \lVert u' - u \rVert_2`, where :math:`\tau` bounds the Lipschitz constant of every
    :math:`-\log h_j`. For a linear softmax :math:`\tau = \max_{j,k} \lVert w_j - w_k \rVert_2`. The paper's choice.

The exact cost never exceeds the loss cost, and the loss cost never exceeds the Euclidean one.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from transferability._array import FloatArray, IntArray

__all__ = ["euclidean_cost", "exact_cost", "loss_cost"]

_AT_ONCE = 1 << 18  # entries of the (m, n, n_classes) array


def euclidean_cost(reference: FloatArray, target: FloatArray, tau: float) -> FloatArray:
    """Return ``tau * ‖u − u'‖`` for every pair, shape (m, n)."""
    distances: FloatArray = cdist(reference, target)
    distances *= tau
    return distances


def exact_cost(reference_logits: FloatArray, reference_labels: IntArray, target_logits: FloatArray) -> FloatArray:
    """Return ``max(ℓ_j(u') − ℓ_j(u), 0)`` for every pair, shape (m, n); arguments as in `loss_cost`."""
    own = logsumexp(reference_logits, axis=1) - reference_logits[np.arange(len(reference_labels)), reference_labels]
    there = logsumexp(target_logits, axis=1)[:, None] - target_logits  # (n, n_classes)
    rise: FloatArray = there.T[reference_labels] - own[:, None]
    return np.maximum(rise, 0.0, out=rise)


def loss_cost(reference_logits: FloatArray, reference_labels: IntArray, target_logits: FloatArray) -> FloatArray:
    """Return ``max_k Δ_k − Δ_j`` for every pair, shape (m, n).

    Parameters
    ----------
    reference_logits : array of shape (m, n_classes)
    reference_labels : array of int of shape (m,)
        The class ``j`` of each reference point.
    target_logits : array of shape (n, n_classes)

    Notes
    -----
    Cost O(m n n_classes) time, O(m n) memory: one pass over the classes, no large (m, n, n_classes) array.
    """
    m, n_classes = reference_logits.shape
    if m * len(target_logits) * n_classes <= _AT_ONCE:  # few points, perhaps many classes: a loop would only call
        cost: FloatArray = (target_logits[None, :, :] - reference_logits[:, None, :]).max(axis=2)
        difference = np.empty_like(cost)
    else:
        cost = np.full((m, len(target_logits)), -np.inf)
        difference = np.empty_like(cost)
        for k in range(n_classes):
            np.subtract(target_logits[None, :, k], reference_logits[:, k, None], out=difference)
            np.maximum(cost, difference, out=cost)
    own = reference_logits[np.arange(len(reference_labels)), reference_labels]
    # The same subtraction as above for k = j, so that the cost is never negative, not even by rounding.
    np.subtract(target_logits.T[reference_labels], own[:, None], out=difference)
    cost -= difference
    return cost
