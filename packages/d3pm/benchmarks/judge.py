"""Are samples what the bound promises? Bits per dimension of a recipe's samples under an independent model.

    python benchmarks/judge.py --judge runs/judge runs/digits_uniform runs/digits_gaussian [--n 256]

Samples of a perfect model are as likely as test data: the judge's bound on them is the model's own bound on test data.
Samples that cost more than that bound are more varied than data are, by a net too small or a sampler that draws from
another model than the one evaluated (`--first` draws and evaluates by the other convention, to compare).

The judge is any checkpoint of the same data with masks (its bound is tight), trained with another seed or process.
"""

import argparse
import dataclasses

import torch

from d3pm import negative_log_likelihood
from d3pm.checkpoint import load_checkpoint
from d3pm.data import load_data
from d3pm.evaluation import evaluate
from d3pm.generation import generate


def judged(judge, x, n_times, seed):
    """Return the judge's bound on samples, whose values are those of its data."""
    outside = x >= judge.spec.n_tokens
    result = negative_log_likelihood(
        judge.process, judge.denoiser, x.clamp(max=judge.spec.n_tokens - 1), n_times=n_times,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    return result, int(outside.sum())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", help="Checkpoints, or folders of runs.")
    parser.add_argument("--judge", required=True)
    parser.add_argument("--n", type=int, default=256, help="Samples of each model.")
    parser.add_argument("--times", type=int, default=32, help="Random times per example.")
    parser.add_argument(
        "--first", choices=("eq4", "direct"), help="Draw x_0 by this convention instead of the model's."
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = load_checkpoint(options.judge)
    test = load_data(judge.config.data)
    settings = dataclasses.replace(judge.config.evaluate, times=options.times)
    on_test = evaluate(judge, test, settings)
    print(f"judge on test data: {on_test.bits_per_position:.3f} ± {on_test.standard_error:.3f} bits/dim")
    for path in options.models:
        model = load_checkpoint(path)
        if options.first:
            model.denoiser.conventions = dataclasses.replace(model.denoiser.conventions, first=options.first)
        own = evaluate(model, test, dataclasses.replace(model.config.evaluate, times=options.times))
        x = generate(
            model.process, model.denoiser, (options.n, *model.spec.shape), generator=torch.Generator().manual_seed(0)
        )
        result, outside = judged(judge, x, options.times, seed=1)
        print(
            f"{path}: own bound {own.bits_per_position:.3f} ± {own.standard_error:.3f}, "
            f"samples judged {result.bits_per_position:.3f} ± {result.standard_error:.3f}, "
            f"difference {result.bits_per_position - own.bits_per_position:+.3f}"
            + (f"; {outside} values are none of the data's" if outside else "")
        )


if __name__ == "__main__":
    main()
