"""Encoders whose features are computed already are measured side by side, with the same results as one by one."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
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
    for n_cores, ahead, worth_starting in ((1, 2, 99), (3, 2, 99), (2, 1, 0)):
        monkeypatch.setattr(side_by_side, "n_processors", lambda n_cores=n_cores: n_cores)
        monkeypatch.setattr(side_by_side, "_AHEAD", ahead)
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


@pytest.mark.parametrize("ahead", [1, 2])
def test_where_no_encoder_can_be_ranked_side_by_side(
    zoo: list[str], monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr(side_by_side, "n_processors", lambda: 2)
    monkeypatch.setattr(side_by_side, "_AHEAD", ahead)
    monkeypatch.setattr(side_by_side, "_WORTH_STARTING", 0)
    with pytest.raises(UnknownNameError, match=r"no encoder could be ranked.*there is no file"):
        rank(zoo[0], [zoo[1]], [zoo[5]] * 4, settings=Settings(cache=False))


TASKS = """
import os
import time
from transferability.errors import LabelError
from transferability.pipeline.one_encoder import EncoderSkippedError

def process(encoder):
    time.sleep(0.05)
    return os.getpid()

def noted(folder, encoder):
    time.sleep(0.05)
    open(os.path.join(folder, encoder), "w").close()

def refused(encoder):
    raise EncoderSkippedError(encoder, LabelError("too few"))

def lost_at(which, parent, encoder):
    if os.getpid() != parent and encoder in which:
        os._exit(1)
    return encoder, "here" if os.getpid() == parent else "there"
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return functions that other processes find too, on a machine of two cores."""
    monkeypatch.setattr(side_by_side, "n_processors", lambda: 2)
    (tmp_path / "tasks_of_a_test.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("tasks_of_a_test")
    del sys.modules["tasks_of_a_test"]


def told(do: Callable[..., Any], encoders: list[Any]) -> list[Any]:
    return [result() for result in side_by_side.side_by_side(do, encoders)]


FIRST = 4
NAMES = [f"features:{k}" for k in range(20)]


def test_what_takes_long_is_measured_in_processes(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()
    assert set(told(tasks.process, NAMES)) == {here}  # it takes half a second
    monkeypatch.setattr(side_by_side, "_WORTH_STARTING", 0.2)
    first, others = (set(part) for part in np.split(np.array(told(tasks.process, NAMES)), [FIRST]))
    assert first == {here}
    assert len(others - {here}) == len(others) <= 2
    assert set(told(tasks.process, NAMES[: FIRST + 1])) == {here}
    monkeypatch.setattr(side_by_side, "_WORTH_STARTING", 0.0)
    assert set(told(tasks.process, [FeatureArrays("a", np.ones((3, 2)))] * 8)) == {here}  # they would have to be sent
    assert set(told(lambda _: os.getpid(), NAMES)) == {here}  # no pickle holds it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [each for each in sys.path if each != str(Path(tasks.__file__).parent)])
        assert set(told(tasks.process, NAMES)) == {here}  # no other process knows it
    assert set(told(partial(tasks.lost_at, np.zeros((1 << 28) // 8 + 1), here), NAMES[:6])) == {
        (name, "here") for name in NAMES[:6]
    }  # it is large
    with keep_workers():
        there = set(told(tasks.process, NAMES)[FIRST:])
        assert set(told(tasks.process, NAMES[:2])) <= there  # processes of before are there


def test_what_a_process_raises_is_raised_here(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "_WORTH_STARTING", 0.0)
    for name, result in zip(NAMES, side_by_side.side_by_side(tasks.refused, NAMES), strict=True):
        with pytest.raises(EncoderSkippedError, match=f"{name}: too few") as error:
            result()
        assert isinstance(error.value.reason, LabelError)
        assert error.value.encoder == name


@pytest.mark.parametrize("n_lost", [1, 2])
def test_a_lost_process_costs_its_encoder(
    tasks: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, n_lost: int
) -> None:
    monkeypatch.setattr(side_by_side, "_WORTH_STARTING", 0.0)
    lost = NAMES[6 : 6 + n_lost]
    places = dict(told(partial(tasks.lost_at, lost, os.getpid()), NAMES))
    here = {name for name, place in places.items() if place == "here"}
    assert set(places) == set(NAMES)
    assert {*NAMES[:FIRST], *lost} <= here
    # Of both lost, one or two encoders may have overtaken the second: a thread takes its encoder before its process.
    assert here == {*NAMES[:FIRST], *lost} if n_lost == 1 else set(NAMES[12:]) <= here
    assert len(caplog.records) == 1


def test_nothing_goes_on_when_nobody_wants_it(tasks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(side_by_side, "_WORTH_STARTING", 0.0)
    results = side_by_side.side_by_side(partial(tasks.noted, str(tmp_path)), NAMES)
    for _ in range(FIRST + 2):
        next(results)()
    results.close()
    noted = len(list(tmp_path.glob("features*")))
    assert FIRST + 2 <= noted <= FIRST + 2 + 4
    time.sleep(0.5)
    assert len(list(tmp_path.glob("features*"))) == noted


def test_an_interruption_is_of_the_encoder_that_is_waited_for(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whoever asks for it has what was measured before."""
    monkeypatch.setattr(side_by_side, "_WORTH_STARTING", 0.0)
    monkeypatch.setattr(Future, "result", interrupted)
    for result in side_by_side.side_by_side(tasks.process, NAMES):
        with pytest.raises(KeyboardInterrupt):
            result()


def interrupted(_future: Future[Any]) -> None:
    raise KeyboardInterrupt
