"""Good files of every stored kind, how each is damaged, and how it is read as users read it."""

from __future__ import annotations

import contextlib
import io
import json
import random
import resource
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _damage import HOSTILE, TEXTS, change_arrays, change_header, damaged, flipped, rewritten

from transferability import ReferencePack, Task, TaskRelatedness, TransferabilityError
from transferability.cli.app import main as command
from transferability.features import read_features, write_features
from transferability.relatedness.results.transform import Transform
from transferability.report.files import read_measured, read_study
from transferability.report.render import to_html, to_json, to_markdown
from transferability.report.summarize import summarize_records
from transferability.study import load_study, plan_study, rankings_of, run_study

__all__ = ["Kind", "kinds", "prepare"]


# ── inputs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def task(seed: int, n_classes: int = 3, d: int = 5) -> Task:
    """Return a small labelled task."""
    labels = np.arange(45) % n_classes
    features = 3 * np.eye(n_classes, d)[labels] + np.random.default_rng(seed).normal(size=(45, d))
    return Task(features, labels, f"task{seed}", [f"class {k}" for k in range(n_classes)])


def prepare(folder: Path) -> None:
    """Write one good file of each kind."""
    for seed, name in enumerate(("near", "goal")):
        one = task(seed)
        ids = [f"{name}/{k}.png" for k in range(len(one))]
        for suffix in (".npz", ".safetensors"):
            write_features(folder / f"{name}{suffix}", one.features, one.labels, one.class_names, ids)
    ReferencePack.from_task(task(0), tau=[0.5, 1.0], rank=2).save(folder / "pack.safetensors")
    TaskRelatedness().fit(task(0), task(1)).transform.save(folder / "transform.safetensors")
    with contextlib.chdir(folder):
        files = ["--reference", "features:near.npz", "--reference", "features:goal.npz"]
        run("rank", "--target", "features:goal.npz", *files[:2], "--encoder", "features:{data}.npz", "--encoder",
            "features:{data}.safetensors", "--score", "logme", "--out", "ranked")  # fmt: skip
        run("relate", "--target", "features:goal.npz", *files, "--out", "related")
        (folder / "study.toml").write_text(
            'encoders = ["features:{data}.npz", "features:{data}.safetensors"]\nreferences = ["features:near.npz"]\n'
            'targets = ["features:goal.npz"]\nscores = ["logme", "knn"]\nresults = "study.sqlite"\n'
            "[settings]\ntest_share = 0.4\nlimit = 40\n[relatedness]\ntau = [0.2, 0.4]\nlearn_map = true\n"
        )
        run("study", "study.toml")
    (folder / "measured.csv").write_text("target,encoder,accuracy\ngoal,features:{data}.npz,0.75\ngoal,b,0.5\n")
    (folder / "measured.json").write_text('{"observations": [{"target": "goal", "encoder": "b", "accuracy": 0.5}]}')


# ── readers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def flat(value: Any) -> bytes:
    """Return everything that decides a number, in bytes."""
    if isinstance(value, np.ndarray):
        return str((value.dtype, value.shape)).encode() + value.tobytes()
    fields = getattr(value, "__dict__", None) or getattr(value, "_asdict", dict)() or None
    if fields is not None:
        return b"".join(name.encode() + flat(each) for name, each in sorted(fields.items()))
    return b"".join(map(flat, value)) if isinstance(value, tuple | list) else repr(value).encode()


def run(*arguments: str) -> str:
    """Run the command in this process; its exit status, and what it printed, must be those of a command that ended."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["transferability", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command()
        status: Any = 0
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        sys.argv = before
    if status not in (0, 1, 2, 3) or "Traceback" in err.getvalue():
        message = f"exit status {status}: {err.getvalue()[-300:]}"
        raise AssertionError(message)
    if any(character in out.getvalue() + err.getvalue() for character in "\x1b\x9b\u202e"):
        message = "a control character was printed"
        raise AssertionError(message)
    return "a value" if status in (0, 3) else "an error of ours"


class Kind:
    """A kind of input: how a case is made from a good folder, and how it is read."""

    def __init__(self, make: Callable[[Path, random.Random], None], read: Callable[[Path], Any], exact: Any = None):
        self.make, self.read, self.exact = make, read, exact


def bytes_of(name: str, change: Callable[[bytes, random.Random], bytes]) -> Callable[[Path, random.Random], None]:
    """Return a maker that changes the bytes of a file."""
    return lambda folder, chance: void((folder / name).write_bytes(change((folder / name).read_bytes(), chance)))


def json_of(name: str) -> Callable[[Path, random.Random], None]:
    """Return a maker that changes fields of a JSON file."""
    return lambda folder, chance: void((folder / name).write_text(rewritten((folder / name).read_text(), chance)))


def path_of(name: str, change: Callable[[Path, random.Random], None]) -> Callable[[Path, random.Random], None]:
    """Return a maker that changes what a file holds."""
    return lambda folder, chance: change(folder / name, chance)


def use(folder: Path) -> None:
    """Compute with files of arrays: whatever is in them, numbers come out finite, or an error of ours."""
    with contextlib.chdir(folder):
        run("score", "--features", "near.npz", "--json")
        run("score", "--features", "near.safetensors", "--score", "logme", "--json")
        run("relate", "--target", "features:goal.npz", "--reference", "pack:pack.safetensors", "--json")
        transform = Transform.load("transform.safetensors")
        assert np.isfinite(transform.predict_proba(task(1).features)).all()


def void(_: object) -> None:
    """Take a value for nothing."""
    return


def report(folder: Path, *, measured: str | None = None) -> None:
    """Make reports of the folders, with measured accuracies if a file of them is named."""
    accuracies = None if measured is None else read_measured(folder / measured)
    for name in ("ranked", "related") if measured is None else ("ranked",):
        summary = summarize_records(read_study(folder / name), accuracies)
        page = to_html(summary)
        assert "<script>alert" not in page
        to_markdown(summary), to_json(summary)


def study(folder: Path) -> list[Any]:
    """Run the study, and return the numbers of its rankings."""
    with contextlib.chdir(folder):
        wanted = load_study("study.toml")
        plan_study(wanted)
        return [
            {entry.encoder: (entry.relatedness.bound, entry.scores) for entry in ranking.entries}
            for ranking in rankings_of(wanted, run_study(wanted))
        ]


def change_rows(folder: Path, chance: random.Random) -> None:
    """Change a cell of the results, with or without its checksum."""
    connection = sqlite3.connect(folder / "study.sqlite")
    with connection:
        column = chance.choice(["result", "result", "result", "failed", "seconds", "encoder", "finished", "kind"])
        rows = connection.execute(f"SELECT key, {column} FROM results").fetchall()
        key, old = chance.choice(rows)
        new = rewritten(old, chance) if column == "result" else chance.choice([0, 1, 2, -1, 1e300, "", "x", b"\xff"])
        connection.execute(f"UPDATE results SET {column} = ? WHERE key = ?", (new, key))
        if chance.random() < 0.5:
            connection.execute("UPDATE results SET sha256 = NULL")
    connection.close()


def change_toml(folder: Path, chance: random.Random) -> None:
    """Change a line of the study file."""
    lines = (folder / "study.toml").read_text().splitlines()
    row = chance.choice([k for k, line in enumerate(lines) if "=" in line])
    key = lines[row].split(" = ")[0]
    value = chance.choice(HOSTILE)
    text = chance.choice([*TEXTS, "1979-05-27", "inf", "-nan", "{a = 1}", "'''"]) if chance.random() < 0.3 else None
    named = key if chance.random() < 0.9 else chance.choice(["x", "a.b", "[" + key])
    lines[row] = f"{named} = {text or json.dumps(value)}"
    (folder / "study.toml").write_text("\n".join(lines), "utf-8", "surrogatepass")


WORDS = ["", "a", "\x1b[31m", "a,b", "auto", "all", "é", "/", ".", "features:", "npz:near.npz", "x" * 5000]
NUMBERS = [
    "-1",
    "0",
    "1",
    "2",
    "0.5",
    "nan",
    "inf",
    "1e300",
    "1e-300",
    "-1e300",
    "9" * 400,
    "0,1,2",
    "1,1e300",
    "2,1,0",
]
BASE = {
    "score": "score --features near.npz",
    "rank": "rank --target features:goal.npz --reference features:near.npz --encoder features:{data}.npz",
    "relate": "relate --target features:goal.npz --reference features:near.npz",
    "pack": "pack --data features:near.npz --out new.safetensors",
}
OPTIONS = {
    "score": "--source --score --parameters --seed --features",
    "rank": "--tau --seed --limit --test-share --matching --ground-cost --sort --score --batch-size --workers --device "
    "--layer --pool --encoder --reference --target",
    "relate": "--tau --seed --limit --test-share --matching --ground-cost --space --solver --encoder --reference",
    "pack": "--tau --seed --limit --test-share --covariance --rank --encoder --data",
}
NUMERIC = "--tau --seed --limit --test-share --matching --parameters --batch-size --rank"


def choose_options(folder: Path, chance: random.Random) -> None:
    """Write a command line with one or two options that few would write."""
    name = chance.choice(list(BASE))
    arguments = BASE[name].split()
    for _ in range(chance.choice([1, 1, 2])):
        option = chance.choice(OPTIONS[name].split())
        likely = NUMBERS if option in NUMERIC.split() else WORDS
        arguments += [option, chance.choice(likely if chance.random() < 0.9 else [*NUMBERS, *WORDS])]
    (folder / "arguments.json").write_text(json.dumps(arguments))


def run_options(folder: Path) -> str:
    """Run the command line."""
    with contextlib.chdir(folder):
        return run(*json.loads((folder / "arguments.json").read_text()))


def write_with_little_room(folder: Path, chance: random.Random) -> None:
    """Replace files while none may grow beyond a limit: each is the old or the new one, and nothing lies beside it."""
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    limit, (soft, hard) = int(10 ** chance.uniform(0, 4.5)), resource.getrlimit(resource.RLIMIT_FSIZE)
    one = task(9)
    writers: list[Callable[[], Any]] = [
        lambda: write_features(folder / "near.npz", one.features, one.labels),
        lambda: write_features(folder / "near.safetensors", one.features, one.labels, None, list(map(str, range(45)))),
        lambda: ReferencePack.from_task(one, tau=1.0, rank=2).save(folder / "pack.safetensors"),
        lambda: TaskRelatedness().fit(one, one).transform.save(folder / "transform.safetensors"),
    ]
    for write in writers:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with contextlib.suppress(TransferabilityError):
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name for path in folder.iterdir() if path.is_file()} == set(before), "a file is left behind"


def read_all(folder: Path) -> None:
    """Read the files of arrays."""
    read_features(folder / "near.npz"), read_features(folder / "near.safetensors")
    ReferencePack.load(folder / "pack.safetensors"), Transform.load(folder / "transform.safetensors")


def kinds() -> dict[str, Kind]:
    """Return every kind of input by its name."""
    found = {}
    for name, read in (
        ("near.npz", read_features),
        ("near.safetensors", read_features),
        ("pack.safetensors", ReferencePack.load),
        ("transform.safetensors", Transform.load),
    ):
        label = "features " + name[4:] if name.startswith("near") else name.split(".")[0]
        reader = lambda folder, name=name, read=read: flat(read(folder / name))  # noqa: E731
        found[f"{label}: one bit"] = Kind(bytes_of(name, flipped), reader, exact=reader)
        found[f"{label}: bytes"] = Kind(bytes_of(name, damaged), reader)
        found[f"{label}: arrays"] = Kind(path_of(name, change_arrays), use)
        if not name.startswith("near"):
            found[f"{label}: header"] = Kind(path_of(name, change_header), use)
    found["study.sqlite: one bit"] = Kind(bytes_of("study.sqlite", flipped), study, exact=study)
    found["study.sqlite: bytes"] = Kind(bytes_of("study.sqlite", damaged), study)
    found["study.sqlite: cells"] = Kind(change_rows, study)
    found["study.toml"] = Kind(change_toml, study)
    for name in ("ranked/ranking", "ranked/ranking.details", "related/relate"):
        found[f"{name.split('/')[1]}.json: fields"] = Kind(json_of(f"{name}.json"), report)
        found[f"{name.split('/')[1]}.json: bytes"] = Kind(bytes_of(f"{name}.json", damaged), report)
    for name in ("measured.json", "measured.csv"):
        found[name] = Kind(bytes_of(name, damaged), lambda folder, name=name: report(folder, measured=name))
    found["options"] = Kind(choose_options, run_options)
    found["writing"] = Kind(write_with_little_room, read_all)
    return found
