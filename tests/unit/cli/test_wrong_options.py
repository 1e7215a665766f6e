"""Every option of every command with a value that it cannot have: the exit status is 2, whatever comes before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from transferability.cli.app import app, main

CALLS = {
    "rank": "photos.npz -e python:own:means",
    "relate": "photos.npz -r photos.npz -e python:own:means",
    "score": "features.npz",
    "extract": "photos.npz -e python:own:means --out new.npz",
    "pack": "photos.npz -e python:own:means --out new.pack.safetensors",
    "report": "photos.npz",
    "validate": "photos.npz -e python:own:means --method probe",
    "study": "study.toml",
}
OWN = "import numpy as np\ndef means(items):\n    return np.stack([np.asarray(item).mean((0, 1)) for item in items])\n"
ANY_TEXT = {  # a name of files to be, a folder that is made, a pattern; and the encoder of several that is skipped
    "--out", "--csv", "--plots", "--results", "--encoder", "--known", "--measured",
}  # fmt: skip


def options_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Yield every option with its command, and whether it is a switch."""
    for name, each in getattr(command, "commands", {}).items():
        yield from options_of(each, (*path, name))
    if not hasattr(command, "commands"):
        for each in command.params:
            if each.param_type_name == "option" and each.name != "help":
                yield path, next(name for name in each.opts if name.startswith("--")), each.is_flag


OPTIONS = [each for each in options_of(typer.main.get_command(app)) if each[1] not in ANY_TEXT]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("wrong options")
    labels = np.arange(24) % 2
    pixels = np.random.default_rng(0).integers(0, 60, (24, 4, 4, 3)) + 90 * labels[:, None, None, None]
    np.savez(folder / "photos.npz", images=pixels.astype(np.uint8), labels=labels)
    np.savez(folder / "features.npz", features=pixels.mean((1, 2)), labels=labels)
    (folder / "own.py").write_text(OWN)
    (folder / "study.toml").write_text("encoders = ['python:own:means']\ntargets = ['photos.npz']\n")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.mark.parametrize(
    ("path", "option", "switch"), OPTIONS, ids=[" ".join((*path, option)) for path, option, _ in OPTIONS]
)
def test_a_value_that_an_option_cannot_have_is_wrong_usage(
    path: tuple[str, ...], option: str, switch: bool, place: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(place / "cache"))
    wrong = [f"{option}=perhaps"] if switch else [option, "§nonsense"]
    monkeypatch.setattr("sys.argv", ["transferability", *path, *CALLS.get(path[0], "").split(), *wrong])
    with pytest.raises(SystemExit) as ended:
        main()
    seen = capsys.readouterr()
    assert (ended.value.code, seen.out) == (2, "")
    assert "perhaps" in seen.err or "nonsense" in seen.err or option in seen.err
    assert "Traceback" not in seen.err
