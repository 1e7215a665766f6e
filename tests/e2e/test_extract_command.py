"""`transferability extract` as a command of its own: kills, shares, Ray; the same files whoever computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from transferability.features import read_features

COMMAND = [sys.executable, "-c", "from transferability.cli.app import main; main()"]
N_ROWS = 5000  # five shards
ENCODER = """
import os, time
import numpy as np

def lengths(items):
    with open("pids", "a") as log:
        log.write(f"{os.getpid()} ")
    time.sleep(float(os.environ.get("PAUSE", "0")))
    return np.array([[len(each), each.count("a"), each.count("b")] for each in items], dtype=np.float32)

lengths.version = 1
lengths.modality = "text"

def other(items):
    return lengths(items)

other.version = 2
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with texts, a slow encoder, and what the command makes of them undisturbed."""
    folder = tmp_path_factory.mktemp("extract")
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ab "), size=rng.integers(1, 30))) for _ in range(N_ROWS)]
    rows = [f"{number % 3},x{text}" for number, text in enumerate(texts)]
    (folder / "texts.csv").write_text("label,text\n" + "\n".join(rows) + "\n")
    (folder / "slow.py").write_text(ENCODER)
    assert run(folder, "undisturbed", "--out", "undisturbed.safetensors").returncode == 0
    return folder


def command(*arguments: str) -> list[str]:
    return [*COMMAND, "extract", "--encoder", "python:slow:lengths", "--data", "csv:texts.csv", *arguments]


def environment(place: Path, cache: str, pause: float = 0.0) -> dict[str, str]:
    path = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "TRANSFERABILITY_CACHE": str(place / cache), "PAUSE": str(pause), "PYTHONPATH": path}


def run(place: Path, cache: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=place, env=environment(place, cache), capture_output=True, text=True, check=False
    )


def files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files but locks and what killed processes had not renamed yet."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if not path.name.startswith(".")}


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_goes_on(place: Path) -> None:
    rng = np.random.default_rng(0)
    kept: dict[str, int] = {}
    kills = 0
    for _ in range(5):
        child = subprocess.Popen(
            command("--out", "killed.safetensors"), cwd=place, env=environment(place, "killed", 0.02)
        )
        while not (place / "killed").exists() and child.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.2, 1.2))
        kills += child.poll() is None
        child.kill()
        child.wait()
        written = {str(path): path.stat().st_mtime_ns for path in (place / "killed").rglob("[0-9]*.safetensors")}
        assert kept.items() <= written.items()  # finished shards stay, and are not computed again
        kept = written
    assert kills >= 2
    assert run(place, "killed", "--out", "killed.safetensors").returncode == 0
    assert files(place / "killed") == files(place / "undisturbed")
    assert (place / "killed.safetensors").read_bytes() == (place / "undisturbed.safetensors").read_bytes()
    assert len(read_features(place / "killed.safetensors")) == N_ROWS


@pytest.mark.slow
def test_shares_of_several_shells_meet(place: Path) -> None:
    first = run(place, "shared", "--shard", "1/2", "--json")
    found = json.loads(first.stdout)
    assert (found["shards"], found["done"], found["missing_rows"]) == (5, 3, [[1024, 2048], [3072, 4096]])
    second = run(place, "shared", "--shard", "2/2")
    assert second.stdout == "5 of 5 shards are there\n"
    assert "without --shard" in second.stderr
    before = (place / "pids").stat().st_size
    assert run(place, "shared", "--out", "shared.safetensors").returncode == 0
    assert (place / "pids").stat().st_size == before  # nothing is computed twice
    assert files(place / "shared") == files(place / "undisturbed")
    assert (place / "shared.safetensors").read_bytes() == (place / "undisturbed.safetensors").read_bytes()
    refused = run(place, "shared", "--shard", "3/2")
    assert refused.returncode == 2
    assert "error: `shard` must be i/n with i from 1 to n" in refused.stderr


RAY = """
import json, os, signal, sys, threading, time
from functools import partial
from pathlib import Path

import ray

from transferability.datasets import load_dataset
from transferability.encoders import load_encoder
from transferability.errors import EncoderError
from transferability.features import extract_to_files
from transferability.features.ray import RayExecutor

if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
    killed = []

    def kill():  # the actor that computes, once a shard is there
        while not list(Path(os.environ["TRANSFERABILITY_CACHE"]).rglob("[0-9]*.safetensors")):
            time.sleep(0.02)
        killed.append(int(Path("pids").read_text().split()[-1]))
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    Path("pids").write_text("")
    load = partial(load_encoder, "python:slow:lengths")
    data = load_dataset("csv:texts.csv")
    widths = extract_to_files(
        load(), data, {"features": Path("ray.safetensors")}, executor=RayExecutor(load, actors=int(sys.argv[1]))
    )
    pids = set(map(int, Path("pids").read_text().split()))
    try:
        another = RayExecutor(partial(load_encoder, "python:slow:other"), actors=1)
        extract_to_files(load(), data.subset(range(9)), {"features": Path("no.npz")}, executor=another)
    except EncoderError as error:
        Path("error.txt").write_text(str(error))
    found = {"features": widths["features"], "killed": len(killed), "driver": os.getpid() in pids, "actors": len(pids)}
    Path("found.json").write_text(json.dumps(found))
    ray.shutdown()
"""


@pytest.mark.slow
def test_ray_writes_the_same_files_though_an_actor_is_killed(place: Path) -> None:
    (place / "with_ray.py").write_text(RAY)
    done = subprocess.run(
        [sys.executable, "with_ray.py", "2"],
        cwd=place,
        env={**environment(place, "ray", 0.05), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((place / "found.json").read_text())
    assert (found["features"], found["killed"], found["driver"]) == (3, 1, False)
    assert found["actors"] >= 2  # the dead one, and whoever took its work
    said = (place / "error.txt").read_text()
    assert "must be the same on all machines; source is python:slow:other on a worker and python:slow:lengths" in said
    assert not (place / "no.npz").exists()
    assert files(place / "ray") == files(place / "undisturbed")
    assert (place / "ray.safetensors").read_bytes() == (place / "undisturbed.safetensors").read_bytes()
