"""Reverse steps and their divergences, for nets however certain: against the definition."""

import itertools

import pytest
import torch

from d3pm import Absorbing, AbsorbingUniform, Custom, DiscretizedGaussian, Uniform, cosine_betas, linear_betas
from d3pm.errors import TokenError
from d3pm.processes.base import Process, draw
from reference import CASES, process_from


@pytest.mark.parametrize("case", CASES)
def test_fast_kl_equals_the_definition(case):
    """The closed processes skip the K-wide posterior; the number must be the definition's, times per example."""
    process, g = process_from(case), torch.Generator().manual_seed(0)
    x_0 = torch.randint(7, (10, 5), generator=g)
    t = torch.arange(1, 11)[:, None]
    x_t = process.corrupt(x_0, t, g)
    logits = torch.randn(10, 5, 8, generator=g, dtype=torch.float64, requires_grad=True)
    log_p = logits.log_softmax(-1)
    for step, mode in itertools.product((1, 3), ("joint", "mixture")):
        s = (t - step).clamp(min=0)
        ours, plain = (kl(process, x_t, x_0, log_p, s, t, mode) for kl in (type(process).kl, Process.kl))
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)
        (a,), (b,) = (torch.autograd.grad(v.sum(), logits, retain_graph=True) for v in (ours, plain))
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
        assert torch.isfinite(a).all()


@pytest.mark.parametrize("mode", ["joint", "mixture"])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e3, 1e4])
def test_kl_of_a_table_for_nets_however_certain(scale, mode):
    """Where p̃ Q̄_s underflows in float32 the number is that of sums in log space, and the gradient is finite."""
    g = torch.Generator().manual_seed(1)
    process = DiscretizedGaussian(32, linear_betas(10, 1e-3, 0.02))
    x_0 = torch.randint(32, (10, 4), generator=g)
    t = torch.arange(1, 11)[:, None]
    x_t = process.corrupt(x_0, t, g)
    logits = (scale * torch.randn(10, 4, 32, generator=g)).requires_grad_()
    ours = process.kl(x_t, x_0, logits.log_softmax(-1), t - 1, t, mode)
    zero = torch.zeros_like(t)
    log_table = process._log_cumulative((t - 1)[:, 0])  # (10, K, K)
    log_p = logits.double().log_softmax(-1)
    if mode == "mixture":
        reach = process._log_columns(x_t, zero, t, torch.float64)
        log_p = torch.where(reach > -1e29, log_p - reach, -1e30)  # what cannot lead to x_t is not mixed in
    log_m = (log_p[..., None] + log_table[:, None]).logsumexp(-2)
    log_c = process._log_columns(x_t, t - 1, t, torch.float64)
    log_q = (log_c + process._log_rows(x_0, zero, t - 1, torch.float64)).log_softmax(-1)
    exact = (log_q.exp() * (log_q - (log_c + log_m).log_softmax(-1))).sum(-1)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-4)
    (gradient,) = torch.autograd.grad(ours.sum(), logits, retain_graph=True)
    (expected,) = torch.autograd.grad(exact.sum(), logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_reverse_of_a_table_for_nets_however_certain(scale, dtype):
    """Where p̃ Q̄_s underflows, equation 4 is that of sums in log space."""
    g = torch.Generator().manual_seed(1)
    process = DiscretizedGaussian(32, linear_betas(10, 1e-3, 0.02))
    x_t, logits = torch.randint(32, (9, 4), generator=g), (scale * torch.randn(9, 4, 32, generator=g)).to(dtype)
    t = torch.arange(2, 11)
    log_table = process._log_cumulative(t - 1)
    log_m = (logits.double().log_softmax(-1)[..., None] + log_table[:, None]).logsumexp(-2)
    exact = (process._log_columns(x_t, (t - 1)[:, None], t[:, None], torch.float64) + log_m).softmax(-1)
    torch.testing.assert_close(process.reverse(x_t, logits, t).double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_reverse_puts_no_mass_on_impossible_states(case):
    """A p̃ certain of a state that cannot lead to x_t is smoothed; what Q forbids stays forbidden."""
    process = process_from(case)
    states = torch.arange(8)
    x_t, x_0 = (v.reshape(-1) for v in torch.meshgrid(states, states, indexing="ij"))
    certain = torch.full((64, 8), -1e30).scatter(1, x_0[:, None], 0.0)
    for t, step in ((5, 1), (10, 1), (7, 3)):
        possible_x_t = process.cumulative(t).sum(0)[x_t] > 0
        for mode in ("joint", "mixture"):
            law = process.reverse(x_t, certain, t, step=step, mode=mode)
            reach = process.between(t - step, t)[:, x_t].mT * (process.cumulative(t - step).sum(0) > 0)
            leads = reach > 0  # (64, K): states at t − step that can be there and lead to x_t
            torch.testing.assert_close(law.sum(-1), torch.ones(64), rtol=0, atol=1e-5)
            assert float((law * ~leads)[possible_x_t].abs().max()) == 0


@pytest.mark.parametrize("case", ["uniform", "absorbing_mask_last", "absorbing_mid", "absorbing_uniform"])
def test_a_first_step_that_does_nothing(case):
    """β_1 = 0: no token is masked at t = 1, and gradients are numbers."""
    from d3pm.losses import bound_term, masked_bound_term

    betas = torch.tensor([0.0, 0.3, 0.9])
    process = {
        "uniform": lambda: Uniform(8, betas),
        "absorbing_mask_last": lambda: Absorbing(8, betas),
        "absorbing_mid": lambda: Absorbing(8, betas, mask=3),
        "absorbing_uniform": lambda: AbsorbingUniform(8, betas / 2, betas / 2),
    }[case]()
    g = torch.Generator().manual_seed(0)
    x_0, t = torch.randint(7, (3, 50), generator=g), torch.tensor([1, 2, 3])
    x_t = process.q_sample(x_0, t, g)
    assert torch.equal(x_t[0], x_0[0])
    logits = torch.randn(3, 50, 8, generator=g)
    terms = [lambda p: bound_term(process, x_t, x_0, p, t), lambda p: bound_term(process, x_t, x_0, p, t, step=2)]
    if isinstance(process, Absorbing):
        terms.append(lambda p: masked_bound_term(process, x_t, x_0, p, t))
    for term in terms:
        logits = logits.detach().requires_grad_()
        value = term(logits.log_softmax(-1))
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert torch.isfinite(logits.grad).all()
    assert float(logits.grad[0].abs().max()) < 1e-6 or case == "uniform"


def test_logits_that_are_no_numbers_are_refused():
    process = Uniform(4, cosine_betas(10))
    for wrong in (
        torch.full((1, 4), torch.nan),
        torch.tensor([[0.0, 0.0, torch.nan, 0.0]]),
        torch.full((1, 4), -torch.inf),
    ):
        with pytest.raises(TokenError, match="at 1 of 1 positions"):
            process.reverse([0], wrong, 3)
        with pytest.raises(TokenError, match="Look at the net"):
            draw(wrong)
    one = torch.tensor([[-torch.inf, 0.0, -torch.inf, -torch.inf]])
    assert draw(one).tolist() == [1]
    assert float(process.reverse([1], one, 3).sum()) == pytest.approx(1)


def test_cavity_identity():
    """Equation 4 is exact for p(x_0 | the others), the mixture for p(x_0 | all): two tokens of three symbols."""
    from reference import double, golden

    d = golden("cavity_identity")
    p_data, process = double(d["P_data"]), Custom(d["Q"])
    Q1, Q2 = process.transition(1), process.transition(2)
    Qbar = Q1 @ Q2
    for a, b in itertools.product(range(3), repeat=2):  # x_2 = (a, b); the reverse step of the first token
        joint = torch.einsum("ij,ik,k,j->ik", p_data, Q1, Q2[:, a], Qbar[:, b])  # over x_0 and x_1 of the first token
        exact = joint.sum(0) / joint.sum()
        cavity = p_data @ Qbar[:, b]
        given_all = cavity * Qbar[:, a]
        x_t = torch.tensor(a)
        torch.testing.assert_close(process.reverse(x_t, cavity.log(), 2), exact)
        torch.testing.assert_close(process.reverse(x_t, given_all.log(), 2, mode="mixture"), exact)
    assert d["errors"]["joint_with_posterior_p_x0_given_xt"] > 0.1


def test_bert_is_one_step():
    """T = 1 with 10 % masks and 5 % uniform: L_vb − L_T is BERT's cross-entropy [§4]."""
    from d3pm.losses import bound_term, cross_entropy

    process = AbsorbingUniform(6, [0.10], [0.05])
    x_0, g = torch.arange(5).repeat(40), torch.Generator().manual_seed(0)
    x_t = process.q_sample(x_0, 1, g)
    logits = torch.randn(200, 6, generator=g).log_softmax(-1)
    torch.testing.assert_close(
        bound_term(process, x_t, x_0, logits, torch.tensor(1), first="direct"), cross_entropy(logits, x_0)
    )
    assert 0.05 < float((x_t == 5).float().mean()) < 0.2
