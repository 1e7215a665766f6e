"""Every term of the bound against independent values and against the official code."""

import pytest
import torch

from d3pm import Conventions, Objective
from d3pm.losses import bound_term, cross_entropy, masked_bound_term, training_loss
from reference import double, golden, golden_logits, process_from

CASES = ["uniform", "absorbing_mask_last", "absorbing_mid", "gaussian_paper", "band", "absorbing_uniform"]


def exact_terms(process, logits_at, step, mode, first, dtype=torch.float64):
    """Exact bound terms per time and clean state: the expectation over x_t as a sum over all states."""
    K = process.n_states
    x_0, x_t = torch.meshgrid(torch.arange(K), torch.arange(K), indexing="ij")
    rows, ces, times = [], [], sorted(range(process.n_steps, 0, -step))
    for t in times:
        q = process.cumulative(t)
        log_p = logits_at(t).to(dtype).log_softmax(-1)[x_t]  # (K, K, K)
        term = bound_term(process, x_t, x_0, log_p, torch.tensor(t), step=step, mode=mode, first=first)
        possible = q > 0
        rows.append(torch.where(possible, q * term.double(), 0.0).sum(-1))
        ces.append(torch.where(possible, q * cross_entropy(log_p, x_0).double(), 0.0).sum(-1))
    return times, torch.stack(rows), torch.stack(ces)


@pytest.mark.parametrize("case", CASES)
def test_bound_terms(case, dtype):
    d, process = golden(f"vb_{case}"), process_from(case)
    p0 = double(d["px0"])
    for name, result in d["results"].items():
        mode, first, step = name.split("/")
        times, terms, ces = exact_terms(process, lambda t: golden_logits(case, t), int(step[4:]), mode, first, dtype)
        assert times == result["t"]
        used = p0 > 0
        expected, expected_ce = double(result["per_t_per_x0"]), double(result["ce_per_t_per_x0"])
        tight = {"rtol": 0, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 2e-6}
        torch.testing.assert_close(terms[:, used], expected[:, used], **tight)
        torch.testing.assert_close(ces[:, used], expected_ce[:, used], **tight)
        if d["prior"] is None:  # absorbing and uniform: the prior is ours to choose
            continue
        prior = process.prior_kl()
        torch.testing.assert_close(prior[used], double(result["LT_per_x0"])[used], rtol=0, atol=1e-9)
        total = float((p0 * (terms.sum(0) + prior))[used].sum())
        assert total == pytest.approx(result["total_nats"], abs=1e-9 if dtype == torch.float64 else 5e-5)


@pytest.mark.parametrize("case", CASES)
def test_bound_is_at_least_the_exact_likelihood(case):
    """−log p(x_0) by multiplying the reverse matrices, for every mode, convention and step."""
    process, d = process_from(case), golden(f"vb_{case}")
    K, T = process.n_states, process.n_steps
    # Where the stored values had no stationary law to start from, they started from the uniform one.
    start = process.prior if d["prior"] else torch.full((K,), 1 / K, dtype=torch.float64)
    checked = 0
    for name, result in d["results"].items():
        mode, first, step = name.split("/")
        step = int(step[4:])
        p = start
        for t in range(T, 0, -step):
            logits = golden_logits(case, t)
            R = process.reverse(torch.arange(K), logits, t, step=step, mode=mode)  # (x_t, x_s)
            if t <= step and first == "direct":
                R = logits.softmax(-1)
            p = p @ R
        for x_0, (exact, bound) in enumerate(zip(result["exact_nll_per_x0"], result["per_x0_total"], strict=True)):
            if exact is None or d["px0"][x_0] == 0:
                continue
            assert float(-p[x_0].log()) == pytest.approx(exact, abs=1e-9)
            assert bound >= exact - 1e-12
            checked += 1
    assert checked >= 12 * 7


@pytest.mark.parametrize("precision", ["x64", "f32"])
@pytest.mark.parametrize("case", ["uniform", "absorbing_mid", "gaussian_paper", "gaussian_wide", "band"])
def test_official_code(case, precision):
    """The official code's eps = 1e-6 shifts totals by less than 5e-4 bit and terms by less than 1e-4 bit."""
    d, process = golden(f"official_jax_{precision}"), process_from(case)
    p0, official = double(d["px0"]), d[case]
    _, terms, _ = exact_terms(process, lambda t: golden_logits(case, t), 1, "joint", "direct")
    bits = terms / 0.6931471805599453
    per_t = (bits * p0).sum(-1)
    expected = (double(official["per_t_bits_per_x0"]) * p0).sum(-1)
    torch.testing.assert_close(per_t, expected, rtol=0, atol=1e-4)
    prior_bits = float((process.prior_kl() * p0).sum()) / 0.6931471805599453
    # The official prior term has the eps too; ours is added, so that the totals compare the terms.
    official_prior = float((double(official["prior_bits_per_x0"]) * p0).sum())
    assert float(per_t.sum()) + prior_bits == pytest.approx(
        official["total_bits"] - official_prior + prior_bits, abs=5e-4
    )
    if case == "uniform":
        assert prior_bits == pytest.approx(official_prior, abs=1e-6)


def test_closed_form_of_the_absorbing_process():
    """Equation 12 as corrected equals the KL for every time and step."""
    process = process_from("absorbing_mask_last")
    x_0, x_t = torch.meshgrid(torch.arange(7), torch.arange(8), indexing="ij")
    keep = (x_t == 7) | (x_t == x_0)  # the process never leads elsewhere
    pairs = x_0[keep], x_t[keep]
    for step in (1, 2, 5):
        x_0, x_t = pairs
        for t in range(1, 11):
            if t == 10:  # all is masked
                x_0, x_t = x_0[x_t == 7], x_t[x_t == 7]
            log_p = golden_logits("absorbing_mask_last", t).log_softmax(-1)[x_t]
            general = bound_term(process, x_t, x_0, log_p, torch.tensor(t), step=step, first="eq4")
            closed = masked_bound_term(process, x_t, x_0, log_p, torch.tensor(t), step=step)
            torch.testing.assert_close(closed, general, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_cross_entropy_alone_is_the_auxiliary_term(case):
    """The loss L_λ is linear in λ; its slope is what `kind` = cross_entropy descends on, at the same draws."""
    process, x_0 = process_from(case), torch.randint(7, (50, 3), generator=torch.Generator().manual_seed(0))
    losses = []
    for objective in (Objective(cross_entropy=0.5), Objective(), Objective("cross_entropy")):
        objective.check(process, Conventions())
        g = torch.Generator().manual_seed(1)
        net = lambda x_t, time, condition: golden_logits(case, 3)[x_t]  # noqa: E731
        losses.append(float(training_loss(objective, process, net, x_0, g)[0]))
    assert losses[0] - losses[1] == pytest.approx(0.5 * losses[2], rel=1e-4)
    assert losses[2] > 0.1
