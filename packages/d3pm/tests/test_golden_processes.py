"""Transition matrices, posteriors and reverse steps against independent values, in float64 and float32."""

import pytest
import torch

from d3pm.errors import ImpossibleStateError
from d3pm.processes.exponential import (
    NearestNeighbour,
    nearest_neighbour_graph,
    nearest_neighbour_rate,
    sinkhorn_matrix,
)
from reference import CASES, double, golden, golden_logits, process_from

POSTERIOR_CASES = ["uniform", "absorbing_mask_last", "absorbing_mid", "gaussian_paper", "band", "absorbing_uniform"]


@pytest.mark.parametrize("case", CASES)
def test_matrices(case):
    d, process = golden(f"transition_{case}"), process_from(case)
    for t in range(1, d["T"] + 1):
        torch.testing.assert_close(process.transition(t), double(d["Q"][t - 1]), rtol=0, atol=1e-12)
        torch.testing.assert_close(process.cumulative(t), double(d["Qbar"][t - 1]), rtol=0, atol=1e-12)
        assert process.transition(t).dtype == torch.float64
    if d["prior"]:
        torch.testing.assert_close(process.prior, double(d["prior"]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", POSTERIOR_CASES)
def test_posteriors(case, dtype):
    d, process = golden(f"posterior_{case}"), process_from(case)
    tolerance = {"rtol": 0, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    seen = 0
    for entry in d["posterior"] + d["posterior_kstep"]:
        step = entry.get("k", 1)
        if entry["probs"] is None:
            with pytest.raises(ImpossibleStateError, match="reachable"):
                process.posterior(entry["x_t"], entry["x_0"], entry["t"], step=step)
            continue
        probs = process.posterior(entry["x_t"], entry["x_0"], entry["t"], step=step, dtype=dtype)
        torch.testing.assert_close(probs.double(), double(entry["probs"]), **tolerance)
        seen += 1
    assert seen > 50


@pytest.mark.parametrize("mode", ["joint", "mixture"])
@pytest.mark.parametrize("case", POSTERIOR_CASES)
def test_reverse(case, mode, dtype):
    d, process = golden(f"posterior_{case}"), process_from(case)
    tolerance = {"rtol": 0, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    for entry in d["reverse"]:
        logits = golden_logits(case, entry["t"]).to(dtype)[entry["x_t"]]
        probs = process.reverse(entry["x_t"], logits, entry["t"], mode=mode)
        assert probs.dtype == dtype
        torch.testing.assert_close(probs.double(), double(entry[mode]), **tolerance)


def test_nearest_neighbour_graph_and_rate():
    d = golden("transition_nearest_neighbour")
    embeddings = double(d["embeddings"])
    torch.testing.assert_close(nearest_neighbour_graph(embeddings, 2, normalise=False), double(d["G"]))
    torch.testing.assert_close(nearest_neighbour_rate(embeddings, 2, normalise=False), double(d["R"]))


def test_integer_powers():
    d = golden("integer_powers")
    process = NearestNeighbour(d["R"], torch.full((100,), d["alpha_star"], dtype=torch.float64))
    for power, matrix in zip(d["powers"], d["mats"], strict=True):
        torch.testing.assert_close(process.cumulative(power), double(matrix), rtol=0, atol=1e-12)


def test_sinkhorn():
    d = golden("sinkhorn_nn")
    G = nearest_neighbour_graph(double(d["embeddings"]), d["k"], normalise=False)
    torch.testing.assert_close(G, double(d["G"]))
    M = sinkhorn_matrix(G, 100)
    torch.testing.assert_close(M, double(d["sinkhorn100"]), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        0.9 * torch.eye(4).double() + 0.1 * M.mT, double(d["Q_beta01_row_stochastic"]), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("case", ["uniform", "absorbing_mid", "gaussian_paper", "gaussian_wide", "band"])
def test_posteriors_of_the_official_code(case):
    """The official code adds 1e-6 inside logarithms: compare where q(x_t | x_0) > 1e-2, as loosely as that asks."""
    d, process = golden("official_jax_x64")[case], process_from(case)
    for t in (2, 10):
        official = double(d[f"posterior_logits_t{t}"]).softmax(-1)  # (x_t or x_0, ., K)
        x_0, x_t = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
        common = process.cumulative(t) > 1e-2
        if case == "gaussian_paper" or t == 10:
            common &= process.cumulative(t) > 5e-2
        ours = process.posterior(x_t[common], x_0[common], t)
        torch.testing.assert_close(ours, official[x_0[common], x_t[common]], rtol=0, atol=5e-3)
