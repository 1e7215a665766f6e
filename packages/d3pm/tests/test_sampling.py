"""Samples follow the model: frequencies against enumeration, for every path through the code."""

import pytest
import torch

from d3pm import Absorbing, ContinuousSchedule, Conventions, Uniform, cosine_betas, inverse_betas, linear_betas
from d3pm.errors import OptionError, TokenError
from d3pm.sampling import sample, sample_first_hitting, sampling_times
from test_likelihood import MASKED, PROCESSES, contextual, exact_model

N = 20_000  # five standard deviations of a frequency are 0.018 at most


class Masked:
    """A masked denoiser that ignores time, and counts the examples it is run on."""

    time_free, forbid = True, 2

    def __init__(self):
        self.seen = 0

    def __call__(self, x_t, time, condition=None):
        self.seen += len(x_t)
        return contextual(3, 2)(x_t, torch.zeros_like(time))


def frequencies(x, n_states):
    codes = (x * torch.tensor([n_states, 1])).sum(-1)
    return torch.bincount(codes, minlength=n_states**2).double() / len(x)


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


def test_first_hitting_is_the_limit_of_many_steps():
    process = Absorbing(3, ContinuousSchedule("linear"))
    _, p = exact_model(Absorbing(3, inverse_betas(400)), Masked(), 2, 1, "joint", "eq4")
    x = sample_first_hitting(process, Masked(), (N, 2), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(frequencies(x, 3), p, rtol=0, atol=0.018)


HITTING = [(T, first) for T in (1, 2, 3, 10) for first in ("eq4", "direct")]


@pytest.mark.parametrize(("n_steps", "first"), HITTING)
def test_first_hitting_follows_the_model_in_discrete_time(n_steps, first):
    """Tokens of one step are drawn together, as the model draws them: one by one they were .57 (T = 1) to .05 off."""
    process, denoiser = Absorbing(3, inverse_betas(n_steps)), contextual(3, 2)
    denoiser.forbid, denoiser.conventions = 2, Conventions(first=first)
    _, p = exact_model(process, denoiser, 2, 1, "joint", first)
    g, seen = torch.Generator().manual_seed(2), []
    x = sample_first_hitting(process, denoiser, (N, 2), generator=g, watch=lambda t, x: seen.append((t, x)))
    assert float((frequencies(x, 3) - p).abs().sum() / 2) < 0.012
    assert len(seen) <= min(2, n_steps) + 2  # at most a run per token, the last step, and what comes out
    assert seen[-1][0] == 0
    assert torch.equal(seen[-1][1], x)


def test_first_hitting_of_a_schedule_that_leaves_tokens():
    """All is masked at T, whatever the schedule says; and β_1 = 0 reveals nothing in the last step."""
    process, denoiser = Absorbing(3, [0.0, 0.2, 0.1, 0.4]), contextual(3, 2)
    denoiser.forbid = 2
    _, p = exact_model(process, denoiser, 2, 1, "joint", "eq4")
    x = sample_first_hitting(process, denoiser, (N, 2), generator=torch.Generator().manual_seed(0))
    assert float((frequencies(x, 3) - p).abs().sum() / 2) < 0.012


def test_first_hitting_takes_the_likeliest_token_in_the_last_step():
    process, denoiser = Absorbing(3, inverse_betas(1)), Masked()
    x = sample_first_hitting(process, denoiser, (9, 2), conventions=Conventions(final="argmax"))
    assert torch.equal(x, denoiser(torch.full((9, 2), 2), torch.ones(9)).argmax(-1))


def test_first_hitting_runs_the_net_once_per_token():
    class Counting(Masked):
        calls = 0

        def __call__(self, x_t, time, condition=None):
            self.calls += 1
            return super().__call__(x_t, time, condition)

    denoiser = Counting()
    sample_first_hitting(
        Absorbing(3, inverse_betas(1000)), denoiser, (5, 7), generator=torch.Generator().manual_seed(0)
    )
    assert denoiser.calls == 7


CONDITIONAL = {
    **PROCESSES,
    "absorbing_mid": lambda: Absorbing(3, inverse_betas(4), mask=1),
    "continuous": lambda: Uniform(3, ContinuousSchedule("cosine")),
}


@pytest.mark.parametrize("first", ["direct", "eq4"])
@pytest.mark.parametrize("name", [n for n in CONDITIONAL if n not in ("absorbing", "continuous")])
def test_infilling_without_masks_follows_the_conditional_law(name, first):
    """The exact law of the second token given the first: replacement alone is off by up to 0.2 in total variation."""
    process, forbid = CONDITIONAL[name](), 2 if name in MASKED else None
    denoiser = contextual(3, forbid)
    denoiser.forbid, denoiser.conventions = forbid, Conventions(first=first)
    _, p = exact_model(process, denoiser, 2, 1, "joint", first)
    given, keep = torch.tensor([[1, 0]]).expand(3000, 2), torch.tensor([[True, False]]).expand(3000, 2)
    g = torch.Generator().manual_seed(0)
    x = sample(process, denoiser, (3000, 2), given=given, keep=keep, n_particles=64, generator=g)
    assert (x[:, 0] == 1).all()
    expected = p.reshape(3, 3)[1] / p.reshape(3, 3)[1].sum()
    total_variation = (torch.bincount(x[:, 1], minlength=3) / 3000 - expected).abs().sum() / 2
    assert float(total_variation) < 0.03


def test_infilling_weighs_the_start_where_noise_does_not_mix():
    """One step from a prior that the given token seldom leads to, and a net whose second token is its first."""
    process = Uniform(3, [0.5]).learn_prior(torch.tensor([0.9, 0.05, 0.05]))

    def net(x_t, time, condition=None):
        seen = torch.nn.functional.one_hot(x_t[:, 0], 3).double()
        return torch.stack([1.5 * seen, 3 * seen], 1)

    _, p = exact_model(process, net, 2, 1, "joint", "direct")
    given, keep = torch.tensor([[1, 0]]).expand(4000, 2), torch.tensor([[True, False]]).expand(4000, 2)
    g = torch.Generator().manual_seed(0)
    direct = Conventions(first="direct")
    x = sample(process, net, (4000, 2), conventions=direct, given=given, keep=keep, n_particles=64, generator=g)
    expected = p.reshape(3, 3)[1] / p.reshape(3, 3)[1].sum()
    total_variation = (torch.bincount(x[:, 1], minlength=3) / 4000 - expected).abs().sum() / 2
    assert float(total_variation) < 0.025  # 0.33 without the weight of the start


@pytest.mark.parametrize("name", CONDITIONAL)
def test_infilling_keeps_what_is_given(name):
    process, forbid = CONDITIONAL[name](), 2 if name in MASKED else None
    given = torch.tensor([[1, 0]]).expand(500, 2)
    keep = torch.tensor([[True, False]]).expand(500, 2)
    g = torch.Generator().manual_seed(0)
    x = sample(process, contextual(3, forbid), (500, 2), n_steps=4, given=given, keep=keep, generator=g)
    assert (x[:, 0] == 1).all()
    assert len(x[:, 1].unique()) > 1


def test_first_hitting_fills_in_whatever_the_layout_of_what_is_given():
    """Columns of a matrix, expanded rows: the samples used to stay masks."""
    process, denoiser = Absorbing(3, inverse_betas(4)), Masked()
    across = torch.tensor([[1, 0], [0, 1], [1, 1]])
    keep = torch.tensor([[True, False], [False, True], [False, False]])
    for given, kept in ((across.mT.contiguous().mT, keep.mT.contiguous().mT), (across[:1].expand(3, 2), keep)):
        x = sample_first_hitting(
            process, denoiser, (3, 2), given=given, keep=kept, generator=torch.Generator().manual_seed(0)
        )
        assert (x < 2).all()
        assert torch.equal(x[kept], given[kept])


class Exact:
    """p̃ of the data law p0 (K, K) itself: of each token given the other's x_t ("joint"), by summing."""

    def __init__(self, p0, process, forbid=None):
        self.p0, self.process, self.forbid = p0, process, forbid

    def __call__(self, x_t, time, condition=None):
        end = self.process.n_steps
        t = round(float(time[0]) * end)  # at T all is masked, and what is not says nothing
        Q = self.process.cumulative(min(t, end - 1) if self.forbid is not None else t)
        columns = Q[:, x_t].permute(1, 2, 0)  # (B, 2, K): q(x_t | x_0 = k)
        first, second = columns[:, 1] @ self.p0.mT, columns[:, 0] @ self.p0
        return torch.stack([first, second], 1).clamp(min=1e-300).log()


P0 = torch.tensor([[0.45, 0.03, 0.02], [0.02, 0.03, 0.01], [0.02, 0.02, 0.40]], dtype=torch.float64)


@pytest.mark.parametrize("n_steps", [10, 40])
def test_infilling_with_an_exact_net(n_steps):
    """One particle is no conditioning, however many steps; sixty-four are right to the noise of the draws."""
    process = Uniform(3, linear_betas(n_steps, 0.02, 0.9) * 10 / n_steps)
    given, keep = torch.tensor([[0, 2]]).expand(2000, 2), torch.tensor([[False, True]]).expand(2000, 2)
    joint = exact_model(process, Exact(P0, process), 2, 1, "joint", "eq4")[1].reshape(3, 3)
    expected, errors = joint[:, 2] / joint[:, 2].sum(), {}
    for n_particles in (1, 64):
        x = sample(
            process, Exact(P0, process), (2000, 2), given=given, keep=keep, n_particles=n_particles,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        errors[n_particles] = float((torch.bincount(x[:, 0], minlength=3) / 2000 - expected).abs().sum() / 2)
    assert errors[64] < 0.03
    assert errors[1] > 0.1


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


def test_particles_are_drawn_anew_where_few_of_them_count_and_then_count_alike():
    """Weights that have been spent on a draw must not be spent again in the next."""
    from d3pm.infilling import _resampled

    log_w = torch.tensor([[0.0, -40.0, -40.0, -40.0], [0.0, 0.1, 0.2, 0.3]], dtype=torch.float64)
    x, left = _resampled(torch.arange(8)[:, None], log_w, torch.Generator().manual_seed(0))
    assert x[:, 0].tolist() == [0, 0, 0, 0, 4, 5, 6, 7]
    assert torch.equal(left.reshape(2, 4)[0], torch.zeros(4, dtype=torch.float64))
    assert torch.equal(left.reshape(2, 4)[1], log_w[1])


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


def test_infilling_of_a_masked_model_conditions_exactly():
    """Given the first token, the second follows p̃ with that token in sight."""
    process, denoiser = Absorbing(3, inverse_betas(4)), Masked()
    given, keep = torch.tensor([[1, 0]]).expand(N, 2), torch.tensor([[True, False]]).expand(N, 2)
    for sampler in (sample, sample_first_hitting):
        x = sampler(process, denoiser, (N, 2), given=given, keep=keep, generator=torch.Generator().manual_seed(3))
        expected = denoiser(torch.tensor([[1, 2]]), torch.zeros(1))[0, 1].softmax(-1)
        torch.testing.assert_close(frequencies(x, 3)[3:6], expected, rtol=0, atol=0.018)


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
