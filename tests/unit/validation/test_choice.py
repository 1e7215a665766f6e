"""Settings are chosen by short tries, and a long run must end better than its try."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from transferability.errors import EncoderError
from transferability.pipeline import Settings, prepare
from transferability.validation.choice import choose
from transferability.validation.confirm import BRIEF, _rounds
from transferability.validation.finetune import FineTuner
from transferability.validation.settings import FineTuning, Hyperparameters

QUICK = FineTuning(learning_rates=(1e-3, 1e-2), epochs=12, choice_epochs=1, batch_size=4, mixed_precision=False)
CHOSEN = Hyperparameters(1e-2, 1e-4)


def distance(tried: Hyperparameters) -> tuple[float, float]:
    """A loss that is least at the rate 1e-4, with the probe and statistics that move; and an accuracy."""
    return abs(math.log10(tried.learning_rate) + 4) + (tried.head == "fresh") + 0.5 * tried.frozen_norm, 0.7


def test_the_least_loss_is_chosen_and_told() -> None:
    found = choose(FineTuning(), distance, normalised=True, encoder="a")
    assert found == Hyperparameters(1e-4, 1e-2, False, "probe", 0.7)
    assert choose(FineTuning(), distance, normalised=False, encoder="a") == found
    decays = FineTuning(weight_decays=(1e-2, 1e-3))
    light = choose(decays, lambda tried: (tried.weight_decay, 0.5 - tried.weight_decay), normalised=True, encoder="a")
    assert (light.weight_decay, light.tried_accuracy) == (1e-3, 0.499)


def test_nothing_is_tried_without_a_choice() -> None:
    alone = FineTuning(learning_rates=(1e-3,), frozen_norms=(True,), head_starts=("probe",))
    found = choose(alone, lambda _: pytest.fail("tried"), normalised=True, encoder="a")
    assert found == Hyperparameters(1e-3, 1e-2, True, "probe", None)


def test_no_setting_is_tried_twice() -> None:
    tried = []
    choose(FineTuning(), lambda each: tried.append(each) or distance(each), normalised=True, encoder="a")
    assert len(tried) == len(set(tried))


def test_losses_that_are_not_finite_name_the_encoder_and_its_rates() -> None:
    with pytest.raises(EncoderError, match=r"encoder .a. cannot be fine-tuned.*1e-08, .*0\.001\. Take smaller ones"):
        choose(FineTuning(), lambda _: (math.inf, 0.9), normalised=True, encoder="a")


@pytest.fixture
def hard(make_data):
    """Pictures that one random filter does not tell apart, and a trained one does."""
    return prepare(make_data(n=120, noise=0.6), Settings())


def tuner(encoder, part, settings=QUICK):
    return FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, settings)


@pytest.mark.parametrize(("rate", "seed", "longer"), [(1e-3, 1, True), (0.3, 0, False)])
def test_a_long_run_that_is_less_accurate_than_its_try_gives_way_to_one_as_short(
    make_encoder, hard, rate, seed, longer
) -> None:
    """At the small rate the long run is the better one, at the large one the short: each is kept where it is."""
    encoder, chosen = make_encoder(width=1), replace(CHOSEN, learning_rate=rate)
    found = tuner(encoder, hard)
    long, short = (found.run(chosen, seed, epochs=epochs) for epochs in (QUICK.epochs, 3))
    assert QUICK.epochs_of_a_try(len(found._parts.train)) == 3
    assert long.validation_accuracy != short.validation_accuracy
    assert (long.validation_accuracy > short.validation_accuracy) == longer
    assert found.run(replace(chosen, tried_accuracy=long.validation_accuracy), seed) == long
    better = long if longer else short
    assert found.run(replace(chosen, tried_accuracy=2.0), seed) == better
    before = encoder.module[0].weight.detach().clone()
    assert found.train(replace(chosen, tried_accuracy=2.0), seed) == better
    assert not torch.equal(encoder.module[0].weight, before)
    kept = tuner(make_encoder(width=1), hard)
    kept.train(chosen, seed) if longer else kept.with_settings(replace(QUICK, epochs=3)).train(chosen, seed)
    assert torch.equal(encoder.module[0].weight, kept._encoder.module[0].weight)


def test_a_short_run_begins_from_the_weights_that_the_long_one_began_from(make_encoder, hard) -> None:
    found, began = tuner(make_encoder(width=1), hard), []
    train, network = found._train, found._encoder.module

    def watched(*inputs):
        began.append(network[0].weight.detach().clone())
        return train(*inputs)

    found._train = watched
    found.run(replace(CHOSEN, tried_accuracy=2.0), 1)
    long, short = began
    assert torch.equal(long, short)
    found._train = train
    found.train(CHOSEN, 1)
    assert not torch.equal(network[0].weight, long)  # the long one moves them


def test_the_accuracy_that_is_told_is_that_of_the_short_run(make_encoder, hard) -> None:
    found = tuner(make_encoder(width=1), hard)
    chosen = found.choose()
    short = found.run(replace(chosen, tried_accuracy=None), 0, epochs=3)
    assert short.validation_accuracy == chosen.tried_accuracy < 1


def test_a_run_no_longer_than_a_try_is_trained_once(make_encoder, part, monkeypatch) -> None:
    found, trained = tuner(make_encoder(), part), []
    real = found._train
    monkeypatch.setattr(found, "_train", lambda *given: trained.append(given) or real(*given))
    short = QUICK.epochs_of_a_try(len(found._parts.train))
    found.run(replace(CHOSEN, tried_accuracy=2.0), 0, epochs=short)
    assert len(trained) == 1
    found.run(replace(CHOSEN, tried_accuracy=2.0), 0)
    assert [epochs for *_, epochs in trained] == [short, QUICK.epochs, short]


def tries(tuning: FineTuning) -> int:
    return len(tuning.learning_rates) * len(tuning.head_starts) + len(tuning.frozen_norms) - 1


def epochs(tuning: FineTuning) -> int:
    """Return what choosing settings and one whole run take."""
    return tries(tuning) * tuning.choice_epochs + tuning.epochs


def test_the_brief_recipe_costs_a_seventh_of_nine_encoders() -> None:
    assert _rounds(3, BRIEF, 1000) == [BRIEF.epochs]
    assert 3 * epochs(BRIEF) / (9 * epochs(FineTuning())) == pytest.approx(0.14, abs=0.005)  # docs/validate.md
