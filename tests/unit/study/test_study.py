"""A study on feature files: what is computed once is found again, and what changes is computed anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from transferability.errors import DatasetError, OptionError, TransferabilityError, UnknownNameError
from transferability.features import write_features
from transferability.ranking.store import ResultStore
from transferability.study import Study, load_study, plan_study, rankings_of, run_study


def write_task(path: Path, seed: int, shift: float = 0.0, d: int = 6) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(90) % 3
    write_features(path, 3 * np.eye(3, d)[labels] + shift + rng.normal(size=(90, d)), labels, ["a", "b", "c"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, encoder in enumerate(("good", "wide")):
        (tmp_path / encoder).mkdir()
        for seed, data in enumerate(("photos", "scans", "drawings")):
            write_task(tmp_path / encoder / f"{data}.npz", seed, shift=0.2 * seed, d=6 + 4 * number)
    for seed, data in enumerate(("photos", "scans", "drawings")):
        rng = np.random.default_rng(seed)
        np.savez(tmp_path / f"{data}.npz", x=rng.integers(0, 255, (90, 2, 2), dtype=np.uint8), y=np.arange(90) % 3)
    return tmp_path


def written(folder: Path, **changes: object) -> Study:
    """Return a study of two encoders and two targets; `changes` replace what the file says."""
    given: dict[str, object] = {
        "encoders": [f"features:{folder}/{name}/{{data}}.npz" for name in ("good", "wide")],
        "references": [f"npz:{folder}/photos.npz", f"npz:{folder}/drawings.npz"],
        "targets": [f"npz:{folder}/scans.npz", f"npz:{folder}/drawings.npz"],
        "results": str(folder / "results.sqlite"),
    } | changes
    # TOML writes lists, numbers and texts as JSON does.
    tables = [name for name, value in given.items() if isinstance(value, dict)]
    lines = [f"{name} = {json.dumps(value)}" for name, value in given.items() if name not in tables]
    for name in tables:
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in given[name].items())]
    (folder / "study.toml").write_text("\n".join(lines))
    return load_study(folder / "study.toml")


def test_what_was_computed_is_found_again(folder: Path) -> None:
    study = written(folder)
    told: list[tuple[str, str]] = []
    first = run_study(study, tell=lambda cell: told.append((cell.encoder, cell.target)))
    assert told == [(encoder, target) for encoder in study.encoders for target in study.targets]
    again: list[object] = []
    assert run_study(study, tell=again.append) == first
    assert again == []
    assert [cell.done for cell in plan_study(study)] == [True] * 4
    run_study(study, refresh=True, tell=again.append)
    assert len(again) == 4


def test_a_study_that_grows_computes_what_is_new(folder: Path) -> None:
    study = written(folder)
    small = written(folder, encoders=list(study.encoders[:1]), targets=list(study.targets[:1]))
    run_study(small)
    grown: list[tuple[str, str]] = []
    run_study(study, tell=lambda cell: grown.append((cell.encoder, cell.target)))
    assert len(grown) == 3
    assert (small.encoders[0], small.targets[0]) not in grown
    # A score more: every cell lacks it. A setting that changes numbers: every cell is another one.
    for change in ({"scores": ["logme"]}, {"relatedness": {"tau": 0.3}}, {"settings": {"seed": 1}}):
        assert [cell.done for cell in plan_study(written(folder, **change))] == [False] * 4
    # Settings that change no numbers leave all as it is.
    assert all(cell.done for cell in plan_study(written(folder, settings={"batch_size": 3, "cache": False})))


def test_data_that_change_are_measured_anew(folder: Path) -> None:
    study = written(folder)
    run_study(study)
    np.savez(folder / "scans.npz", x=np.zeros((90, 2, 2), dtype=np.uint8), y=np.arange(90) % 3)
    assert [cell.done for cell in plan_study(study)] == [False, True, False, True]
    write_task(folder / "wide" / "photos.npz", seed=7, d=10)
    assert [cell.done for cell in plan_study(study)] == [False, True, False, False]


@pytest.mark.parametrize("criterion", [None, "transferred_loss", "bound", "logme"])
def test_rankings_are_those_of_rank(folder: Path, criterion: str | None) -> None:
    from transferability.pipeline import rank

    study = written(folder, scores=["logme"])
    rankings = rankings_of(study, run_study(study), criterion)
    direct = rank(
        study.targets[0],
        study.references,
        study.encoders,
        scores=["logme"],
        criterion=criterion,
    )
    stored = rankings[0]
    assert (stored.target, stored.references) == (direct.target, direct.references)
    assert stored.criterion == direct.criterion == (criterion or "transferred_accuracy")
    for a, b in zip(stored.entries, direct.entries, strict=True):
        assert (a.encoder, a.scores) == (b.encoder, b.scores)
        for quantity in ("transferred_accuracy", "transferred_loss", "bound"):
            assert a.value(quantity) == b.value(quantity)
            assert a.per_sample(quantity) == pytest.approx(b.per_sample(quantity), rel=1e-6)
        assert a.per_sample("transferred_accuracy").dtype == bool
    one, other = (each.to_dict()["ranking"] for each in (stored, direct))
    for a, b in zip(one, other, strict=True):
        assert a["standing"] == pytest.approx(b["standing"], rel=1e-5)
        assert a["relatedness"].keys() == b["relatedness"].keys()
    # A target that is a reference too is left out of its own panel.
    assert rankings[1].references == ("photos",)


def test_an_encoder_that_fails_is_kept_as_a_failure_and_tried_again(folder: Path) -> None:
    study = written(folder, encoders=[f"features:{folder}/good/{{data}}.npz", f"features:{folder}/late/{{data}}.npz"])
    results = run_study(study)
    assert [each.failed for each in results.values()] == [False, False, True, True]
    assert [len(each.skipped) for each in rankings_of(study, results)] == [1, 1]
    (folder / "late").mkdir()
    for data in ("photos", "scans", "drawings"):
        write_task(folder / "late" / f"{data}.npz", seed=3)
    assert not any(each.failed for each in run_study(study).values())


def test_a_kill_between_two_pieces_loses_neither(folder: Path) -> None:
    study = written(folder)

    class Killed(BaseException):
        pass

    def kill(cell: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        run_study(study, tell=kill)
    assert len(ResultStore(study.results).results()) == 1
    assert sum(cell.done for cell in plan_study(study)) == 1


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"encoder": []}, OptionError, "got 'encoder'. Did you mean 'encoders'|encoders"),
        ({"encoders": []}, OptionError, "`encoders` must be a list"),
        ({"targets": "digits"}, OptionError, "`targets` must be a list"),
        ({"scores": ["logmee"]}, UnknownNameError, "logme"),
        ({"settings": {"limt": 3}}, OptionError, "limit"),
        ({"settings": {"limit": "3"}}, OptionError, "`limit` in .settings. must be of type int"),
        ({"settings": {"seed": True}}, OptionError, "`seed` in .settings. must be of type int"),
        ({"settings": {"precision": "float23"}}, OptionError, "`precision` in .settings. must be of type 'float32'"),
        ({"settings": 3}, OptionError, "`settings` must be a table"),
        ({"relatedness": {"tau": -1}}, OptionError, "tau"),
        ({"relatedness": {"taus": 1}}, OptionError, "tau"),
        ({"results": 3}, OptionError, "`results` must be the path"),
        ({"references": ["npz:x.npz"], "targets": ["npz:x.npz"]}, OptionError, "there is no other"),
    ],
)
def test_a_study_file_at_fault_is_refused(
    folder: Path, change: dict[str, object], error: type[TransferabilityError], match: str
) -> None:
    with pytest.raises(error, match=match):
        written(folder, **change)


def test_files_that_are_no_study_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        load_study(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("encoders = [")
    with pytest.raises(DatasetError, match="not valid TOML"):
        load_study(tmp_path / "bad.toml")
