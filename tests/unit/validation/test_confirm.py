"""A shortlist fine-tuned in rounds: who survives, what is kept, what is said."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from transferability.encoders import OutputView
from transferability.encoders.function import FunctionEncoder
from transferability.errors import EncoderError, LabelError
from transferability.pipeline import Settings, prepare
from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.ranking.store import ResultStore
from transferability.statistics.intervals import clopper_pearson
from transferability.validation import confirm as module
from transferability.validation.confirm import confirm, first_trainable
from transferability.validation.measure import measure
from transferability.validation.settings import FineTuning, TrainingResult

QUICK = FineTuning((1e-2,), (False,), epochs=8, batch_size=16)
STEPS_ENOUGH = replace(QUICK, batch_size=1, choice_epochs=1)  # a try has fifty of them in one epoch
SETTINGS = Settings(cache=False)


@pytest.fixture
def part(make_data):
    return prepare(make_data(n=100), Settings())  # 56 of them are trained on


def flat(name="flat"):
    return FunctionEncoder(name, lambda items: np.stack([np.asarray(each, float)[:, :, 0].ravel() for each in items]))


class Recorder:
    """An executor that trains nothing: it returns what is written for each encoder and number of epochs."""

    def __init__(self, losses) -> None:
        self.losses, self.asked = losses, []

    def __call__(self, jobs):
        self.asked.append([(job.encoder.name, job.epochs, job.chosen) for job in jobs])
        return [(place, self.result(job)) for place, job in reversed(list(enumerate(jobs)))]  # as they come

    def result(self, job):
        loss = self.losses[job.encoder.name]
        if loss is None:
            return {"reason": "it cannot"}
        chosen = {"learning_rate": 1e-3 * (1 + ord(job.encoder.name[0])), "weight_decay": 0.0, "frozen_norm": False}
        return {
            "accuracy": 0.9 - loss / 10 + 0.001 * job.epochs, "loss": 1.0, "validation_accuracy": 0.5, "epochs": 2,
            "probe_accuracy": 0.1, "validation_loss": loss, "chosen": chosen, "seconds": 1.5,
        }  # fmt: skip


def race(losses, make_encoder, part, **options):
    recorder = Recorder(losses)
    encoders = [make_encoder(name) for name in losses]
    return recorder, confirm(encoders, part, settings=SETTINGS, tuning=STEPS_ENOUGH, executor=recorder, **options)


def test_the_better_half_goes_on_for_longer_with_what_it_chose(make_encoder, part) -> None:
    losses = {"a": 0.5, "b": 0.2, "c": 0.4, "d": 0.9, "e": 0.3, "f": 0.8, "g": 0.7, "h": 0.6, "i": 0.95}
    recorder, found = race(losses, make_encoder, part)
    assert found.rounds == (1, 2, 8)
    names = [[name for name, *_ in asked] for asked in recorder.asked]
    assert names == [list("abcdefghi"), list("abceh"), list("bce")]
    assert [{epochs for _, epochs, _ in asked} for asked in recorder.asked] == [{1}, {2}, {8}]
    assert all(chosen is None for _, _, chosen in recorder.asked[0])
    assert [chosen.learning_rate for _, _, chosen in recorder.asked[2]] == [1e-3 * (1 + ord(name)) for name in "bce"]
    assert [each.encoder for each in found.entries] == list("becahgfdi")
    assert [each.finished for each in found.entries] == [True] * 3 + [False] * 6
    assert [each.epochs for each in found.entries] == [8] * 3 + [2] * 2 + [1] * 4
    assert [each.seconds for each in found.entries] == [4.5] * 3 + [3.0] * 2 + [1.5] * 4
    assert found.best.encoder == "b"


def test_three_go_on_where_fewer_than_twice_as_many_can_be_trained(make_encoder, part) -> None:
    losses = dict.fromkeys("defghi") | {"a": 0.5, "b": 0.2, "c": 0.4}
    recorder, _ = race(losses, make_encoder, part)
    assert [{name for name, *_ in asked} for asked in recorder.asked[1:]] == [set("abc"), set("abc")]


@pytest.mark.parametrize(
    ("count", "rounds", "last"),
    [(1, (8,), 1), (2, (8,), 2), (4, (8,), 4), (5, (2, 8), 3), (8, (2, 8), 3), (9, (1, 2, 8), 3), (14, (1, 2, 8), 3)],
)
def test_three_are_in_the_last_round_and_up_to_four_have_no_other(count, rounds, last, make_encoder, part) -> None:
    recorder, found = race(dict.fromkeys("abcdefghijklmn"[:count], 0.1), make_encoder, part)
    assert found.rounds == rounds
    assert len(recorder.asked[-1]) == last
    assert sum(each.finished for each in found.entries) == last


@pytest.mark.parametrize(
    ("count", "n_rows", "rounds"),
    [
        (4, 1000, [12]),
        (5, 1000, [3, 12]),
        (9, 1000, [2, 3, 12]),
        (20, 1000, [2, 3, 12]),
        (9, 200, [10, 12]),
        (5, 60, [12]),
        (2, 9, [12]),
    ],
)
def test_no_round_is_shorter_than_a_try_of_settings_and_none_comes_twice(count, n_rows, rounds) -> None:
    assert module._rounds(count, module.BRIEF, n_rows) == rounds


def test_every_result_is_kept_as_soon_as_it_is_there(make_encoder, part, tmp_path) -> None:
    """The third of three is killed while it trains: the other two are not trained again."""
    store = ResultStore(tmp_path / "finetuned.sqlite")
    encoders = [make_encoder("a", width=1), make_encoder("b", width=1), make_encoder("c", width=1)]

    def killed(jobs):
        yield from module.run_here(jobs[:-1])
        raise KeyboardInterrupt

    tuning = replace(QUICK, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        confirm(encoders, part, settings=SETTINGS, tuning=tuning, store=store, executor=killed)
    assert len(store.results("confirm")) == 2


@pytest.mark.parametrize("error", [RuntimeError("two rows\nare wanted."), torch.OutOfMemoryError("CUDA out of memory")])
def test_an_error_of_the_framework_is_that_encoders_reason(error, make_encoder, part, monkeypatch) -> None:
    broken = make_encoder("broken", width=1)

    def fails(batch):
        raise error

    real = type(broken).differentiable
    either = lambda self, batch: fails(batch) if self is broken else real(self, batch)  # noqa: E731
    monkeypatch.setattr(type(broken), "differentiable", either)
    found = confirm([broken, make_encoder("whole", width=1)], part, settings=SETTINGS, tuning=replace(QUICK, epochs=1))
    assert found.best.encoder == "whole"
    assert "encoder 'broken' failed in training" in found.of("broken").note
    with pytest.raises(EncoderError, match="failed in training"):
        measure(broken, part, settings=QUICK)


def test_what_stops_a_run_is_no_encoders_fault(make_encoder, part, monkeypatch) -> None:
    def stop(self, batch):
        raise KeyboardInterrupt

    encoder = make_encoder("a", width=1)
    monkeypatch.setattr(type(encoder), "differentiable", stop)
    with pytest.raises(KeyboardInterrupt):
        confirm([encoder], part, settings=SETTINGS, tuning=QUICK)


def test_what_cannot_be_trained_is_last_and_leaves_its_place_to_others(make_encoder, part) -> None:
    recorder, found = race({"a": None, "b": 0.3, "c": 0.2, "d": 0.4, "e": 0.5}, make_encoder, part)
    assert [name for name, *_ in recorder.asked[1]] == ["b", "c", "d"]
    assert (found.entries[4].encoder, found.entries[4].accuracy) == ("a", None)
    assert found.entries[4].note == "it cannot"
    assert found.of("a").note == "it cannot"
    assert found.of("z") is None


def test_a_race_of_networks_is_resumed_and_the_same_without_a_store(make_encoder, part, tmp_path) -> None:
    store = ResultStore(tmp_path / "finetuned.sqlite")
    networks = [make_encoder("wide"), *(make_encoder(f"narrow {width}", width=width) for width in (1, 2, 3))]
    encoders = [*networks, flat()]
    tuning = replace(QUICK, learning_rates=(1e-3, 1e-2), choice_epochs=1, batch_size=2)

    def run(**options):
        return confirm(encoders, part, settings=SETTINGS, tuning=tuning, **options)

    found = run(store=store)
    assert "cannot be fine-tuned" in found.entries[-1].note
    assert found.best.accuracy > 0.9
    assert len(store.results("confirm")) == 7  # four encoders, three of them twice

    def refuse(jobs):
        assert all(job.encoder.name == "flat" for job in jobs)
        return module.run_here(jobs)

    assert run(store=store, executor=refuse) == found
    again = run()
    assert [replace(each, seconds=0.0) for each in again.entries] == [
        replace(each, seconds=0.0) for each in found.entries
    ]
    other = confirm(encoders[:2], part, settings=replace(SETTINGS, seed=1), tuning=tuning, store=store)
    assert len(store.results("confirm")) == 9
    assert other.rounds == (8,)


def test_what_cannot_be_trained_gives_its_place_to_the_next(make_encoder) -> None:
    encoders = {"flat": flat()} | {name: make_encoder(name, seed=ord(name)) for name in "abc"}
    chosen, reasons = first_trainable(encoders, 2, SETTINGS)
    assert list(chosen) == ["a", "b"]
    assert list(reasons) == ["flat"]
    assert "cannot be fine-tuned" in reasons["flat"]
    assert first_trainable({"flat": flat()}, 2, SETTINGS)[0] == {}


def test_another_name_of_a_model_is_told_and_takes_the_place_of_one_that_cannot_be_had(
    make_encoder, monkeypatch
) -> None:
    first, second, other = make_encoder("one"), make_encoder("./one"), make_encoder("other", seed=1)
    encoders = {each.name: each for each in (first, second, other)}
    chosen, reasons = first_trainable(encoders, 2, SETTINGS)
    assert list(chosen) == ["one", "other"]
    assert reasons == {"./one": "it is 'one' by another name: both are the same model."}
    for step in ("load", "as_trainable"):
        real = getattr(module, step)

        def fails(encoder, *options, step=step, real=real):
            if encoder is first:
                message = f"it fails at {step}."
                raise EncoderError(message)
            return real(encoder, *options)

        with monkeypatch.context() as patch:
            patch.setattr(module, step, fails)
            chosen, reasons = first_trainable(encoders, 2, SETTINGS)
        assert list(chosen) == ["./one", "other"]
        assert reasons == {"one": f"it fails at {step}."}


def test_nothing_to_train_is_no_error(part) -> None:
    found = confirm({}, part, settings=SETTINGS)
    assert found.best is None
    assert "No encoder could be fine-tuned" in found.in_words


def test_a_kept_result_that_is_none_is_computed_again(make_encoder, part, tmp_path) -> None:
    store = ResultStore(tmp_path / "finetuned.sqlite")
    encoder = make_encoder("a", width=1)
    recorder = Recorder({"a": 0.2})
    options = {"settings": SETTINGS, "tuning": STEPS_ENOUGH, "store": store, "executor": recorder}
    found = confirm([encoder], part, **options)
    assert confirm([encoder], part, **options) == found
    assert len(recorder.asked) == 1
    (row,) = store.results("confirm")
    for damaged in ({"accuracy": 0.9}, row.result | {"validation_loss": "0.2"}, row.result | {"chosen": {}}):
        store.put(row.key, "confirm", "a", "stripes", damaged, 1.0, failed=False)
        assert confirm([encoder], part, **options) == found
    assert len(recorder.asked) == 4


def test_numbers_that_are_not_finite_are_that_encoders_reason(make_encoder, part, monkeypatch, tmp_path) -> None:
    result = TrainingResult(0.5, math.inf, 0.5, 3, 0.4, 0.2)
    monkeypatch.setattr("transferability.validation.finetune.FineTuner.run", lambda *_, **__: result)
    encoder, store = make_encoder("a", width=1), ResultStore(tmp_path / "finetuned.sqlite")
    found = confirm([encoder], part, settings=SETTINGS, tuning=replace(QUICK, epochs=1), store=store)
    assert found.best is None
    assert "encoder 'a' failed in training: its loss is inf" in found.entries[0].note
    with pytest.raises(EncoderError, match="its loss is inf"):
        measure(encoder, part, settings=QUICK, store=store)


def test_data_without_labels_are_refused(make_encoder, make_data) -> None:
    with pytest.raises(LabelError, match="must have labels"):
        confirm([make_encoder()], prepare(make_data(labelled=False), SETTINGS), settings=SETTINGS)


CONFIRMATION = Confirmation(
    "stripes",
    50,
    (
        Confirmed("b", 0.92, 0.8, 12, finished=True, learning_rate=1e-4, seconds=3.0),
        Confirmed("a", 0.9, 0.8, 3, learning_rate=1e-4, seconds=2.0, note="a note"),
        Confirmed("c", None, note="it cannot"),
    ),
    (3, 12),
)


def test_intervals_hold_for_all_that_were_measured() -> None:
    first, second, third = CONFIRMATION.intervals
    assert (first, third) == (clopper_pearson(46, 50, n_shared=2), None)
    assert second.n_rows == 50


def test_the_sentence_rests_on_fine_tuned_accuracies() -> None:
    interval = CONFIRMATION.intervals[0]
    assert CONFIRMATION.in_words == (
        f"Fine-tuned on stripes, b is right in 92.0% of 50 rows that it was not trained on (95 % interval "
        f"{interval.low:.1%} to {interval.high:.1%}), a in 90.0% after 3 epochs."
    )
    none = replace(CONFIRMATION, entries=CONFIRMATION.entries[2:])
    assert none.best is None
    assert "No encoder could be fine-tuned" in none.in_words


def test_it_is_read_as_it_was_written() -> None:
    written = json.loads(json.dumps(CONFIRMATION.to_dict(), allow_nan=False))
    assert Confirmation.from_dict(written) == CONFIRMATION
    ends = [(row["accuracy_low"], row["accuracy_high"]) for row in CONFIRMATION.frame()]
    assert ends[0] == (CONFIRMATION.intervals[0].low, CONFIRMATION.intervals[0].high)
    assert ends[2] == (None, None)
    assert written["best"] == "b"
    assert replace(CONFIRMATION, entries=CONFIRMATION.entries[2:]).to_dict()["best"] is None
    assert written["entries"][0]["interval"] == [CONFIRMATION.intervals[0].low, CONFIRMATION.intervals[0].high]


def test_intervals_count_copies_of_test_rows_once(make_encoder, make_data) -> None:
    data = make_data(n=40).subset(np.repeat(np.arange(40), 3))
    part = prepare(data, Settings())
    found = confirm([make_encoder("a", width=1)], part, settings=SETTINGS, tuning=replace(QUICK, epochs=1))
    n_different = len(part.test_rows) // 3
    assert (found.n_test, found.n_different) == (3 * n_different, n_different)
    (interval,) = found.intervals
    expected = clopper_pearson(round(found.entries[0].accuracy * n_different), n_different)
    assert (interval.low, interval.high) == (expected.low, expected.high)
    assert Confirmation.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    old = {name: value for name, value in found.to_dict().items() if name != "n_different"}
    assert Confirmation.from_dict(old).n_different is None


def test_memory_that_is_short_before_training_is_that_encoders_reason(make_encoder, part, monkeypatch) -> None:
    def short(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("transferability.validation.finetune.PreparedItems", short)
    found = confirm([make_encoder("a", width=1)], part, settings=SETTINGS, tuning=QUICK)
    assert "encoder 'a' failed in training" in found.entries[0].note


def test_an_encoder_that_fails_late_keeps_what_it_reached(make_encoder, part, monkeypatch) -> None:
    """All of the last round fail in it: the accuracies of the round before are shown, with what they are."""
    recorder = Recorder({"a": 0.2, "b": 0.3, "c": 0.4, "d": 0.5, "e": 0.6})
    real = recorder.result
    monkeypatch.setattr(recorder, "result", lambda job: {"reason": "no memory."} if job.epochs == 8 else real(job))
    encoders = [make_encoder(name) for name in "abcde"]
    found = confirm(encoders, part, settings=SETTINGS, tuning=STEPS_ENOUGH, executor=recorder)
    assert found.rounds == (2, 8)
    assert [(each.encoder, each.accuracy, each.epochs, each.finished) for each in found.entries] == [
        (name, pytest.approx(0.902 - loss / 10), 2, False) for name, loss in recorder.losses.items()
    ]
    note = "the accuracy is that after 2 epochs, since training for 8 failed: no memory."
    assert [each.note for each in found.entries] == [note, note, note, "", ""]
    assert found.best.encoder == "a"
    assert "a is right in 88.2% of 30 rows that it was not trained on after 2 epochs (95 %" in found.in_words


def test_the_interval_of_the_pick_is_shared_over_the_list_it_was_picked_from() -> None:
    """Of 40 like encoders, ranked on rows that the accuracies are measured on, the first three are fine-tuned.

    What is measured after fine-tuning goes with what was measured before, row by row, so the first are lucky again.
    """
    rng, held = np.random.default_rng(0), np.zeros((2, 2))
    n, m, accuracy, times = 200, 40, 0.9, 400
    for _ in range(times):
        before = rng.random((n, m)) < accuracy
        again = np.where(rng.random((n, m)) < 0.9, before, rng.random((n, m)) < accuracy)
        first = np.argsort(-before.sum(axis=0), kind="stable")[:3]
        entries = [Confirmed(str(k), float(again[:, k].mean()), finished=True) for k in first]
        entries.sort(key=lambda each: -(each.accuracy or 0.0))
        alone = Confirmation("t", n, tuple(entries), (12,))
        listed = replace(alone, n_ranked=m)
        for place, each in enumerate((alone, listed)):
            inside = [interval.low <= accuracy <= interval.high for interval in each.intervals if interval is not None]
            held[place] += (inside[0], all(inside))
    alone_held, listed_held = held / times
    assert alone_held[0] < 0.9
    assert listed_held.min() >= 0.95
    assert listed.intervals[0] == clopper_pearson(round(listed.entries[0].accuracy * n), n, n_shared=m)
    assert ", shared over the 40 that were ranked), " in listed.in_words
    assert "shared" not in alone.in_words


def test_layers_of_one_encoder_are_one(make_encoder, part) -> None:
    encoder, other = make_encoder("a"), make_encoder("b")
    recorder = Recorder({"a": 0.2, "b": 0.3})
    rows = {"a": encoder, "b": other}
    options = {"settings": SETTINGS, "tuning": STEPS_ENOUGH, "executor": recorder, "n_ranked": 7}
    found = confirm(rows, part, ranked_as={"a": "a/layer=2"}, **options)
    assert [[name for name, *_ in asked] for asked in recorder.asked] == [["a", "b"]]
    assert [(each.encoder, each.ranked_as) for each in found.entries] == [("a", "a/layer=2"), ("b", None)]
    assert [(each.row, each.layer) for each in found.entries] == [("a/layer=2", "2"), ("b", "")]
    assert found.of("a/layer=2") == found.of("a") == found.entries[0]
    assert found.n_ranked == found.intervals[0].n_shared == 7
    layers = [OutputView(encoder, layer) for layer in ("conv", "pool")]
    recorder.losses |= {layer.name: 0.2 for layer in layers}
    given = confirm([*layers, other, encoder], part, **options)
    assert [(each.encoder, each.ranked_as) for each in given.entries] == [("a", "a/layer=conv"), ("b", None)]


def test_of_two_names_of_one_model_the_first_is_fine_tuned(make_encoder, tmp_path) -> None:
    encoders = {"a": make_encoder("a"), "other name": make_encoder("other name"), "b": make_encoder("b", seed=1)}
    chosen, reasons = first_trainable(encoders, 2, SETTINGS)
    assert list(chosen) == ["a", "b"]
    assert reasons == {"other name": "it is 'a' by another name: both are the same model."}
