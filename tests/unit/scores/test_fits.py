"""Scores that fit a model to the features: linear probe, N-LEEP, and the solvers behind them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture

from transferability import scores
from transferability.errors import FeatureError, OptionError
from transferability.scores._mixture import _k_means, fit_mixture
from transferability.scores._softmax_regression import fit_softmax_regression

# --- linear probe and the solver behind it -------------------------------------------------------------------------


def test_softmax_regression_is_scikit_learns(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = clusters
    fit = fit_softmax_regression(x, y, 1 / len(x))
    reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(fit.weights.T, reference.coef_, atol=1e-5)
    np.testing.assert_allclose(scipy.special.softmax(fit.logits(x), axis=1), reference.predict_proba(x), atol=1e-5)


def test_softmax_regression_in_single_precision_agrees(
    clusters: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = clusters
    double = scores.pactran(x, y)
    monkeypatch.setattr("transferability.scores._softmax_regression._SINGLE_PRECISION_FROM", 0)
    single = scores.pactran(x, y)
    assert single.converged
    assert float(single) != float(double)  # it was single precision
    assert float(single) == pytest.approx(float(double), rel=1e-4)


@pytest.mark.parametrize("case", ["collinear", "far apart", "separated", "offset"])
def test_where_rounding_defeats_single_precision_double_goes_on(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(90) % 6
    x = rng.normal(size=(90, 40)) + 2 * rng.normal(size=(6, 40))[labels]
    if case == "collinear":
        x[:, 20:] = x[:, :1]
    if case == "far apart":
        x *= np.logspace(2, -4, 40)
    if case == "separated":
        x += 1000 * np.eye(6, 40)[labels]
    if case == "offset":
        x += 1e5
    double = scores.pactran(x, labels)
    monkeypatch.setattr("transferability.scores._softmax_regression._SINGLE_PRECISION_FROM", 0)
    single = scores.pactran(x, labels)
    assert double.converged
    assert single.converged
    assert float(single) == pytest.approx(float(double), rel=1e-4)


def test_linear_probe_separates_what_is_separable(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = clusters
    result = scores.linear_probe(x + 20 * np.eye(3, 6)[y], y)
    assert float(result) == 1.0
    assert result.fold_accuracies == (1.0,) * 5


def test_linear_probe_of_noise_is_chance() -> None:
    rng = np.random.default_rng(0)
    assert float(scores.linear_probe(rng.normal(size=(600, 4)), np.arange(600) % 2)) == pytest.approx(0.5, abs=0.08)


def test_linear_probe_with_a_class_of_one_sample() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 10 + [1] * 10 + [2])
    result = scores.linear_probe(rng.normal(size=(21, 2)) + 5 * labels[:, None], labels)
    assert float(result) == pytest.approx(20 / 21)  # nobody can know the third class without having seen it


@pytest.mark.parametrize("options", [{"n_folds": 1}, {"n_folds": 5}, {"strength": 0.0}])
def test_linear_probe_refuses(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        scores.linear_probe(np.eye(4), [0, 1, 0, 1], **options)


# --- N-LEEP --------------------------------------------------------------------------------------------------------


def test_mixture_ends_where_scikit_learns_does() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(60, 2)) * s + c for s, c in ((1, 0), (0.5, 4), (2, 12))])
    own = fit_mixture(points, 3, np.random.default_rng(0))
    reference = GaussianMixture(3, random_state=0).fit(points).predict_proba(points)
    order = [
        int(own.responsibilities[rows].sum(axis=0).argmax())
        for rows in (slice(0, 60), slice(60, 120), slice(120, None))
    ]
    other = [int(reference[rows].sum(axis=0).argmax()) for rows in (slice(0, 60), slice(60, 120), slice(120, None))]
    np.testing.assert_allclose(own.responsibilities[:, order], reference[:, other], atol=0.02)
    assert own.converged


def test_components_may_lie_askew() -> None:
    rng = np.random.default_rng(0)
    long = rng.normal(size=(300, 2)) @ np.array([[2.0, 1.9], [0.0, 0.3]])  # correlation 0.99
    points = np.concatenate([long, long * (-1, 1) + (3, 1)])  # two crossing stripes
    own = fit_mixture(points, 2, np.random.default_rng(0))
    reference = GaussianMixture(2, random_state=0, tol=1e-6).fit(points).predict_proba(points)
    order = [int(own.responsibilities[0].argmax()), int(own.responsibilities[0].argmin())]
    other = [int(reference[0].argmax()), int(reference[0].argmin())]
    assert np.abs(own.responsibilities[:, order] - reference[:, other]).mean() < 0.02


def test_mixture_with_duplicated_points_keeps_every_component() -> None:
    own = fit_mixture(np.repeat(np.eye(2), 5, axis=0), 4, np.random.default_rng(0))
    assert np.isfinite(own.responsibilities).all()
    np.testing.assert_allclose(own.responsibilities.sum(axis=1), 1.0)


def test_n_leep_of_clusters_that_are_the_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    assert float(scores.n_leep(rng.normal(size=(90, 2)) + 30 * np.eye(3, 2)[y], y)) == pytest.approx(0, abs=1e-9)
    assert scores.n_leep(rng.normal(size=(90, 2)), y, n_components=3).n_components == 3


@pytest.mark.parametrize("unit", [1e-30, 1e-6, 1e-3, 1e3, 1e6, 1e12])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_n_leep_does_not_depend_on_the_unit(clusters: tuple[np.ndarray, np.ndarray], unit: float, dtype: type) -> None:
    x, y = clusters
    expected = float(scores.n_leep(x.astype(dtype), y))
    assert float(scores.n_leep((x * unit).astype(dtype), y)) == pytest.approx(expected, rel=1e-3)


def test_n_leep_default_number_of_components() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(40, 3)), rng.normal(size=(400, 3))
    assert scores.n_leep(few, np.arange(40) % 4).n_components == 4
    assert scores.n_leep(many, np.arange(400) % 4).n_components == 20


def test_n_leep_refuses() -> None:
    with pytest.raises(OptionError, match="n_components"):
        scores.n_leep(np.eye(4), [0, 1, 0, 1], n_components=5)
    with pytest.raises(FeatureError, match="must vary"):
        scores.n_leep(np.ones((4, 2)), [0, 1, 0, 1])


def test_linear_probe_takes_no_scale_from_held_out_rows() -> None:
    # Noise beside a feature that tells the classes, and one row where that feature is huge. Measured with that row
    # among them, the deviation would make it so small that the ridge takes it away.
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    x = np.stack([2.0 * labels - 1 + 0.1 * rng.normal(size=120), rng.normal(size=120)], axis=1)
    x[1, 0] = 1e5
    found = scores.linear_probe(x, labels, n_folds=4, strength=10.0)
    assert sorted(found.fold_accuracies)[-1] == 1.0  # the fold that holds the row out
    assert sorted(found.fold_accuracies)[-2] < 0.8


def test_the_start_of_the_mixture_has_a_centre_in_every_far_cluster() -> None:
    """Centres drawn at random miss some of twenty far clusters, and Lloyd's steps never move one to them."""
    labels = np.repeat(np.arange(20), 5)
    points = 100 * np.random.default_rng(0).normal(size=(20, 6))[labels] + np.random.default_rng(1).normal(
        size=(100, 6)
    )
    for seed in range(3):
        found = _k_means(points, 20, np.random.default_rng(seed))
        assert len({*zip(found.tolist(), labels.tolist(), strict=True)}) == 20
