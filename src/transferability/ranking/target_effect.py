r"""What encoders that were fine-tuned on a target say of the others on it: a regression with an effect of each target.

The logit of the fine-tuned accuracy of encoder i on target t is :math:`y_{ti} = \alpha + \beta x_{ti} + u_t + e_{ti}`
with the logit :math:`x` of its probe, :math:`u_t \sim N(0, \rho \sigma^2)`, an effect that all encoders of the target
share, and :math:`e_{ti} \sim N(0, \sigma^2 / a_{ti})`. The weight a is 1 of
known pairs of other targets, and less of the target's own that were measured on fewer rows than those. With
:math:`A_t = \sum_i a_{ti}`, means :math:`\bar x_t, \bar y_t` weighted by a, and weights of the targets
:math:`b_t = A_t / (1 + \rho A_t)`, whose sum is B, generalised least squares gives

.. math::

    \beta = S_{xy} / S_{xx}, \quad
    S_{xy} = \sum_{ti} a_{ti} (x_{ti} - \bar x_t) (y_{ti} - \bar y_t)
             + \sum_t b_t (\bar x_t - \tilde x) (\bar y_t - \tilde y),

    \tilde x = \sum_t b_t \bar x_t / B, \quad \tilde y = \sum_t b_t \bar y_t / B,

and the best linear prediction of another encoder on a target c of which encoders are known is

.. math::

    \hat y(x) = \tilde y + \beta (x - \tilde x) + w (\bar y_c - \tilde y - \beta (\bar x_c - \tilde x)), \quad
    w = \rho A_c / (1 + \rho A_c),

    \operatorname{var} / \sigma^2 = 1 + \frac{\rho}{1 + \rho A_c} + \frac{(1 - w)^2}{B}
    + \frac{(x - w \bar x_c - (1 - w) \tilde x)^2}{S_{xx}} .

Nothing known of the target is :math:`A_c = w = 0`: the variance has all of ρ. With m encoders of it known the share
:math:`1 / (1 + m \rho)` of ρ is left (Henderson 1975, *Best linear unbiased estimation and prediction under a selection
model*; that encoders are chosen by x changes nothing).

The variances are those of the analysis of variance: :math:`\sigma^2` from the residuals about one line for each target
with a common slope, :math:`\rho \sigma^2` from how much larger those about one line for all are (Henderson's third
method).

Encoders that are known on the target tell how much it scatters, too. Their squared distance Q from what the other
targets let expect, by the covariance of that in units of :math:`\sigma^2`, has the mean :math:`m \sigma^2`. So, with
the :math:`\nu` degrees of freedom of :math:`\sigma^2`, the pooled variance is
:math:`(\nu \sigma^2 + Q) / (\nu + m)`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray

__all__ = ["Prediction", "VarianceComponents", "pooled_variance", "predict", "variance_components"]


OnTarget = tuple[FloatArray, FloatArray, FloatArray]
"""Logits of probes and fine-tuned accuracies of encoders on the target itself, and their weights a; each (m,)."""


class Prediction(NamedTuple):
    """Of the logits of encoders on one target.

    Attributes
    ----------
    centre : array of shape (n,)
    deviation : array of shape (n,)
        Standard deviation, in units of σ; infinite where the line is not known.
    slope : float
        β; 0 where the line is not known.
    """

    centre: FloatArray
    deviation: FloatArray
    slope: float


class VarianceComponents(NamedTuple):
    """Variances of the logits of fine-tuned accuracies.

    Attributes
    ----------
    within : float
        σ².
    between : float
        ρ σ²; 0 where nothing tells the two apart.
    n_free : int
        Degrees of freedom of σ².
    """

    within: float
    between: float
    n_free: int


def variance_components(x: FloatArray, y: FloatArray, group: IntArray) -> VarianceComponents:
    """Return the variances within targets and between them.

    Parameters
    ----------
    x, y : array of shape (n,)
    group : array of int of shape (n,)
        Number of each one's target, from 0.
    """
    counts = np.bincount(group)
    n, n_groups = len(x), len(counts)
    x_within, y_within = (each - (np.bincount(group, each) / counts)[group] for each in (x, y))
    x_about, y_about = x - x.mean(), y - y.mean()
    within, n_slopes = _about_a_line(x_within, y_within)
    whole, n_slopes_of_all = _about_a_line(x_about, y_about)
    n_free, n_free_of_all = n - n_groups - n_slopes, n - 1 - n_slopes_of_all
    if n_free < 1:  # each target has one encoder, say
        return VarianceComponents(whole / max(1, n_free_of_all), 0.0, max(1, n_free_of_all))
    residual = within / n_free
    # E[whole − within] = (free of all − free) σ² + ρσ² (n − tr((Z'Z)⁻¹ Z'GG'Z)), Z = (1, x), G indicators of targets
    spread = float(x_about @ x_about)
    sums = np.bincount(group, x_about)
    trace = float(counts @ counts) / n + (float(sums @ sums) / spread if n_slopes_of_all else 0.0)
    told_apart = n - trace > _ROUNDING * n
    excess = whole - within - (n_free_of_all - n_free) * residual
    return VarianceComponents(residual, max(0.0, excess / (n - trace)) if told_apart else 0.0, n_free)


def predict(
    x: FloatArray,
    y: FloatArray,
    group: IntArray,
    at: FloatArray,
    ratio: float,
    on_target: OnTarget,
) -> Prediction:
    """Return what is to be expected of encoders on a target of which some are known.

    Parameters
    ----------
    x, y : array of shape (n,)
        Logits of probes and of fine-tuned accuracies on other targets.
    group : array of int of shape (n,)
        Number of each one's target, from 0.
    at : array of shape (n_new,)
        Logits of the probes of the encoders in question.
    ratio : float
        ρ.
    on_target : tuple of three arrays of shape (m,)
        x, y and weights a of the encoders that are known on the target itself; m may be 0.
    """
    x_own, y_own, weights = on_target
    a = np.concatenate([np.ones(len(x)), weights])
    x, y = np.concatenate([x, x_own]), np.concatenate([y, y_own])
    own = int(group.max(initial=-1)) + 1
    group = np.concatenate([group, np.full(len(x_own), own)])
    size = np.bincount(group, a, own + 1)  # A, (n_targets + 1,)
    x_mean, y_mean = (np.bincount(group, a * each, own + 1) / np.maximum(size, _TINY) for each in (x, y))
    weight = size / (1 + ratio * size)  # b
    x_all, y_all = (float(weight @ each) / float(weight.sum()) for each in (x_mean, y_mean))
    s_xx = float(a @ (x - x_mean[group]) ** 2 + weight @ (x_mean - x_all) ** 2)
    s_xy = float(a @ ((x - x_mean[group]) * (y - y_mean[group])) + weight @ ((x_mean - x_all) * (y_mean - y_all)))
    known_slope = s_xx > _TINY * max(1.0, float(np.abs(x).max()) ** 2)
    slope = s_xy / s_xx if known_slope else 0.0
    w = float(ratio * size[own] / (1 + ratio * size[own]))
    from_line = float(y_mean[own] - y_all - slope * (x_mean[own] - x_all))
    centre = y_all + slope * (at - x_all) + w * from_line
    away = np.square(at - w * x_mean[own] - (1 - w) * x_all)
    unsure = away / s_xx if known_slope else np.where(away > _TINY, np.inf, 0.0)
    variance = 1 + ratio / (1 + ratio * size[own]) + (1 - w) ** 2 / weight.sum() + unsure
    return Prediction(centre, np.sqrt(variance), slope)


def pooled_variance(
    x: FloatArray,
    y: FloatArray,
    group: IntArray,
    ratio: float,
    on_target: OnTarget,
    variance: float,
    n_free: int,
) -> float:
    """Return σ² with the scatter of the encoders that are known on the target pooled into it.

    Parameters
    ----------
    x, y, group, ratio, on_target
        As of `predict`.
    variance, n_free
        σ² of the other targets, and its degrees of freedom.
    """
    x_own, y_own, weights = on_target
    distance, count = 0.0, 0
    for k in range(len(x_own)):  # each from those before it: these errors are independent
        before = x_own[:k], y_own[:k], weights[:k]
        found = predict(x, y, group, x_own[k : k + 1], ratio, before)
        spread = float(found.deviation[0]) ** 2 - 1 + 1 / weights[k]
        if np.isfinite(spread):
            distance += float(y_own[k] - found.centre[0]) ** 2 / spread
            count += 1
    return (n_free * variance + distance) / (n_free + count)


_TINY = 1e-18
_ROUNDING = 1e-9


def _about_a_line(x: FloatArray, y: FloatArray) -> tuple[float, int]:
    """Return the sum of squares of y about a line through the origin, and the number of slopes: 0 of a constant x."""
    spread = float(x @ x)
    if spread <= _TINY * len(x):
        return float(y @ y), 0
    residual = y - float(x @ y) / spread * x
    return float(residual @ residual), 1
