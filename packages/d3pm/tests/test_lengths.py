"""Texts of different lengths: padding is invisible to nets, losses, bounds and features, and cutting is said."""

import math

import numpy as np
import pytest
import torch

from d3pm import (
    Absorbing,
    ContinuousSchedule,
    Conventions,
    Custom,
    GenerationConfig,
    Objective,
    Uniform,
    cosine_betas,
    generate,
    inverse_betas,
    negative_log_likelihood,
)
from d3pm.checkpoint import load_checkpoint
from d3pm.config import Config
from d3pm.corpus import encode_examples
from d3pm.data import Batch, Dataset, DataSpec
from d3pm.encoder import DiffusionEncoder
from d3pm.errors import OptionError, TruncationWarning
from d3pm.evaluation import evaluate
from d3pm.importance import TimeImportance
from d3pm.likelihood import Likelihood
from d3pm.losses import training_loss
from d3pm.training import train

ALPHABET = "abcdefghijklmnopqrstuvwxyz "
REAL = torch.arange(6) < torch.tensor([[6], [2], [4]])


def peeking(n_states, seen):
    """A denoiser that keeps what it is told of padding; logits by position."""

    def denoiser(x_t, time, condition=None, attention_mask=None):
        seen.append(attention_mask)
        k = torch.arange(n_states, dtype=torch.float64)
        where = torch.arange(x_t.shape[1], dtype=torch.float64)
        logits = torch.sin(0.9 * k + 0.7 * where[:, None]).expand(*x_t.shape, -1).clone()
        logits[..., -1] = -1e30
        return logits

    return denoiser


@pytest.mark.parametrize("kind", ["masked", "simple", "bound", "counted", "cross_entropy"])
def test_the_loss_leaves_padding_out(kind):
    """What padding holds changes nothing, and the mean is over real positions."""
    process = Absorbing(5, ContinuousSchedule("linear") if kind == "counted" else inverse_betas(10))
    losses, seen = [], []
    for filler in (0, 3):
        x_0 = torch.where(REAL, torch.arange(18).reshape(3, 6) % 4, filler)
        g = torch.Generator().manual_seed(0)
        loss, metrics = training_loss(
            Objective(kind, cross_entropy=0.1 if kind == "bound" else 0.0), process, peeking(5, seen), x_0, g,
            attention_mask=REAL,
        )  # fmt: skip
        losses.append((float(loss), float(metrics["bits"]), float(metrics["cross_entropy"])))
    assert losses[0] == losses[1]
    assert all(mask is REAL for mask in seen)
    # Of whole examples a mask of True everywhere says nothing.
    results = []
    for mask in (None, torch.ones(3, 6, dtype=torch.bool)):
        g = torch.Generator().manual_seed(0)
        results.append(training_loss(Objective(kind), process, peeking(5, []), x_0, g, attention_mask=mask)[0])
    torch.testing.assert_close(*results)


class Kept(TimeImportance):
    """Even, and keeps the losses that it was to learn from."""

    def update(self, shares, losses):
        self.losses = losses


def test_times_are_drawn_by_losses_without_padding():
    process, importance, losses = Absorbing(5, inverse_betas(10)), Kept(10), []
    for filler in (0, 3):
        x_0 = torch.where(REAL, torch.arange(18).reshape(3, 6) % 4, filler)
        objective, g = Objective("bound", cross_entropy=0.1), torch.Generator().manual_seed(0)
        training_loss(objective, process, peeking(5, []), x_0, g, attention_mask=REAL, importance=importance)
        losses.append(importance.losses)
    assert torch.equal(*losses)
    assert bool((losses[0] > 0).all())


@pytest.mark.parametrize("n_times", [None, 4])
def test_the_bound_of_padded_texts_is_that_of_each_alone(n_times):
    process = Uniform(5, cosine_betas(6))
    x_0 = torch.arange(18).reshape(3, 6) % 4
    n, expected = 3000, []
    for row, length in zip(x_0, REAL.sum(1).tolist(), strict=True):
        g = torch.Generator().manual_seed(1)
        alone = row[None, :length].expand(n, -1)
        expected.append(negative_log_likelihood(process, peeking(5, []), alone, n_times=n_times, generator=g).nats)
    repeated, real = x_0.repeat(n, 1), REAL.repeat(n, 1)
    g = torch.Generator().manual_seed(0)
    conventions = Conventions()
    found = negative_log_likelihood(
        process, peeking(5, []), repeated, n_times=n_times, conventions=conventions, generator=g, attention_mask=real
    )
    assert found.lengths.tolist() == [6, 2, 4] * n
    for i, alone in enumerate(expected):
        error = 5 * float((alone.var() + found.nats[i::3].var()) / n) ** 0.5 + 1e-12
        assert float(found.nats[i::3].mean()) == pytest.approx(float(alone.mean()), abs=error)
    total = sum(float(alone.mean()) for alone in expected)
    assert found.bits_per_position == pytest.approx(total / (12 * np.log(2)), rel=0.02)


def test_units_of_padded_results():
    ln2 = np.log(2)
    zeros = torch.zeros(2, dtype=torch.float64)
    result = Likelihood(
        torch.tensor([2.0, 4.0], dtype=torch.float64) * ln2, zeros, zeros + 0.5, 8, torch.tensor([1, 2])
    )
    assert result.bits_per_position == pytest.approx(2.0)
    assert result.standard_error == pytest.approx(0.0, abs=1e-6)  # both cost two bits per position
    assert result.monte_carlo_error == pytest.approx(1 / (3 * ln2))
    assert Likelihood.concatenate([result, result]).lengths.tolist() == [1, 2, 1, 2]


TEXTS = ["short", "somewhat longer text", "a", "exactly twenty four char"]


@pytest.fixture(scope="module", params=["transformer", "dilated_conv"])
def run(request, tmp_path_factory):
    """A few steps on texts of many lengths."""
    net = {"kind": request.param, "width": 16, "skip": "none", "time_free": True}
    net |= {"n_layers": 2, "n_heads": 2, "hidden": 16} if request.param == "transformer" else {"dilations": [1, 2]}
    config = Config.from_dict(
        {
            "data": {"kind": "text", "length": 24, "lines": True},
            "process": {"kind": "absorbing", "steps": 20, "schedule": "inverse"},
            "net": net,
            "loss": {"kind": "masked"},
            "train": {"steps": 40, "batch": 16, "lr": 1e-2, "ema": 0.5, "log_every": 20},
        }
    )
    spec = DataSpec("text", (24,), 27, alphabet=ALPHABET)
    tokens, lengths, words, _ = encode_examples(spec, TEXTS * 20)
    data = Dataset(spec, tokens, tokens, train_lengths=lengths, test_lengths=lengths, test_words=words)
    return train(config, tmp_path_factory.mktemp("run"), data=data, device="cpu"), data


@pytest.mark.parametrize(("t", "n_draws", "pool"), [(0.0, 1, "mean"), (0.0, 1, "max"), (0.3, 3, "mean")])
def test_features_of_a_text_are_those_of_the_text_alone(run, t, n_draws, pool):
    encoder = DiffusionEncoder(run[0], t=t, n_draws=n_draws, pool=pool, device="cpu")
    together = encoder.encode_multi(TEXTS)
    for i, text in enumerate(TEXTS):
        alone = encoder.encode_multi([text])
        tokens = torch.from_numpy(run[1].spec.encode_text(text))[None]
        for layer in encoder.layers:
            np.testing.assert_allclose(together[layer][i], alone[layer][0], rtol=1e-5, atol=1e-5)
            bare = encoder.encode(tokens, layer)  # not padded at all
            np.testing.assert_allclose(together[layer][i], bare[0], rtol=1e-5, atol=1e-5)
    padded = Batch(tokens.new_zeros(1, 24), None, torch.arange(24)[None] < tokens.shape[1])
    padded.tokens[0, : tokens.shape[1]] = tokens[0]
    np.testing.assert_allclose(encoder.encode(padded), encoder.encode([TEXTS[-1]]), rtol=1e-5, atol=1e-5)


def test_cutting_is_said_once(run):
    encoder = DiffusionEncoder(run[0], device="cpu")
    long = ["x" * 30, TEXTS[3]]
    with pytest.warns(TruncationWarning, match="1 of 2 texts are longer than the 24 tokens"):
        features = encoder.encode(long)
    np.testing.assert_array_equal(features, encoder.encode(["x" * 24, TEXTS[3]]))
    encoder.encode(long)  # said before; a warning would be an error here
    assert np.isfinite(encoder.encode([""])).all()


def test_evaluation_counts_real_positions_only(run):
    result = evaluate(load_checkpoint(run[0]), run[1])
    assert int(result.lengths.sum()) == 20 * sum(map(len, TEXTS))
    assert 0 < result.bits_per_position < run[1].marginal_bits() + 1
    assert run[1].n_words() == 20 * sum(len(text.split()) for text in TEXTS)


class Reader:
    """What it says of a text does not depend on padding, if it is told of it; shorter texts are other texts."""

    def __init__(self, forbid=None, time_free=False):
        self.forbid, self.time_free, self.conventions = forbid, time_free, Conventions()

    def __call__(self, x_t, time, condition=None, attention_mask=None):
        real = torch.ones_like(x_t, dtype=torch.bool) if attention_mask is None else attention_mask
        length = real.sum(-1).double()[:, None, None]
        k, i = torch.arange(3, dtype=torch.float64), torch.arange(x_t.shape[1])
        mixed = torch.where(real, x_t * (i + 1), 0).sum(-1)[:, None, None]
        time = torch.zeros(len(x_t)) if self.time_free else time
        logits = 1.5 * torch.sin(0.9 * k + 0.7 * mixed + 1.7 * i[:, None] + 2.0 * length + time.double()[:, None, None])
        return logits if self.forbid is None else logits.index_fill(-1, torch.tensor([self.forbid]), -1e30)


def masks():
    return Absorbing(3, inverse_betas(4))


@pytest.mark.parametrize(
    ("process", "net", "config", "keep"),
    [
        (masks(), Reader(2), GenerationConfig(), None),
        (masks(), Reader(2, time_free=True), GenerationConfig(), None),
        (masks(), Reader(2), GenerationConfig("first_hitting"), None),
        (masks(), Reader(2), GenerationConfig("confidence"), None),
        (masks(), Reader(2), GenerationConfig("confidence", n_steps=1), None),
        (masks(), Reader(2), GenerationConfig("remasking", remasking=0.5), None),
        (masks(), Reader(2), GenerationConfig("first_hitting", block=2, temperature=0.7), None),
        (masks(), Reader(2), GenerationConfig(), (True, False)),
        (masks(), Reader(2), GenerationConfig("first_hitting"), (False, True)),
        (Uniform(3, cosine_betas(4)), Reader(), GenerationConfig(n_corrections=1), None),
        (Uniform(3, cosine_betas(4)), Reader(), GenerationConfig(n_particles=4), (True, False)),
    ],
)
def test_texts_of_a_length_are_sampled_as_if_alone(process, net, config, keep):
    """Beside longer texts and padded, against an array of two columns; what is given in padding does not count."""
    n, real = 8000, torch.tensor([[True, True, False, False], [True, True, True, True]])
    alone, beside = {}, {}
    if keep is not None:
        alone = {"given": torch.ones(n, 2).long(), "keep": torch.tensor([keep]).expand(n, 2)}
        wide = torch.tensor([[*keep, True, True]]).expand(2 * n, 4)
        beside = {"given": torch.ones(2 * n, 4).long(), "keep": wide}
    expected = generate(process, net, (n, 2), config, generator=torch.Generator().manual_seed(0), **alone)
    x = generate(
        process, net, (2 * n, 4), config, attention_mask=real.repeat(n, 1),
        generator=torch.Generator().manual_seed(1), **beside,
    )  # fmt: skip
    assert bool((x[::2, 2:] == 0).all())
    found, expected = (
        torch.bincount(tokens @ torch.tensor([3, 1]), minlength=9) / n for tokens in (x[::2, :2], expected)
    )
    assert float((found - expected).abs().sum() / 2) < 0.03
    longer = generate(process, net, (n, 4), config, generator=torch.Generator().manual_seed(2))
    if keep is None:  # the net says other things of four tokens
        other = torch.bincount(longer[:, :2] @ torch.tensor([3, 1]), minlength=9) / n
        assert float((other - expected).abs().sum() / 2) > 0.06


def test_an_attention_mask_has_the_shape_of_the_samples():
    with pytest.raises(OptionError, match="lengths"):
        generate(masks(), Reader(2), (2, 4), attention_mask=torch.ones(2, 3))


@pytest.mark.parametrize("method", ["ancestral", "first_hitting"])
def test_a_last_step_from_the_net_itself_leaves_what_is_given_and_padding(method):
    """With `first` = "direct" all tokens are drawn anew in it, but these."""
    net, given = Reader(2), torch.tensor([[1, 0, 1, 0]]).expand(400, 4)
    net.conventions = Conventions(first="direct")
    keep = torch.tensor([[True, False, True, False], [False, True, False, True]]).repeat(200, 1)
    real = torch.arange(4) < torch.tensor([[4], [3]]).repeat(200, 1)
    x = generate(
        masks(), net, (400, 4), GenerationConfig(method), given=given, keep=keep, attention_mask=real,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.equal(x[keep & real], given[keep & real])
    assert bool((x[~real] == 0).all())
    assert bool((x != 2).all())


def test_what_a_schedule_leaves_is_of_real_positions():
    """L_T, in nats and in bits per position, where two steps do not mix."""
    process, real = Uniform(3, [0.1, 0.2]), torch.arange(3) < torch.tensor([[3], [1]])
    x_0 = torch.tensor([[0, 1, 2], [1, 0, 0]])
    net = lambda x_t, time, condition, attention_mask: torch.zeros(*x_t.shape, 3)  # noqa: E731
    result = negative_log_likelihood(process, net, x_0, attention_mask=real)
    expected = torch.where(real, process.prior_kl()[x_0], 0.0).sum(-1)
    assert float(expected.min()) > 0.1
    torch.testing.assert_close(result.prior, expected)
    assert result.prior_bits == pytest.approx(float(expected.sum()) / (4 * math.log(2)))


def test_padding_is_free_where_a_prior_costs_without_bound():
    """A law given that leaves a token out costs texts that have it, not those that have it in their padding."""
    process = Custom(torch.eye(3).double().expand(1, 3, 3) * 0.5 + 1 / 6, prior=[0.0, 0.5, 0.5])
    net = lambda x_t, time, condition, attention_mask: torch.zeros(*x_t.shape, 3)  # noqa: E731
    x_0, real = torch.tensor([[1, 2, 0], [2, 1, 2]]), torch.tensor([[True, True, False], [True, True, True]])
    assert bool(negative_log_likelihood(process, net, x_0, attention_mask=real).nats.isinf().all())
    kept = Custom(torch.eye(3).double().expand(1, 3, 3), prior=[0.0, 0.5, 0.5])
    nats = negative_log_likelihood(kept, net, x_0, attention_mask=real, conventions=Conventions(first="direct")).nats
    assert bool(nats.isfinite().all())
