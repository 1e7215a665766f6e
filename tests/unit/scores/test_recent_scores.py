"""LDA, energy, ETran, GBC, PARC, NCTI and EMMS: closed forms, and the definitions written out independently."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
from scipy.optimize import minimize
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from transferability import scores
from transferability.errors import FeatureError, LabelError, OptionError, TaskError
from transferability.scores import ScoreInputs


def problem(n: int, d: int, n_classes: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n + d)
    labels = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)])
    mixing = rng.normal(size=(d, d)) + 2 * np.eye(d)
    return scale * (rng.normal(size=(n, d)) @ mixing + 3 * rng.normal(size=(n_classes, d))[labels]), labels


CASES = [(300, 100, 5, 1.0), (90, 12, 4, 0.02), (60, 200, 5, 1.0)]  # unshrunk, shrunk, more features than samples


def principal(features: np.ndarray, count: int) -> np.ndarray:
    """Principal coordinates by a singular value decomposition, the largest of each positive."""
    left, values, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    count = min(count, int((values > 1e-9 * values[0]).sum()))
    points = left[:, :count] * values[:count]
    return points * np.sign(points[np.abs(points).argmax(axis=0), np.arange(count)])


# --- LDA -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_lda_is_the_mean_posterior_of_its_definition(case: tuple[int, int, int, float]) -> None:
    x, y = problem(*case)
    means = np.stack([x[y == c].mean(axis=0) for c in range(case[2])])
    within = (x - means[y]).T @ (x - means[y]) / len(x)
    shrinkage = max(math.exp(-5 * np.linalg.eigvalsh(within)[-1]), 1e-10)
    covariance = (1 - shrinkage) * within + shrinkage * np.trace(within) / x.shape[1] * np.eye(x.shape[1])
    precision = np.linalg.inv(covariance)
    distances = np.stack([np.einsum("ij,jk,ik->i", x - m, precision, x - m) for m in means], axis=1)
    posteriors = scipy.special.softmax(np.log(np.bincount(y) / len(y)) - 0.5 * distances, axis=1)
    result = scores.lda(x, y)
    assert float(result) == pytest.approx(posteriors[np.arange(len(y)), y].mean(), rel=1e-6)
    assert result.shrinkage == pytest.approx(shrinkage)


def test_the_public_lda_leaves_the_covariance_out() -> None:
    """`eigh` of a matrix that is not symmetric gives orthonormal vectors, whose product is the identity."""
    x, y = problem(90, 12, 4, 0.3)
    means = np.stack([x[y == c].mean(axis=0) for c in range(4)])
    within = (x - means[y]).T @ (x - means[y]) / len(x)
    _, vectors = np.linalg.eigh(np.linalg.inv(within) @ (np.cov(x.T, bias=True) - within))
    weights = means @ vectors @ vectors.T
    np.testing.assert_allclose(weights, means, atol=1e-12)
    logits = np.log(np.bincount(y) / len(y)) - 0.5 * (means**2).sum(axis=1)
    public = scipy.special.softmax(x @ weights.T + logits, axis=1)[np.arange(90), y].mean()
    assert abs(public - float(scores.lda(x, y))) > 0.01
    assert float(scores.lda(x, y, covariance="identity")) == pytest.approx(public, rel=1e-9)
    with pytest.raises(OptionError, match="covariance"):
        scores.lda(x, y, covariance="full")


def test_lda_says_when_it_is_saturated() -> None:
    assert "saturated" in scores.lda(*problem(20, 50, 2)).notes[0]
    assert scores.lda(*problem(20, 50, 2), covariance="identity").notes == ()
    with pytest.raises(FeatureError, match="within the classes"):
        scores.lda(np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1])


# --- Energy, ETran -------------------------------------------------------------------------------------------------


def test_energy_averages_the_smallest() -> None:
    x, _ = problem(1000, 7, 3)
    values = np.sort(scipy.special.logsumexp(x, axis=1))
    result = scores.energy(x)
    assert (float(result), result.n_averaged) == (pytest.approx(values[:5].mean()), 5)
    assert float(scores.energy(x, share=1.0)) == pytest.approx(values.mean())
    assert scores.energy(x[:100]).n_averaged == 1
    assert float(scores.energy(np.full((3, 4), 1e6))) == pytest.approx(1e6 + math.log(4))


@pytest.mark.parametrize("share", [0, -0.1, 1.5, math.nan])
def test_energy_refuses(share: float) -> None:
    with pytest.raises(OptionError, match="share"):
        scores.energy(np.eye(3), share=share)


def test_etran_weighs_rescaled_terms() -> None:
    np.testing.assert_allclose(scores.etran([0.5, 1.0, 0.75], [7.0, 6.0, 6.5]), [0.15, 0.85, 0.5])
    np.testing.assert_allclose(scores.etran([0.5, 0.5], [1.0, 2.0]), [0.0, 0.15])  # equal terms decide nothing
    # A third encoder turns the order of the first two round: what the docstring warns of.
    first, second = scores.etran([0.6, 0.5], [1.0, 2.0])
    assert first > second
    first, second, _ = scores.etran([0.6, 0.5, 9.0], [1.0, 2.0, 1.5])
    assert first < second
    with pytest.raises(OptionError, match="one of each"):
        scores.etran([1.0], [1.0, 2.0])


# --- GBC -----------------------------------------------------------------------------------------------------------


def gbc_by_hand(x: np.ndarray, y: np.ndarray, count: int, kind: str) -> float:
    points, classes = principal(x, count), range(int(y.max()) + 1)
    means, variances = ([getattr(points[y == c], name)(axis=0) for c in classes] for name in ("mean", "var"))
    covariances = [np.diag(np.maximum(v, 1e-4 * points.var(axis=0).mean())) for v in variances]
    if kind == "spherical":
        covariances = [np.trace(c) / len(c) * np.eye(len(c)) for c in covariances]
    total = 0.0
    for i in classes:
        for j in set(classes) - {i}:
            middle = (covariances[i] + covariances[j]) / 2
            log_volumes = [np.linalg.slogdet(c)[1] for c in (middle, covariances[i], covariances[j])]
            step = means[i] - means[j]
            distance = step @ np.linalg.solve(middle, step) / 8 + (log_volumes[0] - sum(log_volumes[1:]) / 2) / 2
            total -= math.exp(-distance)
    return total


@pytest.mark.parametrize("kind", ["spherical", "diagonal"])
@pytest.mark.parametrize("case", CASES)
def test_gbc_is_its_definition_with_whole_covariances(case: tuple[int, int, int, float], kind: str) -> None:
    x, y = problem(*case)
    assert float(scores.gbc(x, y, covariance=kind)) == pytest.approx(gbc_by_hand(x, y, 64, kind), rel=1e-8)
    result = scores.gbc(x, y, covariance=kind, n_components=3)
    assert float(result) == pytest.approx(gbc_by_hand(x, y, 3, kind), rel=1e-8)
    assert result.n_dimensions == 3


def test_gbc_at_its_ends() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(3000) % 3
    x = rng.normal(size=(3000, 4))
    assert float(scores.gbc(x, y)) == pytest.approx(-6, abs=0.05)  # −K (K − 1): classes that are alike
    assert float(scores.gbc(np.eye(3)[y], y)) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(FeatureError, match="vary"):
        scores.gbc(np.ones((6, 2)), [0, 1] * 3)


@pytest.mark.parametrize("options", [{"covariance": "full"}, {"n_components": 0}, {"n_components": True}])
def test_gbc_refuses(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        scores.gbc(*problem(30, 3, 2), **options)


# --- PARC ----------------------------------------------------------------------------------------------------------


def parc_by_hand(points: np.ndarray, indicator: np.ndarray) -> float:
    pairs = np.triu_indices(len(points), 1)
    ours = (1 - np.corrcoef(points / points.std(axis=0)))[pairs]
    return float(scipy.stats.spearmanr(ours, np.round((1 - np.corrcoef(indicator))[pairs], 9))[0])


@pytest.mark.parametrize("case", CASES)
def test_parc_is_a_rank_correlation_of_dissimilarities(case: tuple[int, int, int, float]) -> None:
    x, y = problem(*case)
    assert float(scores.parc(x, y)) == pytest.approx(parc_by_hand(principal(x, 32), np.eye(case[2])[y]), rel=1e-9)
    few = scores.parc(x, y, n_components=3)
    assert float(few) == pytest.approx(parc_by_hand(principal(x, 3), np.eye(case[2])[y]), rel=1e-9)
    assert few.n_dimensions == 3


def test_parc_of_several_labels_leaves_out_samples_without_a_correlation() -> None:
    x, _ = problem(90, 12, 4)
    indicator = np.random.default_rng(0).random((90, 5)) < 0.4
    telling = indicator.any(axis=1) & ~indicator.all(axis=1)
    result = scores.parc(x, indicator.astype(int))
    expected = parc_by_hand(principal(x, 32)[telling], indicator[telling].astype(float))
    # Components are standardised over all samples, here over those that are left.
    points = principal(x, 32) / principal(x, 32).std(axis=0)
    pairs = np.triu_indices(int(telling.sum()), 1)
    rdm = (1 - np.corrcoef(points[telling]))[pairs]
    labels = np.round((1 - np.corrcoef(indicator[telling].astype(float)))[pairs], 9)
    assert float(result) == pytest.approx(scipy.stats.spearmanr(rdm, labels)[0], rel=1e-9)
    assert float(result) == pytest.approx(expected, abs=0.02)
    assert f"{90 - telling.sum()} samples with none or all" in result.notes[0]
    with pytest.raises(LabelError, match="0/1 indicator"):
        scores.parc(x, np.full((90, 2), 0.5))
    with pytest.raises(LabelError, match="differ between some pairs"):
        scores.parc(x, np.tile([1, 0], (90, 1)))


def test_parc_compares_a_draw_of_many_samples() -> None:
    x, y = problem(300, 20, 3)
    first, again = scores.parc(x, y, max_samples=100), scores.parc(x, y, max_samples=100)
    assert first == again
    assert "100 of the 300" in first.notes[0]
    assert float(scores.parc(x, y, max_samples=100, seed=1)) != float(first)
    assert float(first) == pytest.approx(float(scores.parc(x, y)), abs=0.1)


def test_parc_of_pairs_that_are_all_alike_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem(30, 4, 3)
    module = importlib.import_module("transferability.scores.parc")
    monkeypatch.setattr(module, "_dissimilarities", lambda points: np.ones(len(points) * (len(points) - 1) // 2))
    assert float(scores.parc(x, y)) == 0.0


def test_parc_refuses() -> None:
    x, y = problem(30, 5, 3)
    for options in ({"n_components": 1}, {"max_samples": 1}, {"max_samples": 2.5}):
        with pytest.raises(OptionError, match=next(iter(options))):
            scores.parc(x, y, **options)
    with pytest.raises(FeatureError, match="two directions"):
        scores.parc(x[:, :1], y)
    with pytest.raises(LabelError, match="pairs"):
        scores.parc(x[:3], [0, 1, 2])


# --- NCTI ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_ncti_has_the_terms_of_the_definition(case: tuple[int, int, int, float]) -> None:
    """The discriminant is scikit-learn's, unshrunk where the shrinkage is nothing, else by eigenvectors."""
    x, y = problem(*case)
    pca = PCA(n_components=min(64, case[0] - 1, case[1]))
    points = pca.fit_transform(x)
    shrinkage = math.exp(-pca.explained_variance_[:32].sum())
    if shrinkage > 1e-10:
        discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage)
    else:
        discriminant = LinearDiscriminantAnalysis(solver="svd")
    coordinates = discriminant.fit_transform(points, y)
    posteriors = discriminant.predict_proba(points)
    result = scores.ncti(x, y)
    # Older versions of scikit-learn divide by n − K where newer ones and we divide by n.
    assert result.nearest_centre == pytest.approx(posteriors[np.arange(len(y)), y].mean(), rel=0.02)
    norm = np.linalg.norm(coordinates - coordinates.mean(axis=0), ord="nuc")
    assert result.label_geometry == pytest.approx(norm, rel=0.05)
    norms = [np.linalg.norm(posteriors[y == c], ord="nuc") for c in range(case[2])]
    assert result.variability == pytest.approx(math.log(sum(norms)), rel=0.02)
    assert result.shrinkage == pytest.approx(shrinkage if shrinkage > 1e-10 else 0.0)


def test_ncti_terms_by_hand() -> None:
    """One feature, two classes: the discriminant coordinate is x / √within, the norm √(n (1 + between / within))."""
    x, y = 100 * np.array([[0.0], [2.0], [4.0], [6.0]]), np.array([0, 0, 1, 1])
    within, between = 1.0, 4.0
    posterior = 1 / (1 + np.exp(-np.array([3.0, 1.0]) * 4 / within))  # log odds 4 (x − 3) / within, in units of 100
    table = np.stack([posterior, 1 - posterior], axis=1)
    result = scores.ncti(x, y)
    assert result.nearest_centre == pytest.approx(posterior.mean())
    assert result.label_geometry == pytest.approx(math.sqrt(4 * (1 + between / within)))
    norm = 2 * np.linalg.norm(table, ord="nuc")
    assert result.variability == pytest.approx(math.log(norm))
    unit_norm = math.log(norm / 2) / math.log(4 / 2)  # least Σ √(n_c / K) = 2, largest Σ √(n_c min(n_c, K)) = 4
    geometry = 1 - math.sqrt(4) / result.label_geometry
    assert float(result) == pytest.approx(posterior.mean() + geometry - unit_norm)


def test_ncti_over_encoders_rescales_each_term() -> None:
    terms = ((0.5, 10.0, 2.0), (0.9, 30.0, 1.0), (0.7, 10.0, 3.0))
    found = [
        scores.NctiResult(0.0, nearest_centre=a, label_geometry=b, variability=c, shrinkage=0.0) for a, b, c in terms
    ]
    np.testing.assert_allclose(scores.ncti_over_encoders(found), [0 + 0 - 0.5, 1 + 1 - 0, 0.5 + 0 - 1])
    np.testing.assert_allclose(scores.ncti_over_encoders(found[:1]), [0.0])
    assert scores.ncti_over_encoders([]).shape == (0,)
    with pytest.raises(OptionError, match="results of `ncti`"):
        scores.ncti_over_encoders([0.5])


def test_ncti_tells_good_features_from_noise() -> None:
    x, y = problem(300, 20, 4)
    noise = np.random.default_rng(0).normal(size=x.shape)
    good, bad = scores.ncti(x, y), scores.ncti(noise, y)
    assert good.value > bad.value + 0.3
    assert good.nearest_centre > bad.nearest_centre
    with pytest.raises(FeatureError, match="within the classes"):
        scores.ncti(np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1])


# --- EMMS ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES[:2])
def test_emms_is_the_least_residual_over_the_simplex(case: tuple[int, int, int, float]) -> None:
    x, y = problem(*case)
    embeddings = np.random.default_rng(0).normal(size=(3, case[2], 20))
    targets = [(each[y] - each[y].mean(axis=0)) / each[y].std(axis=0) for each in embeddings]
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    left = [each - design @ np.linalg.lstsq(design, each, rcond=None)[0] for each in targets]

    def residual(weights: np.ndarray) -> float:
        return float((sum(w * each for w, each in zip(weights, left, strict=True)) ** 2).mean())

    found = minimize(  # type: ignore[call-overload]
        residual, [1 / 3] * 3, bounds=[(0, 1)] * 3, constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, tol=1e-14
    )
    result = scores.emms(x, y, embeddings)
    assert float(result) == pytest.approx(-found.fun, rel=1e-6)
    assert result.weights == pytest.approx(found.x, abs=1e-4)
    assert sum(result.weights) == pytest.approx(1.0)
    assert float(result) >= max(-residual(np.eye(3)[k]) for k in range(3)) - 1e-9  # no embedding alone is better
    assert result.rank == case[1]


def test_emms_drops_an_embedding_that_the_features_do_not_know() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    known = np.array([[0.0], [0.0], [1.0], [1.0]])
    x = known[y] + 0.1 * rng.normal(size=(400, 1))
    result = scores.emms(x, y, np.stack([known, known[::2].repeat(2, axis=0), np.array([[0.0], [1.0], [0.0], [1.0]])]))
    assert result.weights[2] == pytest.approx(0.0, abs=0.2)
    alone = scores.emms(x, y, known)
    assert alone.weights == (1.0,)
    assert float(alone) == pytest.approx(np.corrcoef(x[:, 0], known[y, 0])[0, 1] ** 2 - 1, rel=1e-9)


def test_emms_of_targets_is_the_share_that_a_regression_leaves() -> None:
    x, _ = problem(300, 10, 3)
    targets = x[:, :2] + np.random.default_rng(0).normal(size=(300, 2))
    design = np.concatenate([x, np.ones((300, 1))], axis=1)
    left = targets - design @ np.linalg.lstsq(design, targets, rcond=None)[0]
    expected = -(left.var(axis=0) / targets.var(axis=0)).mean()
    assert float(scores.emms(x, targets)) == pytest.approx(expected, rel=1e-9)
    assert float(scores.emms(x[:, :1], targets[:, 0])) == pytest.approx(
        np.corrcoef(x[:, 0], targets[:, 0])[0, 1] ** 2 - 1, rel=1e-9
    )
    wide = scores.emms(problem(20, 50, 3)[0], np.arange(20.0))
    assert float(wide) == pytest.approx(0.0, abs=1e-9)
    assert "says nothing" in wide.notes[0]


def test_emms_of_classes_with_more_features_than_samples_says_nothing() -> None:
    x, y = problem(60, 200, 5)
    result = scores.emms(x, y, np.random.default_rng(0).normal(size=(2, 5, 3)))
    assert float(result) == pytest.approx(0.0, abs=1e-9)
    assert result.weights == (0.5, 0.5)
    assert "says nothing" in result.notes[0]


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.zeros((2, 4)), "row for each of 3 classes"),
        (np.full((3, 4), np.nan), "finite"),
        (np.ones((3, 4)), "differ between samples"),
        (np.array([["a"], ["b"], ["c"]]), "numbers"),
        (np.zeros((3, 0)), "numbers"),
    ],
)
def test_emms_refuses(embeddings: np.ndarray, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        scores.emms(*problem(30, 4, 3), embeddings)


def test_emms_takes_the_embeddings_of_the_classes_that_pseudo_labels_name() -> None:
    x, y = problem(90, 5, 4)
    guessed = np.where(y == 2, 0, y)
    embeddings = np.random.default_rng(0).normal(size=(4, 6))
    inputs = ScoreInputs(x, guessed, label_embeddings=embeddings, pseudo_labels=True)
    renumbered = np.unique(guessed, return_inverse=True)[1]
    expected = scores.emms(x, renumbered, embeddings[[0, 1, 3]])
    assert float(scores.compute("emms", inputs)) == pytest.approx(float(expected))


# --- Targets in place of labels ------------------------------------------------------------------------------------


def test_scores_of_targets_are_those_that_declare_it() -> None:
    x, _ = problem(90, 6, 3)
    numbers, several = x[:, :2] + 1.0, (x[:, :3] > 0).astype(float)
    expected = {id(numbers): {"logme", "emms", "energy"}, id(several): {"logme", "parc", "emms", "energy"}}
    for targets in (numbers, several):
        results, skipped = scores.compute_many(["all"], ScoreInputs(x, targets=targets))
        assert set(results) == expected[id(targets)]
        assert skipped["sfda"].startswith("score 'sfda' needs labels of classes, and takes no targets; got features, ")
    with pytest.raises(TaskError, match="a column for each of several labels"):
        scores.compute("parc", ScoreInputs(x, targets=numbers))
    labelled = ScoreInputs(x, np.arange(90) % 3, targets=numbers)  # labels are taken where there are both
    assert float(scores.compute("logme", labelled)) == pytest.approx(float(scores.logme(x, np.arange(90) % 3)))
