"""What every process must satisfy, and the refusals."""

import itertools

import pytest
import torch

from d3pm import (
    Absorbing,
    AbsorbingUniform,
    BandDiagonal,
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
from d3pm.errors import D3PMError, ImpossibleStateError, OptionError, TokenError
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


def test_refusals():
    process = Uniform(4, cosine_betas(10))
    with pytest.raises(TokenError, match="from 0 to 3; got values from 0 to 4"):
        process.posterior([0, 4], [0, 0], 1)
    with pytest.raises(TokenError, match="integer"):
        process.q_sample(torch.zeros(2), 1)
    with pytest.raises(TokenError, match="4 states on its last axis"):
        process.reverse([0], torch.zeros(1, 5), 1)
    with pytest.raises(OptionError, match="T = 10"):
        process.posterior(0, 0, 11)
    with pytest.raises(OptionError, match="whole number"):
        process.transition(1.5)
    with pytest.raises(OptionError, match="'joint', 'mixture'"):
        process.reverse([0], torch.zeros(1, 4), 1, mode="jiont")
    with pytest.raises(ImpossibleStateError, match="from state 1 to state 0"):
        Absorbing(4, inverse_betas(10)).posterior(0, 1, 3)
    with pytest.raises(OptionError, match="before the last step"):
        Uniform(4, [0.5, 1.0, 0.5])
    with pytest.raises(OptionError, match="probabilities"):
        Uniform(4, [0.5, 1.5])
    with pytest.raises(OptionError, match="at least 2"):
        Uniform(1, [0.5])
    with pytest.raises(OptionError, match="mask"):
        Absorbing(4, [0.5], mask=4)
    with pytest.raises(OptionError, match="at most 1"):
        AbsorbingUniform(4, [0.7], [0.7])
    with pytest.raises(OptionError, match="row sums"):
        Custom([[[0.5, 0.6], [0.5, 0.5]]])
    with pytest.raises(OptionError, match=r"\(T, K, K\)"):
        Custom([[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(OptionError, match="diagonal"):
        BandDiagonal(4, [3.0], width=3)
    with pytest.raises(OptionError, match="width"):
        BandDiagonal(4, [0.1], width=4)
    with pytest.raises(OptionError, match="positive"):
        DiscretizedGaussian(4, [0.0])
    with pytest.raises(OptionError, match="parts"):
        NearestNeighbour(torch.zeros(3, 3), [1.0])
    with pytest.raises(OptionError, match="symmetric"):
        NearestNeighbour([[-1.0, 1.0], [0.5, -0.5]], [1.0])
    with pytest.raises(OptionError, match="continuous-time"):
        DiscretizedGaussian(4, [0.1])._log_rates(torch.tensor([0]), torch.tensor([1]), torch.float32)
    assert issubclass(TokenError, ValueError)
    assert issubclass(TokenError, D3PMError)


NAN = float("nan")
STEPS = torch.eye(3).expand(2, 3, 3)


@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (lambda: Custom(STEPS, prior=[NAN] * 3), "prior"),  # drew state 3 of states 0, 1, 2
        (lambda: Custom(STEPS, prior=[0.5, 0.5, 0.5]), "prior"),
        (lambda: Custom(STEPS, prior=[1.5, -0.5, 0.0]), "prior"),
        (lambda: Uniform(3, [0.5]).learn_prior([NAN] * 3), "frequencies"),
        (lambda: DiscretizedGaussian(4, [0.2], band=-1), "band"),  # the identity
        (lambda: DiscretizedGaussian(4, [0.2], band=0), "band"),
        (lambda: DiscretizedGaussian(4, [0.2], band=2.5), "band"),
        (lambda: BandDiagonal(4, [0.2], width=1.5), "width"),
        (lambda: BandDiagonal(4, [0.2], width="1"), "width"),
        (lambda: BandDiagonal(4, [0.2], width=4), "width"),
        (lambda: BandDiagonal(4, [float("inf")], width=1), "betas"),
        (lambda: AbsorbingUniform(3, [0.0, 0.0], [0.0, 0.0]), "uniform_betas"),  # a prior of 0/0
        (lambda: Absorbing(3, [0.5], mask=1.5), "mask"),
        (lambda: Absorbing(3, [0.5], mask="1"), "mask"),
        (lambda: cosine_betas(3, s=-1), "s"),
        (lambda: cosine_betas(3, s=-0.3), "s"),
        (lambda: cosine_betas(3, s=NAN), "s"),
        (lambda: cosine_betas(3, cap=NAN), "cap"),
        (lambda: cosine_betas(3, cap=-1), "cap"),
        (lambda: inverse_betas(True), "n_steps"),
    ],
)
def test_what_defines_no_process_is_refused(build, argument):
    with pytest.raises(OptionError, match=f"`{argument}`"):
        build()
