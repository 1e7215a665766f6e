"""`transferability cache`, on a cache with entries of two data sets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from transferability.cli.app import app
from transferability.datasets import load_dataset
from transferability.encoders.function import FunctionEncoder
from transferability.errors import OptionError
from transferability.features import FeatureCache, extract_features


def grey(items):
    return np.stack([np.asarray(each.convert("L")).ravel() for each in items])


grey.version = "1"  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill a cache: 50 and 40 rows of digits, the 50 used longer ago."""
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path))
    for position, n_rows in enumerate((50, 40)):
        extract_features(FunctionEncoder("test:grey", grey), load_dataset("packaged:digits", limit=n_rows))
        (fresh,) = (
            path for path in tmp_path.rglob("manifest.json") if json.loads(path.read_text())["data"]["rows"] == n_rows
        )
        os.utime(fresh, (1000.0 + position,) * 2)
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["cache", *arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def listed() -> list[dict]:
    return json.loads(run("ls", "--json"))["entries"]


def test_ls_and_size(folder: Path) -> None:
    entries = listed()
    assert [entry["rows"] for entry in entries] == [50, 40]
    assert {entry["encoder"] for entry in entries} == {"test:grey"}
    table = run("ls")
    for entry in entries:
        assert entry["key"][:12] in table
    assert "50 × 64 float32" in table
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert json.loads(run("size", "--json"))["bytes"] == n_bytes
    assert run("size").strip() == f"{n_bytes / 1000:.1f} kB"


def test_verify_names_what_is_damaged_and_removes_it(folder: Path) -> None:
    assert run("verify") == ""
    shard = next(folder.rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert run("verify", code=1).strip() == str(shard)
    none = {"entries": 0, "files": 0, "bytes": 0}
    assert json.loads(run("verify", "--json")) == {"schema": 1, "files": 1, "damaged": [], "unreadable": none}
    assert sorted(entry["shards"] for entry in listed()) == [0, 1]


@pytest.mark.parametrize("content", ["{", '{"schema": 3}'])
def test_entries_of_another_version_are_counted_everywhere(folder: Path, content: str) -> None:
    manifests = folder.rglob("manifest.json")
    manifest = next(path for path in manifests if json.loads(path.read_text())["data"]["rows"] == 50)
    manifest.write_text(content)
    shard = next(manifest.parent.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    n_bytes = shard.stat().st_size + len(content)
    counted = {"entries": 1, "files": 1, "bytes": n_bytes}
    for command in ("ls", "verify"):
        assert json.loads(run(command, "--json"))["unreadable"] == counted
        told = " ".join(CliRunner().invoke(app, ["cache", command]).stderr.split())
        what = {"ls": "not listed", "verify": "not checked"}[command]
        assert f"{what}: 1 more ({n_bytes / 1000:.1f} kB), of another version or with a damaged" in told
    assert shard.exists()  # it may be another version's
    done = CliRunner().invoke(app, ["cache", "prune", "--max-size", "0"])
    assert done.stdout.startswith("2 removed")
    assert "1 of them were of another version, or had a damaged manifest." in " ".join(done.stderr.split())


def test_rm_by_key_and_all(folder: Path) -> None:
    first, second = listed()
    assert json.loads(run("rm", first["key"][:8], "--json")) == {"schema": 1, "removed": 1, "bytes": first["bytes"]}
    assert [entry["key"] for entry in listed()] == [second["key"]]
    for arguments in ([], ["--all", second["key"]]):
        with pytest.raises(OptionError, match="beginnings of keys, or --all in their place"):
            run("rm", *arguments)
    with pytest.raises(OptionError, match="none of 1 begin with 'ffff0'"):
        run("rm", "ffff0")
    assert run("rm", "--all").startswith("1 removed")
    assert listed() == []
    assert FeatureCache(folder).folder.exists() is False


def test_prune_takes_the_least_recently_used(monkeypatch: pytest.MonkeyPatch) -> None:
    size = listed()[1]["bytes"]
    assert run("prune", "--max-size", "1GB").startswith("0 removed")
    monkeypatch.setenv("TRANSFERABILITY_CACHE_SIZE", str(size))
    assert json.loads(run("prune", "--json"))["removed"] == 1
    assert [entry["rows"] for entry in listed()] == [40]
    with pytest.raises(OptionError, match="`max-size` must be a size"):
        run("prune", "--max-size", "little")
