"""Labels of a feature file beside those of the data: names decide, not the numbers that somebody gave the classes."""

import numpy as np
import pytest

from transferability.datasets import load_dataset
from transferability.encoders import load_encoder
from transferability.errors import LabelError
from transferability.features import extract_blocks, extract_features, write_features

WORDS = ["cat", "ant", "dog", "ant", "cat", "dog"]
FEATURES = np.arange(12.0).reshape(6, 2)


def found(folder, file, data, class_names=None):
    """Return what is looked up where the file and the data have these labels."""
    path = folder / "f.npz"
    known = {"labels": file} if class_names is None else {"labels": file, "class_names": class_names}
    np.savez(path, features=FEATURES, **known)
    dataset = load_dataset((list("abcdef"), data), name="six")
    return extract_features(load_encoder(f"features:{path}"), dataset)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(list("abcabc")),
        np.array(["0", "10", "20"] * 2),
        np.array([0, 10, 20, 0, 10, 20]),
        np.array([-1, 0, 1, -1, 0, 1]),
        np.array([0.0, 1.0, 2.0] * 2),
        np.array([7.0, 7.0, 9.0] * 2),
        np.array([False, True, True] * 2),
        np.array([[0], [1], [2]] * 2),
        np.array([b"a", b"b", b"c"] * 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_file_agrees_with_itself(tmp_path, labels, suffix):
    path = tmp_path / f"f.{suffix}"
    if suffix == "npz":
        np.savez(path, features=FEATURES, labels=labels)
    else:
        write_features(path, FEATURES, labels)
    data = load_dataset(f"features:{path}")
    features = extract_features(load_encoder(f"features:{path}"), data)
    np.testing.assert_array_equal(features.features, FEATURES)
    np.testing.assert_array_equal(features.labels, data.labels)
    assert features.class_names == data.class_names


@pytest.mark.parametrize(
    ("file", "class_names", "data"),
    [
        (np.array(WORDS), None, WORDS),  # names beside names
        ([0, 1, 2, 1, 0, 2], ["cat", "ant", "dog"], WORDS),  # numbered in another order, which the names say
        ([1, 0, 2, 0, 1, 2], None, WORDS),  # the numbers that the data have too
        ([0, 1, 2, 1, 0, 2], None, WORDS),  # numbers that nobody named: which rows are together
        ([5, 3, 9, 3, 5, 9], None, WORDS),
        ([0, 1, 1, 1, 0, 1], None, ["n", "y", "y", "y", "n", "y"]),
        (np.array([True, False, False] * 2), None, ["yes", "no", "no"] * 2),
        (np.array(WORDS), None, [1, 0, 2, 0, 1, 2]),  # words beside numbers
        ([0, 1, 2, 1, 0, 2], ["cat", "ant", "dog"], [1, 0, 2, 0, 1, 2]),
        ([1, 2, 3] * 2, None, ["1", "2", "3"] * 2),  # numbers by their value
        ([1, 2, 3] * 2, None, ["1.0", "2.0", "3.0"] * 2),
        ([1.0, 2.0, 3.0] * 2, None, [1, 2, 3] * 2),
        ([0, 1, 2] * 2, None, [1, 2, 3] * 2),  # the numbers of the classes in the data
        ([0, 1, 2] * 2, None, [-1, 0, 1] * 2),
        ([10, 2, 10, 2, 10, 2], None, ["10", "2", "10", "2", "10", "2"]),
        ([0, 1, 1] * 2, None, [False, True, True] * 2),  # booleans are 0 and 1
        (np.array([False, True, True] * 2), None, [0, 1, 1] * 2),
        (np.array([False, True, True] * 2), None, ["false", "true", "true"] * 2),
    ],
)
def test_labels_that_say_the_same(tmp_path, file, class_names, data):
    features = found(tmp_path, file, data, class_names)
    np.testing.assert_array_equal(features.features, FEATURES)
    assert features.class_names == load_dataset((list("abcdef"), data)).class_names  # those of the data


@pytest.mark.parametrize(
    ("file", "class_names", "data", "said"),
    [
        (np.array(WORDS), None, WORDS[::-1], "row '0' has 'cat' there and 'dog' here"),
        ([1, 0, 2, 0, 1, 2], ["dog", "cat", "ant"], WORDS, "row '1' has 'dog' there and 'ant' here"),
        ([1, 0, 2, 0, 1, 2], ["c", "b", "a"], ["b", "c", "a", "c", "b", "a"], None),
        ([0, 1, 2, 0, 1, 2], None, WORDS, "row '3' has '0' there and 'ant' here, row '0' '0' there and 'cat' here"),
        ([0, 0, 2, 0, 0, 2], None, WORDS, "row '1' has '0' there and 'ant' here, row '0' '0' there and 'cat' here"),
        ([0, 1, 2, 3, 0, 2], None, WORDS, "row '3' has '3' there and 'ant' here, row '1' '1' there and 'ant' here"),
        ([2, 1, 3] * 2, None, ["1", "2", "3"] * 2, "row '0' has '2' there and '1' here"),
        ([1, 0, 0] * 2, None, [False, True, True] * 2, "row '0' has '1' there and 'False' here"),
        (np.array([True, False, False] * 2), None, [0, 1, 1] * 2, "row '0' has 'True' there and '0' here"),
        ([1, 1, 2] * 2, None, [1, 2, 2] * 2, "row '1' has '1' there and '2' here"),
    ],
)
def test_labels_that_contradict_each_other(tmp_path, file, class_names, data, said):
    if said is None:
        found(tmp_path, file, data, class_names)
        return
    with pytest.raises(LabelError, match="must agree; ") as caught:
        found(tmp_path, file, data, class_names)
    assert said in str(caught.value)
    assert ("`class_names` are missing" in str(caught.value)) == (
        class_names is None and np.asarray(file).dtype != "<U3"
    )


def test_rows_by_id_and_a_sample_of_them(tmp_path):
    order = [4, 0, 5, 2, 1, 3]
    path = write_features(tmp_path / "f.npz", FEATURES[order], np.array(WORDS)[order], ids=[str(row) for row in order])
    data = load_dataset((list("abcdef"), WORDS), name="six").subset([1, 3, 2, 5])
    features = extract_features(load_encoder(f"features:{path}"), data)
    np.testing.assert_array_equal(features.features, FEATURES[[1, 3, 2, 5]])
    other = load_dataset((list("abcdef"), [*WORDS[:1], "dog", *WORDS[2:]]), name="six").subset([1, 2])
    with pytest.raises(LabelError, match="row '1' has 'ant' there and 'dog' here"):
        extract_features(load_encoder(f"features:{path}"), other)


def test_data_without_labels_take_those_of_the_file_by_name(tmp_path):
    path = write_features(tmp_path / "f.npz", FEATURES, np.array(WORDS))
    encoder, data = load_encoder(f"features:{path}"), load_dataset(list("abcdef"), name="six")
    features = extract_features(encoder, data)
    assert features.class_names == ("ant", "cat", "dog")
    assert features.labels.tolist() == [1, 0, 2, 0, 1, 2]
    (block,) = extract_blocks(encoder, data)
    assert (block.class_names, block.labels.tolist()) == (features.class_names, features.labels.tolist())
    assert features.task().n_classes == 3
