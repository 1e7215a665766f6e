"""Times drawn by importance: the same mean with less variance, and runs that resume with what was learned."""

import dataclasses

import pytest
import torch

from d3pm import Absorbing, Objective, Uniform, inverse_betas, training_loss
from d3pm.checkpoint import load_checkpoint
from d3pm.errors import OptionError
from d3pm.importance import TimeImportance
from d3pm.training import train
from runs import tiny


def steep(shares):
    return 100 * (-30 * shares).exp() + 0.1


def learned(n_steps=None):
    importance, generator = TimeImportance(n_steps), torch.Generator().manual_seed(0)
    for _ in range(60):
        shares, _ = importance.draw(torch.rand(256, dtype=torch.float64, generator=generator))
        importance.update(shares, steep(shares))
    return importance


@pytest.mark.parametrize("n_steps", [None, 1000, 7])
def test_the_mean_stays_and_the_variance_falls(n_steps):
    importance = learned(n_steps)
    u = torch.rand(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shares, weights = importance.draw(u)
    assert bool(((shares >= 0) & (shares < 1)).all())
    weighted, plain = weights * steep(shares), steep(u)
    error = float(weighted.std()) / len(u) ** 0.5
    assert float(weighted.mean()) == pytest.approx(100 / 30 * (1 - 2.718281828**-30) + 0.1, abs=5 * error)
    assert float(weighted.std()) < 0.5 * float(plain.std())
    assert float(weights.max()) <= 10 + 1e-9
    assert float(importance.probabilities.sum()) == pytest.approx(1)


def test_even_until_every_time_is_known():
    importance = TimeImportance(10)
    importance.update(torch.zeros(100, dtype=torch.float64), torch.ones(100))
    u = torch.rand(50, dtype=torch.float64)
    shares, weights = importance.draw(u)
    torch.testing.assert_close(shares, u)
    assert bool((weights == 1).all())


def test_losses_that_are_not_finite_are_not_learned_from():
    importance = learned()
    before = importance.probabilities
    importance.update(torch.full((3,), 0.5, dtype=torch.float64), torch.tensor([float("nan"), float("inf"), -1e400]))
    torch.testing.assert_close(importance.probabilities, before)


@pytest.mark.parametrize(
    ("process", "kind"), [(Uniform(4, inverse_betas(20)), "bound"), (Absorbing(5, inverse_betas(20)), "masked")]
)
def test_the_loss_is_the_same_in_the_mean(process, kind):
    x_0 = torch.randint(4, (64, 3), generator=torch.Generator().manual_seed(0))
    logits = torch.randn(64, 3, process.n_states, generator=torch.Generator().manual_seed(1))
    objective, generator = Objective(kind), torch.Generator().manual_seed(2)
    importance = TimeImportance(process.n_steps)

    def mean(importance, n):
        losses = [
            training_loss(objective, process, lambda x, t, c: logits, x_0, generator, importance=importance)[0]
            for _ in range(n)
        ]
        return torch.stack(losses)

    mean(importance, 20)
    assert float(importance.probabilities.max() / importance.probabilities.min()) > 1.3
    ours, plain = mean(importance, 300), mean(None, 300)
    error = float((ours.var() + plain.var()) / 300) ** 0.5
    assert float(ours.mean()) == pytest.approx(float(plain.mean()), abs=5 * error)


def test_a_run_resumes_with_its_history(dataset, tmp_path):
    settings = tiny("uniform", steps=40, checkpoint_every=20)
    settings = dataclasses.replace(settings, loss=dataclasses.replace(settings.loss, times="importance"))

    def stop(step, values):
        if step == 40:
            raise KeyboardInterrupt

    whole = load_checkpoint(train(settings, tmp_path / "whole", data=dataset, device="cpu"))
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", data=dataset, device="cpu", report=stop)
    cut = load_checkpoint(train(settings, tmp_path / "cut", data=dataset, device="cpu", resume=True))
    assert float(whole.section("times")["counts"].sum()) > 0
    for key, value in whole.tensors.items():
        torch.testing.assert_close(cut.tensors[key], value, rtol=0, atol=0)


def test_refused_where_there_is_no_such_bound():
    with pytest.raises(OptionError, match="times"):
        Objective("counted", times="importance")


def test_times_are_drawn_in_proportion_to_the_root_mean_square():
    """p ∝ √E[L²], beside a tenth that is spread evenly."""
    importance = TimeImportance(4)
    importance.sums[:], importance.counts[:] = torch.tensor([1.0, 4.0, 9.0, 16.0]) * 50, 50.0
    expected = 0.9 * torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64) + 0.1 / 4
    torch.testing.assert_close(importance.probabilities, expected)
