"""Samples follow the model: frequencies against enumeration, for every path through the code."""

import pytest
import torch

from d3pm import Absorbing, ContinuousSchedule, Conventions, Uniform, cosine_betas, inverse_betas, linear_betas
from d3pm.errors import OptionError, TokenError
from d3pm.sampling import sample, sample_first_hitting, sampling_times
from enumeration import MASKED, P0, PROCESSES, Exact, Masked, N, contextual, exact_model, frequencies


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("mode", ["joint", "mixture"])
@pytest.mark.parametrize("first", ["direct", "eq4"])
@pytest.mark.parametrize("name", PROCESSES)
def test_samples_follow_the_model_that_is_evaluated(name, first, mode, step):
    """For every convention: drawing x_0 from p̃ where the model is equation 4's is off by up to 0.2."""
    process, forbid = PROCESSES[name](), 2 if name in MASKED else None
    denoiser, conventions = contextual(3, forbid), Conventions(mode, first)
    _, p = exact_model(process, denoiser, 2, step, mode, first)
    denoiser.forbid, denoiser.conventions = forbid, conventions
    x = sample(process, denoiser, (N, 2), n_steps=4 // step, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(frequencies(x, 3), p, rtol=0, atol=0.018)


@pytest.mark.parametrize("first", ["direct", "eq4"])
@pytest.mark.parametrize("name", PROCESSES)
def test_argmax_is_the_likeliest_value_of_the_last_law(name, first):
    process, forbid, seen = PROCESSES[name](), 2 if name in MASKED else None, []
    denoiser = contextual(3, forbid)
    denoiser.forbid = forbid
    g, conventions = torch.Generator().manual_seed(0), Conventions(first=first, final="argmax")
    watch = lambda t, x: seen.append((t, x))  # noqa: E731
    x = sample(process, denoiser, (50, 2), conventions=conventions, watch=watch, generator=g)
    assert [t for t, _ in seen] == [4, 3, 2, 1, 0]
    logits = denoiser(seen[-2][1], torch.full((50,), 0.25))
    law = logits if first == "direct" else process.reverse(seen[-2][1], logits, 1)
    assert torch.equal(x, law.argmax(-1))


def test_unmasking_shortcut_and_cache_change_nothing():
    process, plain = Absorbing(3, inverse_betas(4)), Masked()
    _, p = exact_model(process, Masked(), 2, 1, "joint", "eq4")
    cached = Masked()
    for denoiser, cache in ((plain, False), (cached, True)):
        x = sample(process, denoiser, (N, 2), cache=cache, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(frequencies(x, 3), p, rtol=0, atol=0.018)
    assert plain.seen == 4 * N
    assert cached.seen < 2.6 * N  # the first run, and then only what changed


@pytest.mark.parametrize("name", ["uniform", "absorbing"])
def test_corrections_mend_few_steps(name):
    """With an exact net what is wrong is that a step draws tokens independently, and corrections forget that."""
    p0 = P0
    if name == "absorbing":
        p0 = torch.tensor([[0.49, 0.01, 0.0], [0.01, 0.49, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    p0 = p0 / p0.sum()
    process = Uniform(3, linear_betas(20, 0.02, 0.5)) if name == "uniform" else Absorbing(3, inverse_betas(20))
    denoiser = Exact(p0, process, 2 if name == "absorbing" else None)
    n_steps, off = 20 if name == "uniform" else 4, {}
    for n_corrections in (0, 8):
        g = torch.Generator().manual_seed(0)
        x = sample(process, denoiser, (N, 2), n_steps=n_steps, n_corrections=n_corrections, generator=g)
        off[n_corrections] = float((frequencies(x, 3) - p0.flatten()).abs().sum() / 2)
    assert off[0] > 0.02
    assert off[8] < 0.75 * off[0]


def test_corrections_leave_given_tokens_and_the_end_alone():
    """The net sees what is given clean in each of its runs, and no correction comes after the last step."""
    process, shown = Absorbing(3, inverse_betas(4)), []

    def net(x_t, time, condition=None):
        shown.append((float(time[0]), x_t.clone()))
        return Masked()(x_t, time)

    net.forbid = 2  # type: ignore[attr-defined]
    given, keep = torch.tensor([[1, 0]]).expand(200, 2), torch.tensor([[True, False]]).expand(200, 2)
    g = torch.Generator().manual_seed(0)
    sample(process, net, (200, 2), n_corrections=2, given=given, keep=keep, generator=g)
    assert [time for time, _ in shown] == [1.0] * 3 + [0.75] * 3 + [0.5] * 3 + [0.25]
    assert all(bool((x[:, 0] == 1).all()) for _, x in shown)


def test_the_cache_tells_the_net_the_labels_of_what_it_is_run_on():
    """Each example's token is its label: that of another would be seen. The net's logits are a view, not written to."""

    class Labelled(Masked):
        def __call__(self, x_t, time, condition=None):
            law = torch.where(torch.arange(3) == condition[:, None] % 2, 0.0, -1e30).double()
            return law[:, None].expand(*x_t.shape, 3)

    labels = torch.arange(60) % 2
    process, g = Absorbing(3, inverse_betas(10)), torch.Generator().manual_seed(0)
    x = sample(process, Labelled(), (60, 4), condition=labels, generator=g)
    assert torch.equal(x, labels[:, None].expand(60, 4))


def test_same_seed_same_sample():
    process = Uniform(3, ContinuousSchedule("cosine"))
    a, b = (
        sample(process, contextual(3), (20, 2), n_steps=5, generator=torch.Generator().manual_seed(7)) for _ in "ab"
    )
    assert torch.equal(a, b)


def test_grids():
    process = Uniform(4, cosine_betas(10))
    assert sampling_times(process) == list(range(10, -1, -1))
    assert sampling_times(process, 5) == [10, 8, 6, 4, 2, 0]
    for grid in ("even", "cosine"):
        times = sampling_times(process, 7, grid)
        assert times[0] == 10
        assert times[-1] == 0
        assert sorted(times, reverse=True) == times
    continuous = sampling_times(Uniform(4, ContinuousSchedule("cosine")), 4, "cosine")
    assert continuous[0] == 1.0
    assert continuous[-1] == 0.0
    assert continuous[0] - continuous[1] < continuous[-2] - continuous[-1]


def test_refusals():
    process = Uniform(3, linear_betas(4, 0.2, 0.9))
    with pytest.raises(OptionError, match="T = 4"):
        sample(process, contextual(3), (1, 2), n_steps=5)
    with pytest.raises(OptionError, match="'argmax'"):
        Conventions(final="argmx")
    with pytest.raises(OptionError, match="continuous time"):
        sample(Uniform(3, ContinuousSchedule()), contextual(3), (1, 2), conventions=Conventions(first="direct"))
    with pytest.raises(OptionError, match="both"):
        sample(process, contextual(3), (1, 2), given=torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(TokenError, match="given"):
        sample(process, contextual(3), (1, 2), given=torch.full((1, 2), 3), keep=torch.ones(1, 2))
    geometric = Absorbing(3, ContinuousSchedule("geometric"))
    with pytest.raises(OptionError, match="'score'"):
        sample_first_hitting(geometric, Masked(), (1, 2), conventions=Conventions("score"))
    with pytest.raises(OptionError, match="first-hitting"):
        sample_first_hitting(Absorbing(3, inverse_betas(4)), contextual(3), (1, 2))
