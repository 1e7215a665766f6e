"""Encoders whose features are computed already are measured side by side, with the same results as one by one."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transferability.encoders.precomputed import FeatureArrays
from transferability.errors import LabelError, UnknownNameError
from transferability.features.workers import keep_workers
from transferability.pipeline import Settings, rank, side_by_side
from transferability.pipeline.one_encoder import EncoderSkippedError

N, D = 60, 8


@pytest.fixture
def zoo(tmp_path: Path) -> list[str]:
    """Return data of two names, then feature files of four encoders, the last without a file for the reference."""
    labels = np.arange(N) % 3
    for k, name in enumerate(("target", "reference")):
        images = (np.arange(N, dtype=np.uint32) + k * N).view(np.uint8).reshape(N, 2, 2)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
    for encoder in range(4):
        (tmp_path / f"e{encoder}").mkdir()
        for k, name in enumerate(("target", "reference")):
            if (encoder, name) == (3, "reference"):
                continue
            rng = np.random.default_rng([encoder, k])
            features = encoder * np.eye(3, D)[labels] + rng.normal(size=(N, D))
            np.savez(tmp_path / f"e{encoder}" / f"{name}.npz", features=features, labels=labels)
    encoders = [f"features:{tmp_path}/e{encoder}/{{data}}.npz" for encoder in range(4)]
    return [f"npz:{tmp_path}/target.npz", f"npz:{tmp_path}/reference.npz", *encoders]


def test_side_by_side_is_one_by_one(zoo: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    target, reference, *encoders = zoo
    rankings = []
    for n_cores, worth_starting in ((1, 99), (3, 99), (3, 2)):
        monkeypatch.setattr(side_by_side, "_n_cores", lambda n_cores=n_cores: n_cores)
        monkeypatch.setattr(side_by_side, "_WORTH_STARTING", worth_starting)
        done: list[int] = []
        ranking = rank(
            target,
            [reference],
            encoders,
            scores=["h_score"],
            settings=Settings(cache=False),
            tell=lambda _, position, total, done=done: done.append(position),  # type: ignore[misc]
        )
        assert done == [0, 1, 2, 3, 4]
        rankings.append(ranking)
    one, *several = rankings
    for many in several:
        assert [each.encoder for each in one.skipped] == [each.encoder for each in many.skipped] == [encoders[3]]
        assert one.skipped[0].reason == many.skipped[0].reason
        for single, together in zip(one.entries, many.entries, strict=True):
            assert single.encoder == together.encoder
            assert single.scores == together.scores
            assert single.relatedness.bound == together.relatedness.bound
            np.testing.assert_array_equal(
                single.relatedness.transferred_losses, together.relatedness.transferred_losses
            )


@pytest.mark.parametrize("worth_starting", [2, 99])
def test_where_no_encoder_can_be_ranked_side_by_side(
    zoo: list[str], monkeypatch: pytest.MonkeyPatch, worth_starting: int
) -> None:
    monkeypatch.setattr(side_by_side, "_n_cores", lambda: 2)
    monkeypatch.setattr(side_by_side, "_WORTH_STARTING", worth_starting)
    with pytest.raises(UnknownNameError, match=r"no encoder could be ranked.*there is no file"):
        rank(zoo[0], [zoo[1]], [zoo[5], zoo[5]], settings=Settings(cache=False))


TASKS = """
import os
from transferability.errors import LabelError
from transferability.pipeline.one_encoder import EncoderSkippedError

def process(_encoder):
    return os.getpid()

def refused(encoder):
    raise EncoderSkippedError(encoder, LabelError("too few"))

def lost_unless(parent, encoder):
    if os.getpid() != parent:
        os._exit(1)
    return f"{encoder} here"
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return functions that other processes find too, on a machine of two cores."""
    monkeypatch.setattr(side_by_side, "_n_cores", lambda: 2)
    (tmp_path / "tasks_of_a_test.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("tasks_of_a_test")
    del sys.modules["tasks_of_a_test"]


def told(do: Callable[..., Any], encoders: list[Any]) -> list[Any]:
    return [result() for result in side_by_side.side_by_side(do, encoders)]


def test_many_are_measured_in_processes_and_a_few_on_threads(tasks: Any) -> None:
    here, many = os.getpid(), ["features:a"] * side_by_side._WORTH_STARTING
    assert here not in told(tasks.process, many)
    assert len(set(told(tasks.process, many))) <= 2
    assert set(told(tasks.process, many[1:])) == {here}
    arrays = FeatureArrays("a", np.ones((3, 2)))
    assert set(told(tasks.process, [arrays] * len(many))) == {here}  # they would have to be sent
    assert set(told(lambda _: os.getpid(), many)) == {here}  # no pickle holds it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [each for each in sys.path if each != str(Path(tasks.__file__).parent)])
        assert set(told(tasks.process, many)) == {here}  # no other process knows it
    with keep_workers():
        there = set(told(tasks.process, many))
        assert set(told(tasks.process, many[:2])) <= there  # processes of before are there


def test_what_a_process_raises_is_raised_here(tasks: Any) -> None:
    names = [f"features:{k}" for k in range(side_by_side._WORTH_STARTING)]
    for name, result in zip(names, side_by_side.side_by_side(tasks.refused, names), strict=True):
        with pytest.raises(EncoderSkippedError, match=f"{name}: too few") as error:
            result()
        assert isinstance(error.value.reason, LabelError)
        assert error.value.encoder == name


def test_what_lost_processes_were_asked_is_measured_here(tasks: Any, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"features:{k}" for k in range(side_by_side._WORTH_STARTING)]
    assert told(partial(tasks.lost_unless, os.getpid()), names) == [f"{name} here" for name in names]
    assert "measured in this process" in caplog.text
