"""From what a backbone says to logits: written out for a backbone that is given."""

import pytest
import torch
from torch import nn

from d3pm.nets.head import Denoiser
from d3pm.nets.text import DilatedConv


class Given(nn.Module):
    """A backbone with a head of its own, whose output is given."""

    head_kernel, time_free = 0, True

    def __init__(self, out):
        super().__init__()
        self.out, self.width = out, out.shape[-1]

    def forward(self, x_t, time, condition=None, attention_mask=None):
        return self.out


K = 9
X = torch.tensor([[0, 3, 8, 5], [7, 1, 4, 4]])
OUT = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
TIME = torch.tensor([0.1, 0.9])


def test_the_logistic_head_is_the_papers():
    """A.8: the centre is tanh(x_t + μ′), x_t from −1 to 1; a bin's share of the logistic law, of those of all bins."""
    width = 2 / (K - 1)
    x, centres = (2 * v.double() / (K - 1) - 1 for v in (X, torch.arange(K)))
    mu, scale = torch.tanh(x + OUT[..., 0].double()), (OUT[..., 1].double() - 2).exp()
    edges = ((centres - mu[..., None])[..., None] + torch.tensor([-width / 2, width / 2])) / scale[..., None, None]
    shares = edges.sigmoid().diff(dim=-1)[..., 0]
    found = Denoiser(Given(OUT), K, head="logistic", skip="none")(X, TIME).softmax(-1)
    torch.testing.assert_close(found.double(), shares / shares.sum(-1, keepdim=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("skip", ["learned", "constant"])
def test_the_logistic_head_has_no_skip(skip):
    """It begins at x_t by itself."""
    models = [Denoiser(Given(OUT), K, head="logistic", skip=name) for name in ("none", skip)]
    assert torch.equal(models[0](X, TIME), models[1](X, TIME))
    logits = torch.randn(2, 4, K, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(Denoiser(Given(logits), K, skip=skip)(X, TIME), logits)


@pytest.mark.parametrize("skip", ["learned", "constant", "none"])
def test_a_net_that_learns_its_skip_reads_the_time(skip):
    """A sampler must not keep its logits, though its backbone reads none."""
    torch.manual_seed(0)
    model = Denoiser(DilatedConv(K, 8, (1,), time_free=True), K, skip=skip)
    same = torch.equal(model(X, torch.zeros(2)), model(X, torch.ones(2)))
    assert same == (skip != "learned")
    assert model.time_free == same
