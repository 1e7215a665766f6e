"""`encode --data` writes a row for every row of the data, in their order, with its name."""

import numpy as np
import pytest
from typer.testing import CliRunner

from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app
from d3pm.encoder import DiffusionEncoder
from d3pm.errors import OptionError

RUNNER = CliRunner()
RNG = np.random.default_rng(0)


def trained(folder, recipe, data, *settings):
    few = ("net.width=8", "train.steps=1", "train.batch=4", *settings)
    options = [part for s in few for part in ("--set", s)]
    result = RUNNER.invoke(app, ["train", recipe, "--data", str(data), "--out", str(folder), *options])
    assert result.exit_code == 0, repr(result.exception)
    return folder


def encoded(run, data, *more):
    out = run / "f.npz"
    result = RUNNER.invoke(app, ["encode", str(run), "--data", str(data), "--out", str(out), *more])
    assert result.exit_code == 0, repr(result.exception)
    with np.load(out) as archive:
        return dict(archive)


def test_pictures_keep_their_order_and_names(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pictures = RNG.integers(256, size=(40, 8, 8)).astype(np.uint8)
    folder, named = tmp_path / "pictures", []
    for i, picture in enumerate(pictures):
        path = folder / "ab"[i // 20] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(picture).save(path)
        named.append(f"{path.parent.name}/{path.name}")
    run = trained(tmp_path / "run", "digits", folder, "data.kind=images", "data.levels=16", "data.conditional=true")
    expected = DiffusionEncoder(run, device="cpu").encode(list(pictures))
    found = encoded(run, folder)
    assert found["ids"].tolist() == named
    assert found["labels"].tolist() == [0] * 20 + [1] * 20
    assert found["class_names"].tolist() == ["a", "b"]
    np.testing.assert_allclose(found["features"], expected, atol=1e-5)
    np.savez(tmp_path / "x.npz", images=pictures, labels=np.arange(40))
    arrays = encoded(run, tmp_path / "x.npz")
    assert arrays["labels"].tolist() == list(range(40))
    np.testing.assert_allclose(arrays["features"], expected, atol=1e-5)
    np.save(tmp_path / "one.npy", pictures[:1])
    np.testing.assert_allclose(encoded(run, tmp_path / "one.npy")["features"], expected[:1], atol=1e-5)
    # A part is what training would have split off, and so it is without --data.
    assert len(encoded(run, folder, "--part", "test")["features"]) == 4
    out = tmp_path / "own.npz"
    for more, n in (([], 4), (["--part", "train"], 36), (["--part", "all"], 40)):
        assert RUNNER.invoke(app, ["encode", str(run), "--out", str(out), *more]).exit_code == 0
        with np.load(out) as archive:
            assert len(archive["features"]) == n


def test_train_and_test_of_arrays_are_one_after_the_other(tmp_path):
    pictures = RNG.integers(256, size=(30, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", x_train=pictures[:20], x_test=pictures[20:])
    run = trained(tmp_path / "run", "digits", tmp_path / "x.npz", "data.kind=images", "data.levels=16")
    expected = DiffusionEncoder(run, device="cpu").encode(list(pictures))
    np.testing.assert_allclose(encoded(run, tmp_path / "x.npz")["features"], expected, atol=1e-5)


def test_the_data_are_not_overwritten(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, images=RNG.integers(256, size=(20, 8, 8)).astype(np.uint8))
    run, before = trained(tmp_path / "run", "digits", path, "data.kind=images", "data.levels=16"), path.read_bytes()
    for more in (["--data", str(path)], []):
        result = RUNNER.invoke(app, ["encode", str(run), *more, "--out", f"{tmp_path}/run/../x.npz"])
        assert isinstance(result.exception, OptionError)
        assert "other files than the data" in str(result.exception)
    result = RUNNER.invoke(app, ["sample", str(run), "-n", "1", "--steps", "1", "--out", str(path)])
    assert "other files than the data" in str(result.exception)
    assert path.read_bytes() == before


def test_texts_are_encoded_from_beginning_to_end(tmp_path):
    lines = ["".join(RNG.choice(list("abc "), 12)).strip() or "a" for _ in range(40)]
    text = tmp_path / "text.txt"
    text.write_text("\n".join(lines) + "\n")
    run = trained(tmp_path / "lines", "characters", text, "data.lines=true", "data.length=16", "net.dilations=[1]")
    expected = DiffusionEncoder(run, device="cpu").encode(lines)
    (tmp_path / "gap.txt").write_text("\n\n".join(lines))
    found = encoded(run, tmp_path / "gap.txt")
    assert found["ids"].tolist() == [f"line {2 * i + 1}" for i in range(40)]
    np.testing.assert_allclose(found["features"], expected, atol=1e-5)
    (tmp_path / "single.txt").write_text(lines[0])
    np.testing.assert_allclose(encoded(run, tmp_path / "single.txt")["features"], expected[:1], atol=1e-5)


def test_streams_are_encoded_in_pieces_to_their_last_token(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog " * 60)
    run = trained(tmp_path / "run", "characters", text, "data.length=16", "net.dilations=[1]")
    encoder = DiffusionEncoder(run, device="cpu")
    (tmp_path / "short.txt").write_text("the quick brown fox jumps over the lazy")  # 39 characters
    found = encoded(run, tmp_path / "short.txt")
    assert found["ids"].tolist() == ["token 0", "token 16", "token 32"]
    expected = encoder.encode(["the quick brown ", "fox jumps over t", "he lazy"])
    np.testing.assert_allclose(found["features"], expected, atol=1e-5)
    assert len(encoded(run, text)["features"]) == -(-load_checkpoint(run).spec.encode_text(text.read_text()).size // 16)


def test_arrays_of_tokens_are_encoded_whole(tmp_path):
    tokens = RNG.integers(5, size=(30, 8))
    np.save(tmp_path / "x.npy", tokens)
    run = trained(
        tmp_path / "run", "tokens", tmp_path / "x.npy",
        "net.n_layers=1", "net.n_heads=2", "net.hidden=8", "data.length=8",
    )  # fmt: skip
    found = encoded(run, tmp_path / "x.npy")
    assert found["ids"].tolist() == [str(i) for i in range(30)]
    np.save(tmp_path / "two.npy", tokens[3:5])
    np.testing.assert_allclose(encoded(run, tmp_path / "two.npy")["features"], found["features"][3:5], atol=1e-5)
