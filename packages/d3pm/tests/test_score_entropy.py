"""Nets of scores (SEDD): the true ratios minimise their loss; bound and samples are those of equation 4."""

import dataclasses
import math

import pytest
import torch

from d3pm import Absorbing, ContinuousSchedule, Conventions, Objective, Uniform, linear_betas, negative_log_likelihood
from d3pm.errors import OptionError
from d3pm.losses import continuous_bound_term, training_loss
from d3pm.sampling import sample
from enumeration import contextual, states

PROCESSES = {
    "uniform": Uniform(3, ContinuousSchedule("geometric")),
    "absorbing": Absorbing(3, ContinuousSchedule("geometric")),
}
SCORE = Conventions("score")


class Scores:
    """The scores that belong to a net of p̃: log p̃ Q̄_t relative to x_t; at a mask log p̃ itself."""

    def __init__(self, name, forbid):
        self.name, self.net, self.forbid, self.conventions = name, contextual(3, forbid), forbid, SCORE

    def __call__(self, x_t, time, condition=None):
        log_p = self.net(x_t, time).log_softmax(-1)
        if self.name == "absorbing":
            return log_p
        t = time.double().reshape(-1, 1)
        return 7.0 + PROCESSES[self.name]._log_product(log_p, torch.zeros_like(t), t)  # a constant says nothing


@pytest.fixture(params=PROCESSES)
def pair(request):
    name, forbid = request.param, 2 if request.param == "absorbing" else None
    net = contextual(3, forbid)
    net.forbid = forbid
    return PROCESSES[name], net, Scores(name, forbid)


def test_consistent_scores_have_the_bound_and_the_steps_of_p_tilde(pair):
    process, net, scores = pair
    x_0 = states(3 if scores.forbid is None else 2, 2).repeat(50, 1)
    bits = [
        negative_log_likelihood(
            process, n, x_0, n_times=32, generator=torch.Generator().manual_seed(0)
        ).bits_per_position
        for n in (net, scores)
    ]
    assert math.isfinite(bits[0])
    assert bits[0] == pytest.approx(bits[1], rel=1e-6)
    losses = [
        float(training_loss(Objective(), process, n, x_0, torch.Generator().manual_seed(0))[0]) for n in (net, scores)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    every = states(3, 2)
    for s, t in ((0.0, 0.2), (0.3, 0.5), (0.7, 1.0)):
        time = torch.full((9,), t)
        s_, t_ = (torch.tensor(v, dtype=torch.float64) for v in (s, t))
        of_p = process.log_reverse(every, net(every, time).log_softmax(-1), s_, t_).exp()
        of_scores = process.log_reverse(every, scores(every, time), s_, t_, "score").exp()
        possible = torch.ones(9, dtype=torch.bool) if scores.forbid is None else torch.tensor(t < 1).expand(9)
        torch.testing.assert_close(of_scores[possible], of_p[possible], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "law"), [("uniform", [0.6, 0.3, 0.1]), ("absorbing", [0.7, 0.3, 0.0])])
def test_the_true_ratios_minimise_it(name, law):
    """One token, its law known: what minimises the expected score entropy is p_t(j)/p_t(x_t)."""
    process, law = PROCESSES[name], torch.tensor(law, dtype=torch.float64)
    t = torch.tensor(0.7, dtype=torch.float64)
    Q = process.cumulative(t)
    x_0, x_t = (law[:, None] * Q > 0).nonzero().T
    weight = (law[:, None] * Q)[x_0, x_t]
    logits = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)  # one row per x_t
    optimiser = torch.optim.LBFGS([logits], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def loss():
        optimiser.zero_grad()
        value = weight @ continuous_bound_term(process, x_t, x_0, logits[x_t], t.expand(len(x_t)), mode="score")
        value.backward()
        return value

    optimiser.step(loss)
    found, p_t = process.log_score(torch.arange(3), logits.detach(), t).exp(), law @ Q
    jumps = slice(None) if name == "uniform" else slice(2, 3)  # absorbing: from the mask only
    torch.testing.assert_close(found[jumps, :2], (p_t / p_t[:, None])[jumps, :2], rtol=1e-4, atol=1e-5)


def test_samples_follow_the_model(pair):
    """Scores that belong to p̃ are sampled as p̃ is."""
    process, net, scores = pair
    found = []
    for n in (net, scores):
        x = sample(process, n, (20_000, 2), n_steps=12, generator=torch.Generator().manual_seed(0))
        found.append(torch.bincount((x * torch.tensor([3, 1])).sum(-1), minlength=9).double() / 20_000)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0.02)
    assert scores.forbid is None or float(found[1].reshape(3, 3)[:2, :2].sum()) == 1


def test_wild_scores_give_laws(pair):
    """Ratios of no distribution: what is brought back may be negative, and a law comes out all the same."""
    process = pair[0]
    every, g = states(3, 2), torch.Generator().manual_seed(0)
    wild = 5 * torch.randn(9, 2, 3, generator=g, dtype=torch.float64)
    for s, t in ((0.0, 0.1), (0.5, 0.52), (0.9, 1.0)):
        s_, t_ = (torch.tensor(v, dtype=torch.float64) for v in (s, t))
        law = process.log_reverse(every, wild, s_, t_, "score").exp()
        torch.testing.assert_close(law.sum(-1), torch.ones(9, 2).double())


def test_refusals():
    for process in (
        Uniform(3, linear_betas(4, 0.2, 0.9)),
        Uniform(3, ContinuousSchedule("cosine")),
        Absorbing(3, ContinuousSchedule("linear")),
    ):
        with pytest.raises(OptionError, match="'geometric'"):
            sample(process, contextual(3), (1, 2), conventions=SCORE)
    for objective in (
        Objective("masked"),
        Objective("cross_entropy"),
        dataclasses.replace(Objective(), cross_entropy=0.1),
    ):
        with pytest.raises(OptionError, match="says no p̃"):
            objective.check(PROCESSES["absorbing"], SCORE)


def test_the_cross_entropy_that_is_logged_is_of_normalised_logits():
    """Scores are logits as they are."""
    process, logits = Uniform(3, ContinuousSchedule("geometric")), torch.tensor([2.0, 1.0, 0.5])
    net = lambda x_t, time, condition: logits.expand(*x_t.shape, 3)  # noqa: E731
    x_0 = torch.tensor([[0, 1, 2, 1]])
    _, metrics = training_loss(Objective("bound"), process, net, x_0, conventions=Conventions("score"))
    expected = -logits.log_softmax(-1)[x_0].mean() / math.log(2)
    torch.testing.assert_close(metrics["cross_entropy"], expected)
