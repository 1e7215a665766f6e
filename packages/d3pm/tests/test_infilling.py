"""Given tokens condition the others: frequencies against enumeration."""

import pytest
import torch

from d3pm import Absorbing, ContinuousSchedule, Conventions, Uniform, inverse_betas, linear_betas
from d3pm.infilling import sample_given
from d3pm.sampling import sample, sample_first_hitting
from enumeration import MASKED, P0, PROCESSES, Exact, Masked, N, contextual, exact_model, frequencies

CONDITIONAL = {
    **PROCESSES,
    "absorbing_mid": lambda: Absorbing(3, inverse_betas(4), mask=1),
    "continuous": lambda: Uniform(3, ContinuousSchedule("cosine")),
}


@pytest.mark.parametrize("first", ["direct", "eq4"])
@pytest.mark.parametrize("name", [n for n in CONDITIONAL if n not in ("absorbing", "absorbing_in_part", "continuous")])
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


def test_particles_are_drawn_anew_where_few_of_them_count_and_then_count_alike():
    """Weights that have been spent on a draw must not be spent again in the next."""
    from d3pm.infilling import _resampled

    log_w = torch.tensor([[0.0, -40.0, -40.0, -40.0], [0.0, 0.1, 0.2, 0.3]], dtype=torch.float64)
    x, left = _resampled(torch.arange(8)[:, None], log_w, torch.Generator().manual_seed(0))
    assert x[:, 0].tolist() == [0, 0, 0, 0, 4, 5, 6, 7]
    assert torch.equal(left.reshape(2, 4)[0], torch.zeros(4, dtype=torch.float64))
    assert torch.equal(left.reshape(2, 4)[1], log_w[1])


class Copying:
    """A net whose second token is the first where it sees it, and whose first token knows nothing of the second."""

    forbid = 2

    def __call__(self, x_t, time, condition=None):
        logits = torch.zeros(*x_t.shape, 3, dtype=torch.float64)
        seen = torch.nn.functional.one_hot(x_t[:, 0], 3).double()
        logits[:, 1] = torch.where(x_t[:, :1] < 2, 8 * seen, 0.0)
        logits[..., 2] = -1e30
        return logits


@pytest.mark.parametrize("name", ["absorbing", "absorbing_in_part"])
def test_particles_condition_a_masked_model_whose_orders_disagree(name):
    """Samples that have 1 in front end in 1 in three of four cases, and nearly always where the 1 is shown."""
    process = PROCESSES[name]()
    p = exact_model(process, Copying(), 2, 1, "joint", "eq4")[1].reshape(3, 3)[1]
    given, keep = torch.tensor([[1, 0]]).expand(4000, 2), torch.tensor([[True, False]]).expand(4000, 2)
    g = torch.Generator().manual_seed(0)
    found = sample_given(process, Copying(), given, keep, n_particles=32, generator=g)
    frequency, expected = torch.bincount(found[:, 1], minlength=3) / 4000, (p / p.sum()).float()
    torch.testing.assert_close(frequency, expected, rtol=0, atol=0.03)
    shown = sample(process, Copying(), (4000, 2), given=given, keep=keep, generator=g)
    assert float((shown[:, 1] == 1).float().mean()) > float(expected[1]) + 0.1


def test_infilling_of_a_masked_model_follows_the_net_with_what_is_given_in_sight():
    """Given the first token, the second follows p̃ with that token in sight."""
    process, denoiser = Absorbing(3, inverse_betas(4)), Masked()
    given, keep = torch.tensor([[1, 0]]).expand(N, 2), torch.tensor([[True, False]]).expand(N, 2)
    for sampler in (sample, sample_first_hitting):
        x = sampler(process, denoiser, (N, 2), given=given, keep=keep, generator=torch.Generator().manual_seed(3))
        expected = denoiser(torch.tensor([[1, 2]]), torch.zeros(1))[0, 1].softmax(-1)
        torch.testing.assert_close(frequencies(x, 3)[3:6], expected, rtol=0, atol=0.018)
