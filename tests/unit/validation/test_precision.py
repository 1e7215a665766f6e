"""Mixed precision: used where the processor has it, and only then; weights stay in float32."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from transferability.pipeline import Settings, prepare
from transferability.ranking.store import ResultStore
from transferability.validation.confirm import confirm
from transferability.validation.finetune import FineTuner
from transferability.validation.measure import measure
from transferability.validation.precision import computes_mixed, has_bfloat16, mixed_precision, number_format
from transferability.validation.settings import FineTuning, Hyperparameters

CPU = torch.device("cpu")
CHOSEN = Hyperparameters(1e-2, 1e-4)


def product(device: torch.device) -> torch.dtype:
    """The number format of a product of float32 matrices."""
    with mixed_precision(device):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def able(monkeypatch, **instructions: bool) -> None:
    """Let torch say that the CPU has these instructions."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_with_instructions_for_bfloat16_multiplies_in_it(monkeypatch, name) -> None:
    able(monkeypatch, **{name: True})
    assert has_bfloat16(CPU)
    assert product(CPU) == torch.bfloat16


def test_a_cpu_without_computes_in_float32(monkeypatch) -> None:
    able(monkeypatch, avx512_f=True, avx512_bf16=False)
    assert not has_bfloat16(CPU)
    assert product(CPU) == torch.float32


def test_torch_that_does_not_say_what_a_cpu_has_computes_in_float32(monkeypatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert product(CPU) == torch.float32


def test_a_gpu_that_only_emulates_bfloat16_is_left_in_float32(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not has_bfloat16(torch.device("cuda"))
    assert not has_bfloat16(torch.device("mps"))


@pytest.mark.parametrize("mixed", [True, False])
def test_the_setting_decides_what_passes_compute_in_and_weights_stay_float32(
    monkeypatch, make_encoder, part, mixed
) -> None:
    able(monkeypatch, avx512_bf16=True)
    encoder = make_encoder()
    seen, weights = set(), set()

    def look(module, _inputs, output) -> None:
        seen.add(output.dtype) if module.training else None
        weights.add(module.weight.dtype)

    encoder.module[0].register_forward_hook(look)
    settings = FineTuning(learning_rates=(1e-2,), epochs=1, choice_epochs=1, mixed_precision=mixed)
    result = FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, settings).run(CHOSEN, 0)
    assert weights == {torch.float32}
    assert torch.bfloat16 in seen if mixed else seen == {torch.float32}
    assert result.accuracy >= 0.5


def test_what_is_learned_in_bfloat16_is_what_is_learned_in_float32(monkeypatch, make_encoder, part) -> None:
    able(monkeypatch, avx512_bf16=True)
    settings = FineTuning(learning_rates=(1e-2,), epochs=6, choice_epochs=1, batch_size=16)
    tuner = FineTuner(make_encoder(width=4), part.dataset, part.fit_rows, part.test_rows, settings)
    plain = tuner.with_settings(replace(settings, mixed_precision=False)).run(CHOSEN, 0)
    mixed = tuner.run(CHOSEN, 0)
    assert mixed.loss != plain.loss
    assert abs(mixed.loss - plain.loss) < 0.03
    assert mixed.epochs == plain.epochs


def test_the_probe_that_a_run_begins_from_is_of_the_same_number_format(monkeypatch, make_encoder, make_data) -> None:
    """Or a run that learns nothing would not be as accurate as its probe."""
    able(monkeypatch, avx512_bf16=True)
    part = prepare(make_data(n=400, noise=0.6), Settings())
    settings = FineTuning(learning_rates=(1e-2,), epochs=1, choice_epochs=1)
    mixed = FineTuner(make_encoder(width=2), part.dataset, part.fit_rows, part.test_rows, settings)
    plain = mixed.with_settings(replace(settings, mixed_precision=False))
    probes = []
    for tuner in (mixed, plain):
        still = tuner.run(Hyperparameters(1e-12, 0.0, head="probe"), 0)
        assert still.accuracy == still.probe_accuracy
        probes.append(tuner._start.loss)
    assert probes[0] != probes[1]


class Scattered(nn.Module):
    """Adds what a layer gives to values of its own, which must be of the same number format."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(values.shape).scatter(1, torch.zeros(values.shape, dtype=torch.long), values) + values


class Product(torch.autograd.Function):
    """A product whose gradient multiplies by weights as they are saved."""

    @staticmethod
    def forward(ctx, values, weights):
        ctx.save_for_backward(weights)
        return values @ weights.to(values.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient @ ctx.saved_tensors[0].T, None


class Multiplied(nn.Module):
    """Fails backward where its input is bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.eye(8))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return Product.apply(values, self.own)


class ToNumpy(nn.Module):
    """NumPy has no bfloat16."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + float(values.detach().numpy().mean())


@pytest.mark.parametrize("layer", [Scattered, Multiplied, ToNumpy])
def test_a_network_that_trains_in_float32_alone_is_tuned_in_it(monkeypatch, make_encoder, part, layer) -> None:
    able(monkeypatch, avx512_bf16=True)
    encoder = make_encoder()
    encoder.module.insert(1, layer())
    before = copy.deepcopy(encoder.module.state_dict())
    assert not computes_mixed(encoder, torch.rand(2, 3, 8, 8), CPU)
    assert all(torch.equal(value, before[name]) for name, value in encoder.module.state_dict().items())
    assert computes_mixed(make_encoder(), torch.rand(2, 3, 8, 8), CPU)
    settings = FineTuning(learning_rates=(1e-2,), epochs=1, choice_epochs=1)
    tuner = FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, settings)
    assert tuner.run(CHOSEN, 0) == tuner.with_settings(replace(settings, mixed_precision=False)).run(CHOSEN, 0)


def test_a_network_whose_features_are_not_finite_in_mixed_precision_is_tuned_in_float32(
    monkeypatch, make_encoder
) -> None:
    able(monkeypatch, avx512_bf16=True)

    class Infinite(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values / (values.dtype == torch.float32)

    encoder = make_encoder()
    encoder.module.insert(1, Infinite())
    assert not computes_mixed(encoder, torch.rand(2, 3, 8, 8), CPU)


def test_what_is_kept_is_kept_by_its_number_format(monkeypatch, make_encoder, part, tmp_path) -> None:
    settings = FineTuning(learning_rates=(1e-2,), epochs=1, choice_epochs=1)
    losses, confirmed, store = [], [], ResultStore(tmp_path / "results.sqlite")
    for instructions in ({}, {"avx512_bf16": True}, {}):
        able(monkeypatch, **instructions)
        losses.append(measure(make_encoder(), part, seeds=(0,), settings=settings, store=store)[0].loss)
        confirmed.append(confirm([make_encoder()], part, tuning=settings, store=store).entries[0].seconds)
    assert losses[0] == losses[2] != losses[1]
    assert confirmed[0] == confirmed[2] != confirmed[1]  # of training: kept with the result
    assert number_format(make_encoder(), replace(settings, mixed_precision=False)) == "float32"
