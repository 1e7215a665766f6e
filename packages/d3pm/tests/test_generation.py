"""One function for all samplers: sharper nets, blocks, what is given, what is refused."""

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
from d3pm.sampling import sample
from d3pm.unmasking import sample_confident, sample_remasking
from enumeration import CORRELATED, MASK, Exact, Masked, N, contextual, exact_model, law_of, p_of


def g(seed=0):
    return torch.Generator().manual_seed(seed)


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
