"""The conventions belong to the model: stored with it, and read by all that use it."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from d3pm import (
    Absorbing,
    AbsorbingUniform,
    ContinuousSchedule,
    Conventions,
    Objective,
    Uniform,
    negative_log_likelihood,
)
from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app
from d3pm.config import Config
from d3pm.errors import OptionError
from d3pm.evaluation import evaluate
from d3pm.losses import continuous_bound_term, training_loss
from d3pm.sampling import sample
from d3pm.training import train
from enumeration import contextual, exact_bound, exact_model, states
from runs import tiny


@pytest.fixture(scope="module")
def mixture_run(dataset, tmp_path_factory):
    config = tiny("uniform", steps=20).to_dict()
    config["conventions"] = {"mode": "mixture", "first": "direct", "final": "argmax"}
    return train(Config.from_dict(config), tmp_path_factory.mktemp("run"), data=dataset, device="cpu")


def test_a_checkpoint_has_its_conventions(mixture_run, dataset):
    model = load_checkpoint(mixture_run)
    assert model.denoiser.conventions == model.config.conventions == Conventions("mixture", "direct", "argmax")
    bits = evaluate(model, dataset).bits_per_position
    x_0 = dataset.test_examples(50)[0]
    for mode, first in (("mixture", "direct"), ("joint", "direct"), ("mixture", "eq4")):
        other = negative_log_likelihood(
            model.process, model.denoiser, x_0, conventions=Conventions(mode, first),
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        assert (other.bits_per_position == bits) is ((mode, first) == ("mixture", "direct"))


def test_the_command_samples_the_model_that_was_trained(mixture_run, tmp_path):
    model = load_checkpoint(mixture_run)
    for final in (None, "draw"):
        options = [] if final is None else ["--final", final]
        result = CliRunner().invoke(
            app, ["sample", str(mixture_run), "--out", str(tmp_path / "x.npz"), "--device", "cpu", *options]
        )
        assert result.exit_code == 0, result.output
        conventions = dataclasses.replace(model.denoiser.conventions, final=final or "argmax")
        g = torch.Generator().manual_seed(0)
        x = sample(model.process, model.denoiser, (16, 4, 4), conventions=conventions, generator=g)
        with np.load(tmp_path / "x.npz") as archive:
            assert (archive["samples"] == model.spec.to_pixels(x.numpy())).all()


@pytest.mark.parametrize(("kind", "trained", "first"), [("bound", "direct", "direct"), ("masked", "direct", "eq4")])
def test_checkpoints_of_the_first_format_are_read(dataset, tmp_path, kind, trained, first):
    """They had mode and first in [loss], a 1 × 1 head and no null class; masked models were evaluated by equation 4."""
    config = tiny("absorbing" if kind == "masked" else "uniform", steps=1)
    conditional = dataclasses.replace(dataset, spec=dataclasses.replace(dataset.spec, n_classes=2))
    path = train(config, tmp_path, data=conditional, device="cpu")
    with safe_open(path, framework="pt") as file:
        header, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    old = json.loads(header["config"])
    del old["conventions"], old["sample"], old["train"]["class_dropout"]
    old["loss"] |= {"mode": "mixture", "first": trained}
    for section in ("model", "ema"):
        head, classes = f"{section}.out.weight", f"{section}.backbone.time.classes.weight"
        tensors[head], tensors[classes] = tensors[head][..., 1, 1].contiguous(), tensors[classes][:2].contiguous()
    save_file(tensors, path, {**header, "format": "d3pm-checkpoint-1", "config": json.dumps(old)})
    model = load_checkpoint(path)
    assert model.denoiser.conventions == Conventions("mixture", first)
    # The head is what it was: features times the old weights.
    x_t, label = dataset.test_examples(8).tokens, torch.arange(8) % 2
    hidden = model.denoiser.backbone(x_t, torch.full((8,), 0.5), label)  # (B, H, W, width)
    expected = hidden @ tensors["ema.out.weight"].mT + tensors["ema.out.bias"]
    torch.testing.assert_close(model.denoiser.out(hidden), expected)


def test_bert_is_evaluated_as_it_was_trained():
    """One step of masks and uniform noise, L_0 direct: the bound is BERT's cross-entropy, at kept tokens too."""
    process, denoiser = AbsorbingUniform(3, [0.10], [0.05]), contextual(3, 2)
    denoiser.forbid = 2
    for first in ("direct", "eq4"):
        denoiser.conventions = Conventions(first=first)
        x_0 = torch.tensor([[0, 1]]).expand(4000, 2)
        g = torch.Generator().manual_seed(0)
        bound = float(negative_log_likelihood(process, denoiser, x_0, generator=g).nats.mean())
        assert bound == pytest.approx(exact_bound(process, denoiser, x_0[0], 1, "joint", first), rel=0.02)
        _, p = exact_model(process, denoiser, 2, 1, "joint", first)
        x = sample(process, denoiser, (20_000, 2), generator=g)
        frequencies = torch.bincount((x * torch.tensor([3, 1])).sum(-1), minlength=9).double() / 20_000
        torch.testing.assert_close(frequencies, p, rtol=0, atol=0.018)


def test_the_mixture_in_continuous_time_is_the_limit_of_many_steps():
    process, t = Uniform(3, ContinuousSchedule("cosine")), torch.tensor(0.5, dtype=torch.float64)
    x_t = states(3, 2)
    x_0 = torch.tensor([0, 2]).expand_as(x_t)
    log_p = contextual(3)(x_t, torch.full((9,), 0.5)).log_softmax(-1)
    limit = continuous_bound_term(process, x_t, x_0, log_p, t, mode="mixture")
    time = t[None, None]
    discrete = 10_000 * process.kl(x_t, x_0, log_p, time - 1e-4, time, "mixture")
    torch.testing.assert_close(discrete, limit, rtol=2e-3, atol=2e-3)
    assert float((limit - continuous_bound_term(process, x_t, x_0, log_p, t)).abs().max()) > 0.1


def test_training_reads_them():
    process, denoiser = Uniform(3, [0.5, 0.9]), contextual(3)
    x_0, losses = torch.tensor([[0, 1], [2, 2]]), []
    for conventions in (Conventions(), Conventions("mixture"), Conventions(first="direct"), None):
        denoiser.conventions = Conventions("mixture")
        g = torch.Generator().manual_seed(0)
        losses.append(float(training_loss(Objective(), process, denoiser, x_0, g, conventions=conventions)[0]))
    assert len({*losses[:3]}) == 3
    assert losses[3] == losses[1]


def test_refusals():
    masked = Absorbing(3, [0.5, 1.0])
    with pytest.raises(OptionError, match="closed form of equation 4"):
        Objective("masked").check(masked, Conventions(first="direct"))
    with pytest.raises(OptionError, match="'eq4'"):
        Conventions(first="eq5")
    with pytest.raises(OptionError, match="continuous time"):
        negative_log_likelihood(
            Absorbing(3, ContinuousSchedule()), contextual(3, 2), states(2, 2), conventions=Conventions(first="direct")
        )
