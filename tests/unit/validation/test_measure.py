"""Accuracies that are kept: found again, and never mistaken for others."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from transferability.encoders.function import FunctionEncoder
from transferability.errors import OptionError
from transferability.pipeline import Settings, prepare
from transferability.ranking.store import ResultStore
from transferability.validation.linear_probe import probe
from transferability.validation.measure import measure
from transferability.validation.settings import FineTuning

QUICK = FineTuning(learning_rates=(1e-2, 1e-3), weight_decays=(1e-4,), epochs=2, choice_epochs=1)


def test_a_second_run_computes_only_what_is_missing(make_encoder, part, tmp_path) -> None:
    store = ResultStore(tmp_path / "study.sqlite")
    first = measure(make_encoder(), part, seeds=[0], settings=QUICK, store=store)
    (row,) = store.results("finetune")
    assert (row.encoder, row.target, row.result["seed"]) == ("tiny", "stripes", 0)
    assert row.result["accuracy"] == first[0].accuracy
    both = measure(make_encoder(), part, seeds=[0, 1], settings=QUICK, store=store)
    assert both[0] == first[0]
    assert len(store.results("finetune")) == 2
    assert len(store.results("finetune-choice")) == 1
    assert both == measure(make_encoder(), part, seeds=[0, 1], settings=QUICK)  # as without a store


def test_other_weights_rows_labels_or_settings_are_other_work(make_encoder, make_data, part, tmp_path) -> None:
    store = ResultStore(tmp_path / "study.sqlite")
    measure(make_encoder(), part, seeds=[0], settings=QUICK, store=store)
    longer = FineTuning(learning_rates=(1e-2,), weight_decays=(1e-4,), epochs=3, choice_epochs=1)
    other_rows = prepare(make_data(), Settings(test_share=0.5))
    for encoder, data, settings in (
        (make_encoder(seed=1), part, QUICK),  # of the same name
        (make_encoder(), other_rows, QUICK),
        (make_encoder(), prepare(make_data(seed=3), Settings()), QUICK),
        (make_encoder(), part, longer),
    ):
        before = len(store.results("finetune"))
        measure(encoder, data, seeds=[0], settings=settings, store=store)
        assert len(store.results("finetune")) == before + 1


def test_the_probe_is_as_good_as_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    features = 1.2 * np.eye(4, 20)[labels] * 3 + rng.normal(size=(400, 20)) * np.linspace(0.1, 50, 20)
    found = probe(features[:200], labels[:200], features[200:], labels[200:])
    scaled = (features - features[:200].mean(0)) / features[:200].std(0)
    accuracies = [
        LogisticRegression(C=c, max_iter=500).fit(scaled[:200], labels[:200]).score(scaled[200:], labels[200:])
        for c in (1e-3, 1e-2, 1e-1, 1)
    ]
    assert min(accuracies) - 0.02 <= found.accuracy <= max(accuracies) + 0.02
    assert 0 < found.loss < np.log(4)


def test_any_encoder_can_be_probed_and_the_result_is_kept(part, tmp_path) -> None:
    def flat(items):
        return np.stack([np.asarray(each, dtype=float)[:, :, 0].ravel() for each in items])

    store = ResultStore(tmp_path / "study.sqlite")
    found = measure(FunctionEncoder("flat", flat), part, "probe", seeds=[0, 1], store=store, cache=False)
    assert [row.result["seed"] for row in store.results("probe")] == [0, 1]

    def broken(items):
        raise AssertionError

    again = measure(FunctionEncoder("flat", broken), part, "probe", seeds=[0, 1], store=store, cache=False)
    assert again == found


def test_no_seeds_are_refused(make_encoder, part) -> None:
    with pytest.raises(OptionError, match="`seeds` must hold one number or more"):
        measure(make_encoder(), part, seeds=[])


def test_the_ridge_is_chosen_by_rows_that_the_classifier_did_not_see() -> None:
    # More features than rows and little signal: what fits the training part best is the worst on others.
    rng = np.random.default_rng(1)
    labels = np.arange(160) % 2
    features = rng.normal(size=(160, 90)) + 0.8 * labels[:, None] * (np.arange(90) < 4)
    found = probe(features[:80], labels[:80], features[80:], labels[80:])
    scaled = (features - features[:80].mean(0)) / features[:80].std(0)
    overfitted = LogisticRegression(C=1 / (80 * 1e-4), max_iter=2000).fit(scaled[:80], labels[:80])
    loss = log_loss(labels[80:], overfitted.predict_proba(scaled[80:]))
    assert found.loss < 0.5 * loss


def test_the_probe_takes_no_scale_from_the_rows_it_is_measured_on() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(160) % 2
    features = rng.normal(size=(160, 10)) + 3 * labels[:, None]
    expected = probe(features[:80], labels[:80], features[80:], labels[80:])
    features[-1] *= 1e6  # right by a mile
    features[-1] = np.abs(features[-1]) * (2 * labels[-1] - 1)
    found = probe(features[:80], labels[:80], features[80:], labels[80:])
    assert found.accuracy >= expected.accuracy
    assert found.epochs == expected.epochs
