"""What does the diffusion part of a training step cost, next to the net's, and how much memory do the tables take?

    python benchmarks/step_time.py                                          # CPU seconds of one thread, batch 2
    python benchmarks/step_time.py --device cuda --batch 128 --fuse --whole # a GPU, bfloat16: two minutes
    python benchmarks/step_time.py --batch 1 --width 32 --fuse --whole      # the same on a CPU, to try it

The net is the paper's CIFAR-10 U-Net (36 million weights, logits over K = 256 levels of 32 × 32 × 3). "alone" is all of
a step but the net: drawing x_t, the bound and its gradient with respect to the logits. "dense" is the same loss as
widely copied code computes it: tables (T, K, K), a matrix product per position, logarithms with an epsilon. On a GPU
the net and its logits are bfloat16 and products TensorFloat-32, as in training.

`--fuse` also measures the diffusion part compiled, as `train.compile` has it; `--compile` compiles the net. `--whole`
runs whole steps too, one after the other without waiting as training does, and says how much longer they are than the
net's: on a GPU what counts, since launches of small operations hide behind the net's.
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
from d3pm.runtime import tensor_float

K, T = 256, 1000


def clock(device):
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(function, device):
    """Seconds of a call: the least of three on a CPU, on a GPU of three rounds of ten without a stop."""
    calls = 1 if device == "cpu" else 10
    function()
    best = float("inf")
    for _ in range(3):
        start = clock(device)
        for _ in range(calls):
            function()
        best = min(best, (clock(device) - start) / calls)
    return best


class Dense:
    """The loss with dense tables, as in the common small implementations."""

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


class Step:
    """One training step and its parts, on a device."""

    def __init__(self, options):
        self.device, self.fuse = options.device, False
        dtype = torch.float32 if self.device == "cpu" else torch.bfloat16
        net = Denoiser(UNet(K, 3, width=options.width, dropout=0.0, inputs="scaled"), K, 3, skip="constant")
        self.n_weights = sum(p.numel() for p in net.parameters())
        self.net = net.to(self.device)
        self.model = torch.compile(self.net) if options.compile else self.net
        self.x_0 = torch.randint(K, (options.batch, 32, 32, 3), device=self.device)
        self.logits = torch.randn(*self.x_0.shape, K, device=self.device).to(dtype).requires_grad_()
        self.generator = torch.Generator(self.device).manual_seed(0)

    def run_net(self, x_t, t, condition=None):
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.device != "cpu"):
            return self.model(x_t, t)

    def net_alone(self):
        logits = self.run_net(self.x_0, torch.full((len(self.x_0),), 0.5, device=self.device))
        logits.backward(torch.ones_like(logits))

    def loss(self, process, objective, denoiser):
        return training_loss(objective, process, denoiser, self.x_0, self.generator, fuse=self.fuse)[0]

    def diffusion_alone(self, process, objective):
        torch.autograd.grad(self.loss(process, objective, lambda x, t, c: self.logits), self.logits)

    def whole(self, process, objective):
        self.loss(process, objective, self.run_net).backward()


def parsed():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--width", type=int, default=128, help="of the U-Net; 128 in the paper")
    parser.add_argument("--fuse", action="store_true", help="measure the diffusion part compiled, too")
    parser.add_argument("--whole", action="store_true", help="measure whole steps, too")
    parser.add_argument("--compile", action="store_true", help="compile the net")
    parser.add_argument("--json", default="", help="append each figure to this file, a line of JSON")
    parser.add_argument("--skip-dense", action="store_true")
    return parser.parse_args()


def measure(options, step):
    """Yield what was measured, its seconds, and those of the net."""
    net = timed(step.net_alone, options.device)
    yield f"net, {step.n_weights / 1e6:.1f} M weights{', compiled' if options.compile else ''}", net, net
    for step.fuse in (False, True) if options.fuse else (False,):
        for name, (process, objective) in problems().items():
            process.to(options.device)
            part = f"{name}{', fused' if step.fuse else ''}"
            yield (
                f"{part}, alone",
                timed(lambda p=process, o=objective: step.diffusion_alone(p, o), options.device),
                net,
            )
            if options.whole:
                whole = timed(lambda p=process, o=objective: step.whole(p, o), options.device)
                yield f"{part}, in the step", whole - net, net
    if not options.skip_dense:
        few = 20  # the dense tables' time does not depend on T, their memory does
        dense = Dense(Uniform(K, cosine_betas(few)), options.device, few)
        seconds = timed(lambda: torch.autograd.grad(dense.loss(step.logits, step.x_0), step.logits), options.device)
        yield "dense, any process, alone", seconds, net


def main():
    options = parsed()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = Step(options)
    with tensor_float(options.device != "cpu"):
        for part, seconds, net in measure(options, step):
            print(f"{part}: {seconds:.4f} s, {100 * seconds / net:.1f} % of the net's", flush=True)
            if options.json:
                row = {"part": part, "seconds": seconds, "share": seconds / net, "batch": options.batch}
                with Path(options.json).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
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
