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
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray

__all__ = ["Prediction", "predict", "variance_components"]


class Prediction(NamedTuple):
    """Of the logits of encoders on one target.

    Attributes
    ----------
    centre : array of shape (n,)
    deviation : array of shape (n,)
        Standard deviation, in units of σ; infinite where the line is not known.
    """

    centre: FloatArray
    deviation: FloatArray


def variance_components(x: FloatArray, y: FloatArray, group: IntArray) -> tuple[float, float]:
    """Return the variances σ² within targets and ρ σ² between them; the latter is 0 where nothing tells the two apart.

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
    whole, _ = _about_a_line(x_about, y_about)
    left = n - n_groups - n_slopes
    if left < 1:  # each target has one encoder, say
        return whole / max(1, n - 1 - n_slopes), 0.0
    residual = within / left
    # E[whole − within] = (K − 1) σ² + ρσ² (n − tr((Z'Z)⁻¹ Z'GG'Z)), Z = (1, x), G the indicators of targets
    spread = float(x_about @ x_about)
    sums = np.bincount(group, x_about)
    trace = float(counts @ counts) / n + (float(sums @ sums) / spread if spread > 0 else 0.0)
    between = max(0.0, (whole - within - (n_groups - 1) * residual) / (n - trace)) if n > trace else 0.0
    return residual, between


def predict(
    x: FloatArray,
    y: FloatArray,
    group: IntArray,
    at: FloatArray,
    ratio: float,
    on_target: tuple[FloatArray, FloatArray, FloatArray],
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
    return Prediction(centre, np.sqrt(variance))


_TINY = 1e-18


def _about_a_line(x: FloatArray, y: FloatArray) -> tuple[float, int]:
    """Return the sum of squares of y about a line through the origin, and the number of slopes: 0 of a constant x."""
    spread = float(x @ x)
    if spread <= _TINY * len(x):
        return float(y @ y), 0
    residual = y - float(x @ y) / spread * x
    return float(residual @ residual), 1
