"""What defines no process, and what no process answers."""

import pytest
import torch

from d3pm import (
    Absorbing,
    AbsorbingUniform,
    BandDiagonal,
    Custom,
    DiscretizedGaussian,
    NearestNeighbour,
    Uniform,
    cosine_betas,
    inverse_betas,
)
from d3pm.errors import D3PMError, ImpossibleStateError, OptionError, TokenError


def test_refusals():
    process = Uniform(4, cosine_betas(10))
    with pytest.raises(TokenError, match="from 0 to 3; got values from 0 to 4"):
        process.posterior([0, 4], [0, 0], 1)
    with pytest.raises(TokenError, match="integer"):
        process.q_sample(torch.zeros(2), 1)
    with pytest.raises(TokenError, match="4 states on its last axis"):
        process.reverse([0], torch.zeros(1, 5), 1)
    with pytest.raises(OptionError, match="T = 10"):
        process.posterior(0, 0, 11)
    with pytest.raises(OptionError, match="whole number"):
        process.transition(1.5)
    with pytest.raises(OptionError, match="'joint', 'mixture'"):
        process.reverse([0], torch.zeros(1, 4), 1, mode="jiont")
    with pytest.raises(ImpossibleStateError, match="from state 1 to state 0"):
        Absorbing(4, inverse_betas(10)).posterior(0, 1, 3)
    with pytest.raises(OptionError, match="before the last step"):
        Uniform(4, [0.5, 1.0, 0.5])
    with pytest.raises(OptionError, match="probabilities"):
        Uniform(4, [0.5, 1.5])
    with pytest.raises(OptionError, match="at least 2"):
        Uniform(1, [0.5])
    with pytest.raises(OptionError, match="mask"):
        Absorbing(4, [0.5], mask=4)
    with pytest.raises(OptionError, match="at most 1"):
        AbsorbingUniform(4, [0.7], [0.7])
    with pytest.raises(OptionError, match="row sums"):
        Custom([[[0.5, 0.6], [0.5, 0.5]]])
    with pytest.raises(OptionError, match=r"\(T, K, K\)"):
        Custom([[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(OptionError, match="diagonal"):
        BandDiagonal(4, [3.0], width=3)
    with pytest.raises(OptionError, match="width"):
        BandDiagonal(4, [0.1], width=4)
    with pytest.raises(OptionError, match="positive"):
        DiscretizedGaussian(4, [0.0])
    with pytest.raises(OptionError, match="parts"):
        NearestNeighbour(torch.zeros(3, 3), [1.0])
    with pytest.raises(OptionError, match="symmetric"):
        NearestNeighbour([[-1.0, 1.0], [0.5, -0.5]], [1.0])
    with pytest.raises(OptionError, match="continuous-time"):
        DiscretizedGaussian(4, [0.1])._log_rates(torch.tensor([0]), torch.tensor([1]), torch.float32)
    assert issubclass(TokenError, ValueError)
    assert issubclass(TokenError, D3PMError)


NAN = float("nan")
STEPS = torch.eye(3).expand(2, 3, 3)


@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (lambda: Custom(STEPS, prior=[NAN] * 3), "prior"),  # drew state 3 of states 0, 1, 2
        (lambda: Custom(STEPS, prior=[0.5, 0.5, 0.5]), "prior"),
        (lambda: Custom(STEPS, prior=[1.5, -0.5, 0.0]), "prior"),
        (lambda: Uniform(3, [0.5]).learn_prior([NAN] * 3), "frequencies"),
        (lambda: DiscretizedGaussian(4, [0.2], band=-1), "band"),  # the identity
        (lambda: DiscretizedGaussian(4, [0.2], band=0), "band"),
        (lambda: DiscretizedGaussian(4, [0.2], band=2.5), "band"),
        (lambda: BandDiagonal(4, [0.2], width=1.5), "width"),
        (lambda: BandDiagonal(4, [0.2], width="1"), "width"),
        (lambda: BandDiagonal(4, [0.2], width=4), "width"),
        (lambda: BandDiagonal(4, [float("inf")], width=1), "betas"),
        (lambda: AbsorbingUniform(3, [0.0, 0.0], [0.0, 0.0]), "uniform_betas"),  # a prior of 0/0
        (lambda: Absorbing(3, [0.5], mask=1.5), "mask"),
        (lambda: Absorbing(3, [0.5], mask="1"), "mask"),
        (lambda: cosine_betas(3, s=-1), "s"),
        (lambda: cosine_betas(3, s=-0.3), "s"),
        (lambda: cosine_betas(3, s=NAN), "s"),
        (lambda: cosine_betas(3, cap=NAN), "cap"),
        (lambda: cosine_betas(3, cap=-1), "cap"),
        (lambda: inverse_betas(True), "n_steps"),
    ],
)
def test_what_defines_no_process_is_refused(build, argument):
    with pytest.raises(OptionError, match=f"`{argument}`"):
        build()
