"""Convolutions laid out for speed: the same sums, and a network that is put back as it came."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from transferability.validation.convolutions import fast_convolutions
from transferability.validation.finetune import FineTuner
from transferability.validation.settings import FineTuning, Hyperparameters

CPU = torch.device("cpu")
LAST = torch.channels_last
CHOSEN = Hyperparameters(1e-2, 1e-4)
SETTINGS = FineTuning(learning_rates=(1e-2,), epochs=2, choice_epochs=1)


def separable() -> nn.Sequential:
    """A network of a depthwise convolution between two others."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 5, 2, 2, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 3))


def last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=LAST) and not tensor.is_contiguous()


def gradients(network: nn.Module, values: torch.Tensor) -> list[torch.Tensor]:
    network(values).square().mean().backward()
    found = [each.grad.clone() for each in network.parameters() if each.grad is not None]
    network.zero_grad()
    return found


def test_values_and_gradients_are_the_same_but_for_rounding() -> None:
    network, values = separable(), torch.rand(5, 3, 16, 16)
    expected, slopes = network(values), gradients(network, values)
    with fast_convolutions(network, CPU):
        assert last(network(values))
        torch.testing.assert_close(network(values), expected)
        for found, slope in zip(gradients(network, values), slopes, strict=True):
            torch.testing.assert_close(found, slope)


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_weights_lie_as_before_afterwards_with_what_they_learned(error) -> None:
    network = separable()
    places = [each.data_ptr() for each in network.parameters()]
    expected = [each.detach() + 1 for each in network.parameters()]
    with pytest.raises(error) if error else nullcontext(), fast_convolutions(network, CPU):
        assert last(network[0].weight)
        with torch.no_grad():
            for each in network.parameters():
                each.add_(1)
        if error:
            raise error
    for weight, place, value in zip(network.parameters(), places, expected, strict=True):
        assert weight.data_ptr() == place
        assert weight.is_contiguous()
        assert torch.equal(weight, value)
    assert not any("forward" in vars(each) for each in network.modules())


def test_a_depthwise_convolution_computes_in_float32_and_gives_the_format_that_it_got() -> None:
    network, values = separable(), torch.rand(2, 8, 9, 9)
    exact = network[1](values)
    with fast_convolutions(network, CPU), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network[1](values), exact)
        assert network[1](values).dtype == torch.float32
        assert network[0](torch.rand(2, 3, 9, 9)).dtype == torch.bfloat16
        half = network[1](values.bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half, network[1](values.bfloat16().float()).bfloat16())


def test_a_depthwise_convolution_of_another_number_format_keeps_it() -> None:
    network = separable().double()
    with fast_convolutions(network, CPU):
        assert network(torch.rand(2, 3, 9, 9, dtype=torch.float64)).dtype == torch.float64


def test_a_pass_of_ones_own_stays() -> None:
    network = separable()
    network[1].forward = lambda values: 2 * values
    own = network[1].forward
    with fast_convolutions(network, CPU):
        assert torch.equal(network[1](torch.ones(1, 8, 2, 2)), torch.full((1, 8, 2, 2), 2.0))
    assert network[1].forward is own


def test_shared_and_computed_weights_are_taken_as_they_are() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3, groups=3))
    network[1].weight = network[0].weight
    nn.utils.parametrizations.weight_norm(network[2])
    values = torch.rand(2, 3, 9, 9)
    expected = network(values)
    with fast_convolutions(network, CPU):
        assert network[0].weight is network[1].weight
        torch.testing.assert_close(network(values), expected)
    assert torch.equal(network(values), expected)


def test_weights_that_come_last_already_stay_so() -> None:
    network = separable().to(memory_format=LAST)
    with fast_convolutions(network, CPU):
        pass
    assert last(network[0].weight)


def test_nothing_is_changed_for_other_devices() -> None:
    network = separable()
    with fast_convolutions(network, torch.device("cuda")):
        assert not last(network[0].weight)
        assert "forward" not in vars(network[1])


def test_tuning_computes_in_this_layout_and_gives_the_network_back(make_encoder, part) -> None:
    encoder = make_encoder()
    seen = set()
    encoder.module[0].register_forward_hook(lambda module, _inputs, output: seen.add((module.training, last(output))))
    tuner = FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, SETTINGS)
    tuner.run(tuner.choose(), 0)
    assert (True, True) in seen
    assert (False, True) in seen
    seen.clear()
    tuner.train(CHOSEN, 0)
    assert seen == {(True, True), (False, True)}
    assert encoder.module[0].weight.is_contiguous()


class Rows(nn.Module):
    """Takes positions as rows, which values whose channels come last do not allow."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.view(len(values), -1)


def test_a_network_that_does_not_take_this_layout_is_tuned_as_it_comes(make_encoder, part) -> None:
    encoder = make_encoder()
    encoder.module[3] = nn.AvgPool2d(4)
    encoder.module[4] = Rows()
    settings = FineTuning(learning_rates=(1e-2,), epochs=6, choice_epochs=1, batch_size=16)
    assert FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, settings).run(CHOSEN, 0).epochs > 0


def tied() -> nn.Module:
    """Two convolutions of one memory, by two parameters."""
    network = nn.Sequential(nn.Conv2d(3, 3, 3, bias=False), nn.Conv2d(3, 3, 3, bias=False), nn.Conv2d(3, 4, 3))
    network[1].weight.data = network[0].weight.data
    return network


def test_weights_that_share_memory_stay_so() -> None:
    network = tied()
    with fast_convolutions(network, CPU):
        assert network[0].weight.data_ptr() == network[1].weight.data_ptr()
        assert not last(network[0].weight)
        assert last(network[2].weight)
        with torch.no_grad():
            network[0].weight.add_(1)
    assert torch.equal(network[0].weight, network[1].weight)


class Flat(nn.Conv2d):
    """Keeps its weight in one row."""

    def __init__(self) -> None:
        super().__init__(8, 8, 3, groups=8, bias=False)
        self.weight = nn.Parameter(torch.rand(72))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(values, self.weight.reshape(8, 1, 3, 3), groups=8)


class Complex(nn.Conv2d):
    """Gives complex numbers of real ones."""

    def __init__(self) -> None:
        super().__init__(8, 8, 3, groups=8, dtype=torch.complex64)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values.to(torch.complex64))


class Widened(nn.Conv2d):
    """Gives another number format than that of its weights."""

    def __init__(self) -> None:
        super().__init__(8, 8, 3, groups=8)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values).double()


@pytest.mark.parametrize("convolution", [Flat, Complex, Widened])
def test_convolutions_of_another_kind_compute_as_they_do(convolution) -> None:
    network, values = nn.Sequential(convolution()), torch.rand(2, 8, 5, 5)
    expected = network(values)
    with fast_convolutions(network, CPU):
        found = network(values)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected)


def test_a_lazy_convolution_is_left_until_it_has_weights() -> None:
    network = nn.Sequential(nn.LazyConv2d(4, 3))
    with fast_convolutions(network, CPU):
        assert network(torch.rand(1, 3, 5, 5)).shape == (1, 4, 3, 3)


def test_a_copy_that_is_made_meanwhile_is_a_network_of_its_own() -> None:
    network, values = separable(), torch.rand(2, 3, 16, 16)
    with fast_convolutions(network, CPU):
        other = copy.deepcopy(network)
    expected = other(values)
    with torch.no_grad():
        for each in network.parameters():
            each.zero_()
    assert torch.equal(other(values), expected)
    assert expected.abs().max() > 0


def test_an_error_while_weights_are_laid_out_is_told_and_undone(monkeypatch) -> None:
    network, real, calls = separable(), torch.Tensor.contiguous, []

    def short(tensor, **options):
        calls.append(tensor)
        if len(calls) == 2:
            raise MemoryError
        return real(tensor, **options)

    monkeypatch.setattr(torch.Tensor, "contiguous", short)
    with pytest.raises(MemoryError), fast_convolutions(network, CPU):
        pass
    assert all(each.is_contiguous() for each in network.parameters())


class RowsInEvaluation(Rows):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.flatten(1) if self.training else super().forward(values)


def test_a_network_that_fails_in_evaluation_alone_is_tuned_as_it_comes(make_encoder, part) -> None:
    encoder = make_encoder()
    encoder.module[3], encoder.module[4] = nn.AvgPool2d(4), RowsInEvaluation()
    assert FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, SETTINGS).run(CHOSEN, 0).accuracy > 0


def test_pictures_are_read_before_the_network_is_changed(make_encoder, part, monkeypatch) -> None:
    """Reading may send the encoder to other processes, which such a network cannot be."""
    encoder, changed = make_encoder(), []
    tuner = FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, SETTINGS)
    real = tuner._items.first
    monkeypatch.setattr(tuner._items, "first", lambda n: changed.append(last(encoder.module[0].weight)) or real(n))
    tuner.run(CHOSEN, 0)
    assert changed[0] is False


def test_modes_are_put_back_module_by_module(make_encoder, part) -> None:
    encoder = make_encoder()
    encoder.module.train()
    encoder.module[1].eval()
    FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, SETTINGS).run(CHOSEN, 0)
    assert [each.training for each in encoder.module] == [True, False, True, True, True]
