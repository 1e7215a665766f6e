"""Encoders whose features are computed already are measured side by side, with the same results as one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from transferability.errors import UnknownNameError
from transferability.pipeline import Settings, one_encoder, rank

N, D = 60, 8


@pytest.fixture
def zoo(tmp_path: Path) -> list[str]:
    """Return data of two names, then feature files of four encoders, the last without a file for the reference."""
    labels = np.arange(N) % 3
    for k, name in enumerate(("target", "reference")):
        images = (np.arange(N, dtype=np.uint32) + k * N).view(np.uint8).reshape(N, 2, 2)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
    for encoder in range(4):
        (tmp_path / f"e{encoder}").mkdir()
        for k, name in enumerate(("target", "reference")):
            if (encoder, name) == (3, "reference"):
                continue
            rng = np.random.default_rng([encoder, k])
            features = encoder * np.eye(3, D)[labels] + rng.normal(size=(N, D))
            np.savez(tmp_path / f"e{encoder}" / f"{name}.npz", features=features, labels=labels)
    encoders = [f"features:{tmp_path}/e{encoder}/{{data}}.npz" for encoder in range(4)]
    return [f"npz:{tmp_path}/target.npz", f"npz:{tmp_path}/reference.npz", *encoders]


def test_side_by_side_is_one_by_one(zoo: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    target, reference, *encoders = zoo
    rankings = []
    for n_cores in (1, 3):
        monkeypatch.setattr(one_encoder, "_n_cores", lambda n_cores=n_cores: n_cores)
        done: list[int] = []
        ranking = rank(
            target,
            [reference],
            encoders,
            scores=["h_score"],
            settings=Settings(cache=False),
            tell=lambda _, position, total, done=done: done.append(position),  # type: ignore[misc]
        )
        assert done == [0, 1, 2, 3, 4]
        rankings.append(ranking)
    one, many = rankings
    assert [each.encoder for each in one.skipped] == [each.encoder for each in many.skipped] == [encoders[3]]
    assert one.skipped[0].reason == many.skipped[0].reason
    for single, together in zip(one.entries, many.entries, strict=True):
        assert single.encoder == together.encoder
        assert single.scores == together.scores
        assert single.relatedness.bound == together.relatedness.bound
        np.testing.assert_array_equal(single.relatedness.transferred_losses, together.relatedness.transferred_losses)


def test_where_no_encoder_can_be_ranked_side_by_side(zoo: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_encoder, "_n_cores", lambda: 2)
    with pytest.raises(UnknownNameError, match=r"no encoder could be ranked.*there is no file"):
        rank(zoo[0], [zoo[1]], [zoo[5], zoo[5]], settings=Settings(cache=False))
