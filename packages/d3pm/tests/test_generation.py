"""Samplers that choose and take back, sharper nets, blocks: laws against enumeration."""

import itertools

import pytest
import torch

from d3pm import (
    Absorbing,
    ContinuousSchedule,
    Conventions,
    GenerationConfig,
    Uniform,
    generate,
    inverse_betas,
    linear_betas,
)
from d3pm.errors import OptionError
from d3pm.generation import Sharpened
from d3pm.sampling import sample, sampling_times
from d3pm.unmasking import sample_confident, sample_remasking
from test_likelihood import contextual, exact_model, states
from test_sampling import Exact, Masked, frequencies

N = 20_000  # five standard deviations of a frequency are 0.018 at most
MASK = 2
CORRELATED = torch.tensor([[0.5, 0.05, 0.0], [0.1, 0.35, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def law_of(x):
    return frequencies(x, 3)


def p_of(*tokens):
    """p̃ (2, K) of the masked net with these tokens in sight."""
    return Masked()(torch.tensor([tokens]), torch.zeros(1))[0].softmax(-1)


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


@pytest.mark.parametrize("method", ["ancestral", "first_hitting", "confidence", "remasking"])
def test_blocks_of_one_token_are_autoregressive(method):
    """With an exact net each token follows the data's law given those before it, whatever fills in the block."""
    process = Absorbing(3, inverse_betas(10))
    config = GenerationConfig(method, block=1)
    x = generate(process, Exact(CORRELATED, process, MASK), (N, 2), config, generator=g())
    torch.testing.assert_close(law_of(x), CORRELATED.flatten(), rtol=0, atol=0.018)
    longer = generate(process, Masked(), (7, 2), GenerationConfig(method, block=3), generator=g())
    assert bool((longer != MASK).all())


@pytest.mark.parametrize("method", ["ancestral", "first_hitting", "confidence", "remasking"])
@pytest.mark.parametrize("block", [0, 1])
def test_every_method_keeps_what_is_given(method, block):
    process = Absorbing(3, inverse_betas(4))
    given, keep = torch.tensor([[0, 1]]).expand(N, 2), torch.tensor([[False, True]]).expand(N, 2)
    x = generate(
        process, Masked(), (N, 2), GenerationConfig(method, block=block), given=given, keep=keep, generator=g()
    )
    assert (x[:, 1] == 1).all()
    found = torch.bincount(x[:, 0], minlength=3).double() / N
    torch.testing.assert_close(found, p_of(MASK, 1)[0], rtol=0, atol=0.018)


def test_defaults_draw_the_model_that_is_evaluated():
    for process, forbid in ((Absorbing(3, inverse_betas(4)), MASK), (Uniform(3, linear_betas(4, 0.2, 0.9)), None)):
        denoiser = contextual(3, forbid)
        denoiser.forbid, denoiser.conventions = forbid, Conventions("mixture")
        x = generate(process, denoiser, (N, 2), generator=g())
        torch.testing.assert_close(
            law_of(x), exact_model(process, denoiser, 2, 1, "mixture", "eq4")[1], rtol=0, atol=0.018
        )
        assert torch.equal(x, sample(process, denoiser, (N, 2), generator=g()))


def test_sharper_nets():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1e30]])
    net = lambda x_t, time, condition=None: logits.expand(*x_t.shape, 4)  # noqa: E731
    x_t, time = torch.zeros(1, 2, dtype=torch.long), torch.zeros(1)

    def p(*options):
        return Sharpened(net, *options)(x_t, time)[0, 0].softmax(-1)

    torch.testing.assert_close(p(0.5), (logits.double()[0] / 0.5).softmax(-1))
    torch.testing.assert_close(p(0.0), torch.tensor([1.0, 0.0, 0.0, 0.0]).double())
    whole = logits.double()[0].softmax(-1)  # 0.665, 0.245, 0.090
    torch.testing.assert_close(p(1.0, 0.6), torch.tensor([1.0, 0.0, 0.0, 0.0]).double())
    two = whole * torch.tensor([1.0, 1.0, 0.0, 0.0])
    torch.testing.assert_close(p(1.0, 0.7), two / two.sum())
    torch.testing.assert_close(p(1.0, 0.95), whole)
    torch.testing.assert_close(p(2.0, 1.0)[3], torch.tensor(0.0).double())
    masked = Sharpened(Masked(), 0.7)
    assert (masked.forbid, masked.time_free, masked.conventions) == (MASK, True, Conventions())


def test_a_colder_net_gives_likelier_samples():
    process, denoiser = Absorbing(3, inverse_betas(4)), Masked()
    for config, top in (
        (GenerationConfig(), 0.0),
        (GenerationConfig(temperature=0.3), 0.05),
        (GenerationConfig(top_p=0.5), 0.05),
    ):
        law = law_of(generate(process, denoiser, (N, 2), config, generator=g()))
        exact = exact_model(process, denoiser, 2, 1, "joint", "eq4")[1]
        assert float(law @ exact) > float(exact @ exact) + top - 0.01
    frozen = generate(process, denoiser, (50, 2), GenerationConfig("first_hitting", temperature=0), generator=g())
    assert len(frozen.unique(dim=0)) <= 2  # by which token came first


def test_refusals():
    masked, uniform = Absorbing(3, inverse_betas(4)), Uniform(3, ContinuousSchedule("cosine"))
    with pytest.raises(OptionError, match="'confidence'"):
        GenerationConfig("confident")
    with pytest.raises(OptionError, match="ancestral"):
        GenerationConfig("remasking", n_corrections=2)
    for config in (GenerationConfig("confidence"), GenerationConfig("remasking"), GenerationConfig(block=2)):
        with pytest.raises(OptionError, match="must be absorbing"):
            generate(uniform, contextual(3), (1, 2), config)
    with pytest.raises(OptionError, match="top_p"):
        GenerationConfig(top_p=0.0)
    with pytest.raises(OptionError, match="top_p"):
        Sharpened(Masked(), top_p=0.0)
    with pytest.raises(OptionError, match="strength"):
        sample_remasking(masked, Masked(), (1, 2), strength=1.5)
    with pytest.raises(OptionError, match="n_steps"):
        sample_confident(masked, Masked(), (1, 2), n_steps=0)
    with pytest.raises(OptionError, match="n_corrections"):
        sample(masked, Masked(), (1, 2), n_corrections=-1)
    with pytest.raises(OptionError, match="n_particles"):
        sample(
            uniform,
            contextual(3),
            (1, 2),
            n_particles=0,
            given=torch.zeros(1, 2).long(),
            keep=torch.tensor([[True, False]]),
        )
    with pytest.raises(OptionError, match="n_steps"):
        GenerationConfig("confidence", n_steps=0)
    with pytest.raises(OptionError, match="n_corrections"):
        GenerationConfig(n_corrections=-1)
    given, keep = torch.tensor([[0, 1]]), torch.tensor([[True, False]])
    with pytest.raises(OptionError, match="particles"):
        generate(uniform, contextual(3), (1, 2), GenerationConfig(n_corrections=1), given=given, keep=keep)
    for options in (
        {"n_particles": 0},
        {"n_steps": 0},
        {"n_steps": 2.5},
        {"grid": "odd"},
        {"final": "mean"},
        {"confidence": "most"},
        {"temperature": float("nan")},
        {"block": -1},
        {"remasking": 1.5},
    ):
        with pytest.raises(OptionError, match=next(iter(options))):
            GenerationConfig(**options)


def test_a_config_fits_its_model():
    masked, uniform = Absorbing(3, inverse_betas(4)), Uniform(3, linear_betas(4, 0.2, 0.9))
    for config in (GenerationConfig("confidence"), GenerationConfig("remasking", n_steps=4), GenerationConfig(block=2)):
        assert config.check(masked, Masked()) is config
        with pytest.raises(OptionError, match="must be absorbing"):
            config.check(uniform, contextual(3))
    with pytest.raises(OptionError, match="T = 4"):
        GenerationConfig(n_steps=5).check(uniform, contextual(3))


def test_overriding_keeps_the_rest_of_the_same_method():
    config = GenerationConfig(n_steps=100, n_corrections=6)
    assert config.override() == config.override(n_steps=None) == config.override(method="ancestral") == config
    assert config.override(n_steps=50) == GenerationConfig(n_steps=50, n_corrections=6)
    assert config.override(n_corrections=0, temperature=0.0) == GenerationConfig(n_steps=100, temperature=0.0)
    assert config.override(method="remasking", n_steps=7) == GenerationConfig("remasking", n_steps=7)
    assert str(config) == "ancestral, 100 steps, 6 corrections"
    assert str(GenerationConfig("remasking", remasking=0.3)) == "remasking, remasking 0.3"
