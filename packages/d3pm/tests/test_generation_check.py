"""What `GenerationConfig.check` accepts is what samples: every method, option and convention with every process."""

import itertools
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from d3pm import (
    Absorbing,
    AbsorbingUniform,
    Autoregressive,
    BandDiagonal,
    ContinuousSchedule,
    Conventions,
    DiscretizedGaussian,
    GenerationConfig,
    NearestNeighbour,
    NearestNeighbourMask,
    Uniform,
    generate,
    inverse_betas,
    linear_betas,
    nearest_neighbour_rate,
)
from d3pm.errors import OptionError, StepsWarning
from d3pm.sampling import sample, sample_first_hitting
from d3pm.spectrum import Spectrum
from d3pm.unmasking import sample_confident, sample_remasking
from enumeration import Masked, contextual, exact_model, frequencies

EXPONENTS = torch.tensor([0.3, 0.6, 1.0, 3.0])
LEFT = [0.1, 0.2, 0.1, 0.4]  # masks four ninths of the tokens
FREQUENCIES = [0.6, 0.4, 0.0]


def spectrum(n):
    return Spectrum.of_rate(nearest_neighbour_rate(np.random.default_rng(0).normal(size=(n, 2)), 1))


# With each, what its net gives no mass.
PROCESSES = {
    "uniform": (lambda: Uniform(3, linear_betas(4, 0.2, 0.9)), None),
    "uniform, cosine": (lambda: Uniform(3, ContinuousSchedule("cosine")), None),
    "uniform, geometric": (lambda: Uniform(3, ContinuousSchedule("geometric")), None),
    "absorbing": (lambda: Absorbing(3, inverse_betas(4)), 2),
    "absorbing, learned prior": (lambda: Absorbing(3, LEFT).learn_prior(FREQUENCIES), 2),
    "absorbing, mask a value": (lambda: Absorbing(3, inverse_betas(4), 1), None),
    "absorbing, linear": (lambda: Absorbing(3, ContinuousSchedule("linear")), 2),
    "absorbing, cosine": (lambda: Absorbing(3, ContinuousSchedule("cosine")), 2),
    "absorbing, geometric": (lambda: Absorbing(3, ContinuousSchedule("geometric")), 2),
    "absorbing and uniform": (lambda: AbsorbingUniform(3, [0.1, 0.2, 0.3, 0.6], [0.1, 0.1, 0.1, 0.3]), 2),
    "Gaussian": (lambda: DiscretizedGaussian(3, torch.linspace(0.2, 3.0, 4)), None),
    "band": (lambda: BandDiagonal(3, torch.linspace(0.1, 0.3, 4), 1), None),
    "nearest neighbour": (lambda: NearestNeighbour(spectrum(3), EXPONENTS), None),
    "nearest neighbour, linear": (lambda: NearestNeighbour(spectrum(3), ContinuousSchedule("linear")), None),
    "nearest neighbour and mask": (lambda: NearestNeighbourMask(spectrum(2), EXPONENTS, 1.0), 2),
    "autoregressive": (lambda: Autoregressive(3, 2), 2),
}
CONVENTIONS = [Conventions(*each) for each in itertools.product(("joint", "mixture", "score"), ("eq4", "direct"))]
ANCESTRAL = [{}, {"n_corrections": 1}, {"final": "argmax"}]
CONFIGS = [
    GenerationConfig(method, n_steps=n_steps, block=block, **sharper, **more)
    for method in ("ancestral", "first_hitting", "confidence", "remasking")
    for n_steps, block in ((2, 0), (5, 0), (2, 1))
    for sharper in ({}, {"temperature": 0.5}, {"temperature": 0.0}, {"top_p": 0.6})
    for more in (ANCESTRAL if method == "ancestral" else [{}])
]


def model(name, conventions):
    make, forbid = PROCESSES[name]
    net = contextual(3, forbid)
    net.forbid, net.conventions = forbid, conventions
    return make(), net


def refusal(function):
    """What it raises, if it is a sentence; other errors are none."""
    try:
        function()
    except OptionError as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("ignore::d3pm.errors.StepsWarning")  # five steps for two tokens
@pytest.mark.parametrize("conventions", CONVENTIONS, ids=lambda c: f"{c.mode}-{c.first}")
@pytest.mark.parametrize("name", PROCESSES)
def test_a_config_is_refused_if_and_only_if_sampling_is(name, conventions):
    process, net = model(name, conventions)
    for config in CONFIGS:
        samples = []
        checked = refusal(lambda: config.check(process, net))  # noqa: B023
        drawn = refusal(lambda: samples.append(generate(process, net, (2, 2), config)))  # noqa: B023
        assert checked == drawn, config
        if drawn is None:
            assert samples[0].max() < (3 if net.forbid is None else 2), config  # no mask is left


@pytest.mark.parametrize("name", PROCESSES)
def test_what_is_refused(name):
    """Each rule as it is said in words, against all that a config and a model can be."""
    for conventions in CONVENTIONS:
        process, net = model(name, conventions)
        continuous, score = process.n_steps is None, conventions.mode == "score"
        for config in CONFIGS:
            any_order = name.startswith("absorbing") and net.forbid == 2 and isinstance(process, Absorbing)
            refused = (
                (score and not name.endswith("geometric"))
                or (continuous and conventions.first == "direct")
                or ((config.method != "ancestral" or config.block > 0) and not any_order)
                or (score and config.method == "first_hitting")
                or (score and (config.temperature, config.top_p) != (1, 1) and name.startswith("uniform"))
                or (config.method in ("ancestral", "remasking") and config.n_steps > (process.n_steps or 100))
            )  # fmt: skip
            assert (refusal(lambda: config.check(process, net)) is not None) == refused, (config, conventions)  # noqa: B023


def test_samplers_by_themselves_refuse_scores_where_they_must():
    process, net = model("absorbing, geometric", Conventions("score"))
    with pytest.raises(OptionError, match="`mode` must be"):
        sample_first_hitting(process, net, (1, 2))


@pytest.mark.parametrize("first", ["eq4", "direct"])
def test_tokens_that_a_learned_prior_leaves_are_drawn_from_it(first):
    """All began as masks: first-hitting was off by .10 (eq4) and .06 (direct) in total variation."""
    process, net = model("absorbing, learned prior", Conventions(first=first))
    _, p = exact_model(process, net, 2, 1, "joint", first)
    samplers = [sample, sample_first_hitting]
    if first == "eq4":
        samplers.append(lambda *args, **options: sample_remasking(*args, strength=0.0, **options))
    for sampler in samplers:
        x = sampler(process, net, (20_000, 2), generator=torch.Generator().manual_seed(0))
        assert float((frequencies(x, 3) - p).abs().sum() / 2) < 0.012
    seen = []
    sample_confident(process, net, (20_000, 2), watch=lambda t, x: seen.append(x))
    shares = torch.bincount(seen[0].flatten(), minlength=3) / 40_000
    torch.testing.assert_close(shares.double(), process.prior, rtol=0, atol=0.013)


class Told(Masked):
    """Is told of padding, and makes nothing of it."""

    def __call__(self, x_t, time, condition=None, attention_mask=None):
        return super().__call__(x_t, time)


@pytest.mark.parametrize(
    ("config", "length", "runs", "said"),
    [
        (GenerationConfig("confidence", n_steps=4), 4, 4, None),
        (
            GenerationConfig("confidence", n_steps=5),
            4,
            4,
            "5 is more than the 4 tokens to fill in of a sample: the net",
        ),
        (GenerationConfig("confidence", n_steps=9, block=2), 5, 5, "9 is more than the 2 tokens to fill in of a block"),
        (GenerationConfig("confidence", n_steps=2, block=2), 5, 5, None),
        (GenerationConfig("first_hitting"), 4, None, None),
        (
            GenerationConfig("first_hitting", n_steps=1),
            4,
            None,
            "1 says nothing to first-hitting: .* most 4 times for a s",
        ),
    ],
)
def test_steps_that_cannot_be_taken_are_capped_with_a_word(config, length, runs, said):
    """Confidence reveals a token per run at least; first-hitting has times of its own."""
    net = Masked()
    with nullcontext() if said is None else pytest.warns(StepsWarning, match=said):
        generate(Absorbing(3, inverse_betas(50)), net, (1, length), config, generator=torch.Generator().manual_seed(0))
    assert runs is None or net.seen == runs


def test_only_tokens_that_are_to_be_filled_in_count_as_steps():
    real, keep = torch.arange(4) < torch.tensor([[3], [2]]), torch.tensor([[True, False, False, False]]).expand(2, 4)
    config, given = GenerationConfig("confidence", n_steps=3), torch.zeros(2, 4).long()
    with pytest.warns(StepsWarning, match="3 is more than the 2 tokens"):
        generate(Absorbing(3, inverse_betas(4)), Told(), (2, 4), config, given=given, keep=keep, attention_mask=real)


def test_steps_of_blocks_are_counted_by_what_each_has_to_fill_in():
    """Of blocks with given tokens it counted all their tokens: silent here, and of a sample in the second case."""
    process, given = Absorbing(3, inverse_betas(4)), torch.zeros(1, 6).long()
    for keep, block, n_steps, said in (
        ([1, 0, 1, 0, 0, 1], 2, 2, "2 is more than the 1 token to fill in of a block: the net runs once."),
        ([1, 0, 0, 1, 1, 0], 3, 3, "3 is more than the 2 tokens to fill in of a block: the net runs 2 times"),
        ([0, 0, 0, 1, 1, 1], 6, 4, "4 is more than the 3 tokens to fill in of a sample: the net runs 3 times"),
    ):
        config = GenerationConfig("confidence", n_steps=n_steps, block=block)
        with pytest.warns(StepsWarning, match=said):
            generate(process, Masked(), (1, 6), config, given=given, keep=torch.tensor([keep]).bool())
        config = GenerationConfig("first_hitting", n_steps=n_steps, block=block)
        with pytest.warns(StepsWarning, match="at most (once|[234] times) for a (block|sample)"):
            generate(process, Masked(), (1, 6), config, given=given, keep=torch.tensor([keep]).bool())


def test_tokens_that_a_learned_prior_leaves_take_no_step():
    process, net = model("absorbing, learned prior", Conventions())[0], Masked()
    config, g = GenerationConfig("confidence", n_steps=12), torch.Generator().manual_seed(0)
    seen = []
    with pytest.warns(StepsWarning) as said:
        generate(process, net, (1, 12), config, generator=g, watch=lambda t, x: seen.append(x))
    n_masked = int((seen[0] == 2).sum())
    assert 1 < n_masked < 12
    assert net.seen == n_masked
    assert f"12 is more than the {n_masked} tokens to fill in of a sample" in str(said[0].message)


class Counted(Masked):
    """Counts its runs."""

    def __init__(self, first="eq4"):
        super().__init__()
        self.conventions, self.runs = Conventions(first=first), 0

    def __call__(self, x_t, time, condition=None):
        self.runs += 1
        return super().__call__(x_t, time, condition)


@pytest.mark.parametrize(
    ("process", "first", "n", "most"),
    [
        (Absorbing(3, inverse_betas(500)), "eq4", 1, "4 times for a sample"),
        (Absorbing(3, inverse_betas(500)), "direct", 1, "5 times for a sample"),
        (Absorbing(3, inverse_betas(3)), "direct", 1, "3 times for a sample"),
        (Absorbing(3, inverse_betas(3)), "eq4", 40, "3 times for a batch"),
        (Absorbing(3, inverse_betas(20)), "eq4", 40, "5 times for a batch"),
        (Absorbing(3, inverse_betas(1)), "direct", 1, "once for a sample"),
        (Absorbing(3, ContinuousSchedule("linear")), "eq4", 40, "4 times for a batch"),
    ],
)
def test_first_hitting_says_how_often_the_net_runs(process, first, n, most):
    """With "direct" the last step is one more run, and T is the most: neither was said."""
    config, runs = GenerationConfig("first_hitting", n_steps=2), []
    for seed in range(4):
        net = Counted(first)
        with pytest.warns(StepsWarning, match=f"at most {most}"):
            generate(process, net, (n, 4), config, generator=torch.Generator().manual_seed(seed))
        runs.append(net.runs)
    assert max(runs) == (1 if most.startswith("once") else int(most[0]))


@pytest.mark.parametrize("method", ["ancestral", "first_hitting", "confidence", "remasking"])
@pytest.mark.parametrize("block", [0, 2])
def test_no_samples_are_an_empty_array(method, block):
    """Confidence ended in an error of torch, and first-hitting said "at most 0 times"."""
    x = generate(Absorbing(3, inverse_betas(4)), Masked(), (0, 4), GenerationConfig(method, n_steps=3, block=block))
    assert x.shape == (0, 4)


def test_blocks_are_of_texts():
    """Of pictures they were columns."""
    config, net = GenerationConfig(block=1), Masked()
    with pytest.raises(OptionError, match=r"`block` must be 0 for samples that are no texts, \(B, N\)"):
        generate(Absorbing(3, inverse_betas(4)), net, (1, 2, 2), config)
    assert net.seen == 0
