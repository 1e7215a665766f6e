"""Shares of a study: files of their own, what a plan sees of them, and who takes them over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from transferability.cli.app import app
from transferability.errors import OptionError
from transferability.study import Study, plan_study, run_study

Write = Callable[..., Study]


def test_shares_write_files_of_their_own_and_the_whole_study_takes_them_over(written: Write, folder: Path) -> None:
    study = written(folder)
    both = [(encoder, target) for encoder in study.encoders for target in study.targets]
    first = run_study(study, share="1/2")
    assert [*first] == both[:2]
    assert not (folder / "results.sqlite").exists()
    second = run_study(study, share="2/2")
    assert [*second] == both[2:]
    assert {path.name for path in folder.glob("*.sqlite")} == {"results.1-of-2.sqlite", "results.2-of-2.sqlite"}
    told: list[object] = []
    whole = run_study(study, tell=told.append)
    assert not told  # nothing is computed again
    assert [*whole] == both
    for cell, result in (first | second).items():
        assert whole[cell].result == result.result
    for path in folder.glob("results.*-of-2.sqlite"):
        path.unlink()
    assert [*run_study(study, tell=told.append)] == both
    assert not told  # they are in the study's own file now
    assert [*run_study(study, share="3/3", tell=told.append)] == []
    with pytest.raises(OptionError, match="must be i/n"):
        run_study(study, share="0/2")


def test_a_plan_sees_the_shares_and_writes_nothing(written: Write, folder: Path) -> None:
    study = written(folder, scores=[])
    assert [cell.done for cell in plan_study(study)] == [False] * 4
    assert [cell.done for cell in plan_study(study, "2/2")] == [False] * 2
    assert not list(folder.glob("*.sqlite"))
    run_study(study, share="1/2")
    plan = plan_study(study)
    assert [cell.done for cell in plan] == [True, True, False, False]
    assert plan[0].seconds == next(iter(run_study(study, share="1/2").values())).seconds
    assert [cell.encoder for cell in plan_study(study, "2/2")] == [study.encoders[1]] * 2
    assert [cell.done for cell in plan_study(study, "1/3")] == [True, True]  # another share has computed it
    assert {path.name for path in folder.glob("*.sqlite")} == {"results.1-of-2.sqlite"}
    done = CliRunner().invoke(app, ["study", str(folder / "study.toml"), "--dry-run", "--shard", "2/2", "--json"])
    printed = json.loads(done.stdout)
    assert (printed["to_do"], [each["done"] for each in printed["cells"]]) == (2, [False, False])
    with pytest.raises(OptionError, match="must be i/n"):
        plan_study(study, "3/2")


def test_a_share_that_failed_is_tried_again_by_the_whole_study(written: Write, folder: Path) -> None:
    study = written(folder)
    whole = folder / "good" / "scans.npz"
    content = whole.read_bytes()
    whole.write_bytes(content[:100])
    failed = run_study(study, share="1/2")
    assert [each.failed for each in failed.values()] == [True, False]
    whole.write_bytes(content)
    assert not any(each.failed for each in run_study(study).values())


def test_the_command_runs_a_share(written: Write, folder: Path) -> None:
    written(folder)
    runner = CliRunner()
    done = runner.invoke(app, ["study", str(folder / "study.toml"), "--shard", "2/2"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "wide" in done.stdout
    assert "good" not in done.stdout
    assert "without --shard shows the whole study" in done.stderr
    assert runner.invoke(app, ["study", str(folder / "study.toml"), "--shard", "3/3"]).exit_code == 0
    both = runner.invoke(app, ["study", str(folder / "study.toml")], catch_exceptions=False)
    assert "good" in both.stdout
