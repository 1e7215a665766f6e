"""Scores on problems whose answer is known, computed by hand or by the definition written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from transferability import scores
from transferability.errors import FeatureError, LabelError, OptionError

# --- H-score -------------------------------------------------------------------------------------------------------


def test_h_score_of_one_feature_is_the_share_of_variance_between_classes() -> None:
    x, y = np.array([[0.0], [2.0], [4.0], [6.0]]), np.array([0, 0, 1, 1])
    assert float(scores.h_score(x, y)) == pytest.approx(16 / 20)


def test_h_score_of_the_one_hot_labels_is_its_upper_end() -> None:
    y = np.arange(30) % 5
    result = scores.h_score(np.eye(5)[y], y)
    assert float(result) == pytest.approx(4.0)
    assert result.rank == 4


def test_h_score_is_the_trace_it_is_defined_as(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = clusters
    means = np.stack([x[y == c].mean(axis=0) for c in range(3)])[y]
    defined = np.trace(np.linalg.pinv(np.cov(x.T)) @ np.cov(means.T))
    assert float(scores.h_score(x, y)) == pytest.approx(defined, rel=1e-10)


def test_h_score_says_when_it_says_nothing() -> None:
    rng = np.random.default_rng(0)
    result = scores.h_score(rng.normal(size=(20, 40)), np.arange(20) % 4)
    assert float(result) == pytest.approx(3.0)
    assert "says nothing" in result.notes[0]
    assert scores.h_score(rng.normal(size=(90, 40)), np.arange(90) % 4).notes == ()


def test_h_score_refuses_unknown_shrinkage(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(OptionError, match="ledoit-wolf"):
        scores.h_score(*clusters, shrinkage="ledoit")


# --- LogME ---------------------------------------------------------------------------------------------------------


def direct_evidence(x: np.ndarray, y: np.ndarray) -> float:
    """Maximum of the log evidence per sample over both precisions, by a general optimiser on the definition."""
    n = len(y)
    kernel = x @ x.T

    def negative(log_variances: np.ndarray) -> float:
        covariance = np.exp(log_variances[0]) * np.eye(n) + np.exp(log_variances[1]) * kernel
        return 0.5 * (np.linalg.slogdet(covariance)[1] + y @ np.linalg.solve(covariance, y) + n * math.log(2 * math.pi))

    starts = [(-1.0, -3.0), (-3.0, 0.0), (0.0, -8.0)]
    found = [
        scipy.optimize.minimize(negative, s, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
        for s in starts
    ]
    return -min(each.fun for each in found) / n


@pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 40)])
def test_logme_is_the_maximum_of_the_evidence(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    labels = np.arange(n) % 3
    x = rng.normal(size=(n, d)) + rng.normal(size=(3, d))[labels]
    result = scores.logme(x, labels)
    direct = [direct_evidence(x, (labels == c).astype(float)) for c in range(3)]
    assert result.evidences == pytest.approx(direct, rel=1e-7)
    assert result.converged


def test_logme_of_useless_features_is_that_of_noise() -> None:
    y = np.arange(40) % 2
    expected = 0.5 * (math.log(40 / 20) - 1 - math.log(2 * math.pi))
    assert float(scores.logme(np.zeros((40, 3)), y)) == pytest.approx(expected)


def test_logme_for_several_labels_takes_columns_one_by_one(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = clusters
    indicator = np.eye(3)[y]
    assert scores.logme(x, indicator).evidences == pytest.approx(scores.logme(x, y).evidences, rel=1e-10)
    both = np.stack([y == 0, y > 0, y < 2], axis=1)
    result = scores.logme(x, both.astype(int))
    assert len(result.evidences) == 3
    assert result.evidences[0] == pytest.approx(scores.logme(x, y).evidences[0], rel=1e-10)


def test_logme_has_no_maximum_where_features_copy_the_labels() -> None:
    y = np.arange(40) % 4
    with pytest.raises(LabelError, match="exact linear function"):
        scores.logme(np.eye(4)[y], y)


@pytest.mark.parametrize(
    ("labels", "regression", "message"),
    [
        (np.ones((40, 2)) * 0.5, False, "0/1 indicator"),
        (np.zeros((40, 2)), False, "column of zeros"),
        (np.full(40, np.nan), True, "finite"),
        (np.ones(39), True, "40 rows"),
        (np.array(["a"] * 40), True, "numbers"),
    ],
)
def test_logme_refuses(labels: np.ndarray, regression: bool, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        scores.logme(np.random.default_rng(0).normal(size=(40, 3)), labels, regression=regression)


# --- LEEP, NCE -----------------------------------------------------------------------------------------------------


def test_leep_of_hard_probabilities_is_nce() -> None:
    rng = np.random.default_rng(0)
    source, labels = rng.integers(5, size=80), np.arange(80) % 3
    assert float(scores.leep(np.eye(5)[source], labels)) == pytest.approx(float(scores.nce(source, labels)))


def test_leep_of_uninformative_probabilities_is_the_entropy_of_the_labels() -> None:
    labels = np.array([0, 0, 0, 1])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(scores.leep(np.full((4, 3), 1 / 3), labels)) == pytest.approx(-entropy)
    assert float(scores.nce([2, 2, 2, 2], labels)) == pytest.approx(-entropy)


def test_leep_refuses_logits() -> None:
    with pytest.raises(FeatureError, match="row 1 is not"):
        scores.leep(np.array([[0.5, 0.5], [3.0, -2.0]]), [0, 1])


# --- PACTran -------------------------------------------------------------------------------------------------------


def test_pactran_gaussian_is_its_definition_at_the_minimum(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = clusters
    n, d = x.shape
    beta, variance = 200.0, 0.7
    centred = x - x.mean(axis=0)

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercepts = point[: 3 * d].reshape(d, 3), point[3 * d :]
        logits = centred @ weights + intercepts
        probabilities = scipy.special.softmax(logits, axis=1)
        loss = -np.log(probabilities[np.arange(n), y]).mean() + (weights**2).sum() / (2 * beta * variance)
        error = (probabilities - np.eye(3)[y]) / n
        return loss, np.concatenate([(centred.T @ error + weights / (beta * variance)).ravel(), error.sum(axis=0)])

    found = scipy.optimize.minimize(
        objective, np.zeros(3 * d + 3), jac=True, method="BFGS", options={"gtol": 1e-10, "maxiter": 5000}
    )
    probabilities = scipy.special.softmax(centred @ found.x[: 3 * d].reshape(d, 3) + found.x[3 * d :], axis=1)
    curvature = (probabilities * (1 - probabilities)).sum(axis=1)
    trace = (curvature * ((centred**2).sum(axis=1) + 1)).sum()
    complexity = 3 * d / (2 * beta) * math.log(1 + beta * variance / (3 * d) * trace)

    result = scores.pactran(x, y, beta=beta, prior_variance=variance)
    assert result.converged
    assert result.loss == pytest.approx(found.fun, rel=1e-10)  # type: ignore[attr-defined]
    assert result.hessian_trace == pytest.approx(trace, rel=1e-5)  # type: ignore[attr-defined]
    assert float(result) == pytest.approx(found.fun + complexity, rel=1e-6)


def test_pactran_presets(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    own, other = scores.pactran(*clusters), scores.pactran(*clusters, preset="task-relatedness")
    assert (own.prior_variance, own.beta * own.prior_variance) == pytest.approx((100 / 6, 1200))  # type: ignore[attr-defined]
    assert (other.prior_variance, other.beta) == pytest.approx((6 / 100, 1200))  # type: ignore[attr-defined]


@pytest.mark.parametrize("prior", ["dirichlet", "gamma"])
def test_pactran_variational_is_the_authors_iteration_written_out(prior: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    s = scipy.special.softmax(rng.normal(size=(60, 4)) + 2 * rng.normal(size=(3, 4))[labels], axis=1)
    indicator = np.eye(3)[labels]
    prior_counts = (indicator.mean(axis=0) + 1e-10)[:, None]
    q, log_s = s, np.log(s + 1e-10)
    for _ in range(1000):
        counts = prior_counts + indicator.T @ q
        logits = log_s + indicator @ scipy.special.digamma(counts)
        if prior == "dirichlet":
            logits = logits - scipy.special.digamma(counts.sum(axis=0))
        log_q = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
        q = np.exp(log_q)
    divergence = (q * (log_q - log_s)).sum()
    gammaln = scipy.special.gammaln
    if prior == "dirichlet":
        log_prior = gammaln(prior_counts.sum()) - gammaln(prior_counts).sum()
        log_posterior = gammaln(counts.sum(axis=0)) - gammaln(counts).sum(axis=0)
        expected = -((log_prior - log_posterior).sum() - divergence) / 180
    else:
        normalizers = np.log(s @ counts.sum(axis=0))
        expected = ((gammaln(prior_counts) - gammaln(counts)).sum() + divergence + (normalizers - 1).sum()) / 180 + 1
    result = scores.pactran(s, labels, prior=prior)
    assert result.converged
    assert float(result) == pytest.approx(expected, rel=1e-7)


def test_pactran_says_when_it_has_not_converged() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    s = scipy.special.softmax(rng.normal(size=(60, 4)), axis=1)
    assert not scores.pactran(s, labels, prior="gamma", max_iterations=2).converged
    assert not scores.pactran(rng.normal(size=(60, 4)), labels, max_iterations=1).converged


@pytest.mark.parametrize(
    "options",
    [
        {"prior": "gauss"},
        {"preset": "paper"},
        {"beta": 0},
        {"alpha": -1, "prior": "gamma"},
        {"max_iterations": 0},
        {"beta": 1.0, "prior": "dirichlet"},
    ],
)
def test_pactran_refuses(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        scores.pactran(np.full((4, 2), 0.5), [0, 1, 0, 1], **options)


# --- SFDA, TransRate, kNN ------------------------------------------------------------------------------------------


def test_sfda_needs_variation_within_classes() -> None:
    with pytest.raises(FeatureError, match="within the classes"):
        scores.sfda(np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1])


def test_sfda_says_when_it_is_saturated() -> None:
    result = scores.sfda(np.random.default_rng(0).normal(size=(20, 50)), np.arange(20) % 2)
    assert float(result) > 0.99
    assert "saturated" in result.notes[0]


def test_transrate_is_its_listing(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = clusters
    z = x - x.mean(axis=0)

    def rate(part: np.ndarray) -> float:
        return 0.5 * np.linalg.slogdet(np.eye(6) + part.T @ part / (len(part) * 0.01))[1]

    expected = rate(z) - np.mean([rate(z[y == c]) for c in range(3)])
    assert float(scores.transrate(x, y, epsilon=0.01)) == pytest.approx(expected, rel=1e-10)


def test_knn_ties_go_to_the_nearest() -> None:
    x = np.array([[0.0], [1.0], [-2.0], [3.5], [10.0], [10.1]])
    y = np.array([2, 2, 1, 0, 0, 1])
    # Of three neighbours of sample 0 (classes 2, 1, 0: a tie) the nearest is of class 2, its own.
    votes_for_first = scores.knn(x, y, n_neighbors=3)
    assert float(votes_for_first) == pytest.approx(_knn_by_hand(x, y, 3))


def _knn_by_hand(x: np.ndarray, y: np.ndarray, k: int) -> float:
    right = 0
    for i in range(len(x)):
        distances = np.abs(x - x[i]).sum(axis=1)
        distances[i] = np.inf
        votes = list(y[np.argsort(distances)[:k]])
        right += max(votes, key=lambda c: (votes.count(c), -votes.index(c))) == y[i]
    return right / len(x)


@pytest.mark.parametrize("k", [0, 4, True, 1.5])
def test_knn_refuses(k: object) -> None:
    with pytest.raises(OptionError, match="n_neighbors"):
        scores.knn(np.eye(4), [0, 1, 0, 1], n_neighbors=k)


@pytest.mark.parametrize(
    "features",
    [
        np.random.default_rng(0).normal(size=(200, 300)),
        np.random.default_rng(1).normal(size=(250, 5)) * 1e-3 + 1e5,  # single precision cannot tell these apart
        np.random.default_rng(2).normal(size=(250, 4)) * np.logspace(-2, 2, 250)[:, None],
        np.random.default_rng(3).normal(size=(150, 40)).astype(np.float32),
    ],
    ids=["wide", "far from the origin", "of all sizes", "float32"],
)
def test_knn_finds_the_nearest(features: np.ndarray) -> None:
    labels = np.arange(len(features)) % 3
    double = features.astype(np.float64)
    distances = ((double[:, None, :] - double) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    expected = (labels[distances.argmin(axis=1)] == labels).mean()
    assert float(scores.knn(features, labels, n_neighbors=1)) == pytest.approx(expected)


def test_knn_of_equal_samples() -> None:
    assert 0 <= float(scores.knn(np.ones((40, 3)), np.arange(40) % 2)) <= 1  # every sample is as near as any other


def test_h_score_of_few_samples_does_not_depend_on_units() -> None:
    """Through inner products, n ≤ d: features in units that differ by 10³⁰ count as much as before, and so the rank."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 30)), np.arange(20) % 2
    x[:, 8:] = x[:, :8] @ rng.normal(size=(8, 22))  # rank 8
    units = 10.0 ** rng.integers(-15, 15, size=30)
    plain, scaled = scores.h_score(x, y), scores.h_score(x * units, y)
    assert plain.rank == scaled.rank == 8
    assert float(scaled) == pytest.approx(float(plain), rel=1e-9)
