"""Are samples what the bound promises? Bits per position of a model's samples under an independent model.

    python benchmarks/judge.py runs/digits runs/digits_gaussian --judge runs/judge [--n 256] [--corrections 0 2 6]

Models and judge are checkpoints (`d3pm train RECIPE --out runs/NAME`, the judge with another seed:
`--set train.seed=1`) of the same data. Samples of a perfect model are as likely as test data: the judge's bound on them
is the model's own bound on test data. Samples that cost more than that bound are more varied than data are, by a net
too small or a sampler that draws from another model than the one evaluated (`--first` draws and evaluates by the other
convention, to compare). A judge with masks has a tight bound. Samples are drawn as the recipe says where no option says
otherwise.

A sampler that repeats what is likely pleases every judge. So the variety of the samples is told beside that of as many
test data: of texts the distinct runs of four tokens, as a share of all; of pictures the mean difference between two.

Of a masked model it is also told where the difference comes from. Its samples are drawn token by token, exactly, and
cost what the net said on the way ("as drawn"): near the bound on test data, if the net is as sure of its own tokens as
of the data's. The same samples cost more in new orders, under the very net that made them, where its conditional laws
belong to no joint law: the bound, a mean over orders, is then loose on its samples and tight on data. A sampler that
takes tokens back and draws them again (`--corrections 2 6`, `--method remasking`) brings the orders together.
"""

import argparse
import dataclasses
import json
import math
from pathlib import Path

import torch

from d3pm import negative_log_likelihood
from d3pm.checkpoint import load_checkpoint
from d3pm.data import load_data
from d3pm.evaluation import evaluate
from d3pm.generation import generate
from d3pm.processes.base import FLOOR, draw
from d3pm.sampler_input import copies


def bound(model, x, n_times):
    """Return a model's bound on tokens, and how many of them are none of its data's."""
    outside = x >= model.spec.n_tokens
    tokens = x.clamp(max=model.spec.n_tokens - 1)
    generator = torch.Generator().manual_seed(1)
    result = negative_log_likelihood(model.process, model.denoiser, tokens, n_times=n_times, generator=generator)
    return result, int(outside.sum())


@torch.no_grad()
def as_drawn(model, n, seed):
    """Draw samples token by token in random orders; return them and what they cost on the way, in bits/dim."""
    generator, mask = torch.Generator().manual_seed(seed), model.process.mask
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


def own_bound(model, test, options):
    """Return a model's bound on test data, `--n` examples of a text."""
    examples = options.n if model.spec.modality == "text" else 0
    return evaluate(model, test, dataclasses.replace(model.config.evaluate, times=options.times, examples=examples))


def variety(x, spec):
    """Return how varied examples (n, …) are: distinct runs of four tokens over all, or levels between two pictures."""
    if spec.modality == "text":
        runs = x.unfold(-1, min(4, x.shape[-1]), 1).flatten(0, 1)
        return len(runs.unique(dim=0)) / len(runs)
    levels = x.flatten(1).double()
    return float(torch.cdist(levels, levels, p=1).sum()) / (len(x) * (len(x) - 1) * levels.shape[1])


def judged(name, x, model, judge, own, test, options):
    """Tell what samples cost, under the judge and under the model that drew them, and how varied they are."""
    result, outside = bound(judge, x, options.times)
    itself, _ = bound(model, x, options.times)
    data = test.test_examples().tokens
    data = data[:: max(1, len(data) // len(x))][: len(x)]
    row = {
        "sampler": name,
        "samples": len(x),
        "own_bound": own,
        "judged": result.bits_per_position,
        "error": result.standard_error,
        "over": result.bits_per_position - own,
        "by_itself": itself.bits_per_position,
        "variety": variety(x, model.spec),
        "variety_of_data": variety(data, model.spec),
        "none_of_the_data": outside,
    }
    print(
        f"  {name}: judged {row['judged']:.3f} ± {row['error']:.3f}, difference {row['over']:+.3f}; "
        f"by itself {row['by_itself']:.3f}; variety {row['variety']:.3f}, of data {row['variety_of_data']:.3f}"
        + (f"; {outside} values are none of the data's" if outside else ""),
        flush=True,
    )
    return row


def samples(model, options):
    """Draw samples by each sampler asked for; yield what each is called, and them."""
    chosen = {"method": options.method, "n_steps": options.steps, "temperature": options.temperature}
    for corrections in options.corrections:
        sampler = model.config.sample.override(**chosen, n_corrections=corrections)
        generator = torch.Generator().manual_seed(options.seed)
        x = generate(model.process, model.denoiser, (options.n, *model.spec.shape), sampler, generator=generator)
        yield str(sampler), x
    if copies(model.process, model.denoiser) and (sampler.method, sampler.temperature) == ("ancestral", 1.0):
        x, drawn = as_drawn(model, options.n, options.seed)
        yield f"token by token, {drawn:.3f} as drawn", x


def parsed():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", help="Checkpoints, or folders of runs.")
    parser.add_argument("--judge", required=True)
    parser.add_argument("--data", help="In place of the judge's own.")
    parser.add_argument("--n", type=int, default=256, help="Samples of each model.")
    parser.add_argument("--times", type=int, default=32, help="Random times per example.")
    parser.add_argument("--steps", type=int, help="Of the sampler.")
    parser.add_argument("--method", help="Of the sampler; see GenerationConfig.")
    parser.add_argument("--corrections", type=int, nargs="+", default=[None], help="Of the predictor-corrector.")
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--seed", type=int, default=0, help="Of the samples: choose by some, tell by others.")
    parser.add_argument(
        "--first", choices=("eq4", "direct"), help="Draw x_0 by this convention instead of the model's."
    )
    parser.add_argument("--json", default="", help="Append each row to this file, a line of JSON.")
    return parser.parse_args()


def main():
    options = parsed()
    torch.set_num_threads(1)
    judge = load_checkpoint(options.judge)
    source = judge.config.data
    test = load_data(source if options.data is None else dataclasses.replace(source, path=options.data), judge.spec)
    on_test = own_bound(judge, test, options)
    print(f"judge on test data: {on_test.bits_per_position:.3f} ± {on_test.standard_error:.3f} {judge.spec.unit}")
    for path in options.models:
        model = load_checkpoint(path)
        if options.first:
            model.denoiser.conventions = dataclasses.replace(model.denoiser.conventions, first=options.first)
        own = own_bound(model, test, options)
        print(f"{path}: own bound on test data {own.bits_per_position:.3f} ± {own.standard_error:.3f}", flush=True)
        for name, x in samples(model, options):
            row = judged(name, x, model, judge, own.bits_per_position, test, options)
            if options.json:
                about = {"model": str(path), "judge_on_test": on_test.bits_per_position}
                with Path(options.json).open("a", encoding="utf-8") as file:
                    file.write(json.dumps({**about, **row}) + "\n")


if __name__ == "__main__":
    main()
