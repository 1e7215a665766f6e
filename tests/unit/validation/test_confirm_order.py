"""By what encoders go on in a race, and what is said of one that fine-tuning did not improve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from transferability.pipeline import Settings, prepare
from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.validation.confirm import confirm
from transferability.validation.settings import FineTuning

STEPS_ENOUGH = FineTuning((1e-2,), (False,), epochs=8, batch_size=1, choice_epochs=1)


def test_the_most_accurate_on_the_validation_rows_go_on_and_of_equal_ones_those_of_the_smallest_loss(
    make_encoder, make_data
) -> None:
    """Neither a small loss alone, nor the accuracy on the test rows."""
    of = {  # accuracy and loss on the validation rows, accuracy on the test rows
        "surer": (0.80, 0.10, 0.99),
        "luckier": (0.81, 0.20, 1.00),
        "best": (0.90, 0.90, 0.50),
        "second": (0.86, 0.40, 0.60),
        "third": (0.85, 0.39, 0.55),
        "equal": (0.85, 0.41, 0.95),
    }
    last = []

    def executor(jobs):
        last[:] = [job.encoder.name for job in jobs]
        for place, job in enumerate(jobs):
            validated, loss, accuracy = of[job.encoder.name]
            chosen = {"learning_rate": 1e-3, "weight_decay": 0.0, "frozen_norm": False}
            measured = {"accuracy": accuracy, "loss": 1.0, "validation_accuracy": validated, "validation_loss": loss}
            yield place, measured | {"epochs": 0, "probe_accuracy": 0.1, "chosen": chosen, "seconds": 1.0}

    part = prepare(make_data(n=100), Settings())
    encoders = [make_encoder(name) for name in of]
    found = confirm(encoders, part, settings=Settings(cache=False), tuning=STEPS_ENOUGH, executor=executor)
    assert found.rounds == (2, 8)
    assert last == ["best", "second", "third"]
    assert [each.encoder for each in found.entries] == ["second", "third", "best", "luckier", "surer", "equal"]
    assert {each.best_epoch for each in found.entries} == {0}
    assert found.in_words.startswith(
        "Fine-tuning on stripes did not improve second, a linear classifier on whose features"
    )


@pytest.mark.parametrize(
    ("epoch", "layer", "start"),
    [
        (3, None, "Fine-tuned on stripes, b is right in 92.0% of 50 rows"),
        (None, None, "Fine-tuned on stripes, b is right in 92.0% of 50 rows"),  # written by an earlier version
        (
            0,
            None,
            "Fine-tuning on stripes did not improve b, a linear classifier on whose features is right in 92.0% of 50",
        ),
        (
            0,
            "b/layer=1",
            "Fine-tuning on stripes did not improve b, ranked by its layer 1, a linear classifier on whose features is",
        ),
    ],
)
def test_what_fine_tuning_did_not_improve_is_not_called_fine_tuned(epoch, layer, start) -> None:
    entry = Confirmed("b", 0.92, 0.92, 12, finished=True, best_epoch=epoch, ranked_as=layer)
    found = Confirmation("stripes", 50, (entry,), (12,))
    assert found.in_words.startswith(start)
    assert Confirmation.from_dict(found.to_dict()) == found
    old = found.to_dict()
    old["entries"][0].pop("best_epoch")
    assert Confirmation.from_dict(old).entries[0] == replace(entry, best_epoch=None)
