"""What does the diffusion part of a training step cost, next to the net's, and how much memory do the tables take?

    python benchmarks/step_time.py [--device cuda] [--batch 2] [--fuse] [--compile] [--json FILE]

The net is the paper's CIFAR-10 U-Net (36 million weights, logits over K = 256 levels of 32 × 32 × 3). "diffusion" is
all of a step but the net: drawing x_t, the bound and its gradient with respect to the logits. "dense" is the same loss
as widely copied code computes it: tables (T, K, K), a matrix product per position, logarithms with an epsilon. On a CPU
times are CPU seconds of one thread; on a GPU the net and its logits are bfloat16, as in training.

`--fuse` also measures the diffusion part compiled, as `train.compile` has it; `--compile` compiles the net.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from d3pm import Absorbing, DiscretizedGaussian, Objective, Uniform, cosine_betas, inverse_betas, linear_betas
from d3pm.losses import training_loss
from d3pm.nets.head import Denoiser
from d3pm.nets.unet import UNet

K, T = 256, 1000


def clock(device):
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(function, device, repeats):
    function()
    best = float("inf")
    for _ in range(repeats):
        start = clock(device)
        function()
        best = min(best, clock(device) - start)
    return best


class Dense:
    """The loss with dense tables, as in the common small implementations ."""

    def __init__(self, process, device, n_steps):
        steps = torch.stack([process.transition(t).float() for t in range(1, n_steps + 1)])
        cumulative = torch.stack([process.cumulative(t).float() for t in range(1, n_steps + 1)])
        self.steps_transposed, self.cumulative = steps.mT.contiguous().to(device), cumulative.to(device)
        self.n_steps = n_steps

    def q_posterior_logits(self, x_0_logits, x_t, t):
        fact1 = self.steps_transposed[t - 1][torch.arange(len(t))[:, None], x_t.flatten(1)]
        fact1 = fact1.reshape(*x_t.shape, K)
        fact2 = torch.einsum("b...c,bcd->b...d", x_0_logits.softmax(-1), self.cumulative[(t - 2).clamp(min=0)])
        return torch.log(fact1 + 1e-6) + torch.log(fact2 + 1e-6)

    def loss(self, logits, x_0):
        t = torch.randint(2, self.n_steps + 1, (len(x_0),), device=x_0.device)
        q = self.cumulative[t - 1][torch.arange(len(t))[:, None], x_0.flatten(1)].reshape(*x_0.shape, K)
        x_t = (torch.log(q + 1e-6) - torch.log(-torch.log(torch.rand_like(q).clamp(min=1e-20)))).argmax(-1)
        true = self.q_posterior_logits(torch.log(torch.nn.functional.one_hot(x_0, K) + 1e-6), x_t, t)
        predicted = self.q_posterior_logits(logits, x_t, t)
        kl = (true.softmax(-1) * (true.log_softmax(-1) - predicted.log_softmax(-1))).sum(-1).mean()
        return kl + 0.001 * torch.nn.functional.cross_entropy(logits.flatten(0, -2), x_0.flatten())


def problems():
    """Return the processes, and what is minimised with each."""
    bound = Objective(cross_entropy=0.001)
    gaussian = DiscretizedGaussian(K, linear_betas(T), table_dtype=torch.float32)
    return {
        "absorbing": (Absorbing(K, inverse_betas(T)), Objective("masked")),
        "absorbing, general form": (Absorbing(K, inverse_betas(T)), bound),
        "uniform": (Uniform(K, cosine_betas(T)), bound),
        "gaussian": (gaussian, bound),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--width", type=int, default=128, help="of the U-Net; 128 in the paper")
    parser.add_argument("--fuse", action="store_true", help="measure the diffusion part compiled, too")
    parser.add_argument("--compile", action="store_true", help="compile the net")
    parser.add_argument("--json", default="", help="append each figure to this file, a line of JSON")
    parser.add_argument("--skip-dense", action="store_true")
    options = parser.parse_args()
    device, repeats = options.device, 3 if options.device == "cpu" else 10
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = Denoiser(UNet(K, 3, width=options.width, dropout=0.0, inputs="scaled"), K, 3, skip="constant").to(device)
    model = torch.compile(net) if options.compile else net
    x_0 = torch.randint(K, (options.batch, 32, 32, 3), device=device)
    time_ = torch.full((options.batch,), 0.5, device=device)
    t_net = 0.0

    def tell(part, seconds):
        print(f"{part}: {seconds:.4f} s, {100 * seconds / t_net:.1f} % of the net's", flush=True)
        if options.json:
            row = {"part": part, "seconds": seconds, "share": seconds / t_net, "batch": options.batch}
            with Path(options.json).open("a") as file:
                file.write(json.dumps(row) + "\n")

    def net_step():
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device != "cpu"):
            logits = model(x_0, time_)
        logits.backward(torch.ones_like(logits))

    t_net = timed(net_step, device, repeats)
    n = sum(p.numel() for p in net.parameters())
    tell(f"net, {n / 1e6:.1f} M weights{', compiled' if options.compile else ''}", t_net)
    net.zero_grad(set_to_none=True)

    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    logits = torch.randn(*x_0.shape, K, device=device).to(dtype).requires_grad_()
    generator = torch.Generator(device).manual_seed(0)
    for fuse in (False, True) if options.fuse else (False,):
        for name, (process, objective) in problems().items():
            process.to(device)

            def diffusion_step(process=process, objective=objective, fuse=fuse):
                loss, _ = training_loss(objective, process, lambda x, t, c: logits, x_0, generator, fuse=fuse)
                torch.autograd.grad(loss, logits)

            tell(f"{name}{', fused' if fuse else ''}", timed(diffusion_step, device, repeats))

    if not options.skip_dense:
        few = 20  # the dense tables' time does not depend on T, their memory does
        dense = Dense(Uniform(K, cosine_betas(few)), device, few)
        tell("dense, any process", timed(lambda: torch.autograd.grad(dense.loss(logits, x_0), logits), device, repeats))

    tell_memory()


def tell_memory():
    print("memory of the tables, K = 256:")
    for n_steps in (100, 1000, 10_000):
        uniform = Uniform(K, cosine_betas(n_steps))
        own = sum(v.numel() * v.element_size() for v in vars(uniform).values() if isinstance(v, torch.Tensor))
        dense_bytes = 2 * n_steps * K * K * 4
        kept = min(n_steps, 1024) + 1  # Q̄ at so many times, at most
        print(
            f"  T = {n_steps}: uniform and absorbing {own / 1e3:.1f} kB, Gaussian {kept * K * K * 4 / 1e6:.0f} MB, "
            f"dense tables {dense_bytes / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
