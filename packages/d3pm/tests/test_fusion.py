"""The compiled loss is the loss: traced whole, with the same numbers and gradients."""

import dataclasses

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

import d3pm.fusion
from d3pm import (
    Absorbing,
    ContinuousSchedule,
    DiscretizedGaussian,
    Objective,
    Uniform,
    inverse_betas,
    linear_betas,
    training_loss,
)
from d3pm.checkpoint import load_checkpoint
from d3pm.training import train
from runs import tiny

K, T = 7, 20
CASES = {
    "uniform": (Uniform(K, inverse_betas(T)), Objective(cross_entropy=0.1)),
    "absorbing": (Absorbing(K, inverse_betas(T)), Objective("masked")),
    "absorbing, general form": (Absorbing(K, inverse_betas(T)), Objective()),
    "uniform, continuous": (Uniform(K, ContinuousSchedule("cosine")), Objective()),
    "gaussian": (DiscretizedGaussian(K, linear_betas(T, 0.01, 0.5)), Objective(cross_entropy=0.1)),
}


class Traced(list):
    """Names of the functions compiled; `operations` has those that they and their gradients consist of."""

    def __init__(self):
        super().__init__()
        self.operations = set()

    def watch(self, graph, inputs):
        self.operations |= {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
        return make_boxed_func(graph.forward)


@pytest.fixture
def compiled(monkeypatch):
    """Compile without making machine code, refuse what cannot be traced whole, and say what was compiled."""
    traced = Traced()
    backend = aot_autograd(fw_compiler=traced.watch, bw_compiler=traced.watch)

    def trace(function):
        traced.append(function.__name__)
        return torch.compile(function, backend=backend, fullgraph=True)

    monkeypatch.setattr(d3pm.fusion, "_compiled", trace)
    torch.compiler.reset()
    return traced


@pytest.mark.parametrize("case", CASES)
def test_same_loss_and_gradient(case, compiled):
    process, objective = CASES[case]
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randint(K - 1, (8, 3), generator=generator)
    logits = (3 * torch.randn(8, 3, K, generator=generator)).requires_grad_()
    results = []
    for fuse in (False, True):
        loss, metrics = training_loss(
            objective, process, lambda x, t, c: logits, x_0, torch.Generator().manual_seed(1), fuse=fuse
        )
        results.append((loss, *metrics.values(), *torch.autograd.grad(loss, logits)))
        assert bool(compiled) == fuse
    dense = {"invert_rows", "_read", "_divergence", "_scaled"}
    assert set(compiled) == (dense if case == "gaussian" else {"_criterion"})
    # A gradient of single entries fills no (…, K) by itself.
    assert not [
        name for name in compiled.operations if name.startswith(("aten.scatter", "aten.gather", "aten.index_p"))
    ]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch hides it, but not where warnings are errors
def test_training_compiles_the_loss_with_the_net(compiled, dataset, tmp_path, monkeypatch):
    settings = tiny("uniform", steps=3)
    plain = train(settings, tmp_path / "plain", data=dataset, device="cpu")
    assert not compiled
    compile_net = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda model, **options: compile_net(model, **{"backend": "eager", **options})
    )
    both = dataclasses.replace(settings, train=dataclasses.replace(settings.train, compile=True))
    fused = train(both, tmp_path / "fused", data=dataset, device="cpu")
    assert compiled
    ours, theirs = (load_checkpoint(path).section("model") for path in (fused, plain))
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-3, atol=1e-5)
