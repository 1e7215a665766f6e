"""What must hold for every score in the registry: invariances, precision, namespaces, streams, input left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferability import Task, scores
from transferability._array import as_numpy
from transferability.scores import ScoreInputs
from transferability.statistics import class_moments, merge_moments

SCORES = scores.available()
NAMES = list(SCORES)
ON_SAMPLES = [name for name in NAMES if "labels" in SCORES[name].needs]
ON_FEATURES = [name for name in NAMES if "features" in SCORES[name].needs]
ON_ARRAYS = [name for name in NAMES if SCORES[name].needs & {"features", "source_probabilities", "layers"}]
ON_TARGETS = [name for name in NAMES if SCORES[name].needs_with_targets]
DRAWN = {name for name in NAMES if SCORES[name].drawn}  # their start or their folds go by the order of the rows
ITERATED = {"pactran_gaussian": 1e-5, "linear_probe": 0.03}  # where the stop leaves its mark
STAYS_ON_DEVICE = [name for name in ON_FEATURES if SCORES[name].on_device]


def invariant_to(change: str) -> list[str]:
    return [name for name in NAMES if change in SCORES[name].invariant_to]


def problem(seed: int, n: int = 90, d: int = 12, n_classes: int = 4) -> ScoreInputs:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)])
    mixing = rng.normal(size=(d, d)) + 2 * np.eye(d)
    features = (rng.normal(size=(n, d)) + rng.normal(size=(n_classes, d))[labels]) @ mixing + rng.normal(size=d)
    logits = rng.normal(size=(n, 7)) + 2 * rng.normal(size=(n_classes, 7))[labels]
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    reference = Task(rng.normal(size=(70, d)) @ mixing, rng.permutation(70) % 3, name="reference")
    embeddings = rng.normal(size=(2, n_classes, 5))
    layers = [np.tanh(features), features @ rng.normal(size=(d, 3)), features]
    return ScoreInputs(
        features, labels, probabilities, reference, n_parameters=12_345, label_embeddings=embeddings, layers=layers
    )


def value(name: str, inputs: ScoreInputs) -> float:
    return float(scores.compute(name, inputs))


def close(name: str, rel: float = 1e-8) -> dict[str, float]:
    return {"rel": ITERATED.get(name, rel), "abs": ITERATED.get(name, 1e-10)}


seeds = st.integers(0, 10_000)
few = settings(max_examples=8)


@pytest.mark.parametrize("name", NAMES)
def test_result_knows_itself(name: str) -> None:
    info = scores.available()[name]
    result = scores.compute(name, problem(0))
    assert isinstance(result, info.result)
    assert result.value == float(result)
    assert np.isfinite(result.value)
    assert info.lower_bound <= result.value <= info.upper_bound
    assert result.to_dict()["value"] == result.value
    assert {"description", "range", "cost", "limitations"} <= {key for key, text in vars(info).items() if text}


@pytest.mark.parametrize("name", sorted(set(ON_ARRAYS) - DRAWN))
@given(seed=seeds)
@few
def test_row_order_does_not_matter(name: str, seed: int) -> None:
    inputs = problem(seed)
    order = np.random.default_rng(seed).permutation(len(inputs.labels))
    shuffled = replace(
        inputs,
        features=inputs.features[order],
        labels=inputs.labels[order],
        source_probabilities=inputs.source_probabilities[order],
        layers=[layer[order] for layer in inputs.layers],
    )
    assert value(name, shuffled) == pytest.approx(value(name, inputs), **close(name))


@pytest.mark.parametrize("name", sorted(set(ON_SAMPLES) - {"linear_probe"}))
@given(seed=seeds)
@few
def test_class_numbers_do_not_matter(name: str, seed: int) -> None:
    inputs = problem(seed)
    order = np.random.default_rng(seed).permutation(4)
    embeddings = inputs.label_embeddings[:, np.argsort(order)]
    renumbered = replace(inputs, labels=order[inputs.labels], label_embeddings=embeddings)
    assert value(name, renumbered) == pytest.approx(value(name, inputs), **close(name))


@pytest.mark.parametrize("name", invariant_to("rotation"))
@given(seed=seeds)
@few
def test_rotation_does_not_matter(name: str, seed: int) -> None:
    inputs = problem(seed)
    d = inputs.features.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
    turned_reference = Task(inputs.reference.features @ rotation, inputs.reference.labels)
    turned = replace(inputs, features=inputs.features @ rotation, reference=turned_reference)
    assert value(name, turned) == pytest.approx(value(name, inputs), **close(name))


@pytest.mark.parametrize("name", invariant_to("scale"))
@given(seed=seeds, exponent=st.floats(-4, 4))
@few
def test_scale_does_not_matter(name: str, seed: int, exponent: float) -> None:
    inputs = problem(seed)
    factor = 10.0**exponent
    scaled_reference = Task(inputs.reference.features * factor, inputs.reference.labels)
    scaled = replace(inputs, features=inputs.features * factor, reference=scaled_reference)
    assert value(name, scaled) == pytest.approx(value(name, inputs), **close(name))


@pytest.mark.parametrize("name", invariant_to("shift"))
@given(seed=seeds)
@few
def test_shift_does_not_matter(name: str, seed: int) -> None:
    inputs = problem(seed)
    shifted = replace(inputs, features=inputs.features + 1000.0)
    assert value(name, shifted) == pytest.approx(value(name, inputs), **close(name, 1e-6))


@given(seed=seeds)
@few
def test_any_invertible_map_leaves_the_h_score(seed: int) -> None:
    inputs = problem(seed)
    mapped = replace(inputs, features=inputs.features @ np.diag(np.logspace(-6, 6, inputs.features.shape[1])))
    assert value("h_score", mapped) == pytest.approx(value("h_score", inputs), rel=1e-7)


@pytest.mark.parametrize("name", sorted(set(ON_ARRAYS) - {"n_leep"}))
@given(seed=seeds)
@few
def test_single_precision_is_close_to_double(name: str, seed: int) -> None:
    inputs = problem(seed)
    single = replace(
        inputs,
        features=inputs.features.astype(np.float32),
        source_probabilities=inputs.source_probabilities.astype(np.float32),
        layers=[layer.astype(np.float32) for layer in inputs.layers],
        reference=Task(inputs.reference.features.astype(np.float32), inputs.reference.labels),
    )
    # What is left is the rounding of the input itself; kNN may see two neighbours change places.
    tolerance = {"rel": 0.03} if name in {"knn", "linear_probe"} else {"rel": 1e-4, "abs": 1e-6}
    assert value(name, single) == pytest.approx(value(name, inputs), **tolerance)


def _torch_array(array: np.ndarray) -> Any:
    torch = pytest.importorskip("torch")
    return torch.from_numpy(array.copy())


def _cuda_array(array: np.ndarray) -> Any:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.from_numpy(array.copy()).cuda()


def _second_device(array: np.ndarray) -> Any:
    """Return a copy on a device that refuses to compute with arrays of another one, as a GPU does."""
    return array_api_strict.asarray(array, device=array_api_strict.Device("device1"))


NAMESPACES = [
    pytest.param(array_api_strict.asarray, id="strict"),
    pytest.param(_second_device, id="strict, second device"),
    pytest.param(_torch_array, id="torch"),
    pytest.param(_cuda_array, id="cuda", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize("convert", NAMESPACES)
@pytest.mark.parametrize("name", ON_ARRAYS)
def test_other_array_libraries(name: str, convert: Any) -> None:
    inputs = problem(1)
    converted = replace(
        inputs,
        features=convert(inputs.features),
        labels=convert(inputs.labels),
        source_probabilities=convert(inputs.source_probabilities),
        label_embeddings=convert(inputs.label_embeddings),
        layers=[convert(layer) for layer in inputs.layers],
    )
    assert value(name, converted) == pytest.approx(value(name, inputs), rel=1e-9)


@pytest.mark.parametrize("convert", NAMESPACES)
@pytest.mark.parametrize("name", ON_TARGETS)
def test_targets_of_other_array_libraries(name: str, convert: Any) -> None:
    for n, d in ((90, 12), (20, 30)):
        inputs = problem(1, n=n, d=d)
        targets = np.random.default_rng(0).integers(2, size=(n, 3))
        given = replace(inputs, labels=None, targets=targets)
        converted = replace(given, features=convert(inputs.features), targets=convert(targets))
        assert value(name, converted) == pytest.approx(value(name, given), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("convert", NAMESPACES)
def test_statistics_of_other_array_libraries(convert: Any) -> None:
    inputs = problem(5)
    targets = np.random.default_rng(0).normal(size=(90, 2))
    halves = [
        class_moments(convert(inputs.features[rows]), convert(inputs.labels[rows]), n_classes=4)
        for rows in (slice(0, 40), slice(40, None))
    ]
    merged, expected = merge_moments(halves), class_moments(inputs.features, inputs.labels)
    pairs = [
        (merged.mean, expected.mean),
        (merged.class_means, expected.class_means),
        (merged.scatter, expected.scatter),
        (merged.between(), expected.between()),
        (merged.gram(), expected.gram()),
        (float(scores.logme_from_moments(merged)), float(scores.logme_from_moments(expected))),
        (float(scores.h_score_from_moments(merged)), float(scores.h_score_from_moments(expected))),
        (
            float(scores.h_score_from_moments(merged, shrinkage="ledoit-wolf")),
            float(scores.h_score_from_moments(expected, shrinkage="ledoit-wolf")),
        ),
        (
            float(scores.logme(convert(inputs.features), convert(targets), regression=True)),
            float(scores.logme(inputs.features, targets, regression=True)),
        ),
    ]
    for one, other in pairs:
        np.testing.assert_allclose(as_numpy(one) if hasattr(one, "shape") else one, other, rtol=1e-9)


@pytest.mark.parametrize("convert", NAMESPACES)
@pytest.mark.parametrize("name", STAYS_ON_DEVICE)
def test_other_array_libraries_with_few_samples(name: str, convert: Any) -> None:
    inputs = problem(2, n=20, d=30)
    converted = replace(inputs, features=convert(inputs.features))
    assert value(name, converted) == pytest.approx(value(name, inputs), rel=1e-9)


@pytest.mark.parametrize("name", ON_ARRAYS)
def test_input_is_left_alone(name: str) -> None:
    inputs = problem(3)
    arrays = [inputs.features, inputs.labels, inputs.source_probabilities, inputs.reference.features, *inputs.layers]
    before = [each.copy() for each in arrays]
    for each in arrays:
        each.setflags(write=False)
    scores.compute(name, inputs)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_number(name: str) -> None:
    assert value(name, problem(4)) == value(name, problem(4))


@given(seed=seeds, cuts=st.lists(st.integers(1, 89), min_size=1, max_size=6, unique=True))
@few
def test_stream_equals_batch(seed: int, cuts: list[int]) -> None:
    inputs = problem(seed)
    by_class = np.argsort(inputs.labels, kind="stable")  # a stream sorted by class: parts that miss classes
    features, labels = inputs.features[by_class] + 100.0, inputs.labels[by_class]
    parts = [
        class_moments(x, y, n_classes=4)
        for x, y in zip(np.split(features, sorted(cuts)), np.split(labels, sorted(cuts)), strict=True)
    ]
    streamed = merge_moments(parts)
    assert float(scores.h_score_from_moments(streamed)) == pytest.approx(
        float(scores.h_score(features, labels)), rel=1e-9
    )
    assert float(scores.h_score_from_moments(streamed, shrinkage="ledoit-wolf")) == pytest.approx(
        float(scores.h_score(features, labels, shrinkage="ledoit-wolf")), rel=1e-9
    )
    assert float(scores.logme_from_moments(streamed)) == pytest.approx(float(scores.logme(features, labels)), rel=1e-8)


@pytest.mark.parametrize("convert", NAMESPACES)
def test_stream_stays_in_its_library(convert: Any) -> None:
    inputs = problem(5)
    halves = [
        class_moments(convert(inputs.features[rows]), inputs.labels[rows], n_classes=4)
        for rows in (slice(0, 40), slice(40, None))
    ]
    merged = halves[0].merge(halves[1])
    assert type(merged.scatter) is type(convert(inputs.features))
    expected = class_moments(inputs.features, inputs.labels)
    np.testing.assert_allclose(as_numpy(merged.scatter), expected.scatter, rtol=1e-10)
    assert float(scores.h_score_from_moments(merged)) == pytest.approx(float(scores.h_score_from_moments(expected)))


@pytest.mark.parametrize("name", ON_SAMPLES)
def test_pseudo_labels_are_spoken_of(name: str) -> None:
    inputs = problem(6)
    guessed = np.where(inputs.labels == 2, 0, inputs.labels)  # nobody was guessed to be of class 2
    result = scores.compute(name, replace(inputs, labels=guessed, pseudo_labels=True))
    assert any("pseudo-labels, of 3 classes" in note for note in result.notes)
    assert np.isfinite(float(result))


HOSTILE = {
    "constant column": lambda x: np.concatenate([x, np.full((len(x), 1), 3.0)], axis=1),
    "duplicated columns": lambda x: np.concatenate([x, x], axis=1),
    "more features than samples": lambda x: np.random.default_rng(0).normal(size=(len(x), 3 * len(x))),
    "huge": lambda x: x * 1e100,
    "tiny": lambda x: x * 1e-100,
    "far from the origin": lambda x: x + 1e6,
    "constant": lambda x: np.ones_like(x),
    "one column": lambda x: x[:, :1].copy(),
}


@pytest.mark.parametrize("case", list(HOSTILE))
@pytest.mark.parametrize("name", ON_FEATURES)
def test_hostile_features_give_a_number_or_a_sentence(name: str, case: str) -> None:
    inputs = problem(7)
    features = HOSTILE[case](inputs.features)
    reference = Task(np.random.default_rng(1).normal(size=(50, features.shape[1])), np.arange(50) % 3)
    inputs = replace(inputs, features=features, reference=reference)
    results, skipped = scores.compute_many([name], inputs)
    if results:
        assert np.isfinite(float(results[name]))
        info = scores.available()[name]
        assert info.lower_bound <= float(results[name]) <= info.upper_bound
    else:
        assert skipped[name].startswith("`features` must")


@pytest.mark.parametrize("name", ON_SAMPLES)
@pytest.mark.parametrize("labels", ["one class", "short", "float", "missing", "mixed"])
def test_bad_labels_are_refused(name: str, labels: str) -> None:
    inputs = problem(8)
    good = inputs.labels
    bad = {
        "one class": np.zeros_like(good),
        "short": good[:-1],
        "float": good + 0.5,
        "missing": np.array([None, *map(str, good[1:])], dtype=object),
        "mixed": ["a", *good[1:].tolist()],
    }[labels]
    with pytest.raises(ValueError, match=r"`labels`|labels of task"):
        scores.compute(name, replace(inputs, labels=bad))


CODINGS = {
    "gap": lambda codes: np.where(codes > 0, codes + 2, codes),
    "negative": lambda codes: codes - 1,
    "whole floats": lambda codes: codes.astype(float),
    "strings": lambda codes: np.array(list("abcdefgh"))[codes],
    "objects": lambda codes: np.array(list("abcdefgh"), dtype=object)[codes],
    "list": lambda codes: ["abcdefgh"[code] for code in codes],
    "a column": lambda codes: codes[:, None],
}


@pytest.mark.parametrize("name", ON_SAMPLES)
@pytest.mark.parametrize("coding", list(CODINGS))
def test_labels_of_any_kind_give_the_same_number(name: str, coding: str) -> None:
    inputs = problem(8)
    labels = CODINGS[coding](inputs.labels)
    if name == "emms":
        with pytest.raises(ValueError, match="`labels` must"):  # they count the rows of the label embeddings
            scores.compute(name, replace(inputs, labels=labels))
        return
    wanted = float(scores.compute(name, inputs))
    assert float(scores.compute(name, replace(inputs, labels=labels))) == wanted


def test_booleans_are_two_classes() -> None:
    inputs = problem(8)
    for name in ON_SAMPLES:
        codes = (inputs.labels > 0).astype(int)
        one = replace(inputs, labels=codes, label_embeddings=np.eye(2))
        other = replace(one, labels=codes.astype(bool))
        if name != "emms":
            assert float(scores.compute(name, one)) == float(scores.compute(name, other)), name


@pytest.mark.parametrize("name", ON_ARRAYS)
def test_values_that_are_not_finite_are_refused(name: str) -> None:
    inputs = problem(9)
    features, probabilities = inputs.features.copy(), inputs.source_probabilities.copy()
    features[5, 2] = np.nan
    probabilities[5, 2] = np.inf
    with pytest.raises(ValueError, match="row 5 holds NaN or infinity"):
        scores.compute(name, replace(inputs, features=features, source_probabilities=probabilities, layers=[features]))
