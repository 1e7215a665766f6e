"""Class conditions, from data to samples."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from d3pm import Absorbing, inverse_betas, negative_log_likelihood
from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app
from d3pm.data import Dataset, DataSpec
from d3pm.encoder import DiffusionEncoder
from d3pm.errors import OptionError
from d3pm.evaluation import evaluate
from d3pm.guidance import Guided
from d3pm.nets.unet import UNet
from d3pm.runtime import choose_runtime
from d3pm.sampling import sample
from d3pm.show import run_sample
from d3pm.training import _Run, train
from enumeration import contextual, exact_model
from runs import stripes, tiny


def striped():
    pictures, labels = stripes()
    spec = DataSpec("image", (4, 4), 4, n_classes=2)
    return Dataset(spec, pictures[:300], pictures[300:], labels[:300], labels[300:])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = striped()
    return train(tiny(steps=200), tmp_path_factory.mktemp("run"), data=data, device="cpu"), data


def shows_its_label(x, labels):
    """Stripes across have even rows, stripes down even columns."""
    along_rows = (x[:, :, 1:] == x[:, :, :-1]).float().mean((1, 2))
    along_columns = (x[:, 1:] == x[:, :-1]).float().mean((1, 2))
    return float(torch.where(labels == 0, along_rows > along_columns, along_columns > along_rows).float().mean())


def test_samples_follow_their_label(run):
    model = load_checkpoint(run[0])
    labels = torch.arange(100) % 2
    g = torch.Generator().manual_seed(0)
    x = sample(model.process, model.denoiser, (100, 4, 4), condition=labels, generator=g)
    assert shows_its_label(x, labels) > 0.8
    assert evaluate(model, run[1]).bits_per_position < 1.3


def test_labels_of_the_command(run, tmp_path):
    pytest.importorskip("PIL")
    options = {"n": 2, "device": "cpu"}
    run_sample(run[0], out=tmp_path / "x.png", label=1, **options)
    assert (tmp_path / "x.png").exists()
    with pytest.raises(OptionError, match="from 0 to 1"):
        run_sample(run[0], out=tmp_path / "x.png", label=2, **options)
    with pytest.raises(OptionError, match="must end in"):
        run_sample(run[0], out=tmp_path / "x.txt", label=1, **options)
    with pytest.raises(OptionError, match="characters"):
        run_sample(run[0], out=tmp_path / "x.png", label=1, **{**options, "prompt": "the"})


def test_a_class_that_is_left_out_is_the_null_class(monkeypatch):
    """A tenth of the examples, or as many as the recipe says, and never another class."""
    told, data = [], striped()
    plain = UNet.forward
    monkeypatch.setattr(UNet, "forward", lambda self, *inputs: told.append(inputs[2]) or plain(self, *inputs))
    for share in (0.0, 0.3):
        told.clear()
        run = _Run(tiny(batch=2000, class_dropout=share), data, choose_runtime("cpu", False), Path("unused"))
        run.begin()
        run._loss(data.batch(0, 2000, 0), 0)
        labels, (seen,) = data.batch(0, 2000, 0).labels, told
        assert set(seen[seen != labels].tolist()) == (set() if share == 0 else {2})
        assert float((seen == 2).double().mean()) == pytest.approx(share, abs=0.05)


def test_an_encoder_is_told_no_class(run):
    """The net was told class 0 of every picture; now it is told none, which it was trained for."""
    model, data = load_checkpoint(run[0]), run[1]
    encoder = DiffusionEncoder(model, layer="mid.1")
    tokens = data.test_examples().tokens
    caught = {}
    layer = model.denoiser.backbone.get_submodule("mid.1")
    handle = layer.register_forward_hook(lambda module, inputs, output: caught.update(h=output))
    features = {}
    with torch.no_grad():
        for label in (0, 1, 2):
            model.denoiser.backbone(tokens, torch.zeros(len(tokens)), torch.full((len(tokens),), label))
            features[label] = caught["h"].mean((2, 3)).numpy()
    handle.remove()
    found = encoder.encode(tokens, pool="mean")
    assert np.allclose(found, features[2], atol=1e-5)
    for label in (0, 1):
        assert np.linalg.norm(found - features[label]) > 0.05 * np.linalg.norm(found)
    # Without labels the model still models the pictures: the null class was trained, not only made.
    bits = {}
    for name, condition in (("none", None), ("wrong", torch.full((len(tokens),), 2))):
        g = torch.Generator().manual_seed(0)
        result = negative_log_likelihood(model.process, model.denoiser, tokens, condition=condition, generator=g)
        bits[name] = result.bits_per_position
    assert bits["none"] == bits["wrong"] < 0.8 * data.marginal_bits()


def test_a_model_without_a_null_class_is_no_encoder(tmp_path):
    data = striped()
    settings = tiny(steps=1, class_dropout=0.0)
    path = train(settings, tmp_path / "run", data=data, device="cpu")
    with pytest.raises(OptionError, match="null class"):
        DiffusionEncoder(path, device="cpu")
    with pytest.raises(OptionError, match=r"train\.class_dropout above 0"):  # it is conditional already
        run_sample(path, out=tmp_path / "x.png", n=1, label=1, guidance=1.0, device="cpu")


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_guidance_is_the_formula_and_the_samplers_law(scale):
    """Guided logits are (1 + w) told − w untold; frequencies of samples are those of the chain made of them."""
    process = Absorbing(3, inverse_betas(4))

    class Told:
        forbid, n_classes, time_free = 2, 2, True

        def __call__(self, x_t, time, condition=None):
            shift = condition[:, None, None].double()
            logits = contextual(3, 2)(x_t, torch.zeros_like(time))
            return logits + torch.where(torch.arange(3) == 1, shift, 0.0) * (logits > -1e29)

    denoiser, guided = Told(), Guided(Told(), scale)
    x, t = torch.tensor([[2, 0], [1, 2]]), torch.zeros(2)
    labels = torch.tensor([0, 1])
    told, untold = denoiser(x, t, labels), denoiser(x, t, torch.tensor([2, 2]))
    expected = torch.where(told > -1e29, (1 + scale) * told - scale * untold, -1e30)
    torch.testing.assert_close(guided(x, t, labels), expected)
    assert (guided(x, t, labels)[..., 2] == -1e30).all()
    n = 20_000
    _, p = exact_model(process, lambda x, t: guided(x, t, torch.zeros(len(x), dtype=torch.long)), 2, 1, "joint", "eq4")
    zeros = torch.zeros(n, dtype=torch.long)
    drawn = sample(process, guided, (n, 2), condition=zeros, generator=torch.Generator().manual_seed(0))
    codes = torch.bincount((drawn * torch.tensor([3, 1])).sum(-1), minlength=9).double() / n
    torch.testing.assert_close(codes, p, rtol=0, atol=0.018)


def test_what_a_class_cannot_be_stays_impossible_under_guidance():
    """Also where the null class can: the difference would overflow float32."""

    class Told:
        n_classes = 1

        def __call__(self, x_t, time, condition=None):
            logits = torch.zeros(*x_t.shape, 3)
            logits[condition == 0, :, 2] = -1e30
            return logits

    guided = Guided(Told(), 1e10)(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1), torch.zeros(1, dtype=torch.long))
    assert torch.equal(guided, torch.tensor([0.0, 0.0, -1e30]).expand(1, 2, 3))


def test_guidance_tells_the_net_of_padding():
    seen = []

    class Padded:
        forbid, n_classes = 2, 2

        def __call__(self, x_t, time, condition=None, attention_mask=None):
            seen.append((condition, attention_mask))
            return contextual(3, 2)(x_t, torch.zeros_like(time))

    real = torch.tensor([[True, True], [True, False], [True, True]])
    labels, net = torch.tensor([0, 1, 0]), Guided(Padded(), 1.5)
    sample(Absorbing(3, inverse_betas(2)), net, (3, 2), condition=labels, attention_mask=real, cache=False)
    for condition, mask in seen:
        assert condition.tolist() == [0, 1, 0, 2, 2, 2]
        assert torch.equal(mask, torch.cat([real, real]))
    assert len(seen) == 2


def test_guidance_shows_classes_more_clearly(run):
    model = load_checkpoint(run[0])
    labels = torch.arange(200) % 2
    shares = []
    for scale in (0.0, 2.0):
        g = torch.Generator().manual_seed(0)
        x = sample(model.process, Guided(model.denoiser, scale), (200, 4, 4), condition=labels, generator=g)
        shares.append(shows_its_label(x, labels))
    assert shares[1] > shares[0]
    with pytest.raises(OptionError, match="condition"):
        sample(model.process, Guided(model.denoiser, 1.0), (2, 4, 4))
    with pytest.raises(OptionError, match="scale"):
        Guided(model.denoiser, -1.0)


def test_the_command_tells_the_net_classes_and_the_strength_of_guidance(run, tmp_path, monkeypatch):
    """One class after the other, or the one that is named; W of --guidance is the net's."""
    asked = []

    def generate(process, denoiser, shape, config, **options):
        asked.append((denoiser, options["condition"].tolist()))
        return torch.zeros(shape, dtype=torch.long)

    monkeypatch.setattr("d3pm.show.generate", generate)
    for more in ([], ["--label", "1"], ["--guidance", "1.5"]):
        arguments = ["sample", str(run[0]), "-n", "5", "--out", str(tmp_path / "x.npz"), "--device", "cpu", *more]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, repr(result.exception)
    assert [labels for _, labels in asked] == [[0, 1, 0, 1, 0], [1] * 5, [0, 1, 0, 1, 0]]
    assert [getattr(denoiser, "scale", None) for denoiser, _ in asked] == [None, None, 1.5]
