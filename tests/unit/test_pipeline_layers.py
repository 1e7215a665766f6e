"""`rank` over hidden layers and class probabilities, and packs of data that do not fit into memory."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from bands import GOOD, REFERENCE, SETTINGS, TARGET, stripes

from transferability import scores
from transferability.errors import LabelError, OptionError
from transferability.pipeline import Settings, make_pack, rank, relate

# ── layers and probabilities ─────────────────────────────────────────────────────────────────────────────────────────


class Layered:
    """A small network of the protocol's richer kind: two hidden layers and a head of two source classes."""

    name, modality, n_parameters, pooling = "layered", "image", 10, "none"
    outputs = ("features", "probabilities", "early", "late")
    source_class_names = ("dark", "bright")

    def __init__(self) -> None:
        self.passes: list[tuple[str, ...]] = []

    def identity(self) -> None:
        return None

    @staticmethod
    def preprocess(item: object) -> np.ndarray:
        return np.asarray(item.convert("L"), dtype=np.float32) / 255  # type: ignore[attr-defined]

    def forward(self, batch: list[np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
        self.passes.append(tuple(outputs))
        pixels = np.stack(batch)
        rows = pixels.mean(axis=2)
        bright = np.clip(rows[:, :4].mean(axis=1, keepdims=True), 0.01, 0.99)
        made = {
            "early": rows[:, ::5],
            "late": rows[:, :6],
            "features": rows,
            "probabilities": np.hstack([1 - bright, bright]),
        }
        return {name: made[name].astype(np.float32) for name in outputs}

    def encode(self, items: list) -> np.ndarray:
        return self.forward([self.preprocess(each) for each in items], ["features"])["features"]


def test_layers_are_ranked_as_encoders_are_from_one_pass_over_each_data_set() -> None:
    encoder = Layered()
    settings = Settings(cache=False, layer="all", batch_size=60, workers=0)
    ranking = rank(TARGET, REFERENCE, [encoder], scores=["logme"], settings=settings)
    assert sorted(entry.encoder for entry in ranking.entries) == [
        "layered",
        "layered/layer=early",
        "layered/layer=late",
    ]
    assert len(encoder.passes) == 3 + 2  # the trial, and one pass over each
    assert all(set(each) == {"early", "late", "features"} for each in encoder.passes)
    early = next(entry for entry in ranking.entries if entry.encoder.endswith("early"))
    assert early.scores["logme"] == pytest.approx(
        float(
            scores.logme(
                *fitting_rows(np.stack(list(map(Layered.preprocess, TARGET.items(range(60))))).mean(2)[:, ::5])
            )
        )
    )


def fitting_rows(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return features.astype(np.float32), TARGET.labels  # all rows: the target is cross-fitted


def test_one_layer_is_taken_by_name_or_number() -> None:
    from transferability.encoders import select

    ranking = rank(TARGET, REFERENCE, [select(Layered(), "late"), select(Layered(), -1)], settings=SETTINGS)
    assert sorted(entry.encoder for entry in ranking.entries) == ["layered/layer=late", "layered/layer=late-2"]
    assert ranking.entries[0].relatedness.bound == ranking.entries[1].relatedness.bound


def test_an_encoder_with_a_head_gives_its_own_source_probabilities() -> None:
    encoder = Layered()
    entry = rank(TARGET, REFERENCE, [encoder], scores=["leep", "nce"], settings=SETTINGS).best
    batch = [Layered.preprocess(each) for each in TARGET.items(range(len(TARGET)))]
    own = Layered().forward(batch, ["probabilities"])["probabilities"]
    assert entry.scores["leep"] == pytest.approx(float(scores.leep(own, TARGET.labels)), rel=1e-6)
    assert "the encoder's own" in entry.notes["leep"]
    # Without such a score nobody asks for them.
    fresh = Layered()
    rank(TARGET, REFERENCE, [fresh], scores=["logme"], settings=SETTINGS)
    assert all("probabilities" not in each for each in fresh.passes)


def test_a_score_of_all_layers_comes_from_the_same_pass() -> None:
    encoder = Layered()
    settings = Settings(cache=False, batch_size=60, workers=0)
    ranking = rank(TARGET, REFERENCE, [encoder, GOOD], criterion="ridge_all_layers", settings=settings)
    # A trial, and one pass over each: the reference needs the features alone.
    passes = [tuple(sorted(each)) for each in encoder.passes]
    assert sorted(passes) == [("early", "features", "late")] * (3 + 1) + [("features",)] * (3 + 1)
    batch = [Layered.preprocess(each) for each in TARGET.items(range(len(TARGET)))]
    own = Layered().forward(batch, ["early", "late", "features"])
    entry = next(entry for entry in ranking.entries if entry.encoder == "layered")
    assert entry.scores["ridge_all_layers"] == pytest.approx(
        float(scores.ridge_all_layers(list(own.values()), TARGET.labels)), rel=1e-6
    )
    assert ranking.best is entry  # the other one has no layers
    other = next(each for each in ranking.entries if each is not entry)
    assert "ridge_all_layers" not in other.scores
    assert "needs the hidden layers of an encoder that shows them" in other.notes["ridge_all_layers"]


def test_a_view_of_one_layer_has_no_score_of_all_layers() -> None:
    ranking = rank(
        TARGET, REFERENCE, [Layered()], scores=["ridge_all_layers"], settings=Settings(cache=False, layer="all")
    )
    assert ["ridge_all_layers" in entry.scores for entry in ranking.entries if "/layer=" in entry.encoder] == [
        False
    ] * 2
    assert ["ridge_all_layers" in entry.scores for entry in ranking.entries if "/" not in entry.encoder] == [True]


def test_layers_of_what_has_none_are_skipped_with_the_reason() -> None:
    ranking = rank(TARGET, REFERENCE, [GOOD, Layered()], settings=Settings(cache=False, layer="all"))
    assert [(each.encoder, "no hidden layers" in each.reason) for each in ranking.skipped] == [("rows", True)]
    with pytest.raises(OptionError, match="`layer` must be one layer here"):
        relate(REFERENCE, TARGET, GOOD, settings=Settings(layer="all"))


# ── packs of data that do not fit into memory ────────────────────────────────────────────────────────────────────────


def test_a_pack_is_summed_up_in_one_pass_whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("transferability.pipeline.make_pack")
    data = stripes("bands", 0, n=200)
    whole = make_pack(data, GOOD, settings=SETTINGS)
    monkeypatch.setattr(module, "_BLOCK_ROWS", 50)
    monkeypatch.setattr(module, "_SAMPLES", 40)
    streamed = make_pack(data, GOOD, settings=SETTINGS)
    assert len(streamed) == len(whole) == 200
    for name in ("counts", "means", "diagonals", "pooled", "sketches"):
        ours, theirs = (getattr(each.statistics, name) for each in (streamed, whole))
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10 * np.abs(theirs).max())
    assert [head.tau for head in streamed.heads] == [head.tau for head in whole.heads]
    with pytest.raises(LabelError, match="must have labels"):
        make_pack(stripes("bare", 0, labelled=False), GOOD, settings=SETTINGS)
