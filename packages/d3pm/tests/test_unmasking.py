"""Samplers that choose tokens and take them back: laws against enumeration."""

import itertools
from contextlib import nullcontext

import pytest
import torch

from d3pm import Absorbing, ContinuousSchedule, inverse_betas
from d3pm.errors import OptionError, StepsWarning
from d3pm.generation import GenerationConfig, generate
from d3pm.sampling import sample, sampling_times
from d3pm.unmasking import sample_confident, sample_remasking
from enumeration import CORRELATED, MASK, Exact, Masked, N, exact_model, law_of, p_of, states


def g(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("confidence", ["probability", "margin", "entropy"])
@pytest.mark.parametrize("n_steps", [1, 2, None])
def test_the_surest_token_comes_first(confidence, n_steps):
    process, first = Absorbing(3, inverse_betas(4)), p_of(MASK, MASK)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    top = first.sort(descending=True).values
    for a, b in itertools.product(range(2), repeat=2):
        weight = first[0, a] * first[1, b]
        if n_steps == 1:
            expected[a, b] += weight
            continue
        score = {
            "probability": torch.stack([first[0, a], first[1, b]]),
            "margin": top[:, 0] - top[:, 1],
            "entropy": -torch.special.entr(first).sum(-1),
        }[confidence]
        if score[0] >= score[1]:
            expected[a] += weight * p_of(a, MASK)[1]
        else:
            expected[:, b] += weight * p_of(MASK, b)[0]
    x = sample_confident(process, Masked(), (N, 2), n_steps=n_steps, confidence=confidence, generator=g())
    torch.testing.assert_close(law_of(x), expected.flatten(), rtol=0, atol=0.018)


def exact_remasking(process, denoiser, times, strategy, strength):
    """The law of x_0, every path of both tokens followed."""
    every = states(3, 2)
    p = (every == MASK).all(-1).double()
    for t, s in itertools.pairwise(times):
        a_t, a_s = (float(torch.exp(-process._clock.exponent(torch.tensor(u)))) for u in (t, s))
        largest = min(1.0, (1 - a_s) / a_t) if a_t else 1.0
        sigma = min(strength, largest) if strategy == "cap" else strength * largest
        reveal = (a_s - (1 - sigma) * a_t) / (1 - a_t)
        p_tilde = denoiser(every, torch.full((9,), t / process.n_steps)).softmax(-1)
        kernel = torch.ones(9, 9, dtype=torch.float64)
        for i in range(2):
            step = torch.zeros(9, 3, dtype=torch.float64)
            for row, x in enumerate(every[:, i].tolist()):
                if x == MASK:
                    step[row] = reveal * p_tilde[row, i]
                    step[row, MASK] = 1 - reveal
                else:
                    step[row, x], step[row, MASK] = 1 - sigma, sigma
            kernel = kernel * step[:, every[:, i]]
        p = p @ kernel
    return p


@pytest.mark.parametrize(("strategy", "strength"), [("cap", 0.3), ("rescale", 0.5), ("rescale", 1.0), ("cap", 0.0)])
def test_remasking_follows_its_law(strategy, strength):
    process, denoiser = Absorbing(3, inverse_betas(6)), Masked()
    expected = exact_remasking(process, denoiser, sampling_times(process, 3), strategy, strength)
    x = sample_remasking(process, denoiser, (N, 2), n_steps=3, strategy=strategy, strength=strength, generator=g())
    torch.testing.assert_close(law_of(x), expected, rtol=0, atol=0.018)
    if strength == 0:
        torch.testing.assert_close(expected, exact_model(process, denoiser, 2, 2, "joint", "eq4")[1])


@pytest.mark.parametrize("strategy", ["cap", "rescale"])
def test_remasking_leaves_the_share_of_masks_as_it_is(strategy):
    """What is masked again is made up for: at every time as many tokens are masked as the process has masked."""
    process, seen = Absorbing(3, inverse_betas(6)), []
    watch = lambda t, x: seen.append((t, float((x == MASK).double().mean())))  # noqa: E731
    sample_remasking(process, Masked(), (N, 2), strategy=strategy, strength=0.5, generator=g(), watch=watch)
    assert [t for t, _ in seen] == [6, 5, 4, 3, 2, 1, 0]
    assert [share for _, share in seen] == pytest.approx([t / 6 for t, _ in seen], abs=0.012)


class Constant:
    """A masked net that says the same whatever it is shown: p (D, K)."""

    def __init__(self, p, forbid):
        self.logits, self.forbid = p.clamp(min=1e-30).log().masked_fill(p == 0, -1e30), forbid

    def __call__(self, x_t, time, condition=None):
        return self.logits.expand(*x_t.shape, -1)


def test_steps_reveal_even_shares_and_leave_no_mask():
    """Three tokens in two steps: two, and then the one that is left."""
    seen, net = [], Constant(torch.tensor([0.5, 0.5, 0.0]), MASK)
    watch = lambda t, x: seen.append((x == MASK).sum(-1).tolist())  # noqa: E731
    sample_confident(Absorbing(3, inverse_betas(4)), net, (5, 3), n_steps=2, generator=g(), watch=watch)
    assert seen == [[3] * 5, [1] * 5, [0] * 5]


class Told(Masked):
    """Keeps the times that it was told, and what it was shown."""

    def __init__(self):
        super().__init__()
        self.times, self.shown = [], []

    def __call__(self, x_t, time, condition=None):
        self.times.append(time.tolist())
        self.shown.append(x_t.clone())
        return super().__call__(x_t, time, condition)


@pytest.mark.parametrize("n_steps", [None, 3, 100])
def test_the_net_runs_no_more_often_than_there_are_masks(n_steps):
    """The longest of what is to fill in sets the number of runs; masks that are kept for later blocks do not count."""
    process, net = Absorbing(3, ContinuousSchedule("linear")), Told()
    given = torch.full((2, 6), MASK)
    keep = torch.tensor([[False] * 3 + [True] * 3, [False] + [True] * 5])
    with pytest.warns(StepsWarning, match="more than the 3 tokens") if n_steps == 100 else nullcontext():
        x = sample_confident(process, net, (2, 6), n_steps=n_steps, given=given, keep=keep, generator=g())
    assert len(net.times) == 3
    assert torch.equal(x == MASK, keep)
    # The ratio of all masks is what the net was trained on, whoever fills them in.
    expected = [(shown == MASK).double().mean(-1).tolist() for shown in net.shown]
    for told, ratio in zip(net.times, expected, strict=True):
        assert told == pytest.approx(ratio, abs=1.5e-3)


def test_the_margin_is_over_the_next_likely_token():
    """The first token's likeliest value is likelier than the second's, and has a closer rival."""
    net, seen = Constant(torch.tensor([[0.50, 0.48, 0.02, 0.0], [0.45, 0.28, 0.27, 0.0]]), 3), []
    watch = lambda t, x: seen.append(x == 3)  # noqa: E731
    sample_confident(Absorbing(4, inverse_betas(4)), net, (50, 2), confidence="margin", generator=g(), watch=watch)
    assert torch.equal(seen[1], torch.tensor([True, False]).expand(50, 2))


def test_remasking_with_an_exact_net_tends_to_the_data():
    """Tokens come and go, and q(x_t | x_0) stays: with more steps the law is that of the data. By enumeration."""
    off = []
    for n_steps in (10, 40, 160):
        process = Absorbing(3, inverse_betas(n_steps))
        law = exact_remasking(process, Exact(CORRELATED, process, MASK), range(n_steps, -1, -1), "rescale", 0.5)
        off.append(float((law - CORRELATED.flatten()).abs().sum() / 2))
    assert off[1] < off[0] / 2
    assert off[2] < off[1] / 2
    assert off[2] < 0.01


def test_steps_that_cannot_be_taken_are_said_by_the_samplers_too():
    """`generate` said so, `sample_confident` itself did not; the sentence is the same."""
    process, said = Absorbing(3, inverse_betas(50)), []
    for draw in (
        lambda: sample_confident(process, Masked(), (2, 4), n_steps=9, generator=g()),
        lambda: generate(process, Masked(), (2, 4), GenerationConfig("confidence", n_steps=9), generator=g()),
    ):
        with pytest.warns(StepsWarning, match=r"`n_steps` = 9 is more than the 4 tokens") as warned:
            draw()
        assert warned[0].filename == __file__
        said.append([str(each.message) for each in warned])
    assert said[0] == said[1]
    assert len(said[0]) == 1
    sample_confident(process, Masked(), (2, 4), n_steps=4, generator=g())
    with pytest.raises(OptionError, match="T = 50; got 51"):
        sample_remasking(process, Masked(), (2, 4), n_steps=51)


@pytest.mark.parametrize("sampler", [sample, sample_remasking])
def test_steps_of_a_cosine_grid_that_fall_together_are_said(sampler):
    """Rounded to whole times, the first of 40 steps of T = 50 are of the same."""
    process, seen = Absorbing(3, inverse_betas(50)), []
    with pytest.warns(StepsWarning, match=r"`n_steps` = 40 .* cosine grid .* number of steps is 3\d\."):
        sampler(process, Masked(), (2, 4), n_steps=40, grid="cosine", generator=g(), watch=lambda t, x: seen.append(t))
    assert len(seen) < 40
    sampler(process, Masked(), (2, 4), n_steps=3, grid="cosine", generator=g())
    sampler(process, Masked(), (2, 4), grid="cosine", generator=g())  # as many as there are
