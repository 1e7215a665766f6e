"""Splits and label columns of Hugging Face datasets: what is trained on, and which labels are classes."""

import numpy as np
import pytest
from typer.testing import CliRunner

from d3pm.cli import app
from d3pm.config import DataConfig
from d3pm.data import DataSpec, load_data
from d3pm.dataset import count_classes
from d3pm.errors import DataError, LabelsWarning
from d3pm.label_columns import numbered_classes
from test_whole import encoded, trained

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()
RUNNER = CliRunner()
ODD = {
    "missing": [-1] * 20,
    "some missing": [0, 1, -1, 1] * 5,
    "floats": [0.5, 1.5] * 10,
    "null": [None, 1] * 10,
    "lists": [[0, 1]] * 20,
}


def table(labels, text="a word"):
    return datasets.Dataset.from_dict({"text": [f"{text} {'abcd'[i % 4]}" for i in range(20)], "label": labels})


def load(path, **options):
    return load_data(DataConfig("text", str(path), **{"lines": True, "length": 16, **options}))


def saved(path, **splits):
    datasets.DatasetDict(splits).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("lines", [True, False])
def test_labels_that_the_net_is_not_told_may_be_anything(tmp_path, name, lines):
    table(ODD[name]).save_to_disk(str(tmp_path / "x"))
    table(ODD[name]).to_parquet(str(tmp_path / "x.parquet"))
    for path in (tmp_path / "x", tmp_path / "x.parquet"):
        dataset = load(path, lines=lines, length=8)
        assert dataset.train_labels is None
        assert dataset.spec.n_classes == 0


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("missing", "the data have none"),
        ("some missing", "row 2 of 'label' in .*x holds -1. Leave"),
        ("floats", r"row 0 of 'label' in .*x holds 0\.5"),
        ("null", "row 0 of 'label' in .*x holds None"),
        ("lists", r"row 0 of 'label' in .*x holds \[0, 1\]"),
    ],
)
def test_labels_that_the_net_is_told_are_classes(tmp_path, name, named):
    table(ODD[name]).save_to_disk(str(tmp_path / "x"))
    with pytest.raises(DataError, match=named):
        load(tmp_path / "x", conditional=True)


def test_names_and_truth_are_classes():
    good: list[tuple] = [
        (["pos", "neg", "pos"], (), [1, 0, 1], ("neg", "pos")),
        ([True, False], (), [1, 0], ("False", "True")),
        ([2, 0], (), [2, 0], ()),
        ([1, 0], ("no", "yes"), [1, 0], ("no", "yes")),
    ]
    for values, names, numbers, classes in good:
        found, named = numbered_classes(values, names, "label", "x")
        assert (found.tolist(), named) == (numbers, classes)
        assert found.dtype == np.int64
    assert numbered_classes([-1, None], ("no", "yes"), "label", "x") is None
    bad: list[tuple] = [([0, 2], ("no", "yes"), 1), ([0, "a"], (), 1), (["a", ""] * 2 + [3], (), 4), ([-2], (), 0)]
    for values, names, row in bad:
        with pytest.raises(DataError, match=f"row {row} of"):
            numbered_classes(values, names, "label", "x")


def test_conditional_models_are_told_names_in_both_splits(tmp_path):
    words, turned = ["pos", "neg"] * 10, ["neg"] * 10 + ["pos"] * 10
    path = saved(tmp_path / "x", train=table(words), test=table(turned))
    dataset = load(path, conditional=True)
    assert dataset.spec.classes == ("neg", "pos")
    assert dataset.train_labels.tolist() == [1, 0] * 10
    assert dataset.test_labels.tolist() == [0] * 10 + [1] * 10
    # Those of a model are its numbers; a class that is not trained on is refused, and no matter where none is told.
    known = DataSpec("text", (16,), 27, alphabet="abcdefghijklmnopqrstuvwxyz ", n_classes=2, classes=("pos", "neg"))
    config = DataConfig("text", str(path), lines=True, length=16, conditional=True)
    assert load_data(config, known).test_labels.tolist() == [1] * 10 + [0] * 10
    path = saved(tmp_path / "y", train=table(words), test=table(["meh"] * 20))
    with pytest.raises(DataError, match="every class in training"):
        load(path, conditional=True)
    assert load(path).test_labels.tolist() == [2] * 20
    truth = load(saved(tmp_path / "z", train=table([True, False] * 10), test=table([True] * 20)), conditional=True)
    assert (truth.spec.classes, set(truth.test_labels)) == (("False", "True"), {1})


def test_a_test_part_without_labels(tmp_path):
    """As in GLUE: the labels of `test` are secret, those of `validation` are there."""
    splits = {"train": table([0, 1] * 10), "validation": table([0, 1] * 10, "valid"), "test": table([-1] * 20, "test")}
    path = saved(tmp_path / "x", **splits)
    plain, told = load(path), load(path, conditional=True)
    assert plain.spec.decode_text(plain.test[0][:4]) == "test"
    assert told.spec.decode_text(told.test[0][:5]) == "valid"
    assert told.test_labels.tolist() == [0, 1] * 10
    with pytest.raises(DataError, match="labels of the test part too"):
        load(saved(tmp_path / "y", train=splits["train"], test=splits["test"]), conditional=True)


def text_of(dataset, part):
    return dataset.spec.decode_text(getattr(dataset, part)[0]).split()[0]


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (("train", "test", "validation"), "train", "test"),
        (("dev", "train"), "train", "dev"),
        (("training", "validation"), "training", "validation"),
        (("only",), "only", "only"),
        (("validation_b", "test_a", "train", "validation"), "train", "testa"),
        (("unsupervised", "test"), "unsupervised", "test"),
        (("unsupervised", "train"), "train", "train"),
        (("train2017", "val2017"), "train", "val"),
    ],
)
def test_which_split_is_which(tmp_path, names, train, test):
    # The file's characters are letters and spaces alone.
    splits = {name: table([0, 1] * 10, "".join(filter(str.isalpha, name))) for name in names}
    dataset = load(saved(tmp_path / "x", **splits))
    assert (text_of(dataset, "train"), text_of(dataset, "test")) == (train, test)


@pytest.mark.parametrize(
    "names", [("test",), ("validation", "test"), ("test", "validation"), ("dev", "testset"), ("eval",), ("a", "b")]
)
def test_a_test_part_is_never_trained_on(tmp_path, names):
    path = saved(tmp_path / "x", **{name: table([0, 1] * 10) for name in names})
    with pytest.raises(DataError, match=f"must hold a split `train`.*has {', '.join(names)}"):
        load(path)


def test_encoding_takes_all_splits_and_says_which_labels_it_leaves_out(tmp_path):
    words = ["pos", "neg"] * 10
    splits = {"validation": table(words, "valid"), "test": table(["neg", "new"] * 10, "test")}
    path = saved(tmp_path / "x", **splits)
    run = trained(
        tmp_path / "run", "characters", saved(tmp_path / "train", train=table([0.5] * 20)),
        "data.lines=true", "data.length=16", "net.dilations=[1]",
    )  # fmt: skip
    found = encoded(run, path)
    assert len(found["features"]) == len(found["ids"]) == 40
    assert found["class_names"].tolist() == ["neg", "pos", "new"]
    assert found["labels"].tolist() == [1, 0] * 10 + [0, 2] * 10
    out = str(tmp_path / "f.npz")
    half = saved(tmp_path / "half", train=table(words), test=table([-1] * 20))
    for data, part, said in (
        (tmp_path / "train", "all", r"row 0 of 'label' in .*holds 0\.5"),
        (tmp_path / "train", "train", r"row 0 of 'label' in .*holds 0\.5"),
        (half, "all", "test has none"),
    ):
        with pytest.warns(LabelsWarning, match=f"No labels are kept.*{said}"):
            result = RUNNER.invoke(app, ["encode", str(run), "--data", str(data), "--part", part, "--out", out])
        assert result.exit_code == 0, repr(result.exception)
        with np.load(out) as archive:
            assert "labels" not in archive


def test_pictures_of_all_splits_are_encoded(tmp_path):
    image = pytest.importorskip("PIL.Image")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rng = np.random.default_rng(0)

    def pictures():
        return [image.fromarray(rng.integers(256, size=(8, 8)).astype(np.uint8)) for _ in range(10)]

    parts = [datasets.Dataset.from_dict({"image": pictures(), "label": [0, 1] * 5}, features=features) for _ in "abc"]
    path = saved(tmp_path / "x", **dict(zip(("train", "validation", "test"), parts, strict=True)))
    run = trained(tmp_path / "run", "digits", path, "data.kind=images", "data.levels=16")
    found = encoded(run, path)
    assert found["labels"].tolist() == [0, 1] * 15
    assert found["class_names"].tolist() == ["a", "b"]


def test_a_dataset_of_no_pictures(tmp_path):
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": []}, features=features).save_to_disk(str(tmp_path / "x"))
    with pytest.raises(DataError, match="must hold a dataset"):
        load_data(DataConfig("images", str(tmp_path / "x")))


def test_a_gap_in_large_numbers_of_classes_is_told_at_once():
    labels = np.array([0, 1, 3, 10**15])
    with pytest.raises(DataError, match="class 2 has no training example"):
        count_classes(labels, labels)
