"""Static baseline: the number of parameters of an encoder, whatever the target.

On the usual benchmark a list of encoders in order of size agrees with fine-tuned accuracy better than most scores do
[1]_. A score that does not beat it on your encoders tells you nothing that the model card does not.

References
----------
.. [1] How NOT to benchmark your SITE metric. 2025.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from transferability.errors import OptionError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._result import ScoreResult

__all__ = ["SCORES", "SizeResult", "size"]


@dataclass(frozen=True)
class SizeResult(ScoreResult):
    """Static baseline."""

    name: ClassVar[str] = "size"
    lower_bound: ClassVar[float] = 0.0
    needs: ClassVar[frozenset[str]] = frozenset({"n_parameters"})


def size(n_parameters: int) -> SizeResult:
    """Return the static baseline: log₁₀ of the number of parameters.

    Higher is better, in decades; a ranking by it is a ranking by the number itself, and a linear correlation is not
    ruled by the one giant among the encoders.

    Parameters
    ----------
    n_parameters : int
        Positive.

    Raises
    ------
    OptionError
        If it is not a positive integer.

    Examples
    --------
    >>> round(float(size(25_557_032)), 4)
    7.4075
    """
    if isinstance(n_parameters, bool) or not isinstance(n_parameters, (int, np.integer)) or n_parameters < 1:
        message = f"`n_parameters` must be a positive integer; got {n_parameters!r}."
        raise OptionError(message)
    return SizeResult(math.log10(int(n_parameters)))


def _from_inputs(inputs: ScoreInputs) -> SizeResult:
    return size(inputs.n_parameters or 0)


SCORES = (
    ScoreInfo(
        "size",
        SizeResult,
        description="static baseline: log₁₀ of the number of parameters of the encoder, whatever the target",
        range="≥ 0",
        cost="none",
        limitations="anything about the target",
        function=_from_inputs,
    ),
)
