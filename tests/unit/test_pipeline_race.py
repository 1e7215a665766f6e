"""`rank(race=…)`: who leaves is not encoded further, whoever stays has the results of the full ranking."""

import json

import numpy as np
import pytest
from bands import FAR, GOOD, NOISE, REFERENCE, stripes

from transferability.datasets.arrays import picture_arrays
from transferability.encoders.function import FunctionEncoder
from transferability.errors import OptionError, TaskError
from transferability.pipeline import Settings, make_pack, race_judge, rank
from transferability.pipeline.race_samples import nested_order, sizes_of

TARGET = stripes("many", 3, n=420)


class Counting(FunctionEncoder):
    """An encoder with a name, blind to all but the first `n_seen` numbers of a row, that counts its items."""

    def __init__(self, name, n_seen=12):
        self.n_items = 0

        def see(items):
            self.n_items += len(items)
            pixels = np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=1) for each in items])
            noise = np.stack([np.random.default_rng(int(row[0] * 1000)).normal(size=12) * 40 for row in pixels])
            return np.where(np.arange(12) < n_seen, pixels, noise)

        see.version = name  # type: ignore[attr-defined]
        super().__init__(name, see)


def test_whoever_is_behind_leaves_before_the_rest_is_encoded(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path))
    encoders = [Counting("blind", 0), Counting("sighted"), Counting("dim", 2), Counting("far-sighted", 8)]
    ranking = rank(TARGET, None, encoders, race=1)
    n_items = {each.name: each.n_items for each in encoders}
    trial = 4
    assert sizes_of(420, 3) == [105, 210]
    assert n_items["blind"] == n_items["dim"] == 105 + trial
    assert n_items["sighted"] == n_items["far-sighted"] == 420 + trial
    race = json.loads(json.dumps(ranking.to_dict()))["made"]["race"]
    assert {each["encoder"] for each in race["dropped"]} == {"blind", "dim"}
    assert [(each["n_rows"], each["n_encoders"]) for each in race["rounds"]] == [(105, 4), (210, 2)]
    assert all(each["p_value"] <= 0.05 and each["value"] < each["rival_value"] for each in race["dropped"])
    assert (race["items"], race["items_of_all"]) == (sum(n_items.values()) - 4 * trial, 4 * 420)
    full = rank(TARGET, None, encoders)
    assert [each.encoder for each in ranking.entries] == [each.encoder for each in full.entries][:2]
    for one, other in zip(ranking.entries, full.entries, strict=False):
        assert one.relatedness.transferred_loss == other.relatedness.transferred_loss
    assert "race" not in full.provenance
    for mine, theirs in zip(ranking.standings, full.standings, strict=False):
        assert (mine.low, mine.high, mine.n_shared) == (theirs.low, theirs.high, 4)  # who left counts


def test_references_are_sampled_too_and_failures_are_told():
    def failing(items):
        message = "no"
        raise ValueError(message)

    encoders = [NOISE, GOOD, FunctionEncoder("failing", failing)]
    settings = Settings(cache=False)
    ranking = rank(TARGET, [stripes("lines", 1, n=300), FAR], encoders, race=1, settings=settings, criterion="bound")
    race = ranking.provenance["race"]
    assert race["quantity"] == "bound"
    assert [each.encoder for each in ranking.skipped] == ["failing"]
    assert race["items_of_all"] == 3 * (420 + 300 + 60)
    assert race["items"] < race["items_of_all"]
    assert ranking.best.encoder == "rows"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"criterion": "logme"}, "no paired test of the score 'logme'"),
        ({"race": 0}, "`first` must be a whole number, at least 1; got 0"),
        ({"race": True}, "`first` must be a whole number"),
    ],
)
def test_what_cannot_be_raced(change, match):
    with pytest.raises(OptionError, match=match):
        rank(TARGET, None, [GOOD, NOISE], **{"race": 1, **change})


def test_a_pack_has_no_rows_to_sample(tmp_path):
    pack = make_pack(REFERENCE, GOOD, settings=Settings(cache=False))
    with pytest.raises(OptionError, match="must have rows of the target to sample; 'lines' is a pack"):
        rank(pack, REFERENCE, [GOOD, NOISE], race=1)


def test_samples_too_small_for_any_encoder_drop_nobody(monkeypatch):
    relatedness_of = race_judge.relatedness_of

    def demanding(estimator, panel, fit, *others):
        if len(fit) < 200:
            message = "too few rows."
            raise TaskError(message)
        return relatedness_of(estimator, panel, fit, *others)

    monkeypatch.setattr(race_judge, "relatedness_of", demanding)
    race = rank(TARGET, None, [GOOD, NOISE], race=1, settings=Settings(cache=False)).provenance["race"]
    assert [(each["n_rows"], each["n_encoders"]) for each in race["rounds"]] == [(105, 2), (210, 2)]
    assert [each["n_rows"] for each in race["dropped"]] == [210]


def test_every_beginning_of_the_order_has_the_class_shares():
    labels = np.repeat([0, 1, 2], [600, 300, 10])
    pixels = np.zeros((910, 2, 2), dtype=np.uint8)
    data = picture_arrays("skewed", pixels, labels, ["a", "b", "c"], "skewed")
    order = nested_order(data, 0)
    assert sorted(order) == list(range(910))
    for size in (100, 400, 800):
        counts = np.bincount(labels[order[:size]])
        np.testing.assert_allclose(counts[:2] / size, [600 / 910, 300 / 910], atol=0.03)
    assert order.tolist() != nested_order(data, 1).tolist()
    assert order.tolist() == nested_order(data, 0).tolist()
