"""What is estimated from random draws has the mean that it claims: losses, metrics, bounds, the times told to nets."""

import math

import pytest
import torch

from d3pm import (
    Absorbing,
    ContinuousSchedule,
    Conventions,
    Objective,
    Uniform,
    inverse_betas,
    linear_betas,
    negative_log_likelihood,
)
from d3pm.importance import TimeImportance
from d3pm.losses import training_loss
from d3pm.sampling import sample, sample_first_hitting
from enumeration import contextual, exact_bound, exact_model, masked_denoiser
from reference import golden

LN2 = math.log(2)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def peeking(inner, told):
    """Return the net, which writes down the times that it is told."""

    def denoiser(x_t, time, condition=None):
        told.append(time)
        return inner(x_t, time)

    return denoiser


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize(
    ("kind", "process", "conventions"),
    [
        ("bound", Uniform(3, linear_betas(4, 0.2, 0.9)), Conventions()),
        ("bound", Uniform(3, linear_betas(4, 0.2, 0.9)), Conventions("mixture", "direct")),
        ("masked", Absorbing(3, inverse_betas(4)), Conventions()),
    ],
)
def test_metrics_and_loss_are_the_bound_in_the_mean(kind, process, conventions, weight):
    """With times drawn evenly and by importance; λ times the cross-entropy is in the loss, and not in the metric."""
    denoiser = contextual(3, 2 if kind == "masked" else None)
    x_0, objective = torch.tensor([[0, 1]]).expand(4000, 2), Objective(kind, cross_entropy=weight)
    expected = exact_bound(process, denoiser, x_0[0], 1, conventions.mode, conventions.first)
    expected -= float(process.prior_kl()[x_0[0]].sum())  # L_T is no term of training
    importance = TimeImportance(4)
    importance.sums[:], importance.counts[:] = torch.tensor([9.0, 4.0, 1.0, 25.0]) * 50, 50.0
    generator = g()
    for chosen in (None, importance):
        loss, metrics = training_loss(
            objective, process, denoiser, x_0, generator, conventions=conventions, importance=chosen
        )
        assert float(metrics["bits"]) * 2 * LN2 == pytest.approx(expected, rel=0.06)
        entropies = []
        for t in range(1, 5):
            x_t = process.q_sample(x_0, t, g(t))
            log_p = denoiser(x_t, torch.full((4000,), t / 4)).log_softmax(-1)
            entropies.append(float(-log_p.gather(-1, x_0[..., None]).mean()))
        added = weight * sum(entropies) / 4
        assert float(loss) == pytest.approx(expected / (4 * 2) + added, rel=0.06)


def test_a_masked_language_models_loss_is_the_mean_over_masks():
    """Not over positions, whatever their share is."""
    process = Absorbing(3, ContinuousSchedule("linear"))
    x_0, even = torch.tensor([[0, 1, 1]]).expand(4000, 3), torch.tensor([math.log(0.25), math.log(0.75), -1e30])
    net = lambda x_t, time, condition: even.expand(*x_t.shape, 3)  # noqa: E731
    loss, metrics = training_loss(Objective("simple", low=0.1, high=0.3), process, net, x_0, g())
    expected = -(math.log(0.25) + 2 * math.log(0.75)) / 3
    assert float(loss) == pytest.approx(expected, rel=0.05)
    assert float(metrics["bits"]) * LN2 == pytest.approx(float(loss))


@pytest.mark.parametrize("process", [Uniform(3, linear_betas(100)), Uniform(3, ContinuousSchedule("cosine"))])
@pytest.mark.parametrize("times", ["uniform", "importance"])
def test_times_are_those_of_the_range_trained_on(process, times):
    told = []
    importance = TimeImportance(process.n_steps) if times == "importance" else None
    objective = Objective("bound", low=0.2, high=0.5, times=times)
    training_loss(
        objective, process, peeking(contextual(3), told), torch.zeros(400, 2).long(), g(), importance=importance
    )
    time = told[0].sort().values
    assert 0.2 <= float(time[0]) < 0.22
    assert 0.48 < float(time[-1]) <= 0.501
    assert float(time.mean()) == pytest.approx(0.35, abs=0.01)


def test_importance_learns_the_losses_themselves():
    """What a bin remembers does not depend on how often it was drawn: it is the mean square of the loss there."""
    process, x_0 = Uniform(3, linear_betas(4, 0.2, 0.9)), torch.tensor([[0, 1]]).expand(4000, 2)
    importance, plain = TimeImportance(4), []
    importance.sums[:], importance.counts[:] = torch.tensor([1.0, 100.0, 1.0, 1.0]) * 50, 50.0
    generator = g()
    for _ in range(20):  # what it began with fades
        training_loss(Objective(), process, contextual(3), x_0, generator, importance=importance)
    for t in range(1, 5):
        x_t = process.q_sample(x_0, t, g(t))
        log_p = contextual(3)(x_t, torch.full((4000,), t / 4)).log_softmax(-1)
        time = torch.full((4000, 1), t)
        plain.append(float(process.kl(x_t, x_0, log_p, time - 1, time).mean(-1).square().mean()))
    remembered = importance.sums / importance.counts
    torch.testing.assert_close(remembered, torch.tensor(plain, dtype=torch.float64), rtol=0.15, atol=0)


def test_what_the_last_step_leaves_is_in_the_bound():
    """One step that forgets half, and a net that says nothing: L_0 is log 2, and L_T comes to it."""
    process, x_0 = Uniform(2, [0.5]), torch.zeros(10, 1).long()
    net = lambda x_t, time, condition: torch.zeros(*x_t.shape, 2, dtype=torch.float64)  # noqa: E731
    result = negative_log_likelihood(process, net, x_0, conventions=Conventions(first="direct"))
    prior = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    torch.testing.assert_close(result.prior, torch.full((10,), prior, dtype=torch.float64))
    torch.testing.assert_close(result.nats, torch.full((10,), prior + LN2, dtype=torch.float64))


@pytest.mark.parametrize("n_times", [4, 64])
def test_the_bound_in_continuous_time_is_the_stored_one(n_times):
    """Of a masked model the cost of tokens in any order, which independent code has summed."""
    process, case = Absorbing(4, ContinuousSchedule("linear")), golden("masked_nelbo_D3")["cases"][0]
    x_0 = torch.tensor(case["x0"]).expand(4000, 3)
    result = negative_log_likelihood(process, masked_denoiser, x_0, n_times=n_times, generator=g())
    tolerance = 5 * result.monte_carlo_error * 3 * LN2
    assert tolerance < 0.3
    assert float(result.nats.mean()) == pytest.approx(case["any_order_AR_nats"], abs=tolerance)


@pytest.mark.parametrize("n_steps", [101, 102, 103])
def test_all_of_more_than_a_hundred_times_are_visited(n_steps):
    """Neighbours are paired; one that is left over, and the last step, are not forgotten."""
    process, told = Uniform(3, inverse_betas(n_steps)), []
    x_0 = torch.tensor([[0, 1]]).expand(300, 2)
    result = negative_log_likelihood(process, peeking(contextual(3), told), x_0, generator=g())
    assert {round(float(time[0]) * n_steps) for time in told} == set(range(1, n_steps + 1))
    exact = exact_bound(process, contextual(3), x_0[0], 1, "joint", "eq4")
    assert float(result.nats.mean()) == pytest.approx(exact, abs=5 * float(result.nats.std()) / 300**0.5)


def test_argmax_is_of_the_last_step_alone():
    """The way there is drawn, and with the same seed the same."""
    process, seen = Uniform(3, linear_betas(4, 0.2, 0.9)), {}
    for final in ("draw", "argmax"):
        seen[final] = []
        watch = lambda t, x, final=final: seen[final].append(x)  # noqa: E731
        conventions = Conventions(final=final)
        sample(process, contextual(3), (200, 2), conventions=conventions, generator=g(), watch=watch)
    assert all(torch.equal(a, b) for a, b in zip(seen["draw"][:-1], seen["argmax"][:-1], strict=True))
    assert not torch.equal(seen["draw"][-1], seen["argmax"][-1])


def test_first_hitting_tells_the_net_the_masking_ratio():
    """The k-th of n tokens appears at the k-th largest of n uniform numbers, whose mean is (n + 1 − k)/(n + 1)."""
    told, process = [], Absorbing(3, ContinuousSchedule("linear"))
    denoiser = peeking(contextual(3, 2), told)
    denoiser.forbid = 2
    sample_first_hitting(process, denoiser, (20_000, 3), generator=g())
    means = torch.stack(told).double().mean(-1)
    torch.testing.assert_close(means, torch.tensor([0.75, 0.5, 0.25]).double(), rtol=0, atol=0.01)


@pytest.mark.parametrize("process", [Absorbing(3, inverse_betas(10)), Absorbing(3, ContinuousSchedule("cosine"))])
def test_the_time_of_a_masking_ratio_is_when_that_share_is_masked(process):
    ratio = torch.tensor([0.1, 0.25, 0.5, 0.8, 1.0], dtype=torch.float64)
    time = process.time_of_ratio(ratio).double()
    end = process.n_steps or 1
    masked = 1 - process.unmasked_share((time * end).round().long() if process.n_steps else time)
    resolution = 1 / end if process.n_steps else 2e-3
    assert bool(((masked - ratio > -1e-6) & (masked - ratio < resolution)).all())


def test_first_hitting_of_a_net_that_reads_the_time_is_the_limit_of_many_steps():
    process, denoiser = Absorbing(3, ContinuousSchedule("linear")), contextual(3, 2)
    denoiser.forbid = 2
    _, p = exact_model(Absorbing(3, inverse_betas(200)), contextual(3, 2), 2, 1, "joint", "eq4")
    x = sample_first_hitting(process, denoiser, (20_000, 2), generator=g())
    found = torch.bincount((x * torch.tensor([3, 1])).sum(-1), minlength=9).double() / 20_000
    torch.testing.assert_close(found, p, rtol=0, atol=0.018)
