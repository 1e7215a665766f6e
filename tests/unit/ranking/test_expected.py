"""Expected fine-tuned accuracies: closed forms, and how often their intervals hold."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from transferability.encoders.function import FunctionEncoder
from transferability.errors import DatasetError, FileDamagedError, OptionError
from transferability.pipeline import Settings, rank
from transferability.ranking.expected import KnownAccuracy, expected_accuracies, published_accuracies
from transferability.report.records import read_known


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


def test_the_margin_is_the_quantile_of_residuals_of_targets_left_out() -> None:
    pairs = world(3, 7, 1)
    (found,) = expected_accuracies([0.7], pairs, confidence=0.8)
    residuals = []
    for target in ("t0", "t1", "t2"):
        own, others = (
            [(logit(p.probe), logit(p.fine_tuned)) for p in pairs if (p.target == target) == mine] for mine in (1, 0)
        )
        slope, start = np.polyfit(*np.transpose(others), 1)  # type: ignore[call-overload]
        residuals += [abs(y - start - slope * x) for x, y in own]
    margin = np.sort(residuals)[int(np.ceil(0.8 * 22)) - 1]
    margin *= scipy.stats.t.ppf(0.9, 6) / scipy.stats.norm.ppf(0.9)
    x = np.array([logit(p.probe) for p in pairs])
    away = np.sqrt((1 + 1 / 21 + (logit(0.7) - x.mean()) ** 2 / (21 * x.var())) / (1 + 2 / 21))
    margin *= max(away, 1)
    slope, start = np.polyfit(*np.transpose([(logit(p.probe), logit(p.fine_tuned)) for p in pairs]), 1)  # type: ignore[call-overload]
    wanted = 1 / (1 + np.exp(-(start + slope * logit(0.7) + np.array([-margin, 0, margin]))))
    exact = (1001 * wanted - 0.5) / 1000  # the inverse of log odds with half a row more
    ends = [min(wanted[0], exact[0]), exact[1], max(wanted[2], exact[2])]
    np.testing.assert_allclose([found.low, found.value, found.high], ends, rtol=1e-9)


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
    (near,), (far,) = (expected_accuracies([each], world(4, 9, 3)) for each in (0.5, 0.9999))
    centre = [logit(np.array([each.low, each.high])) for each in (near, far)]
    assert np.ptp(centre[1]) > np.ptp(centre[0])


def test_pairs_that_agree_leave_what_they_say_inside() -> None:
    pairs = [KnownAccuracy(target, str(k), 0.5, 0.6) for target in "ab" for k in range(5)]
    (found,) = expected_accuracies([0.5], pairs)
    assert found.low < 0.6 <= found.high + 1e-12
    for tuned in (0.6, 0.5):  # nothing is known elsewhere
        (elsewhere,) = expected_accuracies([0.7], [pair._replace(fine_tuned=tuned) for pair in pairs])
        assert (elsewhere.low, elsewhere.high) == (0.0, 1.0)


def test_no_interval_is_a_point() -> None:
    close = [KnownAccuracy(t, str(k), 0.5 + 0.01 * k, 0.52 + 0.01 * k) for t in "ab" for k in range(8)]
    for probe in (0.0, 0.5, 1.0):
        for known, n_rows in ((None, 60_000), (close, 1000)):
            (found,) = expected_accuracies([probe], known, n_rows=n_rows)
            assert found.low <= found.value <= found.high
            assert found.high - found.low > 1e-5
    with pytest.raises(OptionError, match="`n_rows` must be at least 1"):
        expected_accuracies([0.5], n_rows=0)


def test_few_pairs_say_nothing() -> None:
    (found,) = expected_accuracies([0.5], world(2, 4, 0))
    assert (found.low, found.high) == (0.0, 1.0)


def test_what_is_no_evidence_is_refused() -> None:
    with pytest.raises(OptionError, match="two targets or more; got 1"):
        expected_accuracies([0.5], world(1, 9, 0))
    with pytest.raises(OptionError, match=r"between 0 and 1; got 1\.5"):
        expected_accuracies([1.5])
    with pytest.raises(OptionError, match="`confidence` must be between 0 and 1"):
        expected_accuracies([0.5], confidence=1.0)


def rows(items):
    return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=0) for each in items])


def test_a_ranking_expects_by_the_published_pairs_or_by_those_given() -> None:
    settings = Settings(limit=120, cache=False)
    ranking = rank("packaged:digits", None, [FunctionEncoder("rows", rows)], settings=settings)
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


def test_what_validate_printed_is_read_as_pairs(tmp_path) -> None:
    path = tmp_path / "validation.json"
    seen = {"target": "a", "encoder": "e", "accuracy": 0.9, "values": {"linear_probe": 0.8, "bound": 1.0}}
    unknown = {"target": "a", "encoder": "f", "accuracy": 0.9, "values": {"bound": 1.0}}
    path.write_text(json.dumps({"method": "finetune", "observations": [seen, unknown]}))
    assert read_known(path) == [("a", "e", 0.8, 0.9)]
    path.write_text(json.dumps({"method": "probe", "observations": [seen]}))
    with pytest.raises(DatasetError, match="--score linear_probe --json"):
        read_known(path)
    path.write_text("[]")
    with pytest.raises(FileDamagedError):
        read_known(path)
