"""Work on a Ray cluster of one machine: the same numbers as here, though processes are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CODE = """
import json, os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path

import ray

from transferability.errors import EncoderError, TaskError
from transferability.pipeline import Settings, rank
from transferability.pipeline.cluster import LOST, spread
from transferability.study import load_study, run_study


@dataclass
class Letters:
    folder: str

    def open(self, group):
        if group == "bad":
            raise EncoderError("no such letters.")
        self.opened = group
        with open(f"{self.folder}/opened", "a") as log:
            log.write(f"{group} ")
        return list(range(len(group)))

    def run(self, group, task):
        assert self.opened == group
        killed = Path(self.folder) / f"killed-{group}-{task}"
        if (group, task) == ("once", 2) and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if (group, task) == ("always", 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if (group, task) == ("ab", 1):
            raise TaskError("not b.")
        return group[task]


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
    groups = ["ab", "bad", "once", "always", ""]
    found = sorted(
        ((groups[each.group], str(each.task), each.result, each.error and [type(each.error).__name__, str(each.error)])
         for each in spread(Letters(os.getcwd()), groups, lambda group, tasks: tasks, on_gpu=False, actors=2)),
        key=str,
    )
    Path("found.json").write_text(json.dumps(found))
    Path("lost.txt").write_text(LOST)

    study = load_study("study.toml")
    told = []
    here = run_study(study)
    study.results.unlink()
    there = run_study(study, executor="ray", tell=told.append)
    names = ("seconds", "made")

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items() if not key.endswith(names)}
        return [plain(each) for each in value] if isinstance(value, list) else value

    same = [list(here) == list(there), *(plain(here[cell].result) == plain(there[cell].result) for cell in here)]
    again = []
    run_study(study, executor="ray", tell=again.append)

    encoders = [f"features:{name}/{{data}}.npz" for name in ("good", "poor", "none")]
    rankings = [
        rank("features:good/scans.npz", "features:good/photos.npz", encoders, executor=executor)
        for executor in ("local", "ray")
    ]
    raced = [
        rank("features:good/many.npz", None, [f"features:{name}/many.npz" for name in ("good", "poor", "none")],
             executor=executor, race=1)
        for executor in ("local", "ray")
    ]
    dicts = [plain(each.to_dict()) for each in rankings]
    done = {
        "same": same, "told": len(told), "again": len(again), "failed": [each.failed for each in there.values()],
        "rankings": dicts[0] == dicts[1], "order": [each.encoder for each in rankings[1].entries],
        "skipped": [each.encoder for each in rankings[1].skipped],
        "races": [each.provenance["race"] for each in raced], "raced": [repr(each) for each in raced],
    }
    Path("done.json").write_text(json.dumps(done))
    ray.shutdown()
"""


@pytest.mark.slow
def test_the_same_numbers_though_processes_are_killed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for encoder, strength in (("good", 3.0), ("poor", 0.5)):
        (tmp_path / encoder).mkdir()
        for data in ("photos", "scans", "papers"):
            labels = np.arange(90) % 3
            features = strength * np.eye(3, 5)[labels] + rng.normal(size=(90, 5))
            np.savez(tmp_path / encoder / f"{data}.npz", features=features, labels=labels)
        labels = np.arange(300) % 3
        features = strength * np.eye(3, 5)[labels] + rng.normal(size=(300, 5))
        np.savez(tmp_path / encoder / "many.npz", features=features, labels=labels)
    (tmp_path / "study.toml").write_text(
        'encoders = ["features:good/{data}.npz", "features:none/{data}.npz", "features:poor/{data}.npz"]\n'
        'references = ["features:good/photos.npz"]\ntargets = ["features:good/scans.npz", "features:poor/papers.npz"]\n'
        'scores = ["logme"]\n'
    )
    (tmp_path / "on_ray.py").write_text(CODE)
    done = subprocess.run(
        [sys.executable, "on_ray.py"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lost = ["TransferabilityError", (tmp_path / "lost.txt").read_text()]
    expected = [
        ["ab", "0", "a", None],
        ["ab", "1", None, ["TaskError", "not b."]],
        ["bad", "None", None, ["EncoderError", "no such letters."]],
        *(["once", str(k), letter, None] for k, letter in enumerate("once")),
        *(["always", str(k), letter, None] for k, letter in enumerate("always") if k != 1),
        ["always", "1", None, lost],
    ]
    assert sorted(json.loads((tmp_path / "found.json").read_text()), key=str) == sorted(expected, key=str)
    found = json.loads((tmp_path / "done.json").read_text())
    assert found["same"] == [True] * 7
    assert (found["told"], found["again"]) == (6, 2)  # the encoder whose files are not there is tried again
    assert found["failed"] == [False, False, True, True, False, False]
    assert found["rankings"]
    assert found["order"] == ["features:good/{data}.npz", "features:poor/{data}.npz"]
    assert found["skipped"] == ["features:none/{data}.npz"]
    assert found["races"][0] == found["races"][1]
    assert [each["encoder"] for each in found["races"][1]["dropped"]] == ["features:poor/many.npz"]
    assert found["raced"][0] == found["raced"][1]


FATAL = """
import os
import numpy as np
def small(items):
    return np.stack([np.asarray(each.convert("L").resize((4, 4)), dtype=float).ravel() for each in items])
def fatal(items):
    os._exit(9)
small.version = fatal.version = "1"
"""


@pytest.mark.slow
def test_what_ray_says_of_lost_workers_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "both.py").write_text(FATAL)
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TRANSFERABILITY_CACHE": str(tmp_path / "cache")}
    encoders = ["-e", "python:both:small", "-e", "python:both:fatal"]
    options = ["--limit", "100", "--executor", "ray", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "transferability", "rank", "packaged:digits", *encoders, *options],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    found = json.loads(done.stdout)
    assert done.returncode == 3
    assert [each["encoder"] for each in found["ranking"]] == ["python:both:small"]
    assert [each["encoder"] for each in found["skipped"]] == ["python:both:fatal"]
    assert "A worker died" in done.stderr
