"""A finished ranking that is confirmed: which encoders it names, by which rows, and on which data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from transferability.cli import confirm as cli
from transferability.encoders.function import FunctionEncoder
from transferability.errors import EncoderError, NoSuchFileError, OptionError
from transferability.pipeline import Settings, prepare, rank
from transferability.pipeline.describe import fingerprint_of_data
from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.report.summarize import summarize


@pytest.fixture(scope="module")
def ranking():
    """Two functions; by other names they are rows of layers."""
    rng = np.random.default_rng(0)
    items, labels = rng.normal(size=(60, 4)), np.arange(60) % 3
    items[:, 0] += 3 * labels
    items[:, 1] -= 2 * labels
    encoders = [
        FunctionEncoder("small", lambda rows: np.asarray(rows)[:, :1]),
        FunctionEncoder("big", lambda rows: np.asarray(rows)[:, :2]),
    ]
    return rank((items, labels), encoders=encoders, settings=Settings(cache=False))


@pytest.fixture
def by_layers(ranking):
    first, second = ranking.entries
    rows = (("small", 2), ("small", 3), ("big", 1), ("small", None))
    entries = [
        replace(second if base == "big" else first, encoder=base)
        if layer is None
        else replace(
            second if base == "big" else first, encoder=f"{base}/layer={layer}", base_encoder=base, layer=str(layer)
        )
        for base, layer in rows
    ]
    return replace(ranking, entries=tuple(entries))


def test_an_encoder_is_there_once_by_its_best_layer(by_layers) -> None:
    former = [{"encoder": "slow/layer=1"}, {"encoder": "slow/layer=2"}, {"encoder": "small/layer=7"}]
    race = {"dropped": [*former, {"encoder": "hf:a/layer=2", "base_encoder": "hf:a/layer=2"}]}
    record = by_layers.to_dict() | {"made": {"race": race}}
    found = cli.in_order(record, ["small=timm:x"])
    assert found.by_name == {"small": "small=timm:x", "big": "big"}
    assert found.ranked_as == {"small": "small/layer=2", "big": "big/layer=1"}
    assert found.n_ranked == 4  # with those that left a race


def test_both_names_of_one_model_are_there(by_layers) -> None:
    """The second is told as passed over, or takes the place of the first where that cannot be loaded."""
    record = by_layers.to_dict()
    for entry in record["ranking"]:
        entry["model_hash"] = "0" * 16
    assert list(cli.in_order(record).by_name) == ["small", "big"]


def test_what_is_confirmed_is_the_whole_encoder(by_layers, monkeypatch) -> None:
    part = prepare((np.zeros((60, 4)), np.arange(60) % 3), Settings(cache=False))

    def train(job):
        training = {"loss": 1.0, "validation_accuracy": 0.5, "validation_loss": 0.3, "epochs": 2, "seconds": 1.0}
        chosen = {"learning_rate": 1e-3, "weight_decay": 0.0, "frozen_norm": False}
        return training | {"accuracy": 0.9, "probe_accuracy": 0.5, "chosen": chosen}

    def load(encoder, settings):
        return FunctionEncoder(encoder, len)

    def as_trainable(encoder):
        if encoder.name == "small":
            message = "it cannot."
            raise EncoderError(message)

    for name, function in (("train", train), ("load", load), ("as_trainable", as_trainable)):
        monkeypatch.setattr(f"transferability.validation.confirm.{name}", function)
    part = part._replace(dataset=replace(part.dataset, name="bands"), test_rows=part.test_rows[:10])
    record = by_layers.to_dict()
    found = cli.confirm_first(record, (), 2, part, Settings(cache=False), "local", None)
    assert [(each.encoder, each.ranked_as) for each in found.entries] == [
        ("big", "big/layer=1"),
        ("small", "small/layer=2"),
    ]
    assert found.in_words.startswith("Fine-tuned on bands, big, ranked by its layer 1, is right in 90.0% of 10 rows")
    assert found.n_ranked == 2
    assert "shared over the 2 that were ranked" in found.in_words
    confirmed = replace(by_layers, confirmation=found)
    assert confirmed.best.encoder == "big/layer=1"
    shown = [None if each["confirmed"] is None else each["confirmed"]["encoder"] for each in confirmed.records]
    assert shown == ["small", None, "big", None]
    assert confirmed.records[2]["confirmed_accuracy"] == 0.9
    assert found.of("big/layer=1") == found.of("big") == found.entries[0]
    assert Confirmation.from_dict(found.to_dict()) == found
    no_probes = replace(confirmed, entries=tuple(replace(each, probe=None) for each in confirmed))
    (part_of_report,) = summarize(no_probes)["parts"]
    assert part_of_report["answer"]["headline"] == f"Take big for {confirmed.target}."
    (part_of_report,) = summarize(confirmed)["parts"]  # of "small" a linear probe is right in more than 90 %
    assert part_of_report["answer"]["headline"] == f"Take small/layer=2 as it is for {confirmed.target}."
    lows = [row["confirmed_accuracy_low"] for row in confirmed.frame()]
    highs = [row["confirmed_accuracy_high"] for row in confirmed.frame()]
    interval = found.intervals[0]
    assert interval is not None
    assert lows == [None, None, interval.low, None]
    assert highs == [None, None, interval.high, None]


@pytest.mark.parametrize(("top", "fewer"), [(1, False), (2, False), (3, True), (9, True), (None, False)])
def test_fewer_encoders_than_asked_for_are_told_by_the_exit_code(top, fewer) -> None:
    entries = (Confirmed("a", 0.9), Confirmed("b", 0.8), Confirmed("c", None, note="no memory"))
    assert cli.fewer_were_tuned(Confirmation("t", 10, entries, (12,)), top) is fewer
    assert cli.fewer_were_tuned(Confirmation("t", 10, entries[:2], (12,)), top) is False
    assert cli.fewer_were_tuned(None, top) is False


def test_other_data_with_as_many_rows_are_refused(tmp_path) -> None:
    """Contents, labels and class names of the data say whether they are those of the ranking."""
    rng = np.random.default_rng(0)
    items, labels = rng.integers(250, size=(60, 4, 4), dtype=np.uint8), np.arange(60) % 3
    changed = items.copy()
    changed[7, 0] += 1
    versions = {"same": (items, labels), "contents": (changed, labels), "labels": (items, labels[::-1])}
    for name, (x, y) in (versions | {"moved": (items, labels)}).items():
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    settings = Settings(cache=False)
    parts = {name: prepare(f"npz:{tmp_path / name}.npz", settings) for name in (*versions, "moved")}
    encoders = [FunctionEncoder("flat", lambda rows: np.stack([np.asarray(row, float).ravel() for row in rows]))]
    made = rank(parts["same"], encoders=encoders, settings=settings).to_dict()["made"]
    assert len(made["data"][0]["fingerprint"]) == 32
    cli._check_data(parts["same"], made)
    cli._check_data(parts["moved"], made)
    for name in ("contents", "labels"):
        with pytest.raises(OptionError, match=f"data '{name}' are not those of the ranking"):
            cli._check_data(parts[name], made)
    dataset = parts["same"].dataset
    renamed = parts["same"]._replace(dataset=replace(dataset, class_names=("a", "b", "c")))
    with pytest.raises(OptionError, match="class names differ"):
        cli._check_data(renamed, made)
    with pytest.raises(OptionError, match="have 30 rows, and 60 when they were ranked"):
        cli._check_data(parts["same"]._replace(dataset=dataset.subset(range(30))), made)
    old = [{name: value for name, value in each.items() if name != "fingerprint"} for each in made["data"]]
    cli._check_data(parts["contents"], {"data": old})


def test_data_are_looked_for_where_the_command_runs(ranking, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    replace(ranking, provenance=ranking.provenance | {"target": "npz:gone.npz"}).report(tmp_path / "results")
    arguments = (tmp_path / "results", 1)
    with pytest.raises(OptionError, match=r"`--target` must name.*'npz:gone.npz', which were looked for in .*: there"):
        cli.confirm_file(*arguments, None, (), Settings(), "local")
    with pytest.raises(NoSuchFileError):
        cli.confirm_file(*arguments, "npz:other.npz", (), Settings(), "local")


@pytest.mark.parametrize(("name", "value"), [("test_share", "a"), ("seed", 0.5), ("near_duplicates", 3), ("folds", [])])
def test_damaged_settings_of_a_ranking_are_refused(ranking, tmp_path, name, value) -> None:
    made = ranking.provenance | {"settings": {name: value}, "target": "npz:rows.npz"}
    replace(ranking, provenance=made).report(tmp_path / "results")
    with pytest.raises(OptionError, match=rf"cannot be used .*`{name}` in \[made.settings\] must be of type"):
        cli.confirm_file(tmp_path / "results", 1, None, (), Settings(), "local")


def test_a_confirmation_is_not_lost_where_no_encoder_is_found(ranking, tmp_path, capsys) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", x=rng.integers(250, size=(60, 4, 4), dtype=np.uint8), y=np.arange(60) % 3)
    tuned = Confirmation("rows", 20, (Confirmed(ranking[0].encoder, 0.9),), (12,))
    made = ranking.provenance | {"data": []}
    replace(ranking, confirmation=tuned, provenance=made).report(tmp_path / "results")
    before = (tmp_path / "results" / "ranking.json").read_text()
    found, _ = cli.confirm_file(tmp_path / "results", 1, f"npz:{tmp_path}/rows.npz", (), Settings(cache=False), "local")
    assert found.best is None
    assert (tmp_path / "results" / "ranking.json").read_text() == before
    assert "is left as it was. Paths of encoders are looked for in" in " ".join(capsys.readouterr().err.split())


def test_data_that_cannot_be_read_again_have_no_fingerprint() -> None:
    def gone(row):
        raise OSError

    dataset = prepare((np.zeros((8, 2)), np.arange(8) % 2), Settings(cache=False)).dataset
    assert fingerprint_of_data(replace(dataset, content=gone, pieces=None)) is None
