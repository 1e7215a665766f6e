import math

import pytest
import torch

from d3pm import ContinuousSchedule, cosine_betas, inverse_betas, linear_betas, mutual_information_alphas
from d3pm.errors import OptionError
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


@pytest.mark.parametrize("kind", ["linear", "cosine", "geometric"])
def test_continuous_rate_is_the_derivative(kind):
    schedule = ContinuousSchedule(kind)
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.exponent(t).sum(), t)
    torch.testing.assert_close(slope, schedule.rate(t.detach()), rtol=1e-9, atol=0)
    assert float(schedule.exponent(torch.tensor(0.0))) == 0
    assert math.exp(-float(schedule.exponent(torch.tensor(1.0)))) < 1e-8


def test_errors():
    with pytest.raises(OptionError, match="n_steps"):
        linear_betas(0)
    with pytest.raises(OptionError, match="'cosine'"):
        ContinuousSchedule("cosin")
    with pytest.raises(OptionError, match="p0"):
        mutual_information_alphas(torch.tensor([1.0, 0.0]), 10)
    with pytest.raises(OptionError, match="symmetric"):
        mutual_information_alphas(torch.tensor([0.5, 0.5]), 10, torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
