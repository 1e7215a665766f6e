import pytest
import torch

from d3pm.errors import OptionError
from d3pm.nets.head import Denoiser, truncated_logistic_logits
from d3pm.nets.text import DilatedConv, Transformer
from d3pm.nets.unet import UNet
from reference import double, golden


def test_truncated_logistic_against_stored_values(dtype):
    d = golden("truncated_logistic")
    for case in d["cases"]:
        mu, log_scale = (torch.tensor(case[key], dtype=dtype) for key in ("mu", "log_scale"))
        probs = truncated_logistic_logits(mu, log_scale, case["K"]).softmax(-1).double()
        if case["K"] == 256:
            probs = probs[[0, 1, 127, 128, 254, 255]]
        tolerance = {"rtol": 1e-9, "atol": 1e-15} if dtype == torch.float64 else {"rtol": 2e-4, "atol": 1e-7}
        torch.testing.assert_close(probs, double(case["probs_exact"]), **tolerance)


def test_truncated_logistic_of_the_official_code():
    """The official logits differ by a constant, and by the epsilon that they add."""
    for case in golden("official_jax_x64")["logistic_K8"]:
        logits = truncated_logistic_logits(double(case["mu"]), double(case["log_scale"]), 8)
        torch.testing.assert_close(logits.softmax(-1), double(case["probs"]), rtol=0, atol=2e-5)


def nets(time_free=False):
    return {
        "unet": (UNet(9, None, 8, (1, 2), 1, (1,), 0.0, time_free=time_free), (3, 4, 4), None),
        "unet_rgb": (UNet(9, 3, 8, (1, 2), 1, (), 0.0, inputs="scaled", time_free=time_free), (3, 4, 4, 3), 3),
        "transformer": (Transformer(9, 8, 2, 2, 16, time_free=time_free), (3, 6), None),
        "dilated_conv": (DilatedConv(9, 8, (1, 2), time_free=time_free), (3, 6), None),
    }


@pytest.mark.parametrize("head", ["logits", "logistic"])
@pytest.mark.parametrize("name", ["unet", "unet_rgb", "transformer", "dilated_conv"])
def test_every_net_gives_logits_and_learns(name, head):
    torch.manual_seed(0)
    backbone, shape, channels = nets()[name]
    model = Denoiser(backbone, 9, channels, head=head, skip="learned", forbid=8)
    x = torch.randint(8, shape)
    logits = model(x, torch.full((3,), 0.3))
    assert logits.shape == (*shape, 9)
    assert (logits.softmax(-1)[..., 8] == 0).all()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(model(x, torch.full((3,), 0.3)).reshape(-1, 9), (7 - x).reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["unet", "transformer", "dilated_conv"])
def test_time_free_nets_ignore_time(name):
    torch.manual_seed(0)
    for free in (True, False):
        backbone, shape, channels = nets(free)[name]
        model = Denoiser(backbone, 9, channels, skip="none")
        torch.nn.init.normal_(model.out.weight)
        for parameter in backbone.parameters():  # blocks start as shortcuts: give time a way in
            torch.nn.init.normal_(parameter, std=0.2)
        x = torch.randint(8, shape)
        same = torch.allclose(model(x, torch.zeros(3)), model(x, torch.ones(3)))
        assert same == free
        assert model.time_free == free


def test_skip_starts_at_the_token_itself():
    backbone, shape, _ = nets()["transformer"]
    x = torch.randint(9, shape)
    for skip, weight in (("none", 0.0), ("constant", 1.0), ("learned", 2.0)):
        logits = Denoiser(backbone, 9, skip=skip)(x, torch.zeros(3))
        at_x = logits.gather(-1, x[..., None])
        if skip == "learned":
            assert float(at_x.detach().mean()) == pytest.approx(weight, rel=0.5)
        else:
            torch.testing.assert_close(at_x, torch.full_like(at_x, weight))


def test_class_conditions_change_the_output():
    torch.manual_seed(0)
    model = Denoiser(Transformer(9, 8, 1, 2, 16, n_classes=3), 9)
    torch.nn.init.normal_(model.out.weight)
    x, t = torch.randint(9, (2, 6)), torch.zeros(2)
    assert not torch.allclose(model(x, t, torch.tensor([0, 1])), model(x, t, torch.tensor([2, 1])))
    # Told nothing, the net is told the null class, which is one more.
    torch.testing.assert_close(model(x, t), model(x, t, torch.tensor([3, 3])))
    assert not torch.allclose(model(x, t), model(x, t, torch.tensor([0, 0])))


@pytest.mark.parametrize("name", ["transformer", "dilated_conv"])
def test_padding_changes_nothing(name):
    """Logits of a text are those of the text alone, whatever padding holds; in float64 to rounding."""
    torch.manual_seed(0)
    model = Denoiser(nets()[name][0], 9).double()
    for parameter in model.parameters():  # blocks start as shortcuts: give padding a way in
        torch.nn.init.normal_(parameter, std=0.3)
    x, t = torch.randint(9, (2, 12)), torch.tensor([0.2, 0.7], dtype=torch.float64)
    alone = model(x[:, :7], t)
    for filler in (0, 5):
        padded = torch.cat([x[:, :7], torch.full((2, 5), filler)], 1)
        real = (torch.arange(12) < 7).expand(2, -1)
        torch.testing.assert_close(model(padded, t, None, real)[:, :7], alone, rtol=1e-10, atol=1e-10)
        assert not torch.allclose(model(padded, t)[:, :7], alone)  # unmasked padding is read


def test_the_papers_unet_has_its_weights():
    """36.6 million with logits over 256 values, 35.7 with the logistic [B.1]: the last layer is a 3 × 3 convolution."""
    for head, millions in (("logits", 36.6), ("logistic", 35.7)):
        with torch.device("meta"):
            model = Denoiser(UNet(256, 3, inputs="scaled"), 256, 3, head=head, skip="constant")
        assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (UNet, {"width": 0}, "width"),
        (UNet, {"width": 15}, "even"),
        (UNet, {"width": 8, "n_blocks": 0}, "n_blocks"),
        (UNet, {"width": 8, "multipliers": []}, "multipliers"),
        (UNet, {"width": 8, "multipliers": [1, 0]}, "multipliers"),
        (Transformer, {"width": 30, "n_heads": 4}, "multiple of n_heads"),
        (Transformer, {"width": 8, "n_heads": 0}, "n_heads"),
        (Transformer, {"width": 8.0}, "width"),
        (Transformer, {"width": -8}, "width"),
        (Transformer, {"width": 8, "n_layers": 0}, "n_layers"),
        (DilatedConv, {"width": 7}, "even"),
        (DilatedConv, {"kernel": 4}, "odd"),
        (DilatedConv, {"dilations": []}, "dilations"),
        (DilatedConv, {"dilations": 3}, "dilations"),
    ],
)
def test_sizes_that_no_net_has_are_refused(kind, options, named):
    with pytest.raises(OptionError, match=named):
        kind(9, **options)


def test_refusals():
    with pytest.raises(OptionError, match="attention_mask"):
        UNet(9, None, 8, (1,), 1, ())(
            torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(1), None, torch.ones(1, 4, dtype=torch.bool)
        )
    with pytest.raises(OptionError, match="divisible by 4"):
        UNet(9, None, 8, (1, 1, 1), 1, ())(torch.zeros(1, 6, 6, dtype=torch.long), torch.zeros(1))
    with pytest.raises(OptionError, match="head"):
        Denoiser(Transformer(9, 8, 1, 2, 16), 9, head="logit")
