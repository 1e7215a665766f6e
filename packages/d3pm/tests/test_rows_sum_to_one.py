"""Rows of every transition sum to one, in every process, at every time, T and infinity included."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from d3pm import (
    Absorbing,
    AbsorbingUniform,
    BandDiagonal,
    ContinuousSchedule,
    Custom,
    DiscretizedGaussian,
    NearestNeighbour,
    NearestNeighbourMask,
    Uniform,
    cosine_betas,
    inverse_betas,
    linear_betas,
    mutual_information_alphas,
    nearest_neighbour_rate,
)
from d3pm.build import build_process
from d3pm.config import ProcessConfig
from d3pm.data import DataSpec
from d3pm.errors import OptionError
from d3pm.schedules import alphas_of
from d3pm.spectrum import Spectrum


def random_rate(n_states, generator):
    """Neighbours of random embeddings; more of them until the graph is connected."""
    embeddings = torch.randn(n_states, 4, generator=generator)
    for k in range(min(2, n_states - 1), n_states):
        rate = nearest_neighbour_rate(embeddings, k)
        try:
            return Spectrum.of_rate(rate)
        except OptionError:
            continue
    raise AssertionError


def random_betas(n_steps, generator):
    name = ("linear", "cosine", "inverse", "random", "zero first", "one last")[
        int(torch.randint(6, (), generator=generator))
    ]
    if name == "linear":
        return linear_betas(n_steps, 0.0, 0.9)
    if name == "cosine":
        return cosine_betas(n_steps)
    if name == "inverse":
        return inverse_betas(n_steps)
    betas = torch.rand(n_steps, generator=generator, dtype=torch.float64) * 0.99
    if name == "zero first":
        betas[0] = 0.0
    if name == "one last":
        betas[-1] = 1.0
    return betas


def processes(seed):
    g = torch.Generator().manual_seed(seed)
    K, T = int(torch.randint(2, 41, (), generator=g)), int(torch.randint(1, 30, (), generator=g))
    p0 = torch.rand(K, generator=g, dtype=torch.float64) ** 3 + 1e-6
    betas, spectrum = random_betas(T, g), random_rate(K, g)
    kind = ("linear", "cosine", "geometric")[seed % 3]
    information = mutual_information_alphas(p0 / p0.sum(), T, spectrum)
    yield Uniform(K, betas)
    yield Uniform(K, -torch.expm1(-mutual_information_alphas(p0 / p0.sum(), T)))
    yield Absorbing(K, betas, mask=seed % K)
    yield AbsorbingUniform(K, betas * 0.7, betas * 0.3)
    yield BandDiagonal(K, betas, width=max(1, (K - 1) // 2))
    yield DiscretizedGaussian(K, torch.rand(T, generator=g) + 1e-4)
    yield DiscretizedGaussian(K, torch.rand(T, generator=g) + 1e-4, table_dtype=torch.float32)
    yield Custom(torch.rand(T, K, K, generator=g, dtype=torch.float64).softmax(-1))
    for alphas in (information, alphas_of(betas), ContinuousSchedule(kind), torch.full((T,), 1e9)):
        yield NearestNeighbour(spectrum, alphas)
        yield NearestNeighbourMask(spectrum, alphas, mask_rate=0.3)
    yield Uniform(K, ContinuousSchedule(kind))
    yield Absorbing(K, ContinuousSchedule(kind))


@pytest.mark.parametrize("seed", range(12))
def test_rows_sum_to_one(seed):
    for process in processes(seed):
        end = process.final_time
        times = [0.0, 1e-9, 0.3, 1.0 - 1e-12, 1.0] if process.n_steps is None else list(range(end + 1))
        tolerance = 1e-6 if getattr(process, "_log_table", torch.zeros(1).double()).dtype == torch.float32 else 1e-12
        for s, t in [*((0, t) for t in times), *itertools.pairwise(times), (end, end)]:
            Q = process.between(s, t)
            assert bool((Q >= 0).all())
            torch.testing.assert_close(Q.sum(-1), torch.ones(process.n_states).double(), rtol=0, atol=tolerance)
        prior = process.prior
        assert float(prior.sum()) == pytest.approx(1.0, abs=1e-12)
        # L_T is what it should be: the divergence of a distribution from a distribution.
        expected = torch.from_numpy(rel_entr(process.cumulative(end).numpy(), prior.numpy())).sum(-1)
        torch.testing.assert_close(process.prior_kl(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["nearest_neighbour", "nearest_neighbour_mask"])
@pytest.mark.parametrize("schedule", ["mutual_information", "cosine", "inverse"])
def test_a_recipes_bound_is_one(kind, schedule, tmp_path):
    """At T the nearest-neighbour recipe's matrix used to be zero, L_T with it, and the bound below the likelihood."""
    from d3pm import negative_log_likelihood
    from enumeration import contextual, exact_bound, exact_model

    rng = np.random.default_rng(0)
    np.save(tmp_path / "e.npy", rng.normal(size=(5, 3)))
    config = ProcessConfig(
        kind=kind, steps=4, schedule=schedule, neighbours=3, embeddings=str(tmp_path / "e.npy"), mask_rate=0.5
    )
    process = build_process(config, DataSpec("text", (2,), 5, alphabet="abcd "), rng.dirichlet(np.ones(5)))
    assert bool((process._clock.fingerprint() < math.inf).all())  # type: ignore[attr-defined]
    K = process.n_states
    torch.testing.assert_close(process.cumulative(4).sum(-1), torch.ones(K).double(), rtol=0, atol=1e-12)
    denoiser = contextual(K, 5 if K == 6 else None)
    every, p = exact_model(process, denoiser, 2, 1, "joint", "eq4")
    assert float(p.sum()) == pytest.approx(1, abs=1e-10)
    for x_0 in (torch.tensor([0, 1]), torch.tensor([4, 4])):
        exact = -math.log(float(p[(every == x_0).all(-1)]))
        bound = exact_bound(process, denoiser, x_0, 1, "joint", "eq4")
        assert bound >= exact - 1e-12
        g = torch.Generator().manual_seed(0)
        estimate = negative_log_likelihood(process, denoiser, x_0.expand(3000, 2), generator=g).nats
        assert float(estimate.mean()) == pytest.approx(bound, abs=5 * float(estimate.std()) / 3000**0.5)


def test_neighbours_and_masks_are_one_matrix_exponential():
    spectrum, gamma = random_rate(6, torch.Generator().manual_seed(3)), 0.4
    process = NearestNeighbourMask(spectrum, [0.3, 0.9, 2.0], mask_rate=gamma)
    R = torch.zeros(7, 7, dtype=torch.float64)
    R[:6, :6] = spectrum.rate - gamma * torch.eye(6, dtype=torch.float64)
    R[:6, 6] = gamma
    torch.testing.assert_close(process.cumulative(2), torch.linalg.matrix_exp(1.2 * R), rtol=0, atol=1e-13)
    torch.testing.assert_close(process.transition(3), torch.linalg.matrix_exp(2.0 * R), rtol=0, atol=1e-13)
    log_p = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1)
    zero, two = torch.zeros(2, 1, dtype=torch.long), torch.full((2, 1), 2)
    product = process._log_product(log_p, zero, two).exp()
    torch.testing.assert_close(product, log_p.exp() @ process.cumulative(2))
    states = torch.arange(7)
    columns = process._log_columns(states, torch.tensor(2), torch.tensor(3), torch.float64).exp()
    torch.testing.assert_close(columns, process.transition(3).mT)
    continuous = NearestNeighbourMask(spectrum, ContinuousSchedule("geometric"), mask_rate=gamma)
    t = torch.tensor(0.6, dtype=torch.float64)
    rates = continuous._log_rates(states, t, torch.float64).exp()  # R_t[:, x]
    expected = (continuous._clock.rate(t) * R).mT
    off = ~torch.eye(7, dtype=torch.bool)
    torch.testing.assert_close(rates[off], expected[off])


def test_nearest_neighbour_refusals():
    spectrum = random_rate(4, torch.Generator().manual_seed(0))
    with pytest.raises(OptionError, match="mask_rate"):
        NearestNeighbourMask(spectrum, [1.0], mask_rate=0.0)
    with pytest.raises(OptionError, match="finite"):
        NearestNeighbour(spectrum, [1.0, math.inf])
    with pytest.raises(OptionError, match="2 parts"):
        Spectrum.of_rate(torch.block_diag(spectrum.rate, spectrum.rate))
