"""Which weights of a run are kept, and when it ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from transferability.validation.best_epoch import BestEpoch


def run(epochs, *, start=(0.5, 0.80), patience=100):
    """Return what is kept after (loss, accuracy) of epochs until training ends, with weights that tell the epoch."""
    network, before, head = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
    for each in (network, before):
        nn.init.zeros_(each.weight)
    best = BestEpoch(network, before, loss=start[0], accuracy=start[1], patience=patience)
    seen = 0
    for seen, (loss, accuracy) in enumerate(epochs, 1):
        for each in (network, head):
            nn.init.constant_(each.weight, float(seen))
        if not best.add(head, loss, accuracy):
            break
    best.put_back(head)
    assert network.weight.item() == head.weight.item() == best.epoch
    return best, seen


@pytest.mark.parametrize(
    ("epochs", "kept"),
    [
        ([], 0),
        ([(0.4, 0.79)], 0),  # surer, and less accurate
        ([(0.9, 0.81)], 1),  # more accurate, and its loss does not count
        ([(0.5, 0.80)], 0),  # equal: what was there before
        ([(0.49, 0.80)], 1),
        ([(0.6, 0.85), (0.7, 0.90), (0.1, 0.88)], 2),
        ([(0.6, 0.85), (0.5, 0.85), (0.7, 0.85)], 2),
        ([(0.6, 0.85), (math.nan, 0.99), (0.1, 0.99)], 1),
        ([(math.inf, 0.99)], 0),
    ],
)
def test_the_most_accurate_is_kept_and_of_equal_ones_that_of_the_smallest_loss(epochs, kept) -> None:
    best, _ = run(epochs)
    assert best.epoch == kept
    assert best.accuracy == [0.80, *(accuracy for _, accuracy in epochs)][kept]


def test_the_smallest_loss_is_that_of_an_epoch_whichever_is_kept() -> None:
    assert run([])[0].smallest_loss == math.inf
    assert run([(0.9, 0.9), (0.7, 0.7), (0.8, 0.8)])[0].smallest_loss == 0.7
    assert run([(math.nan, 0.9)])[0].smallest_loss == math.inf


@pytest.mark.parametrize(
    ("epochs", "passes"),
    [
        ([(0.9, 0.1)] * 5, 3),  # the first, and two without anything better
        ([(0.9, 0.1), (0.8, 0.1), (0.7, 0.1), (0.9, 0.1), (0.9, 0.1)], 5),  # the loss falls
        ([(0.9, 0.1), (1.0, 0.2), (1.1, 0.3), (1.2, 0.3), (1.3, 0.3)], 5),  # the accuracy rises
        ([(0.9, 0.1), (1.0, 0.1), (1.0, 0.2), (1.0, 0.2), (1.0, 0.2)], 5),
        ([(0.9, 0.1), (math.inf, 0.9), (0.1, 0.9)], 2),
    ],
)
def test_training_ends_after_so_many_epochs_without_anything_better(epochs, passes) -> None:
    assert run([*epochs, (0.0, 1.0)], patience=2)[1] == passes


def test_weights_are_copied() -> None:
    network, head = nn.BatchNorm1d(2), nn.Linear(2, 2)
    nn.init.zeros_(head.weight)
    best = BestEpoch(network, head, loss=1.0, accuracy=0.5, patience=2)
    with torch.no_grad():
        network.running_mean += 1
        head.weight += 1
    best.put_back(head)
    assert network.running_mean.sum() == head.weight.sum() == 0
