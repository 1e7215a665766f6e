from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from transferability import Task, scores
from transferability._array import as_numpy
from transferability._class_numbers import number_classes
from transferability._validate import (
    check_choice,
    check_features,
    check_labels,
    check_positive,
    check_same_length,
    check_seed,
    check_targets,
)
from transferability.errors import FeatureError, LabelError, OptionError

# ── features ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_come_back_as_they_are(dtype: type) -> None:
    features = np.ones((3, 2), dtype=dtype)
    assert check_features(features) is features


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.float16, np.float32), (np.int8, np.float64), (bool, np.float64), (np.uint64, np.float64)],
)
def test_other_numbers_become_floats(dtype: type, expected: type) -> None:
    assert check_features(np.ones((3, 2), dtype=dtype)).dtype == expected


def test_a_torch_tensor_with_a_gradient() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.ones((3, 2), requires_grad=True)
    np.testing.assert_array_equal(check_features(tensor), np.ones((3, 2), dtype=np.float32))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.ones(3), r"`z` must be 2-D .*got 1-D of shape \(3,\). One sample must still be a row: features\[None, :\]"),
        (np.float64(1), r"`z` must be 2-D .*got 0-D of shape \(\)\."),
        (np.ones((2, 3, 4)), r"got 3-D of shape \(2, 3, 4\). Pool or flatten the axes after the first"),
        (np.ones((0, 3)), r"at least one row and one column; got shape \(0, 3\)"),
        (np.ones((3, 0)), r"at least one row and one column; got shape \(3, 0\)"),
        (np.ones((2, 2), dtype=complex), r"must hold real floating numbers; got dtype complex128\. Convert them first"),
        (np.array([["a", "b"]]), r"must hold real floating numbers; got dtype <U1"),
        (np.array([[None, 1.0]]), r"must hold real floating numbers; got dtype object"),
    ],
)
def test_features_of_the_wrong_shape_or_kind(features: np.ndarray, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        check_features(features, "z")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 7, 20_000])  # past the first block, too
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite_name_the_first_row(bad: float, row: int, dtype: type) -> None:
    features = np.zeros((20_010, 2), dtype=dtype)
    features[[row, -1], 1] = bad
    with pytest.raises(
        FeatureError, match=rf"`features` must be finite; row {row} holds NaN or infinity \(2 such rows"
    ):
        check_features(features)


def test_a_sum_that_overflows_is_no_infinite_value() -> None:
    features = np.full((10, 2), 1.7e308)
    assert check_features(features) is features
    features[4, 0] = -np.inf
    with pytest.raises(FeatureError, match=r"row 4 holds NaN or infinity \(1 such rows"):
        check_features(features)


def test_lengths() -> None:
    check_same_length(np.ones(3), np.zeros(3), ("a", "b"))
    with pytest.raises(FeatureError, match="`a` and `b` must have the same length; got 3 and 4"):
        check_same_length(np.ones(3), np.zeros(4), ("a", "b"))


# ── labels ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_labels_become_int64(dtype: type) -> None:
    labels = check_labels(np.array([0, 2, 1], dtype=dtype), 3)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"`y` must have one entry per row of the features; got 2 for 3 rows"),
        (
            [[0], [1], [0]],
            r"`y` must be 1-D \(n_samples,\); got shape \(3, 1\)\. Flatten them: labels\.ravel\(\)",
        ),
        (5, r"`y` must be 1-D"),
        ([0.0, 1.0, 0.0], r"must be integers from 0; got dtype float64\. Convert them: labels.astype\(int\)"),
        ([0.5, 1.0, 0.0], r"got dtype float64\. Number the classes first: numpy.unique"),
        ([0.0, np.nan, 1.0], r"got dtype float64\. Number the classes first: numpy.unique"),
        (["cat", "dog", "cat"], r"must be integers from 0; got dtype <U3\. Number the classes first"),
        ([True, False, True], r"must be integers from 0; got dtype bool"),
        ([0, -1, 1], r"must be integers from 0; row 1 is -1\. Number the classes first"),
        ([0, 0, 0], r"must hold at least two classes; all 3 samples are of class 0"),
        ([1, 1, 1], r"must use every class from 0 to 1; class 0 has no sample\. Renumber"),
        ([0, 2, 2], r"must use every class from 0 to 2; class 1 has no sample\. Renumber"),
        ([0, 1, 10**12], r"class 2 has no sample"),
    ],
)
def test_bad_labels(labels: object, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        check_labels(labels, 3, "y")


def test_no_labels_at_all() -> None:
    with pytest.raises(LabelError, match="`labels` must not be empty"):
        check_labels(np.zeros(0, dtype=int))


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_choices() -> None:
    assert check_choice("b", ("a", "b"), "letter") == "b"
    with pytest.raises(
        OptionError, match=r"`letter` must be one of 'alpha', 'beta'; got 'betta'\. Did you mean 'beta'"
    ):
        check_choice("betta", ("alpha", "beta"), "letter")
    with pytest.raises(OptionError, match=r"`letter` must be one of 'alpha', 'beta'; got 3\."):
        check_choice(3, ("alpha", "beta"), "letter")


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, None, "much", [1, 2]])
def test_numbers_that_are_not_positive(value: object) -> None:
    with pytest.raises(OptionError, match="`tau` must be a finite number > 0; got"):
        check_positive(value, "tau")


def test_zero_where_it_is_allowed() -> None:
    assert check_positive(0, "ridge", zero=True) == 0.0
    assert check_positive(np.float32(0.5), "tau") == 0.5
    with pytest.raises(OptionError, match="`ridge` must be a finite number ≥ 0; got -1"):
        check_positive(-1, "ridge", zero=True)


# ── labels of any kind ───────────────────────────────────────────────────────────────────────────────────────────────

COLUMN = np.array([[0], [1], [0]])


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        ([0, 2, 1], [0, 2, 1], None),
        (np.array([3, 5], dtype=np.uint8), [3, 5], None),
        ([0.0, 1.0, 0.0], [0, 1, 0], None),
        (COLUMN, [0, 1, 0], None),
        (COLUMN.tolist(), [0, 1, 0], None),
        (COLUMN.astype(float), [0, 1, 0], None),
        ([True, False, True], [1, 0, 1], ("False", "True")),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        (np.array(["dog", "cat"], dtype=object), [1, 0], ("cat", "dog")),
        ([["dog"], ["cat"]], [1, 0], ("cat", "dog")),
        (np.array([b"dog", b"cat"]), [1, 0], ("cat", "dog")),
        (["10", "9", "9"], [1, 0, 0], ("9", "10")),
        (["01", "1", "10"], [0, 1, 2], ("01", "1", "10")),
        (np.array([7, 8], dtype=object), [7, 8], None),
    ],
)
def test_labels_of_any_kind_are_numbered_and_never_cast(labels, numbers, names) -> None:
    found, found_names = number_classes(labels)
    assert found.dtype == np.int64
    assert (found.tolist(), found_names) == (numbers, names)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", 1], r"must be all of one kind; row 0 is text \('a'\) and row 1 integer \(1\)\. Convert them: \[str"),
        (["a", None], r"row 1 is None\. Fill it or drop the row"),
        (["a", float("nan")], r"row 1 is nan\. Fill it or drop the row"),
        ([1.0, float("nan")], r"row 1 is nan\. Fill it or drop the row"),
        ([1.0, 0.5], r"row 1 is 0\.5\. Numbers to predict are `targets`"),
        (["a", " "], r"row 1 is empty"),
        ([[1, 0], [0, 1]], r"got shape \(2, 2\)\. For one-hot labels pass labels\.argmax"),
        ([[1, 0], [1]], r"must be an array;"),
        ([1 + 2j], r"got dtype complex128"),
        (np.array(["2020-01-01"], dtype="M8[D]"), r"got dtype datetime64\[D\]\. Convert them: labels\.astype\(str\)"),
        (np.array([2**63 + 1], dtype=np.uint64), r"must be class numbers; got 9223372036854775809"),
        ([10**400], r"must be class numbers|integers or strings"),
        (np.array([b"\xff", b"a"]), r"must be text in UTF-8"),
        ([{"a": 1}], r"row 0 is \{'a': 1\}\. Number or name the classes"),
    ],
)
def test_labels_that_cannot_be_used(labels, message) -> None:
    with pytest.raises(LabelError, match=message):
        number_classes(labels)


def test_one_column_of_labels_has_a_remedy_that_works() -> None:
    with pytest.raises(LabelError, match=r"got shape \(3, 1\)\. Flatten them: labels\.ravel\(\)"):
        check_labels(COLUMN)
    assert check_labels(COLUMN.ravel()).tolist() == [0, 1, 0]


def test_masked_arrays_are_refused_and_not_read_under_their_mask() -> None:
    masked = np.ma.masked_array(np.eye(3), mask=np.eye(3, dtype=bool))
    labels = np.ma.masked_array([0, 1, 1], mask=[False, False, True])
    with pytest.raises(FeatureError, match=r"`features` must not be masked; got a masked array with 3 masked entries"):
        check_features(masked)
    for check in (check_labels, number_classes):
        with pytest.raises(FeatureError, match="`labels` must not be masked"):
            check(labels)
    with pytest.raises(FeatureError, match="`targets` must not be masked"):
        check_targets(masked, 3)
    with pytest.raises(FeatureError, match="must not be masked"):
        as_numpy(labels)
    assert check_features(np.ma.masked_array(np.eye(3))).tolist() == np.eye(3).tolist()


@pytest.mark.parametrize(
    "name", ["logme", "h_score", "transrate", "n_leep", "sfda", "linear_probe", "knn", "pactran", "nce", "leep"]
)
def test_every_score_refuses_masked_arrays(name) -> None:
    score = getattr(scores, name)
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    features = {"nce": labels, "leep": np.full((30, 3), 1 / 3)}.get(name, rng.normal(size=(30, 4)))
    float(score(features, labels))
    mask = np.zeros(features.shape, dtype=bool)
    mask[3] = True
    with pytest.raises(FeatureError, match="must not be masked"):
        score(np.ma.masked_array(features, mask=mask), labels)
    with pytest.raises(FeatureError, match="must not be masked"):
        score(features, np.ma.masked_array(labels, mask=mask.reshape(30, -1)[:, 0]))


def test_features_that_are_no_array() -> None:
    with pytest.raises(FeatureError, match=r"`features` must be an array; .* Give every row the same length"):
        check_features([[1, 2], [1]])
    assert type(check_features(np.eye(2).view(np.matrix))) is np.ndarray


@pytest.mark.parametrize("value", [-1, 0.5, "1", None, True])
def test_seeds_that_are_none(value) -> None:
    with pytest.raises(OptionError, match="`seed` must be an integer from 0; got"):
        check_seed(value)
    assert check_seed(np.int64(3)) == 3


# ── sizes of which sums of powers leave the range of double precision ────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            np.array([0.0, -1e200, 1.0]),
            r"must be smaller than 1e\+15 in size; the largest( in column 1)? is 1\.0e\+200",
        ),
        (np.array([0.0, 1e-200, 0.0]), r"must be larger than 1e-60 in size; the largest( in column 1)? is 1\.0e-200"),
        (np.array([2**63, 0, 1], dtype=np.uint64), r"must be smaller than 1e\+15 in size"),
    ],
)
def test_numbers_out_of_range_are_refused(column: np.ndarray, message: str) -> None:
    with pytest.raises(LabelError, match=f"`targets` {message}"):
        check_targets(column, 3)
    pair = np.stack([np.arange(3.0), column], axis=1)
    with pytest.raises(LabelError, match=f"`targets` {message}"):
        check_targets(pair, 3)
    with pytest.raises(FeatureError, match=f"`features` {message}"):
        scores.knn(column[:, None], np.array([0, 1, 0]))
    with pytest.raises(LabelError, match=f"`labels` {message}"):
        scores.logme(np.eye(3), pair, regression=True)
    with pytest.raises(LabelError, match=f"`label_embeddings` {message}"):
        scores.emms(np.eye(3), [0, 1, 2], pair)


def test_numbers_at_the_ends_of_the_range_are_taken() -> None:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(40, 3)), rng.normal(size=40)
    for factor in (1e-55, 1e14):
        scaled = scores.logme(x, t * factor, regression=True)
        assert float(scaled) == pytest.approx(float(scores.logme(x, t, regression=True)) - np.log(factor), rel=1e-9)
        assert float(scores.emms(x, t * factor)) == pytest.approx(float(scores.emms(x, t)), rel=1e-9)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array])
def test_a_sparse_matrix_is_told_how_to_become_an_array(kind: Callable[[Any], Any]) -> None:
    x, y = np.eye(4), np.array([0, 1, 0, 1])
    for call in (
        lambda: Task(kind(x), y),
        lambda: scores.logme(kind(x), y),
        lambda: scores.leep(kind(x), y),
        lambda: scores.parc(x, kind(x)),
        lambda: check_features(kind(x)),
    ):
        with pytest.raises(FeatureError, match=r"sparse c.*\. Write x\.toarray\(\)"):
            call()
    with pytest.raises(LabelError, match=r"`labels of task 'task'` must be a dense array.*\.toarray\(\)"):
        Task(x, kind(y[None, :]))
