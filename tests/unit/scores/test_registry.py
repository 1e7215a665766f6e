from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from transferability import Task, scores
from transferability.errors import LabelError, TaskError, UnknownNameError
from transferability.scores import ScoreInputs


@pytest.fixture
def inputs() -> ScoreInputs:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    return ScoreInputs(features=rng.normal(size=(60, 4)) + rng.normal(size=(3, 4))[labels], labels=labels)


def test_names_are_those_of_the_results() -> None:
    for name, info in scores.available().items():
        assert info.name == name
        assert name.startswith(info.result.name)


def test_directions() -> None:
    lower = {name for name, info in scores.available().items() if not info.higher_is_better}
    assert lower == {"pactran_gaussian", "pactran_dirichlet", "pactran_gamma"}


def test_what_is_missing_is_said(inputs: ScoreInputs) -> None:
    assert scores.available()["leep"].missing(inputs) == "needs the class probabilities of a source classifier"
    assert scores.available()["logme"].missing(inputs) is None
    with pytest.raises(TaskError, match="a labelled reference task"):
        scores.compute("otce", inputs)
    with pytest.raises(TaskError, match="number of parameters"):
        scores.compute("size", inputs)


def test_unknown_name_lists_the_nearest(inputs: ScoreInputs) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'logme'"):
        scores.compute("logmee", inputs)
    with pytest.raises(UnknownNameError, match="hscore"):
        scores.compute_many(["logme", "hscore"], inputs)


def test_many_skip_with_a_reason_and_go_on(inputs: ScoreInputs) -> None:
    results, skipped = scores.compute_many(["all"], inputs)
    assert set(results) | set(skipped) == set(scores.available())
    others = {"leep", "nce", "pactran_dirichlet", "pactran_gamma", "ot_nce", "otce", "size", "emms", "ridge_all_layers"}
    assert set(skipped) == others
    assert float(results["logme"]) == pytest.approx(float(scores.logme(inputs.features, inputs.labels)), rel=1e-12)
    shrunk = scores.h_score(inputs.features, inputs.labels, shrinkage="ledoit-wolf")
    assert float(results["h_score_shrunk"]) == pytest.approx(float(shrunk), rel=1e-12)


def test_a_matrix_that_cannot_be_factorised_skips_one_score(
    inputs: ScoreInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def singular(*_: object) -> None:
        raise np.linalg.LinAlgError("2-th leading minor of the array is not positive definite")

    monkeypatch.setattr(importlib.import_module("transferability.scores.n_leep"), "fit_mixture", singular)
    results, skipped = scores.compute_many(["logme", "n_leep", "knn"], inputs)
    assert set(results) == {"logme", "knn"}
    assert skipped["n_leep"].startswith("`features` must be such that double precision resolves them; 'n_leep' met")
    assert "Standardise" in skipped["n_leep"]


def test_what_scores_share_is_made_once(inputs: ScoreInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(module: str, name: str) -> None:
        place = importlib.import_module(f"transferability.scores.{module}")
        original = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *given, **options: (made.append(name), original(*given, **options))[1])

    counted("_labelled", "class_moments")
    counted("_labelled", "PrincipalAxes")
    counted("_labelled", "fit_discriminant")
    counted("otce", "optimal_coupling")
    given = replace(inputs, reference=Task(inputs.features[::-1] + 1, inputs.labels), label_embeddings=np.eye(3))
    results, _ = scores.compute_many(["all"], given)
    assert {"logme", "h_score", "lda", "sfda", "ncti", "gbc", "parc", "n_leep", "emms", "ot_nce", "otce"} <= set(
        results
    )
    assert sorted(made) == ["PrincipalAxes", "class_moments", "fit_discriminant", "optimal_coupling"]
    alone = {name: float(scores.compute(name, replace(given))) for name in results}
    assert {name: float(result) for name, result in results.items()} == pytest.approx(alone, rel=1e-9)


def test_pseudo_labels_of_one_class_are_refused(inputs: ScoreInputs) -> None:
    guessed = ScoreInputs(features=inputs.features, labels=np.zeros(60, dtype=int), pseudo_labels=True)
    with pytest.raises(LabelError, match="one class"):
        scores.compute("logme", guessed)


def test_importing_scores_loads_nothing_heavy() -> None:
    heavy = ("torch", "ot", "sklearn", "matplotlib")
    code = f"import sys, transferability.scores; print([each for each in {heavy} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
