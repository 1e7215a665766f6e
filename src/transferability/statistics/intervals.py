r"""Confidence intervals for new data, from rows that nothing was fitted on; finite-sample, not asymptotic.

Right answers are counts: the interval of an accuracy is the binomial one of Clopper and Pearson [1]_. The interval of a
mean loss is in `transferability.statistics.bounded_means`.

The rows are independent draws of the distribution that the interval speaks of. `n_shared` intervals that are read
together hold all at once with the confidence given, whatever they have in common: each is made for
``(1 - confidence) / n_shared``. So the interval of the first encoder of a list is valid too, which is first partly by
luck. Every classifier that these rows chose among counts: four encoders with three references each are twelve.

**Cross-fitted rows.** Where each row was measured by the classifier of its fold, the interval speaks of the mean over
rows of the accuracies (losses) of the fold classifiers, and not of a classifier fitted on all rows. Given the fold
classifiers, the number of right answers is a sum of Bernoullis with different chances. A tail of such a sum that begins
one or more beyond its mean is no larger than that of the binomial with the same mean [2]_. The tails that decide here
begin there, with one exception: where the true accuracy (or error) lies below :math:`-\log(1 - \alpha) / n`, that end
errs with chance :math:`-\log(1 - \alpha)` at most, which is less than α (1 + α) for α ≤ 1/4. Bets on losses, averaged
over orders of the rows, are tried on such rows in the tests. What remains to be assumed is independence: that a fold's
classifier, fitted on the other folds' rows, hardly depends on each single one. No proof holds for all classifiers. In
simulations with five folds (`benchmarks/coverage.py`) intervals that claim 95 % hold in 94 to 97 % from 50 rows on for
the nearest class mean and a ridge regression, and in 91 to 94 % for the nearest neighbour, where single rows decide.

References
----------
.. [1] Clopper, Pearson. The use of confidence or fiducial limits illustrated in the case of the binomial. Biometrika
   1934.
.. [2] Hoeffding. On the distribution of the number of successes in independent trials. Ann. Math. Stat. 1956.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.special

from transferability._validate import check_choice
from transferability.errors import OptionError

__all__ = ["ConfidenceInterval", "Method", "Sides", "clopper_pearson", "tail_of"]

Sides = Literal["both", "lower", "upper"]
Method = Literal["clopper-pearson", "betting", "empirical-bernstein", "student"]


@dataclass(frozen=True)
class ConfidenceInterval:
    """Where a mean over new rows lies.

    Attributes
    ----------
    value : float
        Mean over the rows that were seen.
    low, high : float
        Ends; of a one-sided interval the other end is the smallest or largest possible value.
    confidence : float
        With which all `n_shared` intervals hold at once.
    method : {"clopper-pearson", "betting", "empirical-bernstein", "student"}
        Finite-sample all but the last, which is approximate.
    n_rows : int
    n_shared : int
        Number of intervals that are read together.
    """

    value: float
    low: float
    high: float
    confidence: float
    method: Method
    n_rows: int
    n_shared: int = 1


def clopper_pearson(
    n_right: int, n_rows: int, *, confidence: float = 0.95, sides: Sides = "both", n_shared: int = 1
) -> ConfidenceInterval:
    r"""Return the exact binomial interval of an accuracy.

    Parameters
    ----------
    n_right, n_rows : int
        How many rows were classified right, of how many.
    confidence : float, default=0.95
        Between 0 and 1.
    sides : {"both", "lower", "upper"}, default="both"
        Which ends are wanted: "lower" puts all doubt on the lower end, and the upper is 1.
    n_shared : int, default=1
        Number of intervals that shall hold at once, say one for each encoder of a list.

    Returns
    -------
    ConfidenceInterval

    Raises
    ------
    OptionError
        If an argument is not as said above.

    Notes
    -----
    Conservative: counts come in steps. See the module's text on rows of different folds.

    Examples
    --------
    >>> found = clopper_pearson(42, 42)
    >>> round(found.low, 3), found.high
    (0.916, 1.0)
    >>> round(clopper_pearson(109, 120, sides="lower", n_shared=4).low, 3)
    0.832
    """
    _check_count(n_rows, "n_rows")
    if isinstance(n_right, bool) or not isinstance(n_right, (int, np.integer)) or not 0 <= n_right <= n_rows:
        message = f"`n_right` must be an integer from 0 to {n_rows}, the number of rows; got {n_right!r}."
        raise OptionError(message)
    tail = tail_of(confidence, sides, n_shared)
    wrong = n_rows - n_right
    low = 0.0 if sides == "upper" or n_right == 0 else scipy.special.betaincinv(n_right, wrong + 1, tail)
    high = 1.0 if sides == "lower" or wrong == 0 else scipy.special.betaincinv(n_right + 1, wrong, 1 - tail)
    return ConfidenceInterval(
        int(n_right) / int(n_rows), float(low), float(high), confidence, "clopper-pearson", int(n_rows), n_shared
    )


def tail_of(confidence: float, sides: Sides, n_shared: int) -> float:
    """Return the chance of error of one end of one interval."""
    if not 0 < confidence < 1:
        message = f"`confidence` must be between 0 and 1; got {confidence!r}. 0.95 is usual."
        raise OptionError(message)
    check_choice(sides, ("both", "lower", "upper"), "sides")
    _check_count(n_shared, "n_shared")
    return (1 - confidence) / n_shared / (2 if sides == "both" else 1)


def _check_count(value: Any, argument: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        message = f"`{argument}` must be a positive integer; got {value!r}."
        raise OptionError(message)
