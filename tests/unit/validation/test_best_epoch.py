"""Which weights of a run are kept."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from transferability.validation.best_epoch import BestEpoch


def run(epochs, *, start=(0.5, 0.80)):
    """Return what is kept after (loss, accuracy) of epochs, with weights that tell the epoch."""
    network, before, head = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
    for each in (network, before):
        nn.init.zeros_(each.weight)
    best = BestEpoch(network, before, loss=start[0], accuracy=start[1])
    for epoch, (loss, accuracy) in enumerate(epochs, 1):
        for each in (network, head):
            nn.init.constant_(each.weight, float(epoch))
        assert best.add(epoch, head, loss, accuracy) == math.isfinite(loss)
    best.put_back(head)
    assert network.weight.item() == head.weight.item() == best.epoch
    return best


@pytest.mark.parametrize(
    ("epochs", "kept"),
    [
        ([], 0),
        ([(0.4, 0.79)], 0),  # surer, and less accurate
        ([(0.9, 0.81)], 1),  # more accurate, and its loss does not count
        ([(0.9, 0.801)], 1),  # one row of a thousand
        ([(0.4, 0.799)], 0),
        ([(0.5, 0.80)], 0),  # equal: what was there before
        ([(0.49, 0.80)], 1),
        ([(0.6, 0.85), (0.7, 0.90), (0.1, 0.88)], 2),
        ([(0.6, 0.85), (0.5, 0.85), (0.7, 0.85)], 2),
        ([(0.6, 0.85), (math.nan, 0.99)], 1),
        ([(math.inf, 0.99)], 0),
    ],
)
def test_the_most_accurate_is_kept_and_of_equal_ones_that_of_the_smallest_loss(epochs, kept) -> None:
    best = run(epochs)
    assert best.epoch == kept
    assert best.accuracy == [0.80, *(accuracy for _, accuracy in epochs)][kept]


def test_the_smallest_loss_is_that_of_an_epoch_whichever_is_kept() -> None:
    assert run([]).smallest_loss == math.inf
    assert run([(0.9, 0.9), (0.7, 0.7), (0.8, 0.8)]).smallest_loss == 0.7
    assert run([(math.nan, 0.9)]).smallest_loss == math.inf


def test_weights_are_copied() -> None:
    network, head = nn.BatchNorm1d(2), nn.Linear(2, 2)
    nn.init.zeros_(head.weight)
    best = BestEpoch(network, head, loss=1.0, accuracy=0.5)
    with torch.no_grad():
        network.running_mean += 1
        head.weight += 1
    best.put_back(head)
    assert network.running_mean.sum() == head.weight.sum() == 0
