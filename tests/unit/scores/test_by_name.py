"""A score by its name is the function of that name: every score of the registry, with inputs that tell them apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from transferability import Task, scores
from transferability.scores import ScoreInputs

N, K = 90, 3
SEED = 4


@pytest.fixture(scope="module")
def inputs() -> ScoreInputs:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(N) % K)
    features = rng.normal(size=(N, 6)) + 1.2 * rng.normal(size=(K, 6))[labels]
    probabilities = rng.dirichlet(np.ones(5), size=N) + np.eye(5)[labels]
    return ScoreInputs(
        features,
        labels,
        probabilities / probabilities.sum(1, keepdims=True),
        Task(rng.normal(size=(80, 6)), np.arange(80) % 4),
        12345,
        seed=SEED,
        layers=(features[:, :4] ** 2, features),
        label_embeddings=rng.normal(size=(K, 4)),
    )


BY_HAND: dict[str, Callable[[ScoreInputs], object]] = {
    "logme": lambda i: scores.logme(i.features, i.labels),
    "h_score": lambda i: scores.h_score(i.features, i.labels),
    "h_score_shrunk": lambda i: scores.h_score(i.features, i.labels, shrinkage="ledoit-wolf"),
    "lda": lambda i: scores.lda(i.features, i.labels),
    "lda_identity": lambda i: scores.lda(i.features, i.labels, covariance="identity"),
    "sfda": lambda i: scores.sfda(i.features, i.labels),
    "ncti": lambda i: scores.ncti(i.features, i.labels),
    "gbc": lambda i: scores.gbc(i.features, i.labels),
    "parc": lambda i: scores.parc(i.features, i.labels, seed=SEED),
    "transrate": lambda i: scores.transrate(i.features, i.labels),
    "n_leep": lambda i: scores.n_leep(i.features, i.labels, seed=SEED),
    "knn": lambda i: scores.knn(i.features, i.labels),
    "linear_probe": lambda i: scores.linear_probe(i.features, i.labels, seed=SEED),
    "ridge_all_layers": lambda i: scores.ridge_all_layers(i.layers, i.labels, seed=SEED),
    "pactran_gaussian": lambda i: scores.pactran(i.features, i.labels),
    "pactran_dirichlet": lambda i: scores.pactran(i.source_probabilities, i.labels, prior="dirichlet"),
    "pactran_gamma": lambda i: scores.pactran(i.source_probabilities, i.labels, prior="gamma"),
    "leep": lambda i: scores.leep(i.source_probabilities, i.labels),
    "nce": lambda i: scores.nce(np.argmax(i.source_probabilities, axis=1), i.labels),
    "emms": lambda i: scores.emms(i.features, i.labels, i.label_embeddings),
    "ot_nce": lambda i: scores.ot_nce(i.reference, Task(i.features, i.labels), seed=SEED),
    "otce": lambda i: scores.otce(i.reference, Task(i.features, i.labels), seed=SEED),
    "energy": lambda i: scores.energy(i.features),
    "size": lambda i: scores.size(i.n_parameters),
}


def test_every_score_is_here() -> None:
    assert set(BY_HAND) == set(scores.available())


@pytest.mark.parametrize("name", BY_HAND)
def test_the_name_gives_what_the_function_gives(name: str, inputs: ScoreInputs) -> None:
    by_name, by_hand = scores.compute(name, inputs), BY_HAND[name](inputs)
    assert type(by_name) is type(by_hand)
    assert float(by_name) == pytest.approx(float(by_hand), rel=1e-9)
    assert np.isfinite(float(by_name))
