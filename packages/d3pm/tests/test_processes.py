"""What every process must satisfy, and the refusals."""

import math

import pytest
import torch

from d3pm import (
    Absorbing,
    AbsorbingUniform,
    ContinuousSchedule,
    Custom,
    DiscretizedGaussian,
    NearestNeighbour,
    Uniform,
    cosine_betas,
    inverse_betas,
    linear_betas,
    nearest_neighbour_rate,
)
from d3pm.processes.base import draw
from reference import CASES, process_from


@pytest.mark.parametrize("case", ["gaussian_paper", "band", "custom"])
@pytest.mark.parametrize("n_tables", [1, 3, 4, 7])
def test_a_table_of_fewer_times_changes_nothing(case, n_tables, monkeypatch):
    """Memory stays flat in T: what is not in the table is multiplied from what is."""
    whole = (
        Custom(torch.rand(10, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).softmax(-1))
        if case == "custom"
        else process_from(case)
    )
    monkeypatch.setattr("d3pm.processes.tabulated._TABLES", n_tables)
    few = Custom(whole.parameters["transitions"]) if case == "custom" else process_from(case)
    assert len(few._log_table) <= n_tables + 1 < len(whole._log_table)
    for t in range(11):
        torch.testing.assert_close(few.cumulative(t), whole.cumulative(t), rtol=1e-12, atol=1e-300)
    g = torch.Generator().manual_seed(0)
    x_0 = torch.randint(whole.n_states, (10, 5), generator=g)
    t = torch.randperm(10, generator=g)[:, None] + 1
    log_p = torch.randn(10, 5, whole.n_states, generator=g, dtype=torch.float64).log_softmax(-1)
    x_t, again = (each.corrupt(x_0, t, torch.Generator().manual_seed(3)) for each in (few, whole))
    assert torch.equal(x_t, again)
    for step in (1, 4):
        s = (t - step).clamp(min=0)
        ours, theirs = (each.kl(x_t, x_0, log_p, s, t) for each in (few, whole))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_matrices_are_what_their_steps_multiply_to(case):
    process = process_from(case)
    product = torch.eye(8, dtype=torch.float64)
    for t in range(1, 11):
        product = product @ process.transition(t)
        torch.testing.assert_close(process.cumulative(t), product, rtol=0, atol=1e-12)
    between = process.transition(4) @ process.transition(5) @ process.transition(6)
    torch.testing.assert_close(process.between(3, 6), between, rtol=0, atol=1e-12)
    torch.testing.assert_close(process.cumulative(0), torch.eye(8, dtype=torch.float64))


@pytest.mark.parametrize("case", CASES)
def test_q_sample_follows_the_matrix(case):
    """40,000 draws per state: five standard deviations are 0.0125 at most."""
    process, g = process_from(case), torch.Generator().manual_seed(1)
    for x_0, t in ((0, 3), (5, 8)):
        drawn = process.q_sample(torch.full((40_000,), x_0), t, g)
        frequency = torch.bincount(drawn, minlength=8) / 40_000
        torch.testing.assert_close(frequency.double(), process.cumulative(t)[x_0], rtol=0, atol=0.0125)


def test_times_broadcast_over_the_first_axis():
    process, x_0 = process_from("gaussian_wide"), torch.arange(8).reshape(2, 4)
    x_t = x_0.flip(0)
    both = process.posterior(x_t, x_0, torch.tensor([2, 7]))
    torch.testing.assert_close(both[1], process.posterior(x_t[1], x_0[1], 7))
    logits = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    both = process.reverse(x_t, logits, torch.tensor([2, 7]), step=2)
    torch.testing.assert_close(both[0], process.reverse(x_t[0], logits[0], 2, step=2))
    torch.testing.assert_close(both[1], process.reverse(x_t[1], logits[1], 7, step=2))


def test_vocabulary_of_fifty_thousand():
    """No table grows with K: posterior and reverse step of K = 50,000 at T = 1000 in a moment."""
    K = 50_000
    for process in (Uniform(K, cosine_betas(1000)), Absorbing(K, inverse_betas(1000))):
        x_0 = torch.tensor([[1, 2, K - 2]])
        x_t = process.q_sample(x_0, 500, torch.Generator().manual_seed(0))
        logits = torch.zeros(1, 3, K)
        torch.testing.assert_close(process.posterior(x_t, x_0, 500).sum(-1), torch.ones(1, 3).double())
        torch.testing.assert_close(process.reverse(x_t, logits, 500).sum(-1), torch.ones(1, 3), rtol=0, atol=1e-4)
        assert process.prior_kl().shape == (K,)


def test_gaussian_mixes_at_256_levels_and_not_at_8():
    """The paper checks L_T below 1e-5 bits per dimension; its range of β does not carry over to few levels."""
    few = DiscretizedGaussian(8, linear_betas(1000))
    wide = DiscretizedGaussian(17, linear_betas(200, 1e-3, 0.5))
    assert float(few.prior_kl().max()) > 0.1
    assert float(wide.prior_kl().max()) < 1e-5 * 0.6931


def test_masks_leave_a_finite_prior_term():
    """What is not masked by T is spread evenly over the tokens: L_T = ᾱ_T log(K − 1), and a mask costs its share."""
    in_part = Absorbing(5, [0.3, 0.4])
    expected = torch.tensor([0.42 * math.log(4)] * 4 + [-math.log(0.58)], dtype=torch.float64)
    torch.testing.assert_close(in_part.prior_kl(), expected)
    torch.testing.assert_close(AbsorbingUniform(5, [0.3, 0.4], [0.0, 0.0]).prior_kl(), expected)
    law = AbsorbingUniform(5, [0.3, 0.4], [0.1, 0.2]).prior
    tokens = torch.full((4,), 0.25, dtype=torch.float64)
    torch.testing.assert_close(law, tokens @ AbsorbingUniform(5, [0.3, 0.4], [0.1, 0.2]).cumulative(2)[:4])
    scores = Absorbing(5, ContinuousSchedule("geometric")).prior_kl()[:4]
    torch.testing.assert_close(scores, torch.full((4,), math.exp(-19.999) * math.log(4)).double(), rtol=2e-3, atol=0)
    assert Absorbing(5, inverse_betas(7)).prior.tolist() == [0, 0, 0, 0, 1]


def test_product_with_a_table_has_the_right_gradient():
    """The hand-written gradient, and a state of probability e^-800 that keeps its own share of a near-identity."""
    from d3pm.processes.table_products import LogProduct

    g = torch.Generator().manual_seed(0)
    log_p = torch.randn(2, 3, 4, generator=g, dtype=torch.float64, requires_grad=True)
    log_q = torch.randn(2, 4, 4, generator=g, dtype=torch.float64).log_softmax(-1)
    assert torch.autograd.gradcheck(lambda x: LogProduct.apply(x, log_q), log_p)
    torch.testing.assert_close(LogProduct.apply(log_p, log_q).detach(), (log_p.exp() @ log_q.exp()).log().detach())
    tiny = torch.tensor([[[0.0, -800.0]]], dtype=torch.float32, requires_grad=True)
    identity = torch.tensor([[[0.0, -1e30], [-1e30, 0.0]]])
    out = LogProduct.apply(tiny, identity)
    out[..., 1].sum().backward()
    assert float(out[0, 0, 1].detach()) == -800.0
    assert float(tiny.grad[0, 0, 1]) == 1.0


def test_draw_is_exact_and_never_impossible():
    g = torch.Generator().manual_seed(0)
    log_p = torch.tensor([-1e30, 0.0, -1e30, 1.0986122886681098, -1e30])  # 1/4, 3/4
    drawn = draw(log_p.expand(50_000, 5), g)
    assert set(drawn.tolist()) == {1, 3}
    assert float((drawn == 3).double().mean()) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_continuous_processes_compose(kind):
    for process in (
        Uniform(4, ContinuousSchedule(kind)),
        Absorbing(4, ContinuousSchedule(kind)),
        NearestNeighbour(
            nearest_neighbour_rate(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), 2),
            ContinuousSchedule(kind),
        ),
    ):
        assert process.n_steps is None
        torch.testing.assert_close(process.between(0.0, 0.3) @ process.between(0.3, 0.8), process.cumulative(0.8))
        torch.testing.assert_close(process.cumulative(1.0), process.prior.expand(4, 4), rtol=0, atol=1e-8)
        posterior = process.posterior(torch.tensor([3]), torch.tensor([1]), 0.5, step=0.2)
        torch.testing.assert_close(posterior.sum(-1), torch.ones(1).double())


def test_describe_tells_processes_apart():
    a, b = Uniform(8, cosine_betas(10)), Uniform(8, cosine_betas(10))
    assert a.describe() == b.describe()
    others = [
        Uniform(8, inverse_betas(10)),
        Uniform(9, cosine_betas(10)),
        Absorbing(8, cosine_betas(10)),
        Absorbing(8, cosine_betas(10), mask=3),
        Uniform(8, ContinuousSchedule("cosine")),
    ]
    descriptions = [str(p.describe()) for p in [a, *others]]
    assert len(set(descriptions)) == len(descriptions)


def test_a_learned_prior_reaches_states_that_training_has_not_seen():
    """Half of the tokens are left at T, so that L_T of an unseen one is large, and finite: a millionth is even."""
    process = Absorbing(4, [0.5]).learn_prior([0.5, 0.5, 0.0, 0.0])
    seen, unseen = (1 - 1e-6) * 0.5 + 1e-6 / 4, 1e-6 / 4
    prior = torch.tensor([seen / 2, seen / 2, unseen / 2, unseen / 2 + 0.5], dtype=torch.float64)
    torch.testing.assert_close(process.prior, prior, rtol=1e-12, atol=0)
    expected = 0.5 * (0.5 / prior).log() + 0.5 * (0.5 / prior[3]).log()
    torch.testing.assert_close(process.prior_kl()[:3], expected[:3], rtol=1e-9, atol=0)
