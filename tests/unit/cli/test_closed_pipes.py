"""A reader that has enough (`head`), a disk that is full: files that were asked for are written all the same."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transferability.cli.app import main
from transferability.cli.output import state
from transferability.features import write_features

RANK = "rank features:goal.npz --reference features:near.npz --encoder features:{data}.npz".split()  # noqa: SIM905
VALIDATE = "validate features:goal.npz -r features:near.npz -e features:{data}.npz --method probe --score logme"
COMMANDS = [
    ([*RANK, "--out", "out", "--csv", "t.csv"], ["out/ranking.json", "out/transform-1.safetensors", "t.csv"]),
    ([*RANK, "--json", "--out", "out"], ["out/ranking.json", "out/report.html"]),
    ("relate features:goal.npz -r features:near.npz --out out --csv t.csv".split(), ["out/relate.json", "t.csv"]),  # noqa: SIM905
    (["study", "study.toml", "--out", "out", "--csv", "t.csv"], ["out/report.html", "t.csv"]),
    ([*VALIDATE.split(), "--csv", "t.csv"], ["t.csv"]),
    (["extract", "features:goal.npz", "-e", "features:{data}.npz", "--out", "x.npz"], ["x.npz"]),
    (["pack", "features:near.npz", "--out", "p.safetensors"], ["p.safetensors"]),
    (["score", "goal.npz", "--score", "logme"], []),
]
Run = Callable[..., int]


class Closed(io.StringIO):
    """A stream that nobody reads, or that is full."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, _text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))  # of EPIPE Python makes a BrokenPipeError


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("near", "goal")):
        labels = np.arange(60) % 3
        features = 4 * np.eye(3, 5)[labels] + np.random.default_rng(seed).normal(size=(60, 5))
        write_features(f"{name}.npz", features, labels, ["a", "b", "c"])
    Path("study.toml").write_text(
        'encoders = ["features:{data}.npz"]\nreferences = ["features:near.npz"]\ntargets = ["features:goal.npz"]\n'
    )

    def call(arguments: list[str], out: io.StringIO, err: io.StringIO) -> int:
        monkeypatch.setattr(sys, "argv", ["transferability", *arguments])
        with monkeypatch.context() as streams:
            streams.setattr(sys, "stdout", out)
            streams.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as ended:
                main()
        return int(ended.value.code or 0)

    return call


@pytest.mark.parametrize("messages_too", [False, True])
@pytest.mark.parametrize(("arguments", "files"), COMMANDS, ids=lambda each: " ".join(each[:1]))
def test_files_are_written_though_nobody_reads(
    run: Run, arguments: list[str], files: list[str], messages_too: bool
) -> None:
    err = Closed(errno.EPIPE) if messages_too else io.StringIO()
    assert run(arguments, Closed(errno.EPIPE), err) == 0
    assert all(Path(each).stat().st_size > 0 for each in files)
    assert "error" not in err.getvalue()


def test_a_full_disk_behind_stdout_is_an_error_once_the_files_are_written(run: Run) -> None:
    err = io.StringIO()
    assert run([*RANK, "--out", "out"], Closed(errno.ENOSPC), err) == 1
    assert "error: the system refused: No space left on device." in err.getvalue()
    assert Path("out/ranking.json").is_file()
    assert state.results is None
    assert run([*RANK], io.StringIO(), io.StringIO()) == 0  # the next command of this process knows nothing of it


@pytest.mark.parametrize("redirected", ["", "2>&1"])
def test_head_stops_no_command(run: Run, redirected: str) -> None:
    code = f"{sys.executable} -c 'from transferability.cli.app import main; main()' {' '.join(RANK)} --out out"
    shell = ["bash", "-c", f"set -o pipefail; {code} {redirected} | head -n 0"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(shell, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path("out/ranking.json").is_file()
    assert "Broken" not in done.stderr
    assert ("written" in done.stderr) == (not redirected)
