"""Texts are sampled as long as the training texts were, or as asked for."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app
from d3pm.data import Dataset, DataSpec, load_data
from d3pm.errors import LengthWarning, OptionError
from d3pm.generation import generate
from d3pm.lengths import draw_lengths, mask_of_lengths
from d3pm.show import _save_samples, run_sample
from d3pm.text import learn_bpe

RUNNER = CliRunner()
WORDS = ["ox", "lion", "a giraffe", "the old elephant"]  # 2, 4, 9 and 16 characters
SHARES = {2: 0.4, 4: 0.3, 9: 0.2, 16: 0.1}
OPTIONS = ["data.length=16", "net.width=8", "net.dilations=[1]", "train.steps=2", "train.batch=8", "evaluate.times=2"]


def trained(folder, text, *options):
    (folder / "text.txt").write_text(text)
    settings = [part for option in (*OPTIONS, *options) for part in ("--set", option)]
    run = ["train", "characters", "--data", str(folder / "text.txt"), "--out", str(folder / "run"), "--device", "cpu"]
    result = RUNNER.invoke(app, [*run, *settings])
    assert result.exit_code == 0, repr(result.exception)
    return folder / "run"


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A run on lines of four lengths."""
    drawn = np.repeat(WORDS, [160, 120, 80, 40])
    np.random.default_rng(0).shuffle(drawn)
    return trained(tmp_path_factory.mktemp("lines"), "\n".join(drawn), "data.lines=true")


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("stream"), "the quick brown fox " * 60)


@pytest.fixture(scope="module")
def old(lines, tmp_path_factory):
    """The run of lines as an earlier version wrote it: without their lengths."""
    with safe_open(lines / "checkpoint.safetensors", framework="pt") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    data = json.loads(header["data"])
    del data["lengths"]
    path = tmp_path_factory.mktemp("old") / "x.safetensors"
    save_file(tensors, path, header | {"data": json.dumps(data)})
    return path


def samples(run, out, n=400, **options):
    run_sample(run, out / "x.npz", n=n, options={"n_steps": 2}, device="cpu", **options)
    with np.load(out / "x.npz") as archive:
        return archive["samples"], archive.get("lengths")


def test_a_checkpoint_knows_the_lengths_of_its_training_texts(lines, stream):
    spec = load_checkpoint(lines).spec
    assert len(spec.lengths) == 16
    assert sum(spec.lengths) == 360  # nine tenths of the lines
    assert {i + 1 for i, n in enumerate(spec.lengths) if n} == set(SHARES)
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    whole = load_checkpoint(stream).spec
    assert whole.lengths == ()
    assert "lengths" not in whole.to_dict()  # what is computed with earlier specs is found again
    kept = Dataset(spec, np.zeros((3, 16), int), np.zeros((1, 16), int), train_lengths=np.array([2, 2, 1]))
    assert kept.spec.lengths[:3] == (1, 2, 0)
    assert Dataset(spec, np.zeros((3, 16), int), np.zeros((1, 16), int)).spec.lengths == ()


def test_lengths_are_drawn_by_their_law():
    spec = DataSpec("text", (4,), 3, lengths=(1, 0, 5, 4))
    found = draw_lengths(spec, 20_000, torch.Generator().manual_seed(0))
    shares = torch.bincount(found, minlength=5).double() / 20_000
    expected = torch.tensor([0, 0.1, 0, 0.5, 0.4], dtype=torch.float64)
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.018)  # five standard deviations
    assert mask_of_lengths(torch.tensor([1, 4]), spec).tolist() == [[True, False, False, False], [True] * 4]


def test_samples_are_as_long_as_the_training_texts(lines, tmp_path):
    """The net is told, and what is beyond is neither drawn nor written."""
    tokens, lengths = samples(lines, tmp_path)
    law = np.array(load_checkpoint(lines).spec.lengths) / 360
    np.testing.assert_allclose(np.bincount(lengths, minlength=17)[1:] / 400, law, atol=0.13)
    assert set(lengths) == set(SHARES)
    assert (tokens[np.arange(16) >= lengths[:, None]] == 0).all()
    # The same numbers from Python: lengths first, then the texts of these lengths.
    model, generator = load_checkpoint(lines), torch.Generator().manual_seed(0)
    drawn = draw_lengths(model.spec, 400, generator)
    real = mask_of_lengths(drawn, model.spec)
    config = model.config.sample.override(n_steps=2)
    x = generate(model.process, model.denoiser, (400, 16), config, attention_mask=real, generator=generator)
    assert (x.numpy() == tokens).all()
    shown = RUNNER.invoke(app, ["sample", str(lines), "-n", "400", "--steps", "2", "--device", "cpu"])
    assert shown.exit_code == 0, repr(shown.exception)
    assert [len(line) for line in shown.stdout.split("\n")[:-1]] == lengths.tolist()


def test_a_length_that_is_asked_for(lines, old, tmp_path):
    for run in (lines, old):
        tokens, lengths = samples(run, tmp_path, n=5, length=7)
        assert lengths.tolist() == [7] * 5
        assert (tokens[:, 7:] == 0).all()
    asked = ["sample", str(lines), "-n", "3", "--length", "9", "--prompt", "a gi___f", "--device", "cpu"]
    shown = RUNNER.invoke(app, asked).stdout.rstrip("\n").split("\n")
    assert [(len(line), line[:4], line[7]) for line in shown] == [(9, "a gi", "f")] * 3


def test_an_earlier_checkpoint_samples_whole_rows_and_says_so(old, tmp_path, capsys):
    with pytest.warns(LengthWarning, match="full length of 16 tokens"):
        _, lengths = samples(old, tmp_path, n=3)
    assert lengths.tolist() == [16] * 3
    capsys.readouterr()
    with pytest.warns(LengthWarning, match="--length"):
        run_sample(old, n=1, prompt="a", device="cpu")  # given all of its length, what is given conditions it
    assert len(capsys.readouterr().out.rstrip("\n")) <= 16


def test_lengths_that_cannot_be_had(lines, stream, run, tmp_path):
    for length in (0, 17):
        with pytest.raises(OptionError, match="`length` must be a whole number, at least 1 and at most 16"):
            samples(lines, tmp_path, length=length)
    for whole in (stream, run):
        with pytest.raises(OptionError, match="`length` needs a model of texts that differ in length"):
            samples(whole, tmp_path, length=4)
    with pytest.raises(OptionError, match="`prompt` must have at most 3 characters"):
        samples(lines, tmp_path, length=3, prompt="lion")
    with pytest.raises(OptionError, match="`prompt` needs a model of characters"):  # before it is asked for a length
        samples(run, tmp_path, prompt="li")
    with pytest.raises(OptionError, match="`prompt` needs `length`"):  # what is given bears on the length
        samples(lines, tmp_path, prompt="li")


def test_a_model_of_whole_pieces_samples_as_before(stream, tmp_path):
    tokens, lengths = samples(stream, tmp_path, n=4)
    assert lengths is None
    model = load_checkpoint(stream)
    config, generator = model.config.sample.override(n_steps=2), torch.Generator().manual_seed(0)
    x = generate(model.process, model.denoiser, (4, 16), config, generator=generator)
    assert (x.numpy() == tokens).all()


@pytest.mark.parametrize("kind", ["lines", "rows", "stream"])
def test_lines_that_are_all_whole_have_no_lengths_to_choose_from(kind, tmp_path):
    """A new checkpoint of them passed for one of an earlier version, and took lengths that its net never saw."""
    rng = np.random.default_rng(0)
    if kind == "lines":
        run = trained(tmp_path, "\n".join("".join(row) for row in rng.choice(list("abc"), (60, 16))), "data.lines=true")
    else:
        np.save(tmp_path / "x.npy", rng.integers(3, size=(60, 16) if kind == "rows" else 2000))
        more = ["data.kind=tokens", "data.lines=true"]
        settings = [part for option in (*OPTIONS, *more) for part in ("--set", option)]
        asked = ["train", "characters", "--data", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run"), *settings]
        result = RUNNER.invoke(app, [*asked, "--device", "cpu"])
        assert result.exit_code == 0, repr(result.exception)
        run = tmp_path / "run"
    lengths_of_training = load_checkpoint(run).spec.lengths
    assert len(lengths_of_training) == 16
    assert sum(lengths_of_training[:-1]) == 0 < lengths_of_training[-1]
    tokens, lengths = samples(run, tmp_path, n=3)  # no warning, which would be an error
    assert tokens.shape == (3, 16)
    assert lengths is None
    with pytest.raises(OptionError, match="are all of shape"):
        samples(run, tmp_path, length=9)


def test_a_prompt_is_read_as_the_training_texts_were(stream, capsys):
    """A character that the model does not know was kept as a space, and repeated spaces stayed."""
    run_sample(stream, n=2, prompt="The __ck _", options={"n_steps": 2}, device="cpu")
    for line in capsys.readouterr().out.rstrip("\n").split("\n"):
        assert (line[:4], line[6:9]) == ("the ", "ck ")
    for prompt, sentence in (
        ("caf\u00e9 ____", "must be of the characters that this model writes, 'abc.* and `_`; got '\u00e9'"),
        ("a\nb__", r"got '\\n'"),
        ("__7", "got '7'"),
        ("a  b___", "must not repeat spaces"),
    ):
        with pytest.raises(OptionError, match=sentence):
            run_sample(stream, n=2, prompt=prompt, device="cpu")
    run_sample(stream, n=1, prompt="a _ b", options={"n_steps": 2}, device="cpu")  # each of them stands alone


@pytest.mark.parametrize(
    ("alphabet", "written", "refused"),
    [("abc ehst", "the cat sat", "Z"), ("CTabc ehst", "The Cat sat", "H"), ("οδσ ς", "οδοσ οδοσ", "λ")],
)
def test_capitals_of_a_prompt_are_read_as_those_of_the_training_text(tmp_path, capsys, alphabet, written, refused):
    """Lowered where the alphabet has none. A Σ at the end of a word was said to be a repeated space."""
    prompt = "ΟΔΟΣ ΟΔΟΣ" if alphabet == "οδσ ς" else "The Cat sat"
    run = trained(tmp_path, f"{prompt} " * 80, f"data.alphabet={alphabet}")
    model = load_checkpoint(run)
    assert model.spec.decode_text(load_data(model.config.data, model.spec).train[: len(written)]) == written
    run_sample(run, n=2, prompt=f"{prompt} _", options={"n_steps": 2}, device="cpu")
    for line in capsys.readouterr().out.rstrip("\n").split("\n"):
        assert line.startswith(f"{written} ")
    with pytest.raises(OptionError, match=f"characters that this model writes, .* got '{refused}'"):
        run_sample(run, n=1, prompt=f"_{refused}_", device="cpu")


def test_texts_of_several_lines_have_a_blank_line_between_them(tmp_path):
    pytest.importorskip("tokenizers")
    tokenizer = learn_bpe(["a bc"], 300)
    spec = DataSpec("text", (4,), 300, tokenizer=tokenizer)
    ids = spec.encode_text("a\nbc")
    tokens, said = np.stack([ids, ids]), []
    _save_samples(None, spec, tokens, None, said.append)
    assert said == ["a\nbc\n\na\nbc"]
    _save_samples(tmp_path / "x.txt", spec, tokens, None, said.append)
    assert (tmp_path / "x.txt").read_text() == "a\nbc\n\na\nbc\n"
    bare, said = DataSpec("text", (4,), 300), []
    _save_samples(None, bare, np.array([[1, 2], [3, 4]]), None, said.append)
    assert said == ["1 2\n3 4"]
