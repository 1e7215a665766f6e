"""Bounds against enumeration: whole models on a few tokens, exact to the last path."""

import math

import pytest
import torch

from d3pm import (
    Absorbing,
    AbsorbingUniform,
    ContinuousSchedule,
    Conventions,
    DiscretizedGaussian,
    Uniform,
    inverse_betas,
    linear_betas,
    negative_log_likelihood,
)
from d3pm.errors import OptionError, TokenError
from d3pm.likelihood import Likelihood
from d3pm.losses import continuous_bound_term, masked_bound_term, sample_times
from d3pm.sampling import sample, sampling_times
from enumeration import MASKED, PROCESSES, contextual, exact_bound, exact_model, masked_denoiser, states
from reference import golden


@pytest.mark.parametrize("mode", ["joint", "mixture"])
@pytest.mark.parametrize("first", ["direct", "eq4"])
@pytest.mark.parametrize("name", PROCESSES)
def test_bound_is_at_least_exact_and_estimates_agree(name, first, mode):
    process, conventions = PROCESSES[name](), Conventions(mode, first)
    forbid = 2 if name in MASKED else None
    denoiser = contextual(3, forbid)
    clean = 2 if name in MASKED else 3
    for step in (1, 2, 3):
        every, p = exact_model(process, denoiser, 2, step, mode, first)
        assert float(p.sum()) == pytest.approx(1.0, abs=1e-10)
        for x_0 in states(clean, 2):
            nll = -math.log(float(p[(every == x_0).all(-1)]))
            assert exact_bound(process, denoiser, x_0, step, mode, first) >= nll - 1e-12
    x_0 = torch.tensor([[0, 1]]).expand(4000, 2)
    exact = exact_bound(process, denoiser, x_0[0], 2, mode, first)
    g = torch.Generator().manual_seed(0)
    estimate = negative_log_likelihood(process, denoiser, x_0, step=2, conventions=conventions, generator=g)
    sampled = negative_log_likelihood(process, denoiser, x_0, step=2, conventions=conventions, n_times=4, generator=g)
    for step in (1, 3):  # some of four times, or both of two
        some = negative_log_likelihood(
            process, denoiser, x_0, step=step, conventions=conventions, n_times=3, generator=g
        )
        exact_some = exact_bound(process, denoiser, x_0[0], step, mode, first)
        tolerance = 5 * float(some.nats.std()) / 4000**0.5 + 1e-9
        assert float(some.nats.mean()) == pytest.approx(exact_some, abs=tolerance)
    for result in (estimate, sampled):
        assert float(result.nats.mean()) == pytest.approx(exact, abs=5 * float(result.nats.std()) / 4000**0.5 + 1e-9)


def test_masked_bound_at_every_resolution():
    d = golden("masked_nelbo_D3")
    every = states(4, 3)
    for case in d["cases"]:
        x_0 = torch.tensor(case["x0"])
        x_t = every[((every == 3) | (every == x_0)).all(-1)]
        n_masked = (x_t == 3).sum(-1).double()
        logits = masked_denoiser(x_t, None).log_softmax(-1)
        for T, expected in case["discrete"].items():
            process, total = Absorbing(4, inverse_betas(int(T))), 0.0
            for t in range(1, int(T) + 1):
                ratio = t / int(T)
                q = ratio**n_masked * (1 - ratio) ** (3 - n_masked)
                term = masked_bound_term(process, x_t, x_0.expand_as(x_t), logits, torch.tensor(t))
                total += float((q * term.sum(-1)).sum())
            assert total == pytest.approx(expected, abs=1e-9)
        # The limit, by Gauss-Legendre quadrature of the integrand (a polynomial in t).
        process = Absorbing(4, ContinuousSchedule("linear"))
        nodes, weights = legendre(8)
        for term_of in (masked_bound_term, continuous_bound_term):
            total = 0.0
            for t, w in zip(nodes, weights, strict=True):
                q = t**n_masked * (1 - t) ** (3 - n_masked)
                term = term_of(process, x_t, x_0.expand_as(x_t), logits, torch.tensor(t, dtype=torch.float64))
                total += w * float((q * term.sum(-1)).sum())
            assert total == pytest.approx(case["continuous_nelbo_nats"], abs=1e-9)
            assert total == pytest.approx(case["any_order_AR_nats"], abs=1e-9)


def legendre(n):
    import numpy as np

    x, w = np.polynomial.legendre.leggauss(n)
    return (x + 1) / 2, w / 2


@pytest.mark.parametrize("kind", ["uniform", "nearest_neighbour"])
def test_continuous_bound_is_the_limit_of_the_discrete_one(kind):
    """T · L_{t-1} → the integrand, at a rate of 1/T."""
    from d3pm import NearestNeighbour, nearest_neighbour_rate

    rate = nearest_neighbour_rate(torch.tensor([[0.0, 0.0], [1.0, 0.2], [0.3, 1.0]]), 1, normalise=False)
    schedule = ContinuousSchedule("cosine")
    process = Uniform(3, schedule) if kind == "uniform" else NearestNeighbour(rate, schedule)
    every = states(3, 2)
    x_0 = torch.tensor([0, 2]).expand_as(every)
    logits = contextual(3)(every, torch.full((9,), 0.5)).log_softmax(-1)
    t = torch.tensor(0.5, dtype=torch.float64)
    limit = continuous_bound_term(process, every, x_0, logits, t)
    gaps = []
    for T in (100, 1000, 10_000):
        discrete = T * process.kl(every, x_0, logits, t[None, None] - 1 / T, t[None, None])
        gaps.append(float((discrete - limit).abs().max()))
    assert gaps[1] < gaps[0] / 8
    assert gaps[2] < 2e-3 * float(limit.max())


def steep(x_t, time, condition=None):
    """A net that knows nothing near the data: the variance is in the last terms."""
    logits = contextual(3)(x_t, time)
    return logits * (4 * time.double()[:, None, None])


@pytest.mark.parametrize("denoiser", [contextual(3), steep])
@pytest.mark.parametrize(
    ("n_steps", "n_times"), [(10, None), (150, None), (151, None), (100, 8), (100, 5), (3, 2), (None, 16), (None, 6)]
)
def test_the_monte_carlo_error_covers(n_steps, n_times, denoiser):
    """100 estimates from 60 examples: their spread is the error they report; about 95 % lie within two of it."""
    schedule = ContinuousSchedule("cosine") if n_steps is None else inverse_betas(n_steps)
    process, g = Uniform(3, schedule), torch.Generator().manual_seed(0)
    x_0 = torch.tensor([[0, 1]]).expand(6000, 2)
    whole = negative_log_likelihood(process, denoiser, x_0, n_times=n_times, generator=g)
    estimates = [
        Likelihood(nats, prior, variance, 2)
        for nats, prior, variance in zip(
            whole.nats.split(60), whole.prior.split(60), whole.variance.split(60), strict=True
        )
    ]
    bits = torch.tensor([e.bits_per_position for e in estimates])
    errors = torch.tensor([e.monte_carlo_error for e in estimates])
    assert 0.9 < float(whole.variance.mean() / whole.nats.var()) < 1.1
    inside = (bits - whole.bits_per_position).abs() <= 2 * errors
    assert 0.85 <= float(inside.double().mean()) < 1


@pytest.mark.parametrize("name", ["uniform", "gaussian", "absorbing_uniform", "custom"])
def test_a_learned_prior_is_the_best_and_is_used(name):
    """Where T steps do not mix: L_T falls to I(x_T; x_0), no law does better, the bound holds and samples follow."""
    process = {
        "uniform": lambda: Uniform(3, linear_betas(3, 0.1, 0.2)),
        "gaussian": lambda: DiscretizedGaussian(3, torch.tensor([0.3, 0.3, 0.3])),
        "absorbing_uniform": lambda: AbsorbingUniform(3, [0.1, 0.1], [0.1, 0.2]),
        "custom": PROCESSES["custom"],
    }[name]()
    masked = name in MASKED
    p0 = torch.tensor([0.75, 0.25, 0.0] if masked else [0.7, 0.25, 0.05], dtype=torch.float64)
    before, described = float(p0 @ process.prior_kl()), process.describe()
    process.learn_prior(p0)
    after, law = float(p0 @ process.prior_kl()), process.prior
    assert after < before
    Q = process.cumulative(process.n_steps)
    information = float(torch.special.entr(p0 @ Q).sum() - p0 @ torch.special.entr(Q).sum(-1))
    assert after == pytest.approx(information, abs=1e-5)
    for i in range(3):  # a step towards any state makes it worse
        process.learned_prior = 0.98 * law + 0.02 * torch.nn.functional.one_hot(torch.tensor(i), 3)
        assert float(p0 @ process.prior_kl()) > after
    process.learned_prior = law
    assert process.describe() != described
    denoiser = contextual(3, 2 if masked else None)
    every, p = exact_model(process, denoiser, 2, 1, "joint", "eq4")
    for x_0 in states(2, 2):
        bound = exact_bound(process, denoiser, x_0, 1, "joint", "eq4")
        assert bound >= -math.log(float(p[(every == x_0).all(-1)])) - 1e-12
    x = sample(process, denoiser, (20_000, 2), generator=torch.Generator().manual_seed(0))
    found = torch.bincount((x * torch.tensor([3, 1])).sum(-1), minlength=9).double() / 20_000
    torch.testing.assert_close(found, p, rtol=0, atol=0.018)


def test_nets_that_give_no_numbers_have_no_likelihood():
    net = lambda x_t, time, condition: torch.full((*x_t.shape, 3), torch.nan)  # noqa: E731
    with pytest.raises(TokenError, match="Look at the net"):
        negative_log_likelihood(Uniform(3, linear_betas(4)), net, torch.tensor([[0, 1]]))


def test_continuous_likelihood_runs_and_is_stratified():
    process = Uniform(3, ContinuousSchedule("cosine"))
    x_0 = torch.tensor([[0, 1], [2, 2]]).repeat(200, 1)
    results = [
        negative_log_likelihood(process, contextual(3), x_0, n_times=16, generator=torch.Generator().manual_seed(s))
        for s in (0, 1)
    ]
    assert results[0].bits_per_position == pytest.approx(results[1].bits_per_position, rel=0.1)
    assert 0 < results[0].monte_carlo_error < results[0].bits_per_position
    assert results[0].prior_bits < 1e-6


def test_likelihood_units():
    result = Likelihood(torch.tensor([2.0, 4.0]) * math.log(2), torch.zeros(2), torch.tensor([0.1, 0.1]), 4)
    assert result.bits_per_position == pytest.approx(0.75)
    assert result.perplexity(6) == pytest.approx(2.0)
    assert result.standard_error == pytest.approx(math.sqrt(2) / math.sqrt(2) / 4)
    assert len(Likelihood.concatenate([result, result]).nats) == 4
    assert Likelihood(torch.tensor([800.0]), torch.zeros(1), torch.zeros(1), 4).perplexity(1) == math.inf


GRIDS = {
    "even": (lambda: Absorbing(3, inverse_betas(3)), 2, "even", "direct"),  # [3, 2, 0], where step=2 is [3, 1, 0]
    "uniform": (lambda: Uniform(3, linear_betas(7, 0.2, 0.9)), 3, "even", "direct"),
    "cosine": (lambda: Uniform(3, linear_betas(10, 0.2, 0.9)), 4, "cosine", "eq4"),
    "continuous": (lambda: Uniform(3, ContinuousSchedule("cosine")), 3, "even", "eq4"),
    "masks, continuous": (lambda: Absorbing(3, ContinuousSchedule("linear")), 3, "cosine", "eq4"),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_law_that_is_sampled_can_be_bounded(name):
    """At the sampler's own times: the bound is at least the cost under the law of the samples, and the estimate it."""
    build, n_steps, grid, first = GRIDS[name]
    process = build()
    forbid = 2 if isinstance(process, Absorbing) else None
    denoiser, conventions = contextual(3, forbid), Conventions(first=first)
    denoiser.forbid = forbid
    times, g = sampling_times(process, n_steps, grid), torch.Generator().manual_seed(0)
    every, p = exact_model(process, denoiser, 2, 1, "joint", first, times)
    x = sample(process, denoiser, (20_000, 2), n_steps=n_steps, grid=grid, conventions=conventions, generator=g)
    found = torch.bincount(x @ torch.tensor([3, 1]), minlength=9) / len(x)
    assert float((found - p).abs().sum() / 2) < 0.015
    x_0 = torch.tensor([0, 1])
    exact = exact_bound(process, denoiser, x_0, 1, "joint", first, times)
    assert exact >= -math.log(float(p[(every == x_0).all(-1)])) - 1e-9
    for n_times in (None, 2):
        result = negative_log_likelihood(
            process, denoiser, x_0.expand(4000, 2), times=times, n_times=n_times, conventions=conventions, generator=g
        )
        error = float(result.nats.std()) / math.sqrt(4000)
        assert float(result.nats.mean()) == pytest.approx(exact, abs=5 * error + 1e-6)


@pytest.mark.parametrize("times", [[3, 1, 0], [4, 2], [4, 4, 0], [4, 1.5, 0], [0], []])
def test_times_that_no_sampler_visits_are_refused(times):
    with pytest.raises(OptionError, match="`times` must fall from 4 to 0"):
        negative_log_likelihood(Uniform(3, linear_betas(4)), contextual(3), torch.tensor([[0, 1]]), times=times)


def test_times_reach_both_ends_in_continuous_time():
    t = sample_times(Absorbing(3, ContinuousSchedule("linear")), 20_000, torch.Generator().manual_seed(0))
    assert 1e-5 <= float(t.min()) < 1e-4
    assert 1 - 1e-4 < float(t.max()) <= 1 - 1e-6


def test_times_are_stratified():
    process = Uniform(3, linear_betas(100))
    t = sample_times(process, 50, torch.Generator().manual_seed(0))
    assert set(((t - 1) // 2).tolist()) == set(range(50))
    low = sample_times(process, 50, torch.Generator().manual_seed(0), low=0.1, high=0.3)
    assert int(low.min()) >= 11
    assert int(low.max()) <= 30


def test_refusals():
    process = Uniform(3, linear_betas(4))
    with pytest.raises(OptionError, match="T = 4"):
        negative_log_likelihood(process, contextual(3), torch.tensor([[0, 1]]), step=5)
    continuous = Uniform(3, ContinuousSchedule("linear"))
    with pytest.raises(OptionError, match="must be 1 in continuous time"):
        negative_log_likelihood(continuous, contextual(3), torch.tensor([[0, 1]]), step=2)
    with pytest.raises(TokenError, match="from 0 to 2"):
        negative_log_likelihood(process, contextual(3), torch.tensor([[0, 3]]))
