import dataclasses
import math

import numpy as np
import pytest
import torch

from d3pm import (
    Absorbing,
    ContinuousSchedule,
    cosine_betas,
    inverse_betas,
    linear_betas,
    mutual_information_alphas,
    nearest_neighbour_rate,
)
from d3pm.build import build_process
from d3pm.config import ProcessConfig
from d3pm.data import DataSpec
from d3pm.errors import OptionError
from d3pm.spectrum import Spectrum
from reference import double, golden


@pytest.mark.parametrize("n_steps", [10, 1000])
def test_against_stored_schedules(n_steps):
    d = golden("schedules")
    for name, betas in (
        (f"cosine_T{n_steps}", cosine_betas(n_steps)),
        (f"mi_absorbing_T{n_steps}", inverse_betas(n_steps)),
        (f"linear_gauss_T{n_steps}", linear_betas(n_steps)),
    ):
        assert betas.shape == (n_steps,)
        torch.testing.assert_close(betas[:3], double(d[name]["first3"]), rtol=1e-11, atol=0)
        torch.testing.assert_close(betas[-3:], double(d[name]["last3"]), rtol=1e-9, atol=0)


@pytest.mark.parametrize("case", ["uniform", "absorbing", "nearest_neighbour"])
def test_mutual_information(case):
    d = golden("mi_schedule")[case]
    rate = double(d["R"]) if case == "nearest_neighbour" else case
    alphas = mutual_information_alphas(double(d["p0"]), 10, rate)
    torch.testing.assert_close(alphas.cumsum(0)[:9], double(d["alpha_bar"]), rtol=1e-9, atol=0)
    if d["beta_equiv"]:
        torch.testing.assert_close(-torch.expm1(-alphas[:9]), double(d["beta_equiv"]), rtol=1e-8, atol=0)


def test_mutual_information_takes_a_matrix_for_uniform_too():
    d = golden("mi_schedule")["uniform"]
    ours = mutual_information_alphas(double(d["p0"]), 10, double(d["R"]))
    torch.testing.assert_close(ours.cumsum(0)[:9], double(d["alpha_bar"]), rtol=1e-9, atol=0)


def frequent(n_states, seed=0):
    """Zipf's law in random order."""
    p = 1 / torch.randperm(n_states, generator=torch.Generator().manual_seed(seed)).double().add(1)
    return p / p.sum()


def information_lost(p0, spectrum, exponents, mask_rate=0.0):
    """1 − I/H from whole matrices."""
    entr, lost = torch.special.entr, []
    for a in exponents:
        Q = torch.linalg.matrix_exp(a * spectrum.rate)
        kept = entr(p0 @ Q).sum() - p0 @ entr(Q.clamp(min=0)).sum(-1)
        lost.append(float(1 - math.exp(-mask_rate * a) * kept / entr(p0).sum()))
    return torch.tensor(lost, dtype=torch.float64)


@pytest.mark.parametrize("mask_rate", [0.0, 0.2])
@pytest.mark.parametrize(("n_rows", "tolerance"), [(512, 1e-4), (48, 2e-2)])
def test_interpolated_schedule_loses_information_evenly(n_rows, tolerance, mask_rate, monkeypatch):
    """With many states the curve is interpolated, and with very many read off rows that stand for all."""
    monkeypatch.setattr("d3pm.mutual_information._ROWS", n_rows)
    p0 = frequent(150)
    rate = nearest_neighbour_rate(torch.randn(150, 4, generator=torch.Generator().manual_seed(0)), 6)
    spectrum = Spectrum.of_rate(rate)
    alphas = mutual_information_alphas(p0, 20, spectrum, mask_rate)
    lost = information_lost(p0, spectrum, alphas.cumsum(0)[:19], mask_rate)
    torch.testing.assert_close(lost, torch.arange(1, 20, dtype=torch.float64) / 20, rtol=0, atol=tolerance)
    assert bool((alphas > 0).all())


@pytest.mark.parametrize("n_states", [8, 100])
def test_schedules_at_the_edges_are_schedules(n_states):
    """Almost all mass on one state; two halves that a thread connects, between which information lasts for ever."""
    certain = torch.full((n_states,), 2e-12 / n_states, dtype=torch.float64)
    certain[0] = 1 - float(certain[1:].sum())
    half = n_states // 2
    A = torch.zeros(n_states, n_states, dtype=torch.float64)
    A[:half, :half] = A[half:, half:] = 1.0
    A[0, half] = A[half, 0] = 1e-12
    A.fill_diagonal_(0.0)
    thread = A - torch.diag(A.sum(-1))
    even = torch.full((n_states,), 1 / n_states, dtype=torch.float64)
    for p0, rate in ((certain, "uniform"), (even, thread), (certain, thread), (even, "uniform")):
        alphas = mutual_information_alphas(p0, 50, rate)
        assert alphas.shape == (50,)
        assert bool(((alphas >= 0) & alphas.isfinite()).all())
        assert float(alphas.sum()) == pytest.approx(1e5)


@pytest.mark.parametrize("kind", ["nearest_neighbour", "nearest_neighbour_mask", "uniform"])
def test_a_stored_schedule_is_not_computed_again(kind, tmp_path):
    """Built from what a checkpoint keeps, without frequencies or embeddings, the process is the same."""
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(6, 3)))
    config = ProcessConfig(
        kind=kind, steps=5, schedule="mutual_information", embeddings=str(tmp_path / "e.npy"), mask_rate=0.3
    )
    spec = DataSpec("text", (4,), 6, alphabet="abcde ")
    first = build_process(config, spec, frequent(6).numpy())
    learned = build_process(dataclasses.replace(config, prior="learned"), spec, frequent(6).numpy(), first.stored)
    assert learned.describe() != first.describe()
    (tmp_path / "e.npy").unlink()
    again = build_process(config, spec, None, first.stored)
    assert again.describe() == first.describe()
    torch.testing.assert_close(again.cumulative(3), first.cumulative(3), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["linear", "cosine", "geometric"])
def test_continuous_rate_is_the_derivative(kind):
    schedule = ContinuousSchedule(kind)
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.exponent(t).sum(), t)
    torch.testing.assert_close(slope, schedule.rate(t.detach()), rtol=1e-9, atol=0)
    assert float(schedule.exponent(torch.tensor(0.0))) == 0
    assert math.exp(-float(schedule.exponent(torch.tensor(1.0)))) < 1e-8


def test_the_time_of_a_ratio_of_masks():
    """The earliest that has it, from the first step on: a net is never told of time 0, which it was not trained on."""
    process = Absorbing(3, inverse_betas(10))
    ratios = torch.tensor([0.0, 0.05, 0.1, 0.95, 1.0], dtype=torch.float64)
    assert process.time_of_ratio(ratios).tolist() == pytest.approx([0.1, 0.1, 0.1, 1.0, 1.0])


def test_errors():
    with pytest.raises(OptionError, match="n_steps"):
        linear_betas(0)
    with pytest.raises(OptionError, match="'cosine'"):
        ContinuousSchedule("cosin")
    with pytest.raises(OptionError, match="p0"):
        mutual_information_alphas(torch.tensor([1.0, 0.0]), 10)
    with pytest.raises(OptionError, match="symmetric"):
        mutual_information_alphas(torch.tensor([0.5, 0.5]), 10, torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
