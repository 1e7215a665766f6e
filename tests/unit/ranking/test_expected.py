"""Expected fine-tuned accuracies: closed forms, and how often their intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from transferability.errors import OptionError
from transferability.ranking.expected import KnownAccuracy, expected_accuracies, published_accuracies


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
    pairs = [pair for pair in world(4, 6, 0, noise=0.0)]
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
        slope, start = np.polyfit(*np.transpose(others), 1)
        residuals += [abs(y - start - slope * x) for x, y in own]
    margin = np.sort(residuals)[int(np.ceil(0.8 * 22)) - 1]
    slope, start = np.polyfit(*np.transpose([(logit(p.probe), logit(p.fine_tuned)) for p in pairs]), 1)
    wanted = 1 / (1 + np.exp(-(start + slope * logit(0.7) + np.array([-margin, 0, margin]))))
    np.testing.assert_allclose([found.low, found.value, found.high], wanted, rtol=1e-9)


def test_intervals_of_new_targets_hold_as_often_as_they_claim() -> None:
    held = []
    for seed in range(60):
        *pairs, _ = [*world(9, 8, seed), None]
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


def test_few_pairs_say_nothing() -> None:
    (found,) = expected_accuracies([0.5], world(2, 4, 0))
    assert (found.low, found.high) == (0.0, 1.0)


def test_what_is_no_evidence_is_refused() -> None:
    with pytest.raises(OptionError, match="two targets or more; got 1"):
        expected_accuracies([0.5], world(1, 9, 0))
    with pytest.raises(OptionError, match="between 0 and 1; got 1.5"):
        expected_accuracies([1.5])
    with pytest.raises(OptionError, match="`confidence` must be between 0 and 1"):
        expected_accuracies([0.5], confidence=1.0)
