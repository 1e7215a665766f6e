"""What thousands of classes cost is said before it is paid."""

from __future__ import annotations

import numpy as np
import pytest

from transferability.features import write_features
from transferability.pipeline import cost, make_pack, relate


def test_thousands_of_classes_are_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    cost.warn_of_cost("leaves", 100, 100)
    assert caplog.text == ""
    cost.warn_of_cost("leaves", 5000, 2000, 3)
    assert "leaves: 5,000 × 2,000 classes, expect" in caplog.text
    assert cost.expected_seconds(5000, 5000) > 100 * cost.expected_seconds(250, 250)


def test_packs_and_relations_say_it(
    tmp_path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(40) % 2
    write_features(tmp_path / "a.npz", np.random.default_rng(0).normal(size=(40, 3)) + labels[:, None], labels)
    data = f"features:{tmp_path / 'a.npz'}"
    told: list[str] = []
    monkeypatch.setattr(cost, "_WORTH_A_WORD", 0.0)
    make_pack(data, None, progress=lambda what, done, total: told.append(what))
    relate(data, data, None)
    assert caplog.text.count("a: 2 × 2 classes, expect 1 minutes") == 2
    assert "a: classifiers of 2 classes" in told
