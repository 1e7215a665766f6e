"""What is expected of the rows of a ranking after some of its encoders were fine-tuned."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from transferability.cli import confirm as cli
from transferability.ranking.base_encoder import base_encoder_of, identifier_of
from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.ranking.expectations import ProbedEncoder, expectations, too_few_notes, with_surprises
from transferability.ranking.expected import KnownAccuracy, expected_accuracies, published_accuracies
from transferability.ranking.target_effect import pooled_variance, predict, variance_components


def logit(share: float | np.ndarray, rows: float | np.ndarray) -> np.ndarray:
    share = np.asarray(share, dtype=float)
    return np.log((share * rows + 0.5) / ((1 - share) * rows + 0.5))


@pytest.mark.parametrize("m", [0, 1, 3])
def test_the_margin_is_the_quantile_of_known_targets_whose_first_encoders_are_given(m: int) -> None:
    """Written out: each known target plays the new one, as many of its encoders given as were fine-tuned."""
    pairs = [pair._replace(probe_rows=1000, rows=1000) for pair in published_accuracies()]
    targets = sorted({pair.target for pair in pairs})
    group = np.array([targets.index(pair.target) for pair in pairs])
    x, y = (logit(np.array([getattr(pair, name) for pair in pairs]), 1000) for name in ("probe", "fine_tuned"))
    residual, between, n_free = variance_components(x, y, group)
    ratio, scores = between / residual, []
    for k in range(len(targets)):
        own = np.flatnonzero(group == k)
        own = own[np.argsort(-x[own], kind="stable")]
        given, asked, others = own[:m], own[m:], group != k
        number = np.unique(group[others], return_inverse=True)[1]
        known, on_target = (x[others], y[others], number), (x[given], y[given], np.ones(m))
        found = predict(*known, x[asked], ratio, on_target)
        scale = np.sqrt(pooled_variance(*known, ratio, on_target, residual, n_free))
        scores += list(np.abs(y[asked] - found.centre) / found.deviation / scale)
    quantile = np.sort(scores)[int(np.ceil(0.9 * (len(scores) + 1))) - 1]
    quantile *= t.ppf(0.95, (3 if m else 2) * (len(targets) - 1)) / norm.ppf(0.95)
    tuned = [KnownAccuracy("here", str(k), 0.6 + 0.1 * k, 0.7 + 0.08 * k) for k in range(m)]
    x_own, y_own = (logit(np.array([getattr(c, name) for c in tuned]), 1000) for name in ("probe", "fine_tuned"))
    confirmed = (x_own, y_own, np.ones(m))
    centre, deviation, _ = predict(x, y, group, logit(np.array([0.75]), 1000), ratio, confirmed)
    deviation = deviation * np.sqrt(pooled_variance(x, y, group, ratio, confirmed, residual, n_free))
    (said,) = expected_accuracies([0.75], pairs, confirmed=tuned)
    share = 1 / (1 + np.exp(-centre[0]))
    assert said.value == pytest.approx((1001 * share - 0.5) / 1000, rel=1e-9)  # half a row more in the log odds
    low, high = centre - quantile * deviation, centre + quantile * deviation
    assert said.low == pytest.approx(1 / (1 + np.exp(-low[0])), abs=1e-3)
    assert said.high == pytest.approx(1 / (1 + np.exp(-high[0])), abs=1e-3)


def test_a_probe_of_few_rows_moves_the_others_less() -> None:
    sure, unsure = (
        expected_accuracies([0.7], confirmed=[KnownAccuracy("here", "a", 0.6, 0.9, probe_rows=rows)])[0]
        for rows in (1000, 30)
    )
    assert unsure.value < sure.value
    assert unsure.value > expected_accuracies([0.7])[0].low


def test_all_layers_of_an_encoder_expect_the_same_by_the_probe_of_its_last() -> None:
    rows = [
        ProbedEncoder("a/layer=2", 0.95, 500, None, "a"),
        ProbedEncoder("a", 0.8, 500, None),
        ProbedEncoder("b/layer=1", 0.7, 500, None, "b"),
        ProbedEncoder("b/layer=2", 0.6, 500, None, "b"),
    ]
    found = expectations(rows, None, None, pictures=True)
    assert found[0] == found[1] == expected_accuracies([0.8], n_rows=500)[0]
    assert found[2] == found[3] == expected_accuracies([0.7], n_rows=500)[0]
    tuned = Confirmed("a", 0.9, 0.8, 12, finished=True, ranked_as="a/layer=2")
    after = expectations(rows, Confirmation("here", 400, (tuned,), (12,), n_different=200), None, pictures=True)
    pair = KnownAccuracy("here", "a", 0.8, 0.9, 500, 200)
    assert after[2] == expected_accuracies([0.7], confirmed=[pair], n_rows=500)[0]


def test_folders_that_look_like_layers_are_none() -> None:
    names = ["onnx:/ckpt/layer=3/m.onnx", "onnx:/ckpt/layer=4/m.onnx", "onnx:/ckpt/layer=4/m.onnx/layer=/block/Add"]
    rows = [{"encoder": name, "identifier": name} for name in names]  # of an earlier version: the names are read
    assert [base_encoder_of(row) for row in rows] == [*names[:2], names[1]]
    assert [identifier_of(row) for row in rows] == [*names[:2], names[1]]
    assert cli.in_order({"ranking": rows[:2]}) == (dict(zip(names[:2], names[:2], strict=True)), {}, 2)
    folder = "hf:runs/layer=3"
    assert base_encoder_of({"encoder": folder}) == "hf:runs"  # wrong, and no name can tell
    said = {"encoder": f"{folder}/layer=h.0", "base_encoder": folder, "identifier": folder}
    assert (base_encoder_of(said), identifier_of(said)) == (folder, folder)
    assert cli.in_order({"ranking": [said]}) == ({folder: folder}, {folder: f"{folder}/layer=h.0"}, 1)


def test_two_names_of_one_model_are_one() -> None:
    rows = [
        ProbedEncoder("timm:a", 0.8, 500, None, None, "1f"),
        ProbedEncoder("packaged:a/layer=3", 0.9, 500, None, "packaged:a", "1f"),
        ProbedEncoder("packaged:a", 0.81, 500, None, None, "1f"),
        ProbedEncoder("b", 0.7, 500, None, None, "2e"),
    ]
    found = expectations(rows, None, None, pictures=True)
    assert found[0] == found[1] == found[2] == expected_accuracies([0.8], n_rows=500)[0]
    tuned = (Confirmed("packaged:a", 0.9), Confirmed("timm:a", 0.91))
    for entries in (tuned, tuned[:1]):
        after = expectations(rows, Confirmation("here", 500, entries, (12,)), None, pictures=True)
        assert after[0] == after[1] == after[2]
        assert after[0] is not None
        assert (after[0].value, after[0].measured) == (0.9, True)
        pair = KnownAccuracy("here", "packaged:a", 0.8, 0.9, 500, 500)
        assert after[3] == expected_accuracies([0.7], confirmed=[pair], n_rows=500)[0]
    record = {
        "ranking": [
            {"encoder": each.encoder, "base_encoder": each.whole, "model_hash": each.model_hash} for each in rows
        ]
    }
    names = ("timm:a", "packaged:a", "b")  # both names: what is fine-tuned is the first that can be loaded
    assert cli.in_order(record) == ({name: name for name in names}, {"packaged:a": "packaged:a/layer=3"}, 3)


def test_nothing_is_expected_of_what_turned_out_not_to_be_fine_tunable() -> None:
    rows = [ProbedEncoder(name, 0.8, 500, None, None, model) for name, model in (("a", "1f"), ("b", "2e"))]
    rows.append(ProbedEncoder("c", 0.8, 500, None, None, "1f"))  # another name of a
    failed = Confirmation("here", 500, (Confirmed("a", None, note="it cannot."),), (3,))
    assert expectations(rows, failed, None, pictures=True) == [None, expected_accuracies([0.8], n_rows=500)[0], None]
    both = Confirmation("here", 500, (Confirmed("c", 0.9), *failed.entries), (3,))
    for entries in (both.entries, both.entries[::-1]):
        first, _, third = expectations(rows, Confirmation("here", 500, entries, (3,)), None, pictures=True)
        assert first == third
        assert first is not None
        assert first.value == 0.9


def test_what_was_fine_tuned_before_is_counted() -> None:
    ranked = cli.RankedEncoders({"a": "a", "b": "b", "c": "c"}, {"b": "b/layer=1"}, 3)
    tuned = (Confirmed("a", 0.9), Confirmed("b", 0.8, ranked_as="b/layer=1"), Confirmed("c", None, note="it cannot."))
    record = {"confirmation": Confirmation("here", 100, tuned, (3,)).to_dict()}
    assert cli._n_tuned_before(record, ranked) == 2
    assert cli._n_tuned_before({}, ranked) == 0


def test_known_pairs_of_the_target_itself_are_of_no_other_target() -> None:
    rows, known = [ProbedEncoder("a", 0.8, 1000, None)], published_accuracies()
    name = known[0].target
    others = [pair for pair in known if pair.target != name]
    (left,) = expectations(rows, None, known, pictures=True, target=name)
    assert left == expected_accuracies([0.8], others)[0] != expected_accuracies([0.8], known)[0]
    second = next(pair.target for pair in others if pair.target != others[0].target)
    three = [pair for pair in known if pair.target in {name, others[0].target, second}]
    (left,) = expectations(rows, None, three, pictures=True, target=name)
    assert left == expected_accuracies([0.8], [pair for pair in three if pair.target != name])[0]
    two = [pair for pair in known if pair.target in {name, others[0].target}]
    assert expectations(rows, None, two, pictures=True, target=name) == [None]


def test_known_pairs_of_too_few_other_targets_are_told() -> None:
    known = [KnownAccuracy(target, f"{k}", 0.8, 0.9) for target in ("here", "there") for k in range(3)]
    assert too_few_notes(known, "here") == (
        "no accuracy after fine-tuning is expected on 'here': the known pairs are of 'there' beside it, and two "
        "targets are needed. Validate on another one.",
    )
    assert "no other target" in too_few_notes(known[:3], "here")[0]
    assert too_few_notes(known, "elsewhere") == too_few_notes(None, "here") == ()


def test_an_encoder_that_went_wrong_has_a_note() -> None:
    rows = [
        {"encoder": name, "probe": {"accuracy": probe}, "probe_rows": 1000} for name, probe in (("a", 0.9), ("b", 0.8))
    ]
    record = {"ranking": rows, "target": "here", "made": {"data": [{"kind": "image"}]}}
    tuned = Confirmation("here", 1000, (Confirmed("b", 0.9, note="before."), Confirmed("a", 0.1)), (12,))
    first, second = with_surprises(record, tuned).entries
    assert first == tuned.entries[0]
    assert second.note.startswith("fine-tuned, it is right in 10.0 %, and ")
    assert (
        "were expected from its linear probe (90.0 % in the ranking): either its training went wrong, or this target"
        in second.note
    )
    both = Confirmation("here", 1000, tuned.entries[::-1], (12,))
    assert with_surprises(record, both).entries == (second, first)
    with_reference = record | {"made": {"data": [{"kind": "image"}, {"kind": "text"}]}}  # the target's is the first
    assert with_surprises(with_reference, tuned).entries == (first, second)
    texts = record | {"made": {"data": [{"kind": "text"}]}}  # nothing is known of these
    assert with_surprises(texts, tuned) == tuned
    noted = Confirmation("here", 1000, (Confirmed("a", 0.1, note="before."),), (12,))
    assert with_surprises(record, noted).entries[0].note.startswith("before. fine-tuned, it")
