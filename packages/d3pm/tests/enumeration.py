"""Models on a few tokens, enumerated: every path, so that laws and bounds are exact."""

import itertools

import torch

from d3pm import Absorbing, AbsorbingUniform, Custom, DiscretizedGaussian, Uniform, inverse_betas, linear_betas
from d3pm.likelihood import time_grid

N = 20_000  # five standard deviations of a frequency are 0.018 at most


def contextual(n_states, forbid=None):
    """A denoiser whose opinion depends on every token and on time; deterministic, in float64."""

    def denoiser(x_t, time, condition=None):
        d = x_t.shape[1]
        k = torch.arange(n_states, dtype=torch.float64)
        mixed = (x_t * torch.arange(1, d + 1)).sum(-1, keepdim=True)[..., None]
        logits = torch.sin(0.9 * k + 0.7 * mixed + 1.7 * torch.arange(d)[None, :, None] + time.double()[:, None, None])
        logits = logits + 1.2 * torch.nn.functional.one_hot(x_t, n_states)
        if forbid is not None:
            logits[..., forbid] = -1e30
        return logits

    return denoiser


def states(n_states, length):
    return torch.tensor(list(itertools.product(range(n_states), repeat=length)))


def exact_model(process, denoiser, length, step, mode, first, times=None):
    """p_θ(x_0) for all x_0 by following every path over all K^D states."""
    times = times or [*time_grid(process.n_steps, step), 0]
    every = states(process.n_states, length)
    p = torch.ones(len(every), dtype=torch.float64)
    for position in range(length):
        p = p * process.prior[every[:, position]]
    for t, s in itertools.pairwise(times):
        logits = denoiser(every, torch.full((len(every),), t / process.final_time))
        reverse = process.reverse(every, logits, t, step=t - s, mode=mode)  # (states, D, K)
        if s == 0 and first == "direct":
            reverse = logits.softmax(-1)
        kernel = torch.ones(len(every), len(every), dtype=torch.float64)
        for position in range(length):
            kernel = kernel * reverse[:, position][:, every[:, position]]
        p = p @ kernel
    return every, p


def exact_bound(process, denoiser, x_0, step, mode, first, times=None):
    """L_vb of one x_0, the expectation over x_t taken exactly."""
    from d3pm.losses import bound_term

    every, times = states(process.n_states, len(x_0)), times or [*time_grid(process.n_steps, step), 0]
    total = process.prior_kl()[x_0].sum()
    for t, s in itertools.pairwise(times):
        q = process.cumulative(t)[x_0[None, :], every].prod(-1)
        x_t, weight = every[q > 0], q[q > 0]
        logits = denoiser(x_t, torch.full((len(x_t),), t / process.final_time)).log_softmax(-1)
        time = torch.tensor(t)
        term = bound_term(process, x_t, x_0.expand_as(x_t), logits, time, step=t - s, mode=mode, first=first)
        total = total + (weight * term.sum(-1)).sum()
    return float(total)


PROCESSES = {
    "uniform": lambda: Uniform(3, linear_betas(4, 0.2, 0.9)),
    "absorbing": lambda: Absorbing(3, inverse_betas(4)),
    "absorbing_in_part": lambda: Absorbing(3, [0.1, 0.2, 0.3, 0.4]),  # a third of the tokens is not masked at T
    "custom": lambda: Custom(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]).expand(4, 3, 3)),
    "gaussian": lambda: DiscretizedGaussian(3, torch.linspace(0.2, 3.0, 4)),
    "absorbing_uniform": lambda: AbsorbingUniform(3, [0.1, 0.2, 0.3, 0.6], [0.1, 0.1, 0.1, 0.3]),
}
MASKED = ("absorbing", "absorbing_in_part", "absorbing_uniform")  # with a mask that is a symbol of its own


def masked_denoiser(x_t, time, condition=None):
    """The stored case: log_softmax_k sin(0.9 k + 1.7 i + Σ over unmasked j of 0.6 (x_j + 1)(j + 1)); mask = 3."""
    i = torch.arange(3, dtype=torch.float64)
    context = (torch.where(x_t < 3, 0.6 * (x_t + 1).double() * (i + 1), 0.0)).sum(-1)[:, None, None]
    logits = torch.sin(0.9 * torch.arange(4, dtype=torch.float64) + 1.7 * i[None, :, None] + context)
    logits[..., 3] = -1e30
    return logits


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


MASK = 2
CORRELATED = torch.tensor([[0.5, 0.05, 0.0], [0.1, 0.35, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)


def law_of(x):
    return frequencies(x, 3)


def p_of(*tokens):
    """p̃ (2, K) of the masked net with these tokens in sight."""
    return Masked()(torch.tensor([tokens]), torch.zeros(1))[0].softmax(-1)


P0 = torch.tensor([[0.45, 0.03, 0.02], [0.02, 0.03, 0.01], [0.02, 0.02, 0.40]], dtype=torch.float64)
