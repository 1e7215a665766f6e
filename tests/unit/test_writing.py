"""Outputs: checked before work starts, whole or not at all, and nothing left behind by those that were killed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from transferability import TransferabilityError
from transferability._writing import check_output, temporary_sibling, write_through_temporary
from transferability.errors import OptionError, OutputError
from transferability.features import write_features

HOLDS = """
import sys, time
from pathlib import Path
from transferability._writing import temporary_sibling
with temporary_sibling(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def writer(path: Path) -> subprocess.Popen[str]:
    """Start a process that has half a file and waits."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.parametrize("name", ["f.npz", "f.safetensors", "a [1]* " + "n" * 230 + ".npz"])
def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        process = writer(tmp_path / name)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert len(list(tmp_path.iterdir())) == 1  # the second one's: it removed that of the first
    write_features(tmp_path / name, np.eye(3))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    process = writer(tmp_path / "f.npz")
    try:
        write_features(tmp_path / "f.npz", np.eye(3))
        left = [path for path in tmp_path.iterdir() if path.name != "f.npz"]
        assert [path.read_text() for path in left] == ["half"]
    finally:
        process.kill()
        process.communicate()


def test_files_of_others_stay(tmp_path: Path) -> None:
    others = [".f.npz.0123.npz", ".g.npz." + "0" * 32 + ".npz", ".f.npz." + "0" * 32 + ".txt", "f.npz." + "0" * 32]
    for name in others:
        (tmp_path / name).touch()
    write_through_temporary(tmp_path / "f.npz", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "f.npz"])


@pytest.mark.parametrize(
    ("place", "options", "error", "match"),
    [
        ("file/x.npz", {}, OutputError, "cannot be written: Not a directory"),
        ("file/x", {"folder": True}, OutputError, "cannot be written: Not a directory"),
        ("file", {"folder": True}, OptionError, "`out` must be a folder; .*file is something else"),
        (".", {}, OptionError, "`out` must be a file; .* is a folder or a device"),
        (
            "x.csv",
            {"suffixes": (".npz", ".safetensors")},
            OptionError,
            "must end in .npz or .safetensors",
        ),
        ("n" * 300 + ".npz", {}, OutputError, "File name too long"),
        ("a\0b.npz", {}, OptionError, "path that the system can write"),
        ("\ud800.npz", {}, OptionError, "path that the system can write"),
        ("fifo", {"argument": "plots"}, OptionError, "`plots` must be a file"),
        ("link/x.npz", {}, OutputError, "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_is_refused_at_once(
    tmp_path: Path, place: str, options: dict[str, object], error: type[Exception], match: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=match):
        check_output(tmp_path / place, **options)
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_that_can_be_is_absolute_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_output("a/b/c.npz") == tmp_path / "a" / "b" / "c.npz"
    assert check_output("a", folder=True) == tmp_path / "a"
    assert list(tmp_path.iterdir()) == []
    write_features("f.npz", np.eye(3))
    assert check_output("f.npz") == tmp_path / "f.npz"


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="no file system that refuses all files")  # noqa: PTH110
def test_a_place_that_takes_no_file_is_refused_at_once() -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        check_output("/proc/self/new/f.npz")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_disk_without_room_leaves_the_old_file_and_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = write_features(tmp_path / f"f{suffix}", np.eye(3))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, hard))
    try:
        with pytest.raises(OutputError, match=rf"f\{suffix} cannot be written: File too large") as caught:
            write_features(path, np.ones((100, 100)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value, TransferabilityError)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    with temporary_sibling(tmp_path / "f") as one, temporary_sibling(tmp_path / "f") as other:
        one.write_text("one")
        other.write_text("other")
        time.sleep(0)
        assert one != other
    assert (tmp_path / "f").read_text() == "one"  # the last to end
