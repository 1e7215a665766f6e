"""Outputs: found unwritable before work starts, written after results are printed; what the system says, in words."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from transferability.cli.app import main
from transferability.features import write_features

Run = Callable[..., tuple[int, str, str]]

RANK = "rank --target features:goal.npz --reference features:near.npz --encoder features:{data}.npz".split()  # noqa: SIM905
RELATE = "relate --target features:goal.npz --reference features:near.npz".split()  # noqa: SIM905
PACK = ["pack", "--data", "features:near.npz"]
EXTRACT = "extract --encoder python:marking:rows --data packaged:digits --limit 30".split()  # noqa: SIM905
VALIDATE = [
    "validate",
    "--method",
    "probe",
    "--seeds",
    "1",
    "--limit",
    "40",
    "--score",
    "logme",
    "--no-cache",
    "--encoder",
    "python:marking:rows",
    "--target",
    "packaged:digits",
    "--reference",
    "packaged:mnist",
]
MARKING = """
import numpy as np
from pathlib import Path
def rows(items):
    Path("started").touch()
    return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=0)[:8] for each in items])
rows.version = "1"
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command in a folder of feature files, as its users call it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    for seed, name in enumerate(("near", "goal")):
        labels = np.arange(60) % 3
        features = 4 * np.eye(3, 5)[labels] + np.random.default_rng(seed).normal(size=(60, 5))
        write_features(f"{name}.npz", features, labels, ["a", "b", "c"])
    Path("marking.py").write_text(MARKING)
    Path("file").touch()
    Path("study.toml").write_text(
        'encoders = ["features:{data}.npz"]\nreferences = ["features:near.npz"]\ntargets = ["features:goal.npz"]\n'
    )

    def call(*arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["transferability", *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        sys.modules.pop("marking", None)
        return int(ended.value.code or 0), out.getvalue(), err.getvalue()

    return call


@contextlib.contextmanager
def no_file_larger_than(n_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "arguments",
    [
        [*RANK, "--out", "file/results"],
        [*RANK, "--out", "goal.npz"],
        [*RELATE, "--out", "file"],
        [*PACK, "--out", "file/pack.safetensors"],
        [*PACK, "--out", "."],
        [*EXTRACT, "--out", "file/x.npz"],
        [*EXTRACT, "--out", "x.csv"],
        [*EXTRACT, "--out", "n" * 300 + ".npz"],
        [*EXTRACT, "--layer", "all", "--out", "file"],
        [*VALIDATE, "--results", "file/results.sqlite"],
        [*VALIDATE, "--plots", "file"],
        ["study", "study.toml", "--out", "file/report"],
        ["demo", "--out", "file/demo"],
        ["report", "file"],
    ],
    ids=lambda arguments: " ".join([arguments[0], *arguments[-2:]])[:60],
)
def test_an_output_that_cannot_be_is_refused_before_work_starts(run: Run, arguments: list[str]) -> None:
    before = sorted(Path().iterdir())
    code, out, err = run(*arguments)
    # A name of the wrong kind is a wrong option; a place that the system refuses is not.
    of_the_wrong_kind = arguments[-1] in ("goal.npz", "file", ".", "x.csv")
    assert (code, out) == (2 if of_the_wrong_kind else 1, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert sorted(Path().iterdir()) == before  # no encoder was called, nothing was made


@pytest.mark.parametrize("limit", [5000, 20_000])
@pytest.mark.parametrize("arguments", [RANK, RELATE, ["study", "study.toml"]], ids=lambda arguments: arguments[0])
def test_results_are_printed_even_if_they_cannot_be_written(run: Run, arguments: list[str], limit: int) -> None:
    if arguments[0] == "study":  # its database is there: what fails are the files of the report
        assert run(*arguments)[0] == 0
    with no_file_larger_than(limit):
        code, out, err = run(*arguments, "--out", "results", "--json")
    assert code == 1
    assert json.loads(out)["schema"] == 1
    assert "cannot be written: File too large" in err
    for path in Path("results").rglob("*.json"):
        json.loads(path.read_text())  # whole, or not there
    assert not [path for path in Path("results").rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("arguments", [[*PACK, "--out", "p.safetensors"], [*EXTRACT, "--out", "x.safetensors"]])
def test_a_file_without_room_ends_with_one_sentence_and_no_file(run: Run, arguments: list[str]) -> None:
    with no_file_larger_than(300):
        code, out, err = run(*arguments, *(["--no-cache"] if arguments[0] == "extract" else []))
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: ")
    assert "cannot be written: File too large" in err
    assert not list(Path().glob("*.safetensors"))
    assert not list(Path().glob(".*.safetensors"))


def test_a_share_that_could_not_be_kept_is_no_success(run: Run) -> None:
    with no_file_larger_than(1000):
        code, out, err = run(*EXTRACT, "--shard", "1/2")
    assert (code, out) == (1, "")
    assert "could not be kept in" in err
    code, out, err = run(*EXTRACT, "--shard", "2/2")  # the missing shard is the other's
    assert (code, out) == (0, "0 of 1 shards are there\n")
    assert run(*EXTRACT, "--shard", "1/2")[:2] == (0, "1 of 1 shards are there\n")


def test_a_study_without_room_says_so(run: Run) -> None:
    with no_file_larger_than(0):
        code, out, err = run("study", "study.toml")
    assert (code, out) == (1, "")
    assert "study.sqlite cannot be written: File too large" in err
    assert len(err.splitlines()) == 1


def test_a_cache_that_cannot_be_written_is_said_in_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(Path("file/cache").absolute()))
    code, out, err = run(*EXTRACT, "--out", "x.npz")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "TRANSFERABILITY_CACHE" in err
    assert "--no-cache" in err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/tmp/x"), "the system refused: /tmp/x: No space left on device."),
        (OSError("odd"), "the system refused: odd."),
        (MemoryError(), "memory does not suffice"),
        (sqlite3.OperationalError("disk I/O error"), "a database cannot be read or written: disk I/O error"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "a text is not in the encoding"),
        (RecursionError(), "nested too deeply"),
    ],
)
def test_what_the_system_says_becomes_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("transferability.pipeline.rank", failing)  # none of ours raises these by itself
    code, out, err = run(*RANK)
    assert (code, out) == (1, "")
    assert said in err
    assert len(err.splitlines()) == 1
    monkeypatch.setattr(sys, "argv", ["transferability", "--debug", *RANK])
    with pytest.raises(type(error)):
        main()


def test_long_messages_of_several_lines_are_cut_and_put_on_one(run: Run) -> None:
    code, _, err = run("score", "--features", "near.npz", "--score", "a\n\x1b[31m" * 100_000)
    assert code == 2
    assert len(err) < 2100
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_knows_few_letters_gets_escapes(run: Run, tmp_path: Path, encoding: str) -> None:
    code = "from transferability.cli.app import main; main()"
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *RANK, "--wide"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert rb"\u2013" in done.stdout


def test_names_of_emoji_and_markup_stay_names(run: Run) -> None:
    os.rename("goal.npz", "a:rocket:[b].npz")  # noqa: PTH104
    code, out, _ = run(*[each.replace("goal", "a:rocket:[b]") for each in RANK])
    assert code == 0
    assert "Encoders for a:rocket:[b]" in out


def test_relate_shows_the_points_of_accuracy_that_each_class_loses(run: Run) -> None:
    from transferability.report.result_narrative import points_in_words

    code, out, _ = run(*RELATE)
    classes = json.loads(run(*RELATE, "--json")[1])["results"][0]["per_class"]
    table = " ".join(out.split("Reference class of each target class", 1)[1].split())
    assert code == 0
    assert table.startswith("target class")
    assert "points lost" in table
    for row in classes:
        assert points_in_words(row) in table


def test_relate_prints_the_first_rows_of_many_and_says_where_the_rest_is(run: Run) -> None:
    labels = np.repeat(np.arange(100), 4)
    for seed, name in enumerate(("near", "goal")):
        features = np.eye(100)[labels] * 4 + np.random.default_rng(seed).normal(size=(400, 100))
        write_features(f"{name}.npz", features, labels, [f"class {i:03}" for i in range(100)])
    code, out, err = run(*RELATE, "--matching", "identity", "--fixed-map")
    assert code == 0
    assert "class 059" in out
    assert "class 060  " not in out.split("Reference class of each target class", 1)[1]
    assert "60 of 100 rows; all are in what --json prints and --out writes." in " ".join(err.split())


def test_what_was_written_is_named_as_seen_from_here(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert "written: results/ranking.json, results/" in " ".join(run(*RANK, "--out", "results")[2].split())
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert f"{elsewhere}" in "".join(run(*RANK, "--out", str(elsewhere))[2].split())


LOUD = """
import sys
import numpy as np
print("loaded, at length")
def rows(items):
    print("encoding")
    sys.stdout.write("without a line")
    return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=0)[:8] for each in items])
rows.version = "1"
"""


@pytest.mark.parametrize("extra", [["--json"], []])
def test_what_an_encoder_prints_is_no_result(run: Run, extra: list[str]) -> None:
    Path("loud.py").write_text(LOUD)
    code, out, err = run("rank", "packaged:digits", "-e", "python:loud:rows", "--limit", "60", *extra)
    assert code == 0
    assert "loaded, at length" in err
    assert "encoding" in err
    if extra:
        assert [each["encoder"] for each in json.loads(out)["ranking"]] == ["python:loud:rows"]
    else:
        assert out.startswith("Encoders for digits")
    assert sys.stdout is not sys.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["rank", "--help"]])
def test_what_is_asked_for_before_a_command_runs_is_on_stdout(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert out
