"""How sure the order of a ranking is: a paired bootstrap over the target's samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferability._array import BoolArray, FloatArray

__all__ = ["Standing", "standings"]

_CHUNK = 2_000_000  # counts held at once


@dataclass(frozen=True)
class Standing:
    """What resampling says of one encoder, by the quantity that its ranking speaks of.

    That is the transferred accuracy, the transferred loss or the bound, where it is the criterion, else the bound.

    Attributes
    ----------
    low, high : float
        Percentile interval of the quantity.
    behind : float
        Share of resamples in which the first encoder was better than this one; ties count half.
    """

    low: float
    high: float
    behind: float


def standings(
    parts: Sequence[FloatArray | BoolArray | None],
    *,
    higher_is_better: bool = False,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> list[Standing | None]:
    """Resample the target's samples, the same ones for all encoders.

    Parameters
    ----------
    parts : sequence of array of shape (n_samples,), or None
        Each sample's part of the quantity, encoder by encoder, best first; their mean is the quantity. For an accuracy
        whether the sample was classified rightly. None where unknown.
    higher_is_better : bool, default=False
        Direction of the quantity.
    confidence, n_resamples, seed
        Of the bootstrap.

    Returns
    -------
    list of Standing or None
        None where the parts are unknown or belong to other samples than those of the first encoder.

    Notes
    -----
    Transformation and, of the bound, coupling are held; what varies is which target samples were drawn.

    Examples
    --------
    >>> import numpy as np
    >>> first, second = standings([np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])])
    >>> first.low <= 1.0 <= first.high, second.behind
    (True, 1.0)
    """
    if not parts or parts[0] is None:
        return [None] * len(parts)
    n = len(parts[0])
    together = [k for k, each in enumerate(parts) if each is not None and len(each) == n]
    values = np.stack([np.asarray(parts[k], dtype=np.float64) for k in together], axis=1)  # (n, encoders)
    rng = np.random.default_rng(seed)
    share = np.full(n, 1.0 / n)
    step = max(1, _CHUNK // n)
    means = [
        rng.multinomial(n, share, size=min(step, n_resamples - start)) @ values / n
        for start in range(0, n_resamples, step)
    ]
    drawn = np.concatenate(means)  # (n_resamples, encoders)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    first = drawn[:, :1]
    better = first > drawn if higher_is_better else first < drawn
    behind = better.mean(axis=0) + (first == drawn).mean(axis=0) / 2
    found: list[Standing | None] = [None] * len(parts)
    for position, k in enumerate(together):
        found[k] = Standing(float(low[position]), float(high[position]), float(behind[position]))
    return found
