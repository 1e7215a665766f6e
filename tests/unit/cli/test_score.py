"""The command `score`: what it computes of a file of features, what it leaves out, and what it asks for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_runs import run

from transferability import scores
from transferability.errors import FeatureError, TransferabilityError
from transferability.features import write_features


def test_score_says_what_it_left_out(files: dict[str, str]) -> None:
    path = files["goal"].removeprefix("features:")
    out, err = run("score", "--features", path)
    assert "logme" in out
    line = "skipped pactran_dirichlet, pactran_gamma, leep, nce: needs the class probabilities of a source classifier."
    assert line in " ".join(err.split())
    assert "leep" not in out.split()
    found = json.loads(run("score", "--features", path, "--json")[0])
    assert found["schema"] == found["schema_version"] == 1
    _, err = run("score", "--features", path, "--score", "leep", code=1)
    assert "skipped leep" in err
    run("score", "--features", path, "--score", "leep", "--score", "logme", code=3)
    with pytest.raises(TransferabilityError, match="Did you mean 'logme'"):
        run("score", "--features", path, "--score", "logmee")


def test_score_of_targets(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features, weights = rng.normal(size=(80, 6)), rng.normal(size=(6, 2))
    numbers = features @ weights + 0.5 * rng.normal(size=(80, 2))
    several = (numbers > 0).astype(float)
    found = {}
    for name, targets in (("numbers", numbers), ("several", several)):
        write_features(tmp_path / f"{name}.npz", features, targets=targets)
        found[name] = json.loads(run("score", "--features", str(tmp_path / f"{name}.npz"), "--json")[0])
        assert (found[name]["targets"], found[name]["pseudo_labels"]) == (True, False)
        values = {each["name"]: each["value"] for each in found[name]["scores"]}
        assert values["logme"] == pytest.approx(float(scores.logme(features, targets, regression=True)))
        assert values["emms"] == pytest.approx(float(scores.emms(features, targets)))
        assert ("parc" in values) is (name == "several")
        assert "takes no targets" in found[name]["skipped"]["knn"]
    _, err = run("score", "--features", str(tmp_path / "numbers.npz"), "--score", "knn", code=1)
    assert "skipped knn: needs labels of classes, and takes no targets." in " ".join(err.split())


def test_score_says_what_a_file_holds_beside_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 4)), np.arange(60) % 3
    np.savez(tmp_path / "both.npz", features=features.astype(">f8"), labels=labels, targets=features[:, 0])
    found, err = run("score", str(tmp_path / "both.npz"), "--score", "logme", "--json")
    assert json.loads(found)["scores"][0]["value"] == pytest.approx(float(scores.logme(features, labels)))
    assert "the file's targets are not used" in " ".join(err.split())
    np.savez(tmp_path / "two.npz", features=features, labels=np.stack([labels == 0, labels > 0], axis=1).astype(int))
    with pytest.raises(FeatureError, match="Several labels per row are saved as `targets`"):
        run("score", str(tmp_path / "two.npz"))


def test_score_reads_label_embeddings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    arrays = {"features": rng.normal(size=(60, 4)) + labels[:, None], "labels": labels}
    arrays["label_embeddings"] = rng.normal(size=(2, 3, 8))
    np.savez(tmp_path / "f.npz", **arrays)
    found = json.loads(run("score", "--features", str(tmp_path / "f.npz"), "--score", "emms", "--json")[0])
    assert found["scores"][0]["value"] == pytest.approx(float(scores.emms(*arrays.values())))
    assert found["targets"] is False


def test_score_lists_what_there_is() -> None:
    out, _ = run("score", "--list")
    for name, info in scores.available().items():
        assert f"\n{name} " in out
        assert info.description in out


def test_score_guesses_labels_from_a_source(files: dict[str, str]) -> None:
    bare, near = (files[name].removeprefix("features:") for name in ("bare", "near"))
    found = json.loads(run("score", "--features", bare, "--source", near, "--score", "logme", "--json")[0])
    assert found["pseudo_labels"] is True
    with pytest.raises(TransferabilityError, match="`--source` must name labelled features"):
        run("score", "--features", bare, "--score", "logme")


def test_scores_that_need_no_labels(files: dict[str, str]) -> None:
    bare, goal = (files[name].removeprefix("features:") for name in ("bare", "goal"))
    for arguments in (
        [bare, "--score", "energy"],
        [bare],
        [goal, "--unlabelled", "--score", "energy"],
        [goal, "--unlabelled"],
    ):
        found = json.loads(run("score", *arguments, "--json")[0])
        assert [each["name"] for each in found["scores"]] == ["energy"]
        assert (found["pseudo_labels"], found["targets"]) == (False, False)
    found = json.loads(run("score", bare, "--score", "size", "--parameters", "7", "--json")[0])
    assert [each["name"] for each in found["scores"]] == ["size"]
    out, err = run("score", bare, "--score", "energy", "--score", "logme", code=3)
    assert "energy" in out
    assert "skipped logme: needs labels or pseudo-labels. pseudo-labels are taken from" in " ".join(err.split())
    found = json.loads(run("score", bare, "--source", files["near"], "--score", "energy", "--json")[0])
    assert found["pseudo_labels"] is False  # nobody needed them
    with pytest.raises(TransferabilityError, match="no score is called 'logmee'"):
        run("score", bare, "--score", "logmee")


def test_score_takes_labels_of_any_kind(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 4)), np.arange(60) % 3
    wanted = float(scores.logme(features, labels))
    for kind in (labels, np.array(list("abc"))[labels], labels * 10 - 1, labels.astype(float)):
        np.savez(tmp_path / "f.npz", features=features, labels=kind)
        found = json.loads(run("score", str(tmp_path / "f.npz"), "--score", "logme", "--json")[0])
        assert found["scores"][0]["value"] == pytest.approx(wanted, rel=1e-12)
