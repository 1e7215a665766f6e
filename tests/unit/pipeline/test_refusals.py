"""Options that would change nothing, and names that could not be told apart."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bands import GOOD, NOISE, REFERENCE, SETTINGS, TARGET, stripes

from transferability import TaskRelatedness
from transferability.cli.app import main
from transferability.cli.show import caveats
from transferability.display.notebook import ranking_html, relatedness_html
from transferability.errors import OptionError
from transferability.features import write_features
from transferability.pipeline import Settings, choose_encoders, load_part, rank, relate
from transferability.pipeline.refusals import check_matching, check_names, check_target_names, check_test_share
from transferability.relatedness.references import MATCHED_WITH_ITSELF
from transferability.report.render import to_html, to_markdown
from transferability.report.summarize import summarize
from transferability.study.config import load_study
from transferability.study.inventory import Inventory
from transferability.validation.validate import validate


@pytest.mark.parametrize(
    ("matching", "shown"), [("random", "'random'"), ("gradient", "'gradient'"), ([2, 0, 1], "2,0,1")]
)
def test_a_matching_without_a_reference_changes_nothing(matching: str | list[int], shown: str) -> None:
    estimator = TaskRelatedness(matching=matching)
    match = re.escape(f"each class of the target is then matched with itself; got {shown}. Give a reference")
    with pytest.raises(OptionError, match=match):
        check_matching(estimator)
    notes = caveats(rank(TARGET, None, [GOOD, NOISE], relatedness=estimator, settings=SETTINGS))
    assert f"{MATCHED_WITH_ITSELF}. (all encoders)" in notes  # in Python, where one estimator may serve many calls
    notes = caveats(rank(TARGET, REFERENCE, [GOOD, NOISE], relatedness=estimator, settings=SETTINGS))
    assert not any(MATCHED_WITH_ITSELF in note for note in notes)


@pytest.mark.parametrize("command", ["rank", "relate"])
@pytest.mark.parametrize("options", ["--matching random", "--test-share .5"])
def test_commands_refuse_what_changes_nothing(
    command: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = f"features:{tmp_path / 'ok.npz'}"
    write_features(tmp_path / "ok.npz", np.random.default_rng(0).normal(size=(48, 3)), np.arange(48) % 3)
    words = [command, file, *(["-e", file] if command == "rank" else []), *options.split()]
    monkeypatch.setattr("sys.argv", ["transferability", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"`{options.split()[0].strip('-').replace('-', '_')}` must be left out" in capsys.readouterr().err
    if options.startswith("--test"):  # with one split it counts
        monkeypatch.setattr("sys.argv", ["transferability", *words, "--folds", "1", "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        assert '"test_share": 0.5' in capsys.readouterr().out


def test_what_the_own_half_does_is_no_wrong_matching() -> None:
    for matching in ("assignment", "identity"):
        check_matching(TaskRelatedness(matching=matching))


def test_a_share_that_no_target_has_a_use_for_is_refused() -> None:
    half = Settings(cache=False, test_share=0.5)
    with pytest.raises(
        OptionError, match=r"'bands': its 60 rows are measured in 5 folds, each row once; got 0.5. Take"
    ):
        check_test_share(half, [load_part(TARGET, half)])
    single = replace(half, folds=1)
    check_test_share(single, [load_part(TARGET, half), load_part(TARGET, single)])
    check_test_share(SETTINGS, [load_part(TARGET, SETTINGS)])
    given = replace(TARGET, all_in_test=np.arange(60) >= 30)
    with pytest.raises(OptionError, match=r"it comes with a test part of its own, which is measured; got 0\.5"):
        check_test_share(half, [load_part(given, half)])


def test_encoders_of_one_name_are_refused() -> None:
    part = load_part(TARGET, SETTINGS)
    with pytest.raises(OptionError, match="a=python:m:f and a=python:m:g have one, 'a'"):
        choose_encoders(["a=python:m:f", "a=python:m:g"], None, part)
    with pytest.raises(OptionError, match="rows=python:m:f and an encoder 'rows' have one, 'rows'"):
        check_names(["rows=python:m:f", GOOD])
    assert len(choose_encoders(["a=python:m:f", "a=python:m:f", "b=python:m:f"], None, part).encoders) == 2
    check_names([GOOD, GOOD, NOISE])


def test_targets_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    files = [tmp_path / "ok.npz", tmp_path / "x" / "ok.npz"]
    for path in files:
        write_features(path, np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 3)
    targets = [f"features:{path}" for path in files]
    match = r"2 are called .ok.\. Rename a file or folder"
    with pytest.raises(OptionError, match=match):
        check_target_names([load_part(each, SETTINGS) for each in targets])
    with pytest.raises(OptionError, match=match):
        validate([GOOD, NOISE], targets, settings=SETTINGS)
    study = tmp_path / "study.toml"
    study.write_text(f"encoders = ['a=features:{files[0]}', 'b=features:{files[0]}']\ntargets = {targets}\n")
    with pytest.raises(OptionError, match=match):
        Inventory(load_study(study))
    named = f"encoders = ['a=features:{files[0]}', 'a=features:{files[1]}']\ntargets = ['{targets[0]}']\n"
    study.write_text(named)
    with pytest.raises(OptionError, match="have one, 'a'"):
        Inventory(load_study(study))


def test_of_guessed_labels_no_chance_is_known() -> None:
    settings = replace(SETTINGS, use_labels=False)
    ranking = rank(TARGET, REFERENCE, [GOOD], settings=settings)
    assert ranking.best.relatedness.chance is None
    assert not ranking.best.relatedness.below_chance
    record = ranking.to_dict()
    assert record["ranking"][0]["chance"] is record["ranking"][0]["relatedness"]["chance"] is None
    (related,) = relate(REFERENCE, stripes("bands", 0, labelled=False), GOOD, settings=SETTINGS)
    assert related.chance is None
    for results in (ranking, related):
        summary = summarize(results)
        assert "chance" not in to_markdown(summary).lower()
        assert to_html(summary)
    assert ranking_html(record)
    assert "<td>chance</td><td>–</td>" in relatedness_html(related.to_dict())
    assert rank(TARGET, REFERENCE, [GOOD], settings=SETTINGS).best.relatedness.chance == pytest.approx(1 / 3)
