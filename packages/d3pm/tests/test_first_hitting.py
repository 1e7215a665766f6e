"""First-hitting draws from the model that is evaluated, in fewer runs of the net."""

import math

import pytest
import torch

from d3pm import Absorbing, ContinuousSchedule, Conventions, inverse_betas
from d3pm.sampling import sample_first_hitting
from enumeration import Masked, N, contextual, exact_model, frequencies


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


class Counting(Masked):
    calls = 0

    def __call__(self, x_t, time, condition=None):
        self.calls += 1
        return super().__call__(x_t, time, condition)


@pytest.mark.parametrize(("first", "calls"), [("eq4", 3), ("direct", 4)])
def test_where_x_0_is_drawn_from_the_net_itself_it_runs_once_more_also_when_no_mask_is_left(first, calls):
    denoiser, g = Counting(), torch.Generator().manual_seed(0)
    process = Absorbing(3, inverse_betas(1000))
    x = sample_first_hitting(process, denoiser, (1, 3), conventions=Conventions(first=first), generator=g)
    assert denoiser.calls == calls
    assert (x < 2).all()


def test_first_hitting_runs_the_net_once_per_token():
    denoiser = Counting()
    sample_first_hitting(
        Absorbing(3, inverse_betas(1000)), denoiser, (5, 7), generator=torch.Generator().manual_seed(0)
    )
    assert denoiser.calls == 7


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


def test_in_continuous_time_the_net_is_told_the_time_and_not_the_masking_ratio():
    """Where they differ: 1 − ᾱ = 1 − cos(π t / 2) of the cosine schedule is below t."""
    told = []

    class Told(Masked):
        def __call__(self, x_t, time, condition=None):
            told.append(time)
            return super().__call__(x_t, time)

    process = Absorbing(3, ContinuousSchedule("cosine"))
    sample_first_hitting(process, Told(), (N, 3), generator=torch.Generator().manual_seed(0))
    ratios = 1 - torch.cos(torch.stack(told).double() * (math.pi / 2))
    # The k-th of n tokens appears at the k-th largest of n uniform ratios; their standard deviation is below 0.2.
    expected = torch.tensor([0.75, 0.5, 0.25], dtype=torch.float64)
    torch.testing.assert_close(ratios.mean(-1), expected, rtol=0, atol=5 * 0.2 / N**0.5 + 1e-3 * math.pi / 2)
