"""Fine-tuning: it learns, it is repeatable, and it leaves the encoder as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transferability.encoders.function import FunctionEncoder
from transferability.errors import EncoderError, LabelError
from transferability.validation.finetune import FineTuner
from transferability.validation.settings import FineTuning, Rates

QUICK = FineTuning(learning_rates=(1e-2,), weight_decays=(1e-4,), epochs=12, choice_epochs=1, batch_size=16)
RATES = Rates(1e-2, 1e-4)


def tuner(encoder, part, settings=QUICK):
    return FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, settings)


def test_it_learns(make_encoder, part) -> None:
    encoder = make_encoder()
    still = tuner(encoder, part).run(Rates(1e-12, 0.0), 0)
    tuned = tuner(encoder, part).run(RATES, 0)
    assert tuned.accuracy > 0.9
    assert tuned.validation_accuracy > 0.9
    assert tuned.loss < 0.5 * still.loss
    np.testing.assert_allclose(still.loss, np.log(2), atol=1e-4)  # the head begins at zero
    assert 1 <= tuned.epochs <= 12


def test_same_seed_same_numbers_whatever_was_done_before_and_the_encoder_is_left_as_it_was(make_encoder, part) -> None:
    encoder = make_encoder()
    before = {name: each.clone() for name, each in encoder.module.state_dict().items()}
    features = encoder.encode(part.dataset.items(range(3)))
    first = tuner(encoder, part)
    found = [first.run(RATES, 1), first.run(RATES, 2), first.run(RATES, 1)]
    assert found[0] == found[2]
    assert found[0] != found[1]
    assert tuner(make_encoder(), part).run(RATES, 1) == found[0]
    assert all(torch.equal(each, before[name]) for name, each in encoder.module.state_dict().items())
    assert not encoder.module.training
    np.testing.assert_array_equal(encoder.encode(part.dataset.items(range(3))), features)


def test_train_leaves_the_new_weights_in_the_encoder(make_encoder, part) -> None:
    encoder = make_encoder()
    features = encoder.encode(part.dataset.items(range(3)))
    kept = tuner(encoder, part).train(RATES, 0)
    assert kept == tuner(make_encoder(), part).run(RATES, 0)
    assert not np.allclose(encoder.encode(part.dataset.items(range(3))), features)


def test_rates_that_teach_nothing_are_not_chosen(make_encoder, part) -> None:
    settings = FineTuning(learning_rates=(1e-9, 1e-2), weight_decays=(1e-4,), choice_epochs=4, batch_size=16)
    assert tuner(make_encoder(), part, settings).choose().learning_rate == 1e-2


def test_it_stops_early_and_keeps_the_best_epoch(make_encoder, make_data) -> None:
    from transferability.pipeline import Settings, prepare

    noise = prepare(make_data(n=60, noise=20.0), Settings())  # nothing to be learned
    settings = FineTuning(epochs=40, patience=2, batch_size=16)
    found = tuner(make_encoder(), noise, settings).run(Rates(3e-2, 1e-4), 0)
    assert found.epochs < 30


def test_an_encoder_whose_features_overflow_is_refused(make_encoder, part, monkeypatch) -> None:
    encoder = make_encoder()
    monkeypatch.setattr(
        encoder, "differentiable", lambda batch: torch.full((len(batch), 4), torch.inf, requires_grad=True)
    )
    settings = FineTuning(choice_epochs=1)
    with pytest.raises(EncoderError, match="not finite at any of the learning rates"):
        tuner(encoder, part, settings).choose()


def test_what_does_not_run_in_torch_is_told_to_be_probed(part) -> None:
    encoder = FunctionEncoder("mean", lambda items: np.stack([np.asarray(each).mean((0, 1)) for each in items]))
    with pytest.raises(EncoderError, match="Take method 'probe'"):
        tuner(encoder, part)


def test_data_without_labels_are_refused(make_encoder, make_data) -> None:
    rows = np.arange(80)
    with pytest.raises(LabelError, match="must have labels to be trained on"):
        FineTuner(make_encoder(), make_data(labelled=False), rows[:50], rows[50:])


def test_frozen_normalisation_keeps_its_statistics_and_follows_else(make_encoder, part) -> None:
    for frozen in (True, False):
        encoder = make_encoder()
        encoder.module[1].momentum = 0.01
        mean = encoder.module[1].running_mean.clone()
        tuner(encoder, part).train(Rates(1e-2, 1e-4, frozen), 0)
        assert torch.equal(encoder.module[1].running_mean, mean) == frozen
    restored = make_encoder()
    restored.module[1].momentum = 0.01
    tuner(restored, part).run(RATES, 0)
    assert restored.module[1].momentum == 0.01
