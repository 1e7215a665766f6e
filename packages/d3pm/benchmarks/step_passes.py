"""How much memory does the diffusion part of a training step touch, on any machine?

    python benchmarks/step_passes.py [--bandwidth 3.0] [--products 50]

The loss of logits (…, K) is bound by memory: what counts is how often (…, K) is read or written. One pass is as many
bytes as the logits have in float32; the logits themselves are bfloat16 and count half. "eager" counts what each
operation reads and writes. "compiled" (`train.compile`) counts the kernels that torch.compile would make for a GPU, and
the operations beside them; no GPU is needed for either. "products" are multiplications with (K, K) tables, 2 K flops
for each entry of (…, K). The times are what that amounts to at batch 128 with so many TB/s, and TFLOP/s in products,
without what small operations and their launches cost.

Processes and net as in `step_time.py`, which measures. Reads internals of torch's compiler: torch 2.14.
"""

import argparse
import copy
import os
from contextlib import contextmanager

os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # what is cached is not compiled, and not counted

import torch
import torch._inductor.compile_fx as compiler
from step_time import K, problems
from torch._inductor import config
from torch._inductor.scheduler import Scheduler
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import d3pm.fusion
from d3pm.losses import training_loss

PICTURE, BATCH, PAPERS_BATCH = (32, 32, 3), 2, 128
FREE = {"aten::_unsafe_view", "aten::detach", "aten::lift_fresh"}


class Passes(TorchDispatchMode):
    """Bytes that operations read and write; of an operation on a few rows, those rows."""

    n_bytes = 0

    @classmethod
    def ignore_compile_internals(cls):
        return True

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function.is_view or function._schema.name in FREE:
            return out
        written = sum(size_of(x) for x in tree_leaves(out) if isinstance(x, torch.Tensor))
        reads = [size_of(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if function._schema.name in ("aten::index", "aten::gather"):
            reads[0] = min(reads[0], written)
        if function._schema.name == "aten::index_put_":
            reads[0], written = 0, reads[-1]
        self.n_bytes += sum(reads) + written
        return out


def size_of(x):
    """Bytes of a tensor, an expanded axis once."""
    entries = 1
    for size, stride in zip(x.shape, x.stride(), strict=True):
        entries *= size if stride else 1
    return entries * x.element_size()


class CountedError(Exception):
    """Ends a compilation whose kernels have been counted."""


@contextmanager
def kernels_for_a_gpu(counts):
    """Append the bytes of each kernel that would be made for a GPU to `counts`, of all that is compiled inside."""
    codegen, compile_graph, counting = Scheduler.codegen, compiler.fx_codegen_and_compile, [False]

    def count(scheduler):
        if not counting[0]:
            return codegen(scheduler)
        counts.extend(node.get_read_write_buffers_sizes() for node in scheduler.nodes)
        raise CountedError

    def compile_twice(graph, *args, **kwargs):
        counting[0], known = True, len(counts)
        try:
            with config.patch(cpu_backend="triton"):  # fuses as for a GPU, though the tensors are not on one
                compile_graph(copy.deepcopy(graph), *args, **kwargs)
        except Exception:
            if len(counts) == known:
                raise
        finally:
            counting[0] = False
        return compile_graph(graph, *args, **kwargs)

    Scheduler.codegen, compiler.fx_codegen_and_compile = count, compile_twice
    try:
        yield
    finally:
        Scheduler.codegen, compiler.fx_codegen_and_compile = codegen, compile_graph


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bandwidth", type=float, default=3.0, help="TB/s")
    parser.add_argument("--products", type=float, default=50.0, help="TFLOP/s of float32 products")
    options = parser.parse_args()
    torch.set_num_threads(1)
    x_0 = torch.randint(K, (BATCH, *PICTURE))
    logits = torch.randn(*x_0.shape, K).bfloat16().requires_grad_()
    entries = logits.numel() * PAPERS_BATCH / BATCH

    def step(process, objective, fuse):
        generator = torch.Generator().manual_seed(0)
        loss, _ = training_loss(objective, process, lambda x, t, c: logits, x_0, generator, fuse=fuse)
        torch.autograd.grad(loss, logits)

    print(f"{'':24} {'eager':>12} {'compiled':>12} {'products':>9}    at batch {PAPERS_BATCH}")
    for name, (process, objective) in problems().items():
        counts: list[int] = []
        d3pm.fusion._compiled.cache_clear()
        with FlopCounterMode(display=False) as flops, Passes() as eager:
            step(process, objective, fuse=False)
        with kernels_for_a_gpu(counts):
            step(process, objective, fuse=True)
        with Passes() as beside:
            step(process, objective, fuse=True)
        products = flops.get_total_flops() / (2 * K * logits.numel())
        passes = [n / (4 * logits.numel()) for n in (eager.n_bytes, sum(counts) + beside.n_bytes)]
        computing = products * 2 * K * entries / (options.products * 1e9)
        times = [n * 4 * entries / (options.bandwidth * 1e9) + computing for n in passes]
        print(
            f"{name:24} {passes[0]:12.1f} {passes[1]:12.1f} {products:9.0f}"
            f"    {times[0]:.1f} ms, compiled {times[1]:.1f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
