"""The command `doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from transferability.cli.app import app


def test_doctor_tells_versions_extras_devices_caches_and_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path / "cache"))
    done = CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    versions = {each["package"]: each for each in found["versions"]}
    assert versions["numpy"]["installed"] == np.__version__
    assert all(each["fits"] for each in versions.values())
    assert {"timm", "transformers", "sentence-transformers", "onnx"} <= {each["extra"] for each in found["extras"]}
    assert found["devices"][0]["device"] == "cpu"
    assert found["cache"] == {"folder": str(tmp_path / "cache" / "features"), "bytes": 0, "writable": True}
    assert "does not answer" in found["hub"]["problem"]
    table = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    for heading in ("Versions", "Extras", "Devices", "Caches", "Packaged encoders"):
        assert heading in table.stdout


def test_doctor_tells_what_is_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    from transferability.cli import doctor

    here = {"numpy": "1.25.0", "timm": None}
    installed = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: here.get(name, "unset") if name in here else installed(name))
    done = CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert [each["package"] for each in found["versions"] if not each["fits"]] == ["numpy"]
    timm = next(each for each in found["extras"] if each["extra"] == "timm")
    assert (timm["missing"], timm["install"]) == (["timm"], "pip install 'transferability[timm]'")
    table = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    assert "too old or missing: numpy" in table.stderr
