"""What a GPU computes is what the CPU computes; skipped where there is none."""

import copy

import pytest
import torch

from d3pm import (
    Absorbing,
    AbsorbingUniform,
    Conventions,
    DiscretizedGaussian,
    NearestNeighbour,
    Objective,
    Uniform,
    cosine_betas,
    inverse_betas,
    linear_betas,
    nearest_neighbour_rate,
    training_loss,
)
from d3pm.checkpoint import load_checkpoint
from d3pm.evaluation import evaluate
from d3pm.generation import GenerationConfig, generate
from d3pm.training import train
from runs import tiny

K, T = 12, 40
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def process_of(kind):
    if kind == "uniform":
        return Uniform(K, cosine_betas(T))
    if kind == "absorbing":
        return Absorbing(K, inverse_betas(T))
    if kind == "absorbing_uniform":
        return AbsorbingUniform(K, [0.02] * T, [0.02] * T)
    if kind == "gaussian":
        return DiscretizedGaussian(K, linear_betas(T, 0.001, 0.3), table_dtype=torch.float32)
    points = torch.randn(K, 3, generator=torch.Generator().manual_seed(0))
    return NearestNeighbour(nearest_neighbour_rate(points, 4), torch.full((T,), 0.1))


def loss_and_gradient(process, device, *, fuse=False, mode="joint", sharpness=3.0):
    """Of logits that are the same everywhere, at noise that is the same everywhere."""
    process = copy.deepcopy(process)
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randint(K - 1, (16, 5), generator=generator)
    logits = sharpness * torch.randn(16, 5, K, generator=generator)
    t = torch.randint(1, T + 1, (16,), generator=generator)
    x_t = process.q_sample(x_0, t, generator)
    fixed = logits.to(device).requires_grad_()
    process.to(device)
    process.corrupt = lambda x, t, generator=None: x_t.to(device)
    import d3pm.losses

    original, d3pm.losses._times = d3pm.losses._times, lambda process, shares: t.to(device)
    try:
        loss, _ = training_loss(
            Objective(cross_entropy=0.01), process, lambda x, t, c: fixed, x_0.to(device),
            conventions=Conventions(mode), fuse=fuse,
        )  # fmt: skip
    finally:
        d3pm.losses._times = original
    (gradient,) = torch.autograd.grad(loss, fixed)
    return loss.detach().cpu(), gradient.cpu()


KINDS = ["uniform", "absorbing", "absorbing_uniform", "gaussian", "nearest_neighbour"]


@pytest.mark.parametrize("sharpness", [3.0, 300.0])
@pytest.mark.parametrize("mode", ["joint", "mixture"])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients(kind, mode, sharpness):
    process = process_of(kind)
    ours, theirs = (loss_and_gradient(process, d, mode=mode, sharpness=sharpness) for d in ("cuda", "cpu"))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.parametrize("kind", ["absorbing", "gaussian"])
def test_fused_losses_and_gradients(kind):
    process = process_of(kind)
    ours, theirs = loss_and_gradient(process, "cuda", fuse=True), loss_and_gradient(process, "cpu")
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_follows_its_law(kind):
    process, n = process_of(kind), 40_000
    expected = process.cumulative(9)[2]
    x = process.to("cuda").q_sample(torch.full((n,), 2, device="cuda"), 9, torch.Generator("cuda").manual_seed(0))
    seen = torch.bincount(x.cpu(), minlength=K) / n
    assert bool(((seen - expected).abs() <= 5 * (expected / n).sqrt()).all())


def test_a_run_from_training_to_pictures(dataset, tmp_path):
    """In bfloat16; bounds of one checkpoint agree between devices, and samples are data."""
    path = train(tiny("gaussian", steps=60, precision="bf16"), tmp_path / "run", data=dataset)
    here, there = load_checkpoint(path, "cuda"), load_checkpoint(path, "cpu")
    ours, theirs = evaluate(here, dataset), evaluate(there, dataset)
    error = (ours.monte_carlo_error**2 + theirs.monte_carlo_error**2) ** 0.5
    assert ours.bits_per_position == pytest.approx(theirs.bits_per_position, abs=5 * error)
    generator = torch.Generator("cuda").manual_seed(0)
    samples = generate(
        here.process, here.denoiser, (8, 4, 4), GenerationConfig(n_steps=5), generator=generator, device="cuda"
    )
    assert samples.device.type == "cuda"
    assert int(samples.max()) < 4
