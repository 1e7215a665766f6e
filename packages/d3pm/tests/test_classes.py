"""Conditional models are told the classes that the data name, and do without where they have learned it."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app
from d3pm.config import DataConfig
from d3pm.data import DataSpec, load_data
from d3pm.errors import DataError
from d3pm.spec import match_classes

RNG = np.random.default_rng(0)
RUNNER = CliRunner()


def write(root, names, parts=("train", "test"), n=6):
    image = pytest.importorskip("PIL.Image")
    for part in parts:
        for name in names:
            for i in range(n):
                path = root / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.fromarray(RNG.integers(256, size=(8, 8)).astype(np.uint8)).save(path)
    return root


def trained(folder, data, *more):
    settings = ["data.kind=images", "data.conditional=true", "data.levels=16", "net.width=8", "train.steps=2"]
    settings += ["train.batch=4", "train.log_every=1", "evaluate.times=2", *more]
    options = [part for s in settings for part in ("--set", s)]
    result = RUNNER.invoke(app, ["train", "digits", "--data", str(data), "--out", str(folder), *options])
    assert result.exit_code == 0, repr(result.exception)
    return folder


def test_classes_are_told_by_their_names(tmp_path):
    """Of a folder without class a, b and c keep their numbers; a class that the model does not know is refused."""
    data = write(tmp_path / "data", "abc")
    model = load_checkpoint(trained(tmp_path / "run", data))
    assert model.spec.classes == ("a", "b", "c")
    assert DataSpec.from_dict(json.loads(json.dumps(model.spec.to_dict()))) == model.spec
    for part in ("train", "test"):
        shutil.rmtree(data / part / "a")
    config = DataConfig("images", str(data), levels=16, conditional=True)
    dataset = load_data(config, model.spec)
    assert dataset.test_labels.tolist() == [1] * 6 + [2] * 6
    assert dataset.spec == model.spec
    other = write(tmp_path / "other", ["cat", "dog"])
    with pytest.raises(DataError, match="a, b, c; got 'cat'"):
        load_data(DataConfig("images", str(other), levels=16, conditional=True), model.spec)
    # One class is enough to be evaluated.
    shutil.rmtree(data / "train" / "b")
    shutil.rmtree(data / "test" / "b")
    assert load_data(config, model.spec).test_labels.tolist() == [2] * 6


def test_checkpoints_without_names_are_told_numbers(tmp_path):
    data = write(tmp_path / "data", "bc")
    known = DataSpec("image", (8, 8), 16, n_classes=3)
    assert "classes" not in known.to_dict()
    dataset = load_data(DataConfig("images", str(data), levels=16, conditional=True), known)
    assert dataset.test_labels.tolist() == [0] * 6 + [1] * 6
    assert dataset.spec == known
    np.savez(tmp_path / "x.npz", images=RNG.integers(256, size=(20, 8, 8)).astype(np.uint8), labels=np.arange(20) % 4)
    with pytest.raises(DataError, match="0 to 2 of this checkpoint; got 3"):
        load_data(DataConfig("images", str(tmp_path / "x.npz"), levels=16, conditional=True), known)


def test_classes_of_saved_datasets_have_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = {"text": ["a word"] * 20, "label": [0, 1] * 10}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "texts"))
    config = DataConfig("text", str(tmp_path / "texts"), lines=True, length=8, conditional=True)
    spec = load_data(config).spec
    assert spec.classes == ("no", "yes")
    turned = datasets.Features({**features, "label": datasets.ClassLabel(names=["yes", "no"])})
    datasets.Dataset.from_dict(rows, features=turned).save_to_disk(str(tmp_path / "turned"))
    first = load_data(config, spec).train_labels
    second = load_data(DataConfig("text", str(tmp_path / "turned"), lines=True, length=8, conditional=True), spec)
    np.testing.assert_array_equal(second.train_labels, 1 - first)
    assert match_classes(np.array([1, 1]), ("maybe", "yes"), ("no", "yes")).tolist() == [1, 1]  # maybe does not occur


def test_arrays_of_tokens_have_no_classes_to_tell(tmp_path):
    np.save(tmp_path / "x.npy", RNG.integers(5, size=(40, 8)))
    with pytest.raises(DataError, match="`conditional` needs labels; the array"):
        load_data(DataConfig("tokens", str(tmp_path / "x.npy"), conditional=True))


def test_a_conditional_model_evaluates_and_encodes_what_has_no_labels(tmp_path):
    data = write(tmp_path / "data", "ab")
    run = trained(tmp_path / "run", data)
    np.savez(tmp_path / "bare.npz", images=RNG.integers(256, size=(20, 8, 8)).astype(np.uint8))
    one = write(tmp_path / "one", "a")
    for source, condition in ((data, "class"), (one, "class"), (tmp_path / "bare.npz", "none")):
        result = RUNNER.invoke(app, ["evaluate", str(run), "--data", str(source), "--json"])
        assert result.exit_code == 0, repr(result.exception)
        assert json.loads(result.stdout)["condition"] == condition
        assert ("without their classes" in result.stderr) == (condition == "none")
        result = RUNNER.invoke(app, ["encode", str(run), "--data", str(source), "--out", str(tmp_path / "f.npz")])
        assert result.exit_code == 0, repr(result.exception)
        with np.load(tmp_path / "f.npz") as archive:
            assert ("labels" in archive) == (source.suffix == "")
    told = trained(tmp_path / "told", data, "train.class_dropout=0.0")
    result = RUNNER.invoke(app, ["evaluate", str(told), "--data", str(tmp_path / "bare.npz")])
    assert isinstance(result.exception, DataError)
    assert "must have labels" in str(result.exception)
