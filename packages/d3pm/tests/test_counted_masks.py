"""Masking an exact number of positions: the same bound, with less variance."""

import itertools
import math

import pytest
import torch

from d3pm import Absorbing, ContinuousSchedule, Conventions, Objective, inverse_betas
from d3pm.counted import counted_masks
from d3pm.errors import OptionError
from d3pm.losses import training_loss
from enumeration import masked_denoiser
from reference import golden


def test_the_expected_loss_is_the_continuous_bound():
    """Every number of masks and every choice of positions, against the stored integral and any-order cost."""
    for case in golden("masked_nelbo_D3")["cases"]:
        x_0 = torch.tensor(case["x0"])
        total = 0.0
        for k in (1, 2, 3):
            choices = list(itertools.combinations(range(3), k))
            for chosen in choices:
                masked = torch.zeros(3, dtype=torch.bool)
                masked[list(chosen)] = True
                x_t = torch.where(masked, 3, x_0)[None]
                ce = -masked_denoiser(x_t, None).log_softmax(-1)[0].gather(-1, x_0[:, None])[:, 0]
                total += float((3 / k * ce[masked]).sum()) / (3 * len(choices))
        assert total == pytest.approx(case["continuous_nelbo_nats"], abs=1e-9)


def test_numbers_and_positions_are_spread_evenly():
    x_0 = torch.zeros(6000, 5, dtype=torch.long)
    real = torch.arange(5) < torch.tensor([5, 3]).repeat(3000)[:, None]
    t = (torch.arange(6000, dtype=torch.float64) + 0.5) / 6000
    masked, time, weight = counted_masks(x_0, t, torch.Generator().manual_seed(0), real)
    k = masked.sum(-1)
    n = real.sum(-1)
    assert not (masked & ~real).any()
    torch.testing.assert_close(time, k / n.double())
    torch.testing.assert_close((weight.sum(-1)), n.float())
    for length in (5, 3):
        counts = torch.bincount(k[n == length], minlength=length + 1)[1:]
        assert (counts - 3000 / length).abs().max() <= 2
        places = masked[n == length].float().mean(0)[:length]
        torch.testing.assert_close(places, torch.full((length,), (length + 1) / (2 * length)), rtol=0, atol=0.05)


def test_estimates_agree_and_vary_less():
    process = Absorbing(4, ContinuousSchedule("linear"))
    case = golden("masked_nelbo_D3")["cases"][0]
    x_0 = torch.tensor(case["x0"]).expand(64, -1)
    spread = {}
    for kind in ("masked", "counted"):
        losses = []
        for seed in range(300):
            g = torch.Generator().manual_seed(seed)
            losses.append(float(training_loss(Objective(kind), process, masked_denoiser, x_0, g)[0]) * 3)
        values = torch.tensor(losses)
        spread[kind] = float(values.std())
        assert float(values.mean()) == pytest.approx(
            case["continuous_nelbo_nats"], abs=5 * spread[kind] / math.sqrt(300)
        )
    assert spread["counted"] < 0.6 * spread["masked"]


def test_it_needs_continuous_time_and_a_linear_schedule():
    for schedule in (inverse_betas(5), ContinuousSchedule("cosine")):
        with pytest.raises(OptionError, match="linear"):
            Objective("counted").check(Absorbing(4, schedule), Conventions())
    Objective("counted").check(Absorbing(4, ContinuousSchedule("linear")), Conventions())
