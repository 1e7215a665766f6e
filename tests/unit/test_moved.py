"""Modules under the names they had before: pickles of results made then still load."""

import importlib
import pickle
import sys
import warnings

import numpy as np
import pytest

from transferability import Ranking, Task, TaskRelatedness
from transferability._moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_the_old_name_is_the_new_module(old: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module(f"transferability.{old}")
    assert module is importlib.import_module(f"transferability.{MOVED[old]}")


def test_a_pickle_that_names_the_old_modules_loads() -> None:
    y = np.arange(60) % 2
    x = np.random.default_rng(0).normal(size=(60, 3)) + 3 * y[:, None]
    result = TaskRelatedness(tau=1.0).fit(Task(x, y), Task(-x, y))
    now = pickle.dumps(result, protocol=0)  # names of modules as text
    then = now
    for old, new in MOVED.items():
        then = then.replace(f"ctransferability.{new}\n".encode(), f"ctransferability.{old}\n".encode())
    assert then.count(b"ctransferability.relatedness.result\n") == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = pickle.loads(then)
    assert type(loaded) is type(result)
    assert loaded.bound == result.bound


def test_the_old_name_warns_and_says_the_new_one() -> None:
    sys.modules.pop("transferability.relatedness.pack_head", None)
    with pytest.warns(DeprecationWarning, match=r"relatedness\.pack_head is now .*packs\.reference_classifier"):
        importlib.import_module("transferability.relatedness.pack_head")


def test_a_name_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("transferability.relatedness.nowhere")


def test_former_names_of_results_still_work() -> None:
    rng = np.random.default_rng(0)
    task = Task(rng.normal(size=(40, 3)), np.arange(40) % 2, name="a")
    result = TaskRelatedness().fit(task, task)
    with pytest.warns(DeprecationWarning, match="`references`"):
        assert result.panel == result.references
    ranking = Ranking.sort([], [], None, [], "t", [], {"at": "now"})
    with pytest.warns(DeprecationWarning, match="`provenance`"):
        assert ranking.made == ranking.provenance == {"at": "now"}
