"""Are samples what the bound promises? Bits per dimension of a recipe's samples under an independent model.

    python benchmarks/judge.py --judge runs/judge runs/digits runs/digits_uniform [--n 256] [--steps 200]

Samples of a perfect model are as likely as test data: the judge's bound on them is the model's own bound on test data.
Samples that cost more than that bound are more varied than data are, by a net too small or a sampler that draws from
another model than the one evaluated (`--first` draws and evaluates by the other convention, to compare).

The judge is any checkpoint of the same data with masks (its bound is tight), trained with another seed or process.

Of a masked model it is also told where the difference comes from. Its samples are drawn token by token, exactly, and
cost what the net said on the way ("as drawn"): near the bound on test data, if the net is as sure of its own tokens as
of the data's. The same samples cost more in new orders, under the very net that made them, where its conditional laws
belong to no joint law: the bound, a mean over orders, is then loose on its samples and tight on data. A sampler that
takes tokens back and draws them again (`--corrections 2`, `--method remasking`) brings the orders together.
"""

import argparse
import dataclasses
import math

import torch

from d3pm import GenerationConfig, negative_log_likelihood
from d3pm.checkpoint import load_checkpoint
from d3pm.data import load_data
from d3pm.evaluation import evaluate
from d3pm.generation import generate
from d3pm.processes.base import FLOOR, draw
from d3pm.sampling import copies


def bound(model, x, n_times):
    """Return a model's bound on tokens, and how many of them are none of its data's."""
    outside = x >= model.spec.n_tokens
    tokens = x.clamp(max=model.spec.n_tokens - 1)
    generator = torch.Generator().manual_seed(1)
    result = negative_log_likelihood(model.process, model.denoiser, tokens, n_times=n_times, generator=generator)
    return result, int(outside.sum())


@torch.no_grad()
def as_drawn(model, n):
    """Draw samples token by token in random orders; return them and what they cost on the way, in bits/dim."""
    generator, mask = torch.Generator().manual_seed(0), model.process.mask
    shape = (n, *model.spec.shape)
    x = torch.full((n, math.prod(model.spec.shape)), mask)
    nats, row = torch.zeros(n, dtype=torch.float64), torch.arange(n)
    for shown in range(x.shape[1]):
        time = model.process.time_of_ratio(torch.full((n,), 1 - shown / x.shape[1], dtype=torch.float64))
        logits = model.denoiser(x.reshape(shape), time, None).reshape(*x.shape, -1)
        position = draw(torch.where(x == mask, 0.0, FLOOR), generator)
        log_p = logits[row, position].double().log_softmax(-1)
        token = draw(log_p, generator)
        nats -= log_p[row, token]
        x[row, position] = token
    return x.reshape(shape), float(nats.mean()) / (x.shape[1] * math.log(2))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", help="Checkpoints, or folders of runs.")
    parser.add_argument("--judge", required=True)
    parser.add_argument("--n", type=int, default=256, help="Samples of each model.")
    parser.add_argument("--times", type=int, default=32, help="Random times per example.")
    parser.add_argument("--steps", type=int, help="Of the sampler.")
    parser.add_argument("--method", default="ancestral", help="Sampler; see GenerationConfig.")
    parser.add_argument("--corrections", type=int, default=0, help="Of the predictor-corrector.")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument(
        "--first", choices=("eq4", "direct"), help="Draw x_0 by this convention instead of the model's."
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    sampler = GenerationConfig(
        options.method, options.steps, temperature=options.temperature, n_corrections=options.corrections
    )
    judge = load_checkpoint(options.judge)
    test = load_data(judge.config.data)
    settings = dataclasses.replace(judge.config.evaluate, times=options.times)
    on_test = evaluate(judge, test, settings)
    print(f"judge on test data: {on_test.bits_per_position:.3f} ± {on_test.standard_error:.3f} bits/dim")

    def tell(name, x, own):
        result, outside = bound(judge, x, options.times)
        itself, _ = bound(model, x, options.times)
        print(
            f"  {name}: judged {result.bits_per_position:.3f} ± {result.standard_error:.3f}, "
            f"difference {result.bits_per_position - own:+.3f}; by itself {itself.bits_per_position:.3f}"
            + (f"; {outside} values are none of the data's" if outside else ""),
            flush=True,
        )

    for path in options.models:
        model = load_checkpoint(path)
        if options.first:
            model.denoiser.conventions = dataclasses.replace(model.denoiser.conventions, first=options.first)
        own = evaluate(model, test, dataclasses.replace(model.config.evaluate, times=options.times))
        bits = own.bits_per_position
        print(f"{path}: own bound on test data {bits:.3f} ± {own.standard_error:.3f}")
        generator = torch.Generator().manual_seed(0)
        shape = (options.n, *model.spec.shape)
        tell("samples", generate(model.process, model.denoiser, shape, sampler, generator=generator), bits)
        if copies(model.process, model.denoiser):
            x, drawn = as_drawn(model, options.n)
            tell(f"token by token, {drawn:.3f} as drawn", x, bits)


if __name__ == "__main__":
    main()
