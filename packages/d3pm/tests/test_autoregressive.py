"""Section 4: an autoregressive model is a diffusion model whose masks come from right to left."""

import itertools
import math

import pytest
import torch

from d3pm import Autoregressive, GenerationConfig, Objective, generate, negative_log_likelihood
from d3pm.build import build_process
from d3pm.config import ProcessConfig
from d3pm.data import DataSpec
from d3pm.errors import ConfigError, OptionError
from d3pm.losses import bound_term, masked_bound_term, training_loss
from d3pm.sampling import sample, sample_first_hitting
from d3pm.unmasking import sample_confident, sample_remasking

K, N = 4, 3  # the mask included


class Net:
    """Logits that depend on the tokens in sight and their places; time is not needed."""

    forbid, time_free = K - 1, True

    def __call__(self, x_t, time, condition=None):
        i = torch.arange(N, dtype=torch.float64)
        seen = torch.where(x_t < K - 1, (x_t + 1).double() * (i + 1), 0.0).sum(-1)[:, None, None]
        logits = 1.5 * torch.sin(0.9 * torch.arange(K, dtype=torch.float64) + 1.7 * i[:, None] + 0.8 * seen)
        logits[..., K - 1] = -1e30
        return logits


def autoregressive_nll(x_0):
    """−Σ_i log p(x_i | x_<i), by running the net on each prefix."""
    total = torch.zeros(len(x_0), dtype=torch.float64)
    for i in range(N):
        prefix = torch.where(torch.arange(N) < i, x_0, K - 1)
        total -= Net()(prefix, None).log_softmax(-1)[torch.arange(len(x_0)), i, x_0[:, i]]
    return total


EVERY = torch.tensor(list(itertools.product(range(K - 1), repeat=N)))


def test_the_bound_is_the_autoregressive_loss():
    process = Autoregressive(K, N)
    expected = autoregressive_nll(EVERY)
    assert float((-expected).exp().sum()) == pytest.approx(1)  # it is a likelihood
    result = negative_log_likelihood(process, Net(), EVERY)
    torch.testing.assert_close(result.nats, expected, rtol=1e-12, atol=0)
    assert float(result.variance.max()) == 0  # nothing is random
    for term in (bound_term, masked_bound_term):
        terms = torch.zeros(len(EVERY), dtype=torch.float64)
        for t in range(1, N + 1):
            x_t = process.q_sample(EVERY, t)
            assert torch.equal(x_t == K - 1, (torch.arange(N) >= N - t).expand_as(x_t))
            terms += term(process, x_t, EVERY, Net()(x_t, None).log_softmax(-1), torch.tensor(t)).sum(-1)
        torch.testing.assert_close(terms, expected, rtol=1e-12, atol=0)


def test_training_descends_on_it():
    """One time per example, spread evenly: over all three times the loss is the mean of the likelihood over T."""
    process, x_0 = (
        Autoregressive(K, N),
        EVERY.repeat(300, 1)[torch.randperm(8100, generator=torch.Generator().manual_seed(0))],
    )
    losses = [
        float(training_loss(Objective("masked"), process, Net(), x_0, torch.Generator().manual_seed(seed))[0])
        for seed in range(4)
    ]
    assert sum(losses) / 4 == pytest.approx(float(autoregressive_nll(EVERY).mean()) / N**2, rel=0.01)


def test_samples_are_drawn_from_left_to_right():
    process, n = Autoregressive(K, N), 20_000
    expected = (-autoregressive_nll(EVERY)).exp()
    x = sample(process, Net(), (n, N), generator=torch.Generator().manual_seed(0))
    found = torch.bincount((x * torch.tensor([9, 3, 1])).sum(-1), minlength=27).double() / n
    torch.testing.assert_close(found, expected, rtol=0, atol=5 * math.sqrt(0.25 / n))
    two = sample(process, Net(), (2, N), n_steps=2, generator=torch.Generator().manual_seed(0))
    assert bool((two < K - 1).all())


def test_it_has_no_one_matrix():
    with pytest.raises(OptionError, match="all positions"):
        Autoregressive(K, N).transition(1)


@pytest.mark.parametrize(
    "config",
    [
        GenerationConfig("first_hitting"),
        GenerationConfig("confidence"),
        GenerationConfig("remasking"),
        GenerationConfig(block=2),
        GenerationConfig("first_hitting", block=2),
    ],
)
def test_samplers_that_reveal_in_another_order_are_refused(config):
    """They gave laws .45 to .89 away from the model's, in total variation."""
    with pytest.raises(OptionError, match=r"left to right.*'ancestral'"):
        generate(Autoregressive(K, N), Net(), (2, N), config)
    with pytest.raises(OptionError, match=r"left to right.*'ancestral'"):
        config.check(Autoregressive(K, N), Net())
    for sampler in (sample_first_hitting, sample_confident, sample_remasking):
        with pytest.raises(OptionError, match="left to right"):
            sampler(Autoregressive(K, N), Net(), (2, N))


@pytest.mark.parametrize(
    "keep", [(True, False, False), (True, True, False), (False, False, True), (False, True, False)]
)
def test_given_tokens_condition_it(keep):
    """At the left exactly, elsewhere by particles: shown to the net as they were, the last one's law was .88 off."""
    given, keep = torch.tensor([[1, 2, 2]]), torch.tensor([keep])
    law = (-autoregressive_nll(EVERY)).exp()
    law = torch.where((~keep | (given == EVERY)).all(-1), law, 0.0)
    n = 4000
    g = torch.Generator().manual_seed(0)
    x = sample(
        Autoregressive(K, N), Net(), (n, N), given=given.expand(n, N), keep=keep.expand(n, N), n_particles=64,
        generator=g,
    )  # fmt: skip
    found = torch.bincount((x * torch.tensor([9, 3, 1])).sum(-1), minlength=27).double() / n
    assert float((found - law / law.sum()).abs().sum() / 2) < 0.03


def test_a_recipe_builds_it():
    spec = DataSpec("text", (N,), K - 1, alphabet="ab ")
    process = build_process(ProcessConfig(kind="autoregressive"), spec)
    assert (process.n_states, process.n_steps, process.mask) == (K, N, K - 1)  # type: ignore[attr-defined]
    assert (
        build_process(ProcessConfig(kind="autoregressive"), spec, None, process.stored).describe() == process.describe()
    )
    with pytest.raises(ConfigError, match="one axis"):
        build_process(ProcessConfig(kind="autoregressive"), DataSpec("image", (4, 4), 3))
