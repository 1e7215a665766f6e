"""Study files at fault: each refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from transferability.errors import (
    DatasetError,
    NoSuchFileError,
    OptionError,
    OutputError,
    TransferabilityError,
    UnknownNameError,
)
from transferability.study import Study, load_study
from transferability.study.inventory import Inventory

Write = Callable[..., Study]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"encoder": []}, OptionError, "got 'encoder'. Did you mean 'encoders'|encoders"),
        ({"encoders": []}, OptionError, "`encoders` must be a list"),
        ({"targets": "digits"}, OptionError, "`targets` must be a list"),
        ({"scores": ["logmee"]}, UnknownNameError, "logme"),
        ({"settings": {"limt": 3}}, OptionError, "limit"),
        ({"settings": {"limit": "3"}}, OptionError, "`limit` in .settings. must be of type int"),
        ({"settings": {"seed": True}}, OptionError, "`seed` in .settings. must be of type int"),
        ({"settings": {"precision": "float23"}}, OptionError, "`precision` in .settings. must be of type 'float32'"),
        ({"settings": 3}, OptionError, "`settings` must be a table"),
        ({"relatedness": {"tau": -1}}, OptionError, "tau"),
        ({"relatedness": {"taus": 1}}, OptionError, "tau"),
        ({"relatedness": {"tau": "steep"}}, OptionError, "`tau`"),
        ({"relatedness": {"tau": [0.1, "a"]}}, OptionError, "`tau` in .relatedness. must be of type float or list of"),
        ({"relatedness": {"tau": 10**400}}, OptionError, "`tau`"),
        ({"relatedness": {"learn_map": "no"}}, OptionError, "`learn_map` in .relatedness. must be of type bool"),
        ({"relatedness": {"matching": [0, 1.5]}}, OptionError, "`matching`"),
        ({"relatedness": {"seed": -1}}, OptionError, "`seed`"),
        ({"settings": {"seed": 10**400}}, OptionError, "`seed`"),
        ({"encoders": 5}, OptionError, "`encoders` must be a list"),
        ({"encoders": [["a"]]}, OptionError, "`encoders` must be a list"),
        ({"scores": 5}, OptionError, "`scores` must be a list"),
        ({"results": "a\0b"}, OptionError, "`results` must be a path"),
        ({"results": "n" * 300}, OutputError, "File name too long"),
        ({"results": 3}, OptionError, "`results` must be the path"),
        ({"packs": "no"}, OptionError, "`packs` must be true or false; got 'no'"),
        ({"references": "mnist"}, OptionError, "`references` must be a list"),
        ({"references": ["npz:x.npz"], "targets": ["npz:x.npz"]}, OptionError, "there is no other"),
    ],
)
def test_a_study_file_at_fault_is_refused(
    written: Write, folder: Path, change: dict[str, object], error: type[TransferabilityError], match: str
) -> None:
    with pytest.raises(error, match=match):
        written(folder, **change)


def test_files_that_are_no_study_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSuchFileError, match=r"there is no file .*missing\.toml\. Write one"):
        load_study(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("encoders = [")
    for text in ("encoders = [", "a = " + "[" * 50_000 + "]" * 50_000, "a = " + "9" * 5000):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(DatasetError, match="not valid TOML"):
            load_study(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_bytes(b'encoders = ["\xff"]')
    with pytest.raises(DatasetError, match="not valid TOML"):
        load_study(tmp_path / "bad.toml")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_study(tmp_path)


def test_a_study_with_more_folds_than_rows_is_refused_before_it_begins(written: Write, folder: Path) -> None:
    study = written(folder, settings={"folds": 91})
    with pytest.raises(OptionError, match="`folds` must be at most the number of different rows of target 'scans'"):
        Inventory(study)
