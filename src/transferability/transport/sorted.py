r"""Transport on the line, for a cost that only asks how far the target value lies above the reference value.

For :math:`c(a, b) = (b - a)_+`, convex in :math:`b - a`, coupling both samples in sorted order is optimal [1]_:

.. math:: \mathrm{OT}_c = \int_0^1 \bigl(Q_b(p) - Q_a(p)\bigr)_+ \, dp

with the quantile functions :math:`Q`. No transport problem is solved: O((m + n) log(m + n)) time, O(m + n) memory.

References
----------
.. [1] C. Villani, "Topics in Optimal Transportation", 2003, Theorem 2.18.
"""

from __future__ import annotations

import numpy as np

from transferability._array import FloatArray
from transferability.transport.coupling import Coupling

__all__ = ["sorted_coupling"]


def sorted_coupling(source: FloatArray, target: FloatArray, masses: FloatArray | None = None) -> Coupling:
    """Couple two samples of numbers in sorted order, at cost ``max(target − source, 0)``.

    Parameters
    ----------
    source : array of shape (m,)
    target : array of shape (n,)
        Uniform masses.
    masses : array of shape (m,), optional
        Of the source; uniform if left out.

    Returns
    -------
    Coupling
        Optimal; at most m + n − 1 pairs.

    Examples
    --------
    >>> import numpy as np
    >>> coupling = sorted_coupling(np.array([2.0, 0.0]), np.array([1.0, 1.0]))
    >>> coupling.value  # 0 → 1 costs one, 2 → 1 nothing
    0.5
    """
    rows, columns = np.argsort(source, kind="stable"), np.argsort(target, kind="stable")
    m, n = len(rows), len(columns)
    if masses is None and m == n:
        mass = np.full(n, 1.0 / n)
    else:
        share = np.full(m, 1.0 / m) if masses is None else masses[rows] / float(masses.sum())
        row_ends, column_ends = np.cumsum(share), np.arange(1, n + 1) / n
        row_ends[-1] = 1.0
        ends = np.union1d(row_ends, column_ends)
        mass = np.diff(ends, prepend=0.0)
        ends, mass = ends[mass > 0], mass[mass > 0]
        # Each piece between two ends lies in one interval of either side.
        rows = rows[np.minimum(np.searchsorted(row_ends, ends), m - 1)]
        columns = columns[np.minimum(np.searchsorted(column_ends, ends), n - 1)]
    costs = np.maximum(target[columns] - source[rows], 0.0)
    return Coupling(rows, columns, mass, costs, exact=True)
