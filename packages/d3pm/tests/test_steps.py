"""A single step of training: its random numbers, its gradient, the weights that it leaves."""

import numpy as np
import pytest
import torch

import d3pm.training
from d3pm.config import Config
from d3pm.data import Dataset, DataSpec
from d3pm.errors import TrainingError
from d3pm.runtime import Alone
from d3pm.training import _Run, train
from runs import tiny


def test_dropout_does_not_follow_the_noise(dataset, tmp_path, monkeypatch):
    """Both are numbers drawn one after the other: from one seed, units would be dropped where x_t is masked."""
    noise, dropped = [], []

    def draw(*arguments, **_):
        noise.append(torch.rand(1000, generator=arguments[4]))
        dropped.append(torch.rand(1000))
        return torch.zeros((), requires_grad=True), {}

    run = _Run(tiny(batch=16, accumulate=2), dataset, Alone(torch.device("cpu")), tmp_path / "none")
    run.begin()
    monkeypatch.setattr(d3pm.training, "training_loss", draw)
    for step in range(5):
        run._gradients(step)
    streams = torch.stack([*noise, *dropped])
    assert len(streams) == 20
    correlations = np.corrcoef(streams) - np.eye(20)
    assert abs(correlations).max() < 0.15  # 190 pairs of a standard error of 0.032


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_clip_bounds_the_gradient_and_zero_leaves_it(dataset, tmp_path, monkeypatch, clip):
    """As `train.clip` says: 0 for none. The loss is of a gradient far above 1."""
    taken = []
    run = _Run(tiny(clip=clip), dataset, Alone(torch.device("cpu")), tmp_path / "none")
    run.begin()

    def loss(*_, **__):
        return 1e4 * sum(p.sum() for p in run.denoiser.parameters()), {}

    def norm():
        return torch.nn.utils.get_total_norm([p.grad for p in run.denoiser.parameters()])

    monkeypatch.setattr(d3pm.training, "training_loss", loss)
    monkeypatch.setattr(run.optimizer, "step", lambda: taken.append(float(norm())))
    metrics = run.update()
    assert metrics is not None
    whole = 1e4 * sum(p.numel() for p in run.denoiser.parameters()) ** 0.5
    assert float(metrics["gradient_norm"]) == pytest.approx(whole, rel=1e-4)
    assert taken == [pytest.approx(clip or whole, rel=1e-4)]


def test_weights_that_are_no_numbers_are_not_written(dataset, tmp_path):
    """The gradient of the only step is finite; the weights after it are not, and would load without a word."""
    with pytest.raises(TrainingError, match=r"`weights` must be finite; after step 1.*train\.lr"):
        train(tiny(steps=1, lr=1e308), tmp_path, data=dataset, device="cpu")
    assert not list(tmp_path.glob("*.safetensors*"))


@pytest.mark.parametrize("n_parts", [2, 8])
def test_parts_of_a_batch_count_by_their_positions(tmp_path, monkeypatch, n_parts):
    """Texts of different lengths: the parts' means add up to the mean over the batch's positions."""
    lengths = np.array([24, 2, 20, 3, 9, 24, 1, 5])
    tokens = np.random.default_rng(0).integers(26, size=(8, 24), dtype=np.uint8)
    spec = DataSpec("text", (24,), 27, alphabet="abcdefghijklmnopqrstuvwxyz ")
    data = Dataset(spec, tokens, tokens, train_lengths=lengths, test_lengths=lengths)
    config = Config.from_dict(
        {
            "data": {"kind": "text", "length": 24, "lines": True},
            "process": {"kind": "absorbing", "steps": 10, "schedule": "inverse"},
            "net": {"kind": "dilated_conv", "width": 8, "dilations": [1], "kernel": 3},
            "loss": {"kind": "masked"},
            "train": {"batch": 8, "accumulate": n_parts},
        }
    )
    run = _Run(config, data, Alone(torch.device("cpu")), tmp_path / "none")
    run.begin()
    weight = next(run.denoiser.parameters())

    def loss(objective, process, denoise, x_0, generator, labels, conventions, attention_mask, **_):
        cost = weight.sum() * x_0.double()[attention_mask].mean()
        return cost, {"cost": cost.detach()}

    monkeypatch.setattr(d3pm.training, "training_loss", loss)
    metrics = run._gradients(0)
    batch = data.batch(0, 8, config.train.seed)
    mean = batch.tokens.double()[batch.attention_mask].mean()
    torch.testing.assert_close(weight.grad, torch.full_like(weight, float(mean)))
    torch.testing.assert_close(metrics["cost"], weight.detach().sum() * mean)
