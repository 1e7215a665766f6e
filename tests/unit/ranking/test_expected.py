"""Expected fine-tuned accuracies: closed forms, and how often their intervals hold."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from transferability.cli.show import caveats
from transferability.encoders.function import FunctionEncoder
from transferability.errors import DatasetError, FileDamagedError, OptionError
from transferability.pipeline import Settings, rank
from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.ranking.entry import LinearProbe
from transferability.ranking.expected import (
    ExpectedAccuracy,
    KnownAccuracy,
    expected_accuracies,
    published_accuracies,
    surprises,
)
from transferability.ranking.records import with_confirmation
from transferability.report.records import read_known
from transferability.statistics.intervals import clopper_pearson


def logit(share):
    return np.log((share * 1000 + 0.5) / ((1 - share) * 1000 + 0.5))


def world(n_targets, n_encoders, seed, noise=0.5):
    """Pairs of which the logits lie on a line, but for what a target and an encoder add."""
    rng = np.random.default_rng(seed)
    pairs = []
    for k in range(n_targets):
        shift = noise * rng.normal()
        for number in range(n_encoders):
            x = rng.normal()
            y = 0.5 + 0.8 * x + shift + noise * rng.normal()
            pairs.append(KnownAccuracy(f"t{k}", f"e{number}", *(1 / (1 + np.exp(-np.array([x, y])))).tolist()))
    return pairs


def test_pairs_on_a_line_are_expected_on_it() -> None:
    pairs = world(4, 6, 0, noise=0.0)
    found = expected_accuracies([pair.probe for pair in pairs], pairs)
    np.testing.assert_allclose([each.value for each in found], [pair.fine_tuned for pair in pairs], atol=2e-3)
    assert max(each.high - each.low for each in found) < 0.01
    assert {(each.n_pairs, each.n_targets) for each in found} == {(24, 4)}


def test_intervals_of_new_targets_hold_as_often_as_they_claim() -> None:
    held = []
    for seed in range(60):
        *pairs, _ = [*world(9, 8, seed), None]  # type: ignore[misc]
        new = [pair for pair in pairs if pair.target == "t8"]
        known = [pair for pair in pairs if pair.target != "t8"]
        found = expected_accuracies([pair.probe for pair in new], known)
        held += [each.low <= pair.fine_tuned <= each.high for each, pair in zip(found, new, strict=True)]
    assert 0.85 <= np.mean(held) <= 0.96


def test_intervals_of_the_published_pairs_hold_target_by_target() -> None:
    pairs = published_accuracies()
    assert len(pairs) > 40
    held = []
    for target in {pair.target for pair in pairs}:
        own = [pair for pair in pairs if pair.target == target]
        found = expected_accuracies([pair.probe for pair in own], [pair for pair in pairs if pair.target != target])
        held += [each.low <= pair.fine_tuned <= each.high for each, pair in zip(found, own, strict=True)]
    assert 0.85 <= np.mean(held) <= 0.95


def test_of_two_known_targets_intervals_hold_too() -> None:
    """Each pair of published targets known, the other three new: 81 % held by the quantile alone."""
    pairs, held = published_accuracies(), []
    for chosen in itertools.combinations(sorted({pair.target for pair in pairs}), 2):
        new = [pair for pair in pairs if pair.target not in chosen]
        found = expected_accuracies([pair.probe for pair in new], [pair for pair in pairs if pair.target in chosen])
        held += [each.low <= pair.fine_tuned <= each.high for each, pair in zip(found, new, strict=True)]
    assert 0.87 <= np.mean(held) <= 0.96


def test_a_probe_of_few_rows_or_far_from_the_known_ones_is_less_sure() -> None:
    many, few = (expected_accuracies([1.0], n_rows=n)[0] for n in (1000, 40))
    assert few.low < many.low < many.high
    assert few.high > 0.99
    known = world(4, 9, 3, noise=0.2)
    (near,), (far,) = (expected_accuracies([each], known) for each in (0.5, 0.9999))
    near_width, far_width = (
        np.ptp(np.log([each.low / (1 - each.low), each.high / (1 - each.high)])) for each in (near, far)
    )
    assert far_width > near_width
    both = expected_accuracies([1.0, 1.0], n_rows=[1000, 40])
    assert both == [many, few]


def test_pairs_that_agree_leave_what_they_say_inside() -> None:
    pairs = [KnownAccuracy(target, str(k), 0.5, 0.6) for target in "ab" for k in range(5)]
    (found,) = expected_accuracies([0.5], pairs)
    assert found.low < 0.6 <= found.high + 1e-12
    for tuned in (0.6, 0.5):  # nothing is known elsewhere
        (elsewhere,) = expected_accuracies([0.7], [pair._replace(fine_tuned=tuned) for pair in pairs])
        assert (elsewhere.low, elsewhere.high) == (0.0, 1.0)


def test_before_and_after_are_one_regression() -> None:
    """An encoder that is fine-tuned to what was expected of it changes no other value."""
    (expected,) = expected_accuracies([0.6])
    as_expected = KnownAccuracy("here", "a", 0.6, expected.value)
    for probe in (0.5, 0.8, 0.95):
        (before,), (after,) = (expected_accuracies([probe], confirmed=given) for given in ((), (as_expected,)))
        assert abs(before.value - after.value) < 0.001
        assert after.high - after.low < before.high - before.low


def test_an_encoder_that_went_wrong_is_told_and_leaves_the_others_their_range() -> None:
    pairs = published_accuracies()
    target = pairs[0].target
    own = sorted((pair for pair in pairs if pair.target == target), key=lambda pair: -pair.probe)
    known = [pair for pair in pairs if pair.target != target]
    assert surprises(own[:3], known) == []
    wrong = own[0]._replace(fine_tuned=0.02)
    (alone,) = surprises([wrong], known)
    assert alone[0] == wrong
    assert alone[1] == expected_accuracies([wrong.probe], known)[0]
    given = [wrong, *own[1:3]]
    assert [pair for pair, _ in surprises(given, known)] == [wrong]  # the others are told nothing of
    asked = [pair.probe for pair in own[3:]]
    found, without = (expected_accuracies(asked, known, confirmed=each) for each in (given, own[1:3]))
    for both, usual, pair in zip(found, without, own[3:], strict=True):
        assert both.low <= min(usual.low, pair.fine_tuned)
        assert max(usual.high, pair.fine_tuned) <= both.high
        assert both.low < usual.low - 0.01
        assert (both.value, both.n_confirmed) == (usual.value, 3)


def test_a_target_of_large_scatter_makes_the_others_less_sure() -> None:
    """Two pairs of the target that are as far apart as nothing known, on both sides of the line."""
    known = world(4, 9, 5, noise=0.3)
    near = [KnownAccuracy("here", "a", 0.5, 0.64), KnownAccuracy("here", "b", 0.5, 0.6)]
    far = [KnownAccuracy("here", "a", 0.5, 0.76), KnownAccuracy("here", "b", 0.5, 0.46)]
    assert surprises(far, known) == []
    (sure,), (unsure,) = (expected_accuracies([0.5], known, confirmed=given) for given in (near, far))
    assert unsure.high - unsure.low > 1.04 * (sure.high - sure.low)
    assert abs(unsure.value - sure.value) < 0.01


def test_no_interval_is_a_point() -> None:
    close = [KnownAccuracy(t, str(k), 0.5 + 0.01 * k, 0.52 + 0.01 * k) for t in "ab" for k in range(8)]
    for probe in (0.0, 0.5, 1.0):
        for known, n_rows in ((None, 60_000), (close, 1000)):
            (found,) = expected_accuracies([probe], known, n_rows=n_rows)
            assert found.low <= found.value <= found.high
            assert found.high - found.low > 1e-5
    for wrong in (0, -3, "9", math.nan, math.inf):
        with pytest.raises(OptionError, match="`n_rows` must be at least 1"):
            expected_accuracies([0.5], n_rows=[wrong])

    with pytest.raises(OptionError, match="one for each of 2 probes; got 1"):
        expected_accuracies([0.5, 0.6], n_rows=[100])


def test_few_pairs_say_nothing() -> None:
    (found,) = expected_accuracies([0.5], world(2, 4, 0))
    assert (found.low, found.high) == (0.0, 1.0)


def test_what_is_no_evidence_is_refused() -> None:
    with pytest.raises(OptionError, match="two targets or more; got 1"):
        expected_accuracies([0.5], world(1, 9, 0))
    with pytest.raises(OptionError, match=r"between 0 and 1; got 1\.5"):
        expected_accuracies([1.5])
    for wrong in (math.nan, -0.1, "0.5", math.inf):
        pair = KnownAccuracy("t0", "e0", 0.5, wrong)
        for arguments in ({"known": [*world(2, 9, 0), pair]}, {"confirmed": [pair]}):
            with pytest.raises(OptionError, match=f"encoder 'e0' on target 't0' in `{next(iter(arguments))}`"):
                expected_accuracies([0.5], **arguments)
    with pytest.raises(OptionError, match=r"the number of rows of encoder 'e0'.* at least 1; got -5"):
        expected_accuracies([0.5], confirmed=[KnownAccuracy("t0", "e0", 0.5, 0.5, rows=-5)])
    with pytest.raises(OptionError, match="`confidence` must be between 0 and 1"):
        expected_accuracies([0.5], confidence=1.0)


def rows(items):
    return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=0) for each in items])


@pytest.fixture(scope="module")
def of_rows():
    """A ranking of one encoder; not of a function, as far as it says."""
    found = rank("packaged:digits", None, [FunctionEncoder("rows", rows)], settings=Settings(limit=120, cache=False))
    return replace(found, entries=(replace(found[0], fine_tunable=None),))


def test_a_ranking_expects_by_the_published_pairs_or_by_those_given(of_rows) -> None:
    ranking = of_rows
    (entry,) = ranking.to_dict()["ranking"]
    assert list(ranking.expected) == expected_accuracies([ranking[0].probe.accuracy], n_rows=120)
    assert entry["expected_accuracy"] == ranking.expected[0].value
    assert entry["expected"]["interval"] == [ranking.expected[0].low, ranking.expected[0].high]
    own = tuple(world(4, 6, 2))
    given = replace(ranking, known=own)
    assert list(given.expected) == expected_accuracies([ranking[0].probe.accuracy], own, n_rows=120)
    assert given.expected != ranking.expected
    texts = replace(ranking, provenance={"data": [{"kind": "text"}]})
    assert texts.expected == [None]  # the published pairs are of pictures
    assert texts.to_dict()["ranking"][0]["expected"] is None
    assert replace(texts, known=own).expected == given.expected


def test_nothing_is_expected_of_what_cannot_be_fine_tuned(of_rows) -> None:
    function = rank("packaged:digits", None, [FunctionEncoder("f", rows)], settings=Settings(limit=120, cache=False))
    assert function[0].fine_tunable is False
    assert function.expected == [None]
    assert function.to_dict()["ranking"][0]["fine_tunable"] is False
    both = replace(of_rows, entries=(*of_rows.entries, *function.entries))
    reason = "f: no expected fine-tuned accuracy, since it cannot be fine-tuned"
    assert reason in caveats(both, wide=True)
    assert reason not in caveats(both, wide=False)
    unknown = replace(of_rows[0], probe=LinearProbe(math.nan, math.nan))
    assert replace(of_rows, entries=(unknown,)).expected == [None]
    tried = Confirmation("digits", 36, (Confirmed("rows", None, note="passed over: it cannot."),), ())
    assert replace(of_rows, confirmation=tried).expected == [None]


def test_what_was_fine_tuned_is_shown_and_tells_what_to_expect_of_the_others(of_rows) -> None:
    first = of_rows[0]
    names = (("whole", None), ("whole/layer=3", "whole"), ("other", None), ("third/layer=2", "third"))
    entries = [replace(first, encoder=name, base_encoder=base) for name, base in names]
    ranking = replace(of_rows, entries=tuple(entries))
    tuned = Confirmed("whole", 33 / 36, 0.5, 12, finished=True, ranked_as="whole/layer=3")
    confirmation = Confirmation("digits", 36, (tuned,), (12,), n_ranked=3)
    found = replace(ranking, confirmation=confirmation)
    interval = clopper_pearson(33, 36, confidence=0.9, n_shared=3)  # as wide as those of the others: 90 %
    measured = ExpectedAccuracy(33 / 36, interval.low, interval.high, 0, 0, measured=True)
    assert found.expected[:2] == [measured, measured]  # one encoder
    pair = KnownAccuracy("digits", "whole", first.probe.accuracy, 33 / 36, 120, 36)
    (wanted,) = expected_accuracies([first.probe.accuracy], confirmed=[pair], n_rows=120)
    assert found.expected[2:] == [wanted, wanted]
    assert wanted.n_confirmed == 1
    assert ranking.expected[2].value < wanted.value < 33 / 36  # it was better than the other targets let expect
    assert [each["expected"]["measured"] for each in found.records] == [True, True, False, False]
    record = json.loads(json.dumps(ranking.to_dict()))
    assert with_confirmation(record, confirmation)["ranking"] == json.loads(json.dumps(found.to_dict()["ranking"]))
    own = replace(ranking, known=tuple(world(4, 6, 2)))
    record = json.loads(json.dumps(own.to_dict()))
    confirmed = json.loads(json.dumps(replace(own, confirmation=confirmation).to_dict()))
    assert with_confirmation(record, confirmation) == confirmed
    del record["known"]  # an earlier version, which does not say what the others were expected from
    former = with_confirmation(record, confirmation)["ranking"]
    assert [each["expected"] for each in former] == [each["expected"] for each in record["ranking"]]


def test_what_validate_printed_is_read_as_pairs(tmp_path) -> None:
    path = tmp_path / "validation.json"
    seen = {"target": "a", "encoder": "e", "accuracy": 0.9, "values": {"linear_probe": 0.8, "bound": 1.0}}
    unknown = {"target": "a", "encoder": "f", "accuracy": 0.9, "values": {"bound": 1.0}}
    path.write_text(json.dumps({"schema": 1, "method": "finetune", "observations": [seen, unknown]}))
    assert read_known(path) == [("a", "e", 0.8, 0.9)]
    counted, unsaid = seen | {"n_fit": 140, "n_test": 60}, seen | {"encoder": "g", "n_fit": None}
    path.write_text(json.dumps({"schema": 1, "method": "finetune", "observations": [counted, unsaid]}))
    assert [KnownAccuracy(*each) for each in read_known(path)] == [
        KnownAccuracy("a", "e", 0.8, 0.9, probe_rows=140, rows=60),
        KnownAccuracy("a", "g", 0.8, 0.9, probe_rows=1000, rows=1000),
    ]
    path.write_text(json.dumps({"schema": 1, "method": "probe", "observations": [seen]}))
    with pytest.raises(DatasetError, match="--score linear_probe --json"):
        read_known(path)
    for wrong in (-0.1, 1.5):
        content = {"schema": 1, "method": "finetune", "observations": [seen, seen | {"accuracy": wrong}]}
        path.write_text(json.dumps(content))
        with pytest.raises(DatasetError, match=rf"validation\.json` `observations\[1\]\.accuracy` must be .*{wrong}"):
            read_known(path)
        path.write_text(
            json.dumps(
                {"schema": 1, "method": "finetune", "observations": [seen | {"values": {"linear_probe": wrong}}]}
            )
        )
        with pytest.raises(DatasetError, match=r"`observations\[0\]\.values\.linear_probe`"):
            read_known(path)
    for broken in ('"0.9"', "NaN", "Infinity", "null"):
        path.write_text(json.dumps({"schema": 1, "method": "finetune", "observations": [seen]}).replace("0.9", broken))
        with pytest.raises(FileDamagedError):
            read_known(path)
    path.write_text("[]")
    with pytest.raises(FileDamagedError):
        read_known(path)


def after(known, own, given):
    """Tell of the encoders that were not fine-tuned whether their intervals hold, and how wide these are."""
    rest = [pair for pair in own if pair not in given]
    found = expected_accuracies([pair.probe for pair in rest], known, confirmed=given)
    held = [each.low <= pair.fine_tuned <= each.high for each, pair in zip(found, rest, strict=True)]
    return held, [each.high - each.low for each in found], [each.value for each in found]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_published_targets_intervals_hold_and_are_narrower_after_the_first_encoders(count) -> None:
    """Each target new in turn, its first encoders by the ranking fine-tuned: what is said of the others."""
    pairs = published_accuracies()
    held, widths, before = [], [], []
    for target in {pair.target for pair in pairs}:
        own = sorted((pair for pair in pairs if pair.target == target), key=lambda pair: -pair.probe)
        known = [pair for pair in pairs if pair.target != target]
        now_held, now_wide, _ = after(known, own, own[:count])
        held, widths = held + now_held, widths + now_wide
        before += [each.high - each.low for each in expected_accuracies([p.probe for p in own[count:]], known)]
    assert 0.85 <= np.mean(held) <= 0.95
    assert np.mean(widths) < 0.75 * np.mean(before)


@pytest.mark.parametrize("count", [1, 3])
def test_of_new_targets_intervals_hold_after_the_first_encoders(count) -> None:
    held, widths, errors = [], [], []
    for seed in range(60):
        pairs = world(7, 9, seed, noise=0.6)
        own = sorted((pair for pair in pairs if pair.target == "t6"), key=lambda pair: -pair.probe)
        known = [pair for pair in pairs if pair.target != "t6"]
        given = own[:count]
        for number, confirmed in enumerate(([], given)):
            asked = [pair for pair in own if pair not in given]
            found = expected_accuracies([pair.probe for pair in asked], known, confirmed=confirmed)
            held.append((number, [e.low <= p.fine_tuned <= e.high for e, p in zip(found, asked, strict=True)]))
            widths.append((number, [each.high - each.low for each in found]))
            errors.append((number, [abs(e.value - p.fine_tuned) for e, p in zip(found, asked, strict=True)]))
    before, now = (np.mean([row for number, row in widths if number == k]) for k in (0, 1))
    assert now < 0.9 * before
    before, now = (np.mean([row for number, row in errors if number == k]) for k in (0, 1))
    assert now < 0.9 * before
    assert 0.85 <= np.mean([row for number, row in held if number == 1]) <= 0.95


def test_a_target_that_is_off_the_line_takes_the_others_along() -> None:
    """Targets differ by far more than encoders do: one that was fine-tuned tells the others' accuracies."""
    rng = np.random.default_rng(0)

    def pairs_of(target, shift):
        x = rng.normal(size=9)
        shares = 1 / (1 + np.exp(-np.stack([x, 0.8 * x + shift + 0.01 * rng.normal(size=9)])))
        return [KnownAccuracy(target, str(k), *both) for k, both in enumerate(shares.T.tolist())]

    known = [pair for k, shift in enumerate((-1.5, 0.0, 1.0, 2.0)) for pair in pairs_of(f"t{k}", shift)]
    own = pairs_of("new", -1.0)
    held, widths, values = after(known, own, own[:1])
    assert np.mean(held) > 0.8
    assert max(widths) < 0.05
    np.testing.assert_allclose(values, [pair.fine_tuned for pair in own[1:]], atol=0.02)


def test_an_accuracy_of_few_rows_counts_less() -> None:
    known = published_accuracies()
    given = KnownAccuracy("new", "e", 0.8, 0.55)
    many, few = (expected_accuracies([0.7], known, confirmed=[given._replace(rows=n)])[0] for n in (1000, 20))
    (without,) = expected_accuracies([0.7], known)
    assert many.value < few.value < without.value
    assert many.high - many.low < few.high - few.low
    assert (many.n_confirmed, without.n_confirmed) == (1, 0)


def test_rows_of_known_pairs_say_how_sure_their_probes_were() -> None:
    pairs = world(4, 9, 3)
    few = [pair._replace(probe_rows=100) for pair in pairs]
    said = [expected_accuracies([0.97], known, n_rows=100)[0] for known in (pairs, few)]
    assert said[1].high - said[1].low < said[0].high - said[0].low  # a hundred rows are what it was learnt from
    assert {(pair.probe_rows, pair.rows) for pair in published_accuracies()} == {(1000, 1000), (1000, 519)}


def test_too_few_known_encoders_say_nothing_after_fine_tuning_either() -> None:
    own = [KnownAccuracy("new", "e", 0.7, 0.8)]
    (found,) = expected_accuracies([0.5], world(2, 4, 0), confirmed=own)
    assert (found.low, found.high) == (0.0, 1.0)
    (found,) = expected_accuracies([0.5], world(2, 5, 0), confirmed=own * 3)  # each with two to be asked for: too few
    assert 0 < found.low < found.high < 1


@pytest.mark.parametrize("name", ["n_fit", "n_test"])
def test_rows_of_known_pairs_below_one_are_refused(tmp_path, name) -> None:
    pair = {"target": "a", "encoder": "e", "accuracy": 0.9, "values": {"linear_probe": 0.8}, "n_fit": 9, "n_test": 9}
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"schema": 1, "method": "finetune", "observations": [pair, pair | {name: 0}]}))
    with pytest.raises(DatasetError, match=rf"own.json` `observations\[1\].{name}` must be at least 1; got 0"):
        read_known(path)
