"""Reverse steps of a masked model of scores that belong to no distribution: in closed form."""

import math

import pytest
import torch

from d3pm import Absorbing, ContinuousSchedule, Conventions
from d3pm.sampling import sample, step_back
from d3pm.times import time_tensor

PROCESS, N = Absorbing(3, ContinuousSchedule("geometric")), 20_000
SCORE = Conventions("score")


class Scores:
    """Scores at a mask that come to `total`, the first twice the second; an exact net's come to one."""

    def __init__(self, total, forbid=None):
        self.logits = (torch.tensor([2, 1, 0], dtype=torch.float64) * total / 3).log().clamp(min=-1e30)
        self.forbid, self.conventions = forbid, SCORE

    def __call__(self, x_t, time, condition=None):
        return self.logits.expand(*x_t.shape, 3)


@pytest.mark.parametrize("forbid", [None, 2])
@pytest.mark.parametrize("total", [0.5, 1.0, 1.5])
def test_scores_say_when_a_mask_is_revealed(total, forbid):
    """With their sum times the probability of an exact net, (ᾱ_s − ᾱ_t)/(1 − ᾱ_t), not with that itself."""
    net, masks = Scores(total, forbid), torch.full((N, 1), 2)
    s, t = (time_tensor(PROCESS, value, "cpu") for value in (0.6, 0.7))
    share = total * float(PROCESS.unmask_probability(s, t))
    assert 0.2 < share < 0.8
    x = step_back(PROCESS, net, SCORE, masks, net(masks, t), s, t, torch.Generator().manual_seed(0))
    found = torch.bincount(x[:, 0], minlength=3).double() / N
    expected = torch.tensor([2 * share / 3, share / 3, 1 - share], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=5 * math.sqrt(0.25 / N))


@pytest.mark.parametrize("total", [0.5, 1.5])
def test_no_mask_is_left_at_the_end(total):
    """Also of a net that says nothing of the mask, and of scores by which some would stay."""
    x = sample(PROCESS, Scores(total), (500, 2), n_steps=3, generator=torch.Generator().manual_seed(0))
    assert bool((x < 2).all())
