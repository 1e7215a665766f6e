"""An autoregressive model as an encoder at t > 0: its masks are where training has put them."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from d3pm import Autoregressive
from d3pm.cli import app
from d3pm.data import Batch
from d3pm.encoder import DiffusionEncoder
from d3pm.errors import TokenError

RUNNER, LENGTH = CliRunner(), 24
WORDS = ["ox", "lion", "giraffe", "the", "old", "elephant", "sees"]


@pytest.fixture(scope="module", params=["true", "false"], ids=["lines", "stream"])
def run(request, tmp_path_factory):
    """Return a run of a step, and its texts, which as a stream do not fill the last piece."""
    folder, rng = tmp_path_factory.mktemp("autoregressive"), np.random.default_rng(0)
    path = folder / "lines.txt"
    path.write_text("\n".join(" ".join(rng.choice(WORDS, rng.integers(1, 4))) for _ in range(101)))
    settings = [
        "data.length=24", f"data.lines={request.param}", "process.kind=autoregressive", "net.width=8",
        "net.dilations=[1]", "train.steps=1", "train.batch=4", "sample.n_steps=24", "sample.temperature=1.0",
    ]  # fmt: skip
    options = [part for setting in settings for part in ("--set", setting)]
    arguments = ["train", "characters", "--data", str(path), "--out", str(folder / "run"), "--device", "cpu"]
    result = RUNNER.invoke(app, [*arguments, *options])
    assert result.exit_code == 0, repr(result.exception)
    return folder / "run", path


def test_texts_are_masked_as_in_training(run):
    """The last t N of the N places, of which a short text may have none; it used to be a traceback."""
    encoder = DiffusionEncoder(run[0], t=0.5, device="cpu")
    texts = ["the old elephant sees an", "the old lion", "the old lion sees"]
    batch = encoder.tokens(texts)
    process = encoder.checkpoint.process
    assert isinstance(process, Autoregressive)
    x_t = encoder._noisy(batch, torch.tensor(12), 0)
    lengths = torch.tensor([[24], [12], [17]])
    expected = (torch.arange(LENGTH) >= 12) & (torch.arange(LENGTH) < lengths)
    assert torch.equal(x_t == process.mask, expected)
    assert torch.equal(x_t[~expected], batch.tokens[~expected])
    # That is what a padded row is in training, and the features of a text are those of the text alone.
    padded = Batch(batch.tokens.flip(0), None, batch.attention_mask.flip(0))
    features = encoder.encode(texts)
    np.testing.assert_allclose(encoder.encode(padded)[::-1], features, rtol=1e-5, atol=1e-5)
    for text, row in zip(texts, features, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], row, rtol=1e-5, atol=1e-5)
        bare = torch.from_numpy(encoder.checkpoint.spec.encode_text(text))[None]
        np.testing.assert_allclose(encoder.encode(bare)[0], row, rtol=1e-5, atol=1e-5)
    assert not np.allclose(encoder.encode(texts, t=0.0)[0], features[0], rtol=1e-3)


def test_the_command_encodes_with_noise(run, tmp_path):
    path, source = run
    out = tmp_path / "f.npz"
    arguments = ["encode", str(path), "--data", str(source), "--out", str(out), "--t", "0.3", "--device", "cpu"]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, repr(result.exception)
    with np.load(out) as archive:
        assert np.isfinite(archive["features"]).all()
        assert len(archive["features"]) == len(archive["ids"]) > 1


def test_more_tokens_than_steps_are_refused():
    with pytest.raises(TokenError, match=r"at most 3 tokens.*got 4"):
        Autoregressive(4, 3).q_sample(torch.zeros(1, 4).long(), 1)
