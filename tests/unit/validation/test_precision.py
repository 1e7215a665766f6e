"""Mixed precision: used where the processor has it, and only then; weights stay in float32."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from transferability.pipeline import Settings, prepare
from transferability.validation.finetune import FineTuner
from transferability.validation.precision import has_bfloat16, mixed_precision
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
        still = tuner.run(Hyperparameters(1e-12, 0.0), 0)
        assert still.accuracy == still.probe_accuracy
        probes.append(tuner._start.loss)
    assert probes[0] != probes[1]


class Scattered(nn.Module):
    """Adds what a layer gives to values of its own, which must be of the same number format."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(values.shape).scatter(1, torch.zeros(values.shape, dtype=torch.long), values) + values


def test_a_network_that_computes_in_float32_alone_is_tuned_in_it(monkeypatch, make_encoder, part) -> None:
    able(monkeypatch, avx512_bf16=True)
    encoder = make_encoder()
    encoder.module.insert(1, Scattered())
    with pytest.raises(RuntimeError, match="dtype"), mixed_precision(CPU):
        encoder.module(torch.ones(1, 3, 8, 8))
    settings = FineTuning(learning_rates=(1e-2,), epochs=1, choice_epochs=1)
    tuner = FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, settings)
    assert tuner.run(CHOSEN, 0) == tuner.with_settings(replace(settings, mixed_precision=False)).run(CHOSEN, 0)
