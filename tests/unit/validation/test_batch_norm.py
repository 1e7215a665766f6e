"""Batch normalisation of networks that never saw data, and of those that did."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from transferability.validation.batch_norm import estimate_untouched, norms_of, short_memory


def deep(n_layers=12, width=16):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.SiLU()]
    for _ in range(n_layers):
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.SiLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def batches(n=6):
    return list(torch.randn(n, 8, 3, 12, 12, generator=torch.Generator().manual_seed(1)))


def spread(network) -> float:
    with torch.no_grad():
        return float(network(batches(1)[0]).std(0).mean())


def test_a_random_network_passes_on_what_differs_once_its_statistics_are_estimated() -> None:
    network = deep()
    before = spread(network)
    assert estimate_untouched(network, batches(), network) == 13
    assert before < 1e-4 < 1e-2 < spread(network)
    assert not any(layer.training for layer in norms_of(network))
    assert {layer.momentum for layer in norms_of(network)} == {0.1}


def test_statistics_are_the_mean_over_the_batches() -> None:
    network = deep(n_layers=0)
    estimate_untouched(network, batches(), network)
    with torch.no_grad():
        maps = [network[0](batch) for batch in batches()]
    wanted = np.mean([each.mean((0, 2, 3)).numpy() for each in maps], axis=0)
    np.testing.assert_allclose(network[1].running_mean, wanted, rtol=1e-4, atol=1e-6)


def test_layers_that_saw_data_keep_what_they_have() -> None:
    network = deep()
    network[1].running_mean += 0.3
    before = {name: each.clone() for name, each in network[1].state_dict().items()}
    assert estimate_untouched(network, batches(), network) == 12
    assert all(torch.equal(each, before[name]) for name, each in network[1].state_dict().items())
    assert estimate_untouched(network, batches(), network) == 0  # all of them have, now


def test_momentum_is_larger_inside_the_block_only() -> None:
    layers = [nn.BatchNorm1d(2, momentum=each) for each in (0.01, 0.3, None)]
    with short_memory(layers):
        assert [each.momentum for each in layers] == [0.1, 0.3, 0.1]
    assert [each.momentum for each in layers] == [0.01, 0.3, None]
