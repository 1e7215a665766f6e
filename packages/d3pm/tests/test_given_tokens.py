"""Infilling by particles of nets that say one thing whatever they see: each sample is known."""

import pytest
import torch

from d3pm import Conventions, Uniform, linear_betas
from d3pm.sampling import sample

PROCESS = Uniform(3, linear_betas(4, 0.2, 0.9))
KEEP = torch.tensor([[True, False, False]])


def ran(net, n, condition=None, **conventions):
    """Return what is filled in at the last two of three places, (n, 2)."""
    keep = KEEP.expand(n, 3)
    x = sample(
        PROCESS, net, (n, 3), given=torch.full((n, 3), 2), keep=keep, n_particles=3, condition=condition,
        conventions=Conventions(**conventions), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert bool((x[:, 0] == 2).all())
    return x[:, 1:]


def test_every_particle_is_told_the_class_of_its_sample():
    """The net is certain that a sample is of the value that its class is, but where one is given."""

    def net(x_t, time, condition):
        assert len(x_t) == len(condition)
        logits = torch.full((*x_t.shape, 3), -1e30, dtype=torch.float64)
        logits.scatter_(-1, condition[:, None, None].expand(-1, 3, 1), 0.0)
        logits[:, 0] = 0.0
        return logits

    labels = torch.arange(20) % 2
    assert torch.equal(ran(net, 20, labels), labels[:, None].expand(20, 2))


@pytest.mark.parametrize("final", ["draw", "argmax"])
def test_argmax_takes_the_likeliest_value_where_tokens_are_given(final):
    """Of x_0 ~ p̃ = (.4, .3, .3): with few samples a draw is elsewhere too."""
    law = torch.tensor([0.4, 0.3, 0.3], dtype=torch.float64).log()
    x = ran(lambda x_t, time, condition: law.expand(*x_t.shape, 3), 40, first="direct", final=final)
    assert bool((x == 0).all()) == (final == "argmax")
