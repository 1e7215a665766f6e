"""What a GPU rounds when it multiplies as TensorFloat-32, computed on a CPU: little beside a net in bfloat16."""

import pytest
import torch

from d3pm import DiscretizedGaussian, Objective, linear_betas, training_loss
from d3pm.processes import table_products
from d3pm.runtime import tensor_float

K, T = 32, 60
PROCESS = DiscretizedGaussian(K, linear_betas(T, 1e-3, 0.05), table_dtype=torch.float32)


def to_eleven_bits(x):
    """The nearest numbers with TensorFloat-32's eleven bits."""
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def loss_and_gradient(logits, x_0):
    loss, _ = training_loss(Objective(), PROCESS, lambda x, t, c: logits, x_0, torch.Generator().manual_seed(1))
    return float(loss.detach()), torch.autograd.grad(loss, logits)[0].float()


@pytest.mark.parametrize("sharpness", [1.0, 10.0])
def test_rounded_products_change_the_loss_less_than_logits_in_bfloat16(sharpness, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randint(K, (64, 20), generator=generator)
    near = -((torch.arange(K) - x_0[..., None]) / 3.0).square()
    logits = near + sharpness * torch.randn(64, 20, K, generator=generator)
    exact, gradient = loss_and_gradient(logits.clone().requires_grad_(), x_0)
    half, half_gradient = loss_and_gradient(logits.bfloat16().requires_grad_(), x_0)
    product = torch.bmm
    monkeypatch.setattr(
        table_products.torch,
        "bmm",
        lambda a, b: product(to_eleven_bits(a.contiguous()), to_eleven_bits(b.contiguous())),
    )
    rounded, rounded_gradient = loss_and_gradient(logits.clone().requires_grad_(), x_0)
    error, half_error = ((g - gradient).norm() / gradient.norm() for g in (rounded_gradient, half_gradient))
    assert 0 < error < 1e-3
    assert error < half_error / 4
    assert 0 < abs(rounded - exact) < 1e-3 * exact
    assert abs(rounded - exact) < abs(half - exact) + 1e-4 * exact


def test_the_precision_of_products_is_left_as_it_was():
    before = torch.get_float32_matmul_precision()
    with tensor_float(True):
        assert torch.get_float32_matmul_precision() == "high"
        with tensor_float(False):
            assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
