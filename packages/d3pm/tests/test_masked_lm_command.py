"""The command with a model that began as a Hugging Face masked language model: train, sample, export."""

import dataclasses
import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app
from d3pm.corpus import TEST, encode_examples
from d3pm.data import load_data
from d3pm.errors import OptionError
from d3pm.show import _save_samples
from masked_lms import LINES, WORDS, save_masked_lm

RUNNER = CliRunner()


def ran(*arguments):
    result = RUNNER.invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, repr(result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the recipe on lines of 3 to 9 words, which [CLS] and [SEP] make 5 to 11 tokens."""
    folder = tmp_path_factory.mktemp("masked_lm")
    (folder / "lines.txt").write_text("\n".join(LINES))
    bert = save_masked_lm(folder / "bert")
    values = {
        "data.tokenizer": bert, "net.path": bert, "data.length": 12, "train.steps": 2, "train.batch": 4,
        "train.precision": "float32", "evaluate.times": 2,
    }  # fmt: skip
    options = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    ran("train", "masked_lm", "--data", folder / "lines.txt", "--out", folder / "run", "--device", "cpu", *options)
    return folder / "run"


@pytest.mark.parametrize("more", [(), ("--method", "remasking"), ("--first-hitting",), ("--block", 2)])
def test_texts_of_one_length_are_sampled(run, tmp_path, more):
    out = tmp_path / "x.npz"
    steps = () if "--first-hitting" in more else ("--steps", 3)
    ran("sample", run, "-n", 4, *steps, "--length", 5, "--out", out, "--device", "cpu", *more)
    with np.load(out) as archive:
        tokens, lengths = archive["samples"], archive["lengths"]
    assert lengths.tolist() == [5] * 4
    assert tokens.shape == (4, 12)
    assert (tokens[:, 5:] == 0).all()
    assert (tokens != load_checkpoint(run).spec.mask).all()


def test_without_a_length_texts_are_as_long_as_the_lines(run, tmp_path):
    ran("sample", run, "-n", 300, "--steps", 1, "--out", tmp_path / "x.npz", "--device", "cpu")
    with np.load(tmp_path / "x.npz") as archive:
        assert set(archive["lengths"].tolist()) == set(range(5, 12))


@pytest.mark.parametrize("length", [1, 13])
def test_lengths_that_the_model_does_not_have_are_refused(run, length):
    """[CLS] and [SEP] are two of the tokens."""
    result = RUNNER.invoke(app, ["sample", str(run), "--length", str(length), "--device", "cpu"])
    assert isinstance(result.exception, OptionError)
    assert f"at least 2 and at most 12; got {length}" in str(result.exception)


def test_what_begins_and_ends_a_text_is_not_written(run, tmp_path):
    """[CLS] was a "·" before every text, and [SEP] an empty line after it."""
    spec, said = load_checkpoint(run).spec, []
    words = {word: i for i, word in enumerate(WORDS, 5)}
    the, fox = words["the"], words["fox"]
    cls, sep = spec.frame
    rows = np.array(
        [[cls, the, fox, sep, 0], [the, fox, the, fox, sep], [cls, sep, 0, 0, 0], [cls, cls, the, sep, sep]]
    )
    lengths = np.array([4, 5, 2, 5])
    _save_samples(None, spec, rows, lengths, said.append)
    assert said[0].split("\n\n") == ["the fox", "the fox the fox", "", "·the\n"]
    _save_samples(tmp_path / "x.txt", spec, rows, lengths, said.append)
    assert (tmp_path / "x.txt").read_text() == said[0] + "\n"


def test_perplexity_is_per_word_and_end_of_a_line(run):
    """The bound has the cost of [SEP], and the words had none for it: as of a stream of lines each end is one."""
    model, held_out = load_checkpoint(run), LINES[int(len(LINES) * TEST) :]
    dataset = load_data(model.config.data, model.spec)
    n_words = sum(len(line.split()) + 1 for line in held_out)
    assert dataset.n_words() == n_words
    assert int((dataset.test == model.spec.end).sum()) == len(held_out)
    assert not dataset.test_words[:, 0].any()  # [CLS]
    cut, lengths, words, n_cut = encode_examples(dataclasses.replace(model.spec, shape=(4,)), [held_out[0]])
    assert (int(words.sum()), int(lengths[0]), n_cut) == (3, 4, 1)
    assert cut[0, -1] == model.spec.end
    values = json.loads(ran("evaluate", run, "--json", "--device", "cpu"))
    nats = values["bits"] * math.log(2) * int(dataset.test_lengths.sum())
    assert values["perplexity"] == pytest.approx(math.exp(nats / n_words))
