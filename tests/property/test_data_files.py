"""Damaged data files: refused in a sentence, or read as they are; `benchmarks/fuzz_data.py` reads thousands."""

import importlib
from pathlib import Path

import datasets
import numpy as np
import pytest

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    fuzz_data = importlib.import_module("fuzz_data")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", fuzz_data.GOOD)
def test_damaged_files_are_refused_or_read_as_they_are(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    make, name, pattern = fuzz_data.GOOD[kind]
    outcomes = []
    for number in range(20 if kind == "jsonl" else 60):
        rng = np.random.default_rng([7, number])
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(make(rng) if number == 0 else fuzz_data.damaged(make(rng), rng))
        outcomes.append(fuzz_data.read(kind, folder / name, pattern.format(path=folder / name, folder=folder)))
    assert outcomes[0] == ("read", "")
    assert [why for outcome, why in outcomes if outcome == "failed"] == []
    assert sum(outcome == "refused" for outcome, _ in outcomes) > 5
