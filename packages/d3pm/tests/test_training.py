"""Whole runs on tiny data: learning, exact resumption, checkpoints, the command, the encoder."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import inception_v3
from typer.testing import CliRunner

from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app, main
from d3pm.config import Config, load_recipe, recipe_names
from d3pm.data import Dataset, DataSpec, load_data, quantise
from d3pm.encoder import DiffusionEncoder, encoder_factory
from d3pm.errors import CheckpointError, ConfigError, DataError, OptionError
from d3pm.evaluation import evaluate, sample_quality
from d3pm.training import learning_rate, train


def stripes(n=400):
    """4 × 4 pictures of stripes across or down, in four shades: little entropy, much structure."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=n)
    shades = rng.integers(4, size=(n, 4)).astype(np.uint8)
    pictures = np.where(labels[:, None, None] == 0, shades[:, :, None], shades[:, None, :]) + np.zeros(
        (1, 4, 4), np.uint8
    )
    return pictures.astype(np.uint8), labels


@pytest.fixture(scope="module")
def dataset():
    pictures, labels = stripes()
    spec = DataSpec("image", (4, 4), 4)
    return Dataset(spec, pictures[:300], pictures[300:], labels[:300], labels[300:])


def tiny(process="absorbing", **train_options):
    masked = process == "absorbing"
    return Config.from_dict(
        {
            "process": {
                "kind": process,
                "steps": 10,
                "schedule": "linear" if process == "gaussian" else "inverse",
                "start": 0.1,
                "stop": 0.5,
            },
            "net": {"kind": "unet", "width": 16, "multipliers": [1, 2], "n_blocks": 1, "attention": [], "dropout": 0.1},
            "loss": {"kind": "masked" if masked else "bound", "cross_entropy": 0.0 if masked else 0.01},
            "train": {
                "steps": 60,
                "batch": 32,
                "lr": 5e-3,
                "ema": 0.9,
                "log_every": 20,
                "checkpoint_every": 1000,
                **train_options,
            },
            "evaluate": {"times": 0, "examples": 50},
        }
    )


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    path = train(tiny(steps=150), out, data=dataset, device="cpu")
    return path


def test_training_beats_the_marginal(run, dataset):
    result = evaluate(load_checkpoint(run), dataset)
    assert dataset.marginal_bits() > 1.9
    assert result.bits_per_position < 0.65 * dataset.marginal_bits()
    rows = [json.loads(line) for line in (run.parent / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 150
    assert rows[-1]["bits"] < rows[0]["bits"]
    assert {"loss", "cross_entropy", "gradient_norm", "learning_rate", "seconds"} <= set(rows[0])


@pytest.mark.parametrize("process", ["uniform", "gaussian", "band", "absorbing_uniform"])
def test_every_process_trains(process, dataset, tmp_path):
    config = tiny("gaussian" if process == "band" else process, steps=40, log_every=10)
    if process == "band":
        config = Config.from_dict({**config.to_dict(), "process": {**config.to_dict()["process"], "kind": "band"}})
    seen = []
    train(config, tmp_path, data=dataset, device="cpu", report=lambda step, values: seen.append(values["loss"]))
    assert len(seen) == 4
    assert seen[-1] < seen[0]


def test_resuming_gives_the_numbers_of_a_run_never_stopped(dataset, tmp_path):
    config = tiny(steps=12, checkpoint_every=5)
    whole = train(config, tmp_path / "whole", data=dataset, device="cpu")

    class StopError(Exception):
        pass

    def stop(step, values):
        raise StopError

    broken = tiny(steps=12, checkpoint_every=5, log_every=7)
    with pytest.raises(StopError):
        train(broken, tmp_path / "parts", data=dataset, device="cpu", report=stop)
    assert load_checkpoint(tmp_path / "parts").step == 5
    parts = train(broken, tmp_path / "parts", data=dataset, device="cpu", resume=True)
    a, b = load_file(whole), load_file(parts)
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_checkpoints_of_something_else_are_refused(run, dataset, tmp_path):
    with pytest.raises(CheckpointError, match="process"):
        train(tiny("uniform"), run.parent, data=dataset, device="cpu", resume=True)
    other = tiny()
    other.net["width"] = 8
    with pytest.raises(CheckpointError, match=r"\[net\]"):
        train(other, run.parent, data=dataset, device="cpu", resume=True)
    with pytest.raises(CheckpointError, match="there is none"):
        load_checkpoint(tmp_path)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(run.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(cut)
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="not written by"):
        load_checkpoint(tmp_path / "foreign.safetensors")


def test_settings_that_do_not_fit_are_refused(dataset, tmp_path):
    with pytest.raises(OptionError, match="needs masks"):
        train(Config.from_dict({**tiny("uniform").to_dict(), "loss": {"kind": "masked"}}), tmp_path, data=dataset)
    middle = tiny().to_dict()
    middle["process"]["mask"] = "middle"
    with pytest.raises(ConfigError, match="extra"):
        train(Config.from_dict(middle), tmp_path, data=dataset)
    wrong = Dataset(DataSpec("image", (4, 4), 3), dataset.train, dataset.test)
    with pytest.raises(DataError, match="below 3"):
        train(tiny(), tmp_path, data=wrong)
    with pytest.raises(DataError, match="with 4 values"):
        evaluate(load_checkpoint(train(tiny(steps=1), tmp_path, data=dataset, device="cpu")), wrong)


def test_a_run_that_has_come_apart_stops(dataset, tmp_path):
    with pytest.raises(ConfigError, match="finite"):
        train(tiny(steps=10, lr=1e25, clip=0.0, log_every=5), tmp_path, data=dataset, device="cpu")


def test_mixed_precision_and_tensorboard(dataset, tmp_path):
    pytest.importorskip("tensorboard")
    train(tiny(steps=4, precision="bf16"), tmp_path, data=dataset, device="cpu", tensorboard=True)
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_learning_rates():
    config = tiny(steps=100, warmup=10, lr=1.0, decay="cosine").train
    assert learning_rate(config, 0) == pytest.approx(0.1)
    assert learning_rate(config, 10) == pytest.approx(1.0)
    assert learning_rate(config, 100) == pytest.approx(0.0)
    slow = tiny(warmup=10, lr=1.0, decay="inverse_sqrt").train
    assert learning_rate(slow, 9) == pytest.approx(1.0)
    assert learning_rate(slow, 39) == pytest.approx(0.5)


# ---------------------------------------------------------------------- encoder


def test_encoder_layers_noise_and_pools(run):
    pictures, _ = stripes(6)
    encoder = DiffusionEncoder(run)
    grey = pictures * 64
    features = encoder.encode(list(grey))
    assert features.shape[0] == 6
    assert features.dtype == np.float32
    every = encoder.encode_multi(list(grey))
    assert list(every) == encoder.layers
    np.testing.assert_array_equal(every[encoder.layer], features)
    # A row does not depend on its batch, noise or none; tokens and pictures are one.
    for t, draws in ((0.0, 1), (0.3, 4)):
        together = encoder.encode(list(grey), t=t, n_draws=draws)
        alone = np.concatenate([encoder.encode([picture], t=t, n_draws=draws) for picture in grey])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(features, encoder.encode(torch.from_numpy(pictures.astype(np.int64))))
    assert encoder.encode(list(grey), pool="grid").shape[1] == 4 * features.shape[1]
    assert (encoder.encode(list(grey), pool="max") >= features - 1e-6).all()
    assert not np.allclose(features, encoder.encode(list(grey), t=0.9))


def test_encoder_tells_classes_apart(run):
    """Stripes across or down: pixels' means do not tell, the net's features do, linearly."""
    pictures, labels = stripes(300)
    encoder = DiffusionEncoder(run)
    z = encoder.encode(torch.from_numpy(pictures.astype(np.int64)), pool="grid")
    z = (z - z.mean(0)) / (z.std(0) + 1e-6)
    ridge = np.linalg.solve(z[:200].T @ z[:200] + 10 * np.eye(z.shape[1]), z[:200].T @ (2.0 * labels[:200] - 1))
    assert ((z[200:] @ ridge > 0) == labels[200:]).mean() > 0.7  # chance is 0.5


def test_encoder_factory_and_identity(run):
    encoder = encoder_factory(f"{run}?layer=mid.0&t=0.1&n_draws=2&pool=max", device="cpu")
    assert (encoder.layer, encoder.t, encoder.n_draws, encoder.pool) == ("mid.0", 0.1, 2, "max")
    assert encoder.modality == "image"
    assert encoder.name.startswith("d3pm:")
    identity = encoder.identity()
    assert json.loads(json.dumps(identity)) == json.loads(json.dumps(identity))
    assert identity != encoder_factory(str(run)).identity()
    assert encoder.n_parameters > 1000
    with pytest.raises(OptionError, match="layer"):
        encoder_factory(f"{run}?layre=mid.0")
    with pytest.raises(OptionError, match="number"):
        encoder_factory(f"{run}?t=much")
    with pytest.raises(OptionError, match="layer"):
        encoder_factory(f"{run}?layer=nowhere")
    with pytest.raises(OptionError, match="share"):
        encoder_factory(f"{run}?t=1.5")
    with pytest.raises(DataError, match="uint8"):
        encoder.encode([np.zeros((4, 4))])


def test_colours_and_sizes_are_brought_to_the_model(run):
    encoder = DiffusionEncoder(run)
    colour = np.repeat(np.repeat(np.repeat(stripes(2)[0] * 64, 4, 1), 4, 2)[..., None], 3, -1)
    features = encoder.encode(list(colour))
    assert features.shape == encoder.encode(list(stripes(2)[0] * 64)).shape
    assert np.isfinite(features).all()


def test_the_entry_point_is_declared():
    from importlib.metadata import entry_points

    (found,) = [e for e in entry_points(group="transferability.encoders") if e.name == "d3pm"]
    assert found.load() is encoder_factory


# ---------------------------------------------------------------------- recipes, data, command


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_read_and_build(name, tmp_path):
    """Every recipe that comes along is a valid one: its process, objective and net fit each other."""
    from d3pm.build import build_denoiser, build_process, n_states_of

    config = load_recipe(name)
    levels = config.data.levels
    spec = {
        "digits": DataSpec("image", (8, 8), levels, 16),
        "mnist": DataSpec("image", (28, 28), levels),
        "images": DataSpec("image", (32, 32, 3), levels),
        "text": DataSpec("text", (config.data.length,), 27, alphabet="abcdefghijklmnopqrstuvwxyz "),
        "tokens": DataSpec("text", (config.data.length,), config.data.vocabulary, tokenizer="{}"),
    }[config.data.kind]
    small = {**config.to_dict()["process"], "steps": min(config.process.steps, 10)}
    if config.process.kind == "nearest_neighbour":
        small["embeddings"] = str(tmp_path / "e.npy")
        np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(spec.n_tokens, 3)))
    config = Config.from_dict({**config.to_dict(), "process": small})
    process = build_process(config.process, spec, np.full(spec.n_tokens, 1 / spec.n_tokens))
    config.loss.check(process)
    with torch.device("meta"):
        denoiser = build_denoiser(config, spec, n_states_of(config.process, spec))
    assert sum(p.numel() for p in denoiser.parameters()) > 10_000


def test_recipe_refusals(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'digits'"):
        load_recipe("digit")
    with pytest.raises(ConfigError, match="Did you mean `steps`"):
        load_recipe("digits", ("train.step=3",))
    with pytest.raises(ConfigError, match="type int"):
        load_recipe("digits", ("train.steps=many",))
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        load_recipe("digits", ("steps",))
    with pytest.raises(ConfigError, match="no file"):
        load_recipe("nowhere.toml")
    (tmp_path / "broken.toml").write_text("[train\n")
    with pytest.raises(ConfigError, match="TOML"):
        load_recipe(str(tmp_path / "broken.toml"))
    assert load_recipe("digits", ("train.lr=1",)).train.lr == 1.0


def test_data_refusals(tmp_path):
    with pytest.raises(DataError, match="--data"):
        load_data(load_recipe("digits", ("data.kind=text",)).data)
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(DataError, match="more text"):
        load_data(load_recipe("digits", ("data.kind=text", f"data.path={tmp_path}/short.txt")).data)
    np.savez(tmp_path / "wrong.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="x_train"):
        load_data(load_recipe("digits", ("data.kind=images", f"data.path={tmp_path}/wrong.npz")).data)
    (tmp_path / "noise.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read"):
        load_data(load_recipe("digits", ("data.kind=images", f"data.path={tmp_path}/noise.npz")).data)
    with pytest.raises(DataError, match="levels"):
        quantise(np.zeros(3), 300)


def test_digits_and_epochs():
    pytest.importorskip("sklearn")
    dataset = load_data(load_recipe("digits").data)
    assert dataset.spec.shape == (8, 8)
    assert int(dataset.train.max()) == 16
    epoch = torch.cat([dataset.batch(step, 500, seed=0)[0] for step in range(3)])
    assert sorted(map(bytes, epoch.numpy().astype(np.uint8))) == sorted(map(bytes, dataset.train))  # each picture once


def test_text_round_trip_tokens_and_training(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("In the beginning, the quick brown fox was without form and void.\n" * 60)
    config = load_recipe("characters", ("data.length=16", f"data.path={json.dumps(str(text))}"))
    dataset = load_data(config.data)
    assert dataset.spec.decode_text(dataset.train[:20]) == "in the beginning the"
    assert dataset.spec.decode_text(np.array([0, 27])) == "a·"
    pytest.importorskip("tokenizers")
    config = load_recipe("tokens", ("data.length=8", "data.vocabulary=300", f"data.path={json.dumps(str(text))}"))
    dataset = load_data(config.data)
    line = "In the beginning, the quick brown fox"
    assert dataset.spec.decode_text(dataset.spec.encode_text(line)) == line
    assert dataset.spec.n_tokens <= 300


runner = CliRunner()


def test_command_from_training_to_features(tmp_path):
    pytest.importorskip("sklearn")
    out = tmp_path / "run"
    small = [
        "net.width=8",
        "train.steps=3",
        "train.batch=8",
        "train.log_every=1",
        "evaluate.times=2",
        "evaluate.examples=20",
    ]
    options = [part for s in small for part in ("--set", s)]
    result = runner.invoke(app, ["train", "digits", "--out", str(out), "--device", "cpu", *options])
    assert result.exit_code == 0, result.output
    result = runner.invoke(app, ["evaluate", str(out), "--json"])
    values = json.loads(result.stdout)
    assert values["unit"] == "bits/dim"
    assert values["bits"] > 1
    assert values["examples"] == 20
    picture, way = tmp_path / "s.png", tmp_path / "way.png"
    for extra in (["--steps", "3"], ["--first-hitting"]):
        result = runner.invoke(
            app, ["sample", str(out), "-n", "2", "--out", str(picture), "--progress", str(way), *extra]
        )
        assert result.exit_code == 0, result.output
        assert picture.read_bytes()[:4] == b"\x89PNG"
        assert way.exists()
    result = runner.invoke(app, ["encode", str(out), "--out", str(tmp_path / "f.npz")])
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "f.npz") as archive:
        assert archive["features"].shape[0] == archive["labels"].shape[0] == 297
    result = runner.invoke(app, ["encode", str(out), "--out", "unused.npz", "--layers"])
    assert "mid.0" in result.stdout


def test_command_fills_in_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog " * 60)
    out = tmp_path / "run"
    small = [
        "net.width=8",
        "net.dilations=[1,2]",
        "train.steps=2",
        "train.batch=4",
        "data.length=16",
        "evaluate.times=2",
        "evaluate.examples=2",
    ]
    options = [part for s in small for part in ("--set", s)]
    result = runner.invoke(
        app, ["train", "characters", "--data", str(text), "--out", str(out), "--device", "cpu", *options]
    )
    assert result.exit_code == 0, result.output
    result = runner.invoke(app, ["sample", str(out), "-n", "2", "--steps", "4", "--prompt", "The qu___ brown"])
    lines = result.stdout.rstrip("\n").split("\n")
    assert [line[:6] + line[9:15] for line in lines] == ["the qu brown"] * 2
    assert all(len(line) <= 16 for line in lines)
    values = json.loads(runner.invoke(app, ["evaluate", str(out), "--json"]).stdout)
    assert values["unit"] == "bits/char"
    assert values["perplexity"] > 1


def test_mistakes_end_in_one_sentence(tmp_path, monkeypatch, capsys):
    for arguments, code, sentence in (
        (["train", "digit"], 1, "Did you mean 'digits'"),
        (["sample", str(tmp_path)], 1, "there is none"),
        (["evaluate"], 2, "Missing argument"),
    ):
        monkeypatch.setattr(sys, "argv", ["d3pm", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_sample_quality_is_torch_fidelitys(tmp_path, monkeypatch):
    """On weights put where the library looks for the published ones, so that nothing is downloaded."""
    weights = "weights-inception-2015-12-05-6726825d.pth"
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(0)
    net = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    torch.save(net.state_dict(), tmp_path / "checkpoints" / weights)
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=(10, 8, 8, 3)).astype(np.uint8)
    same, other = (sample_quality(noise, each, tmp_path) for each in (noise, noise // 8))
    assert same["fid"] == pytest.approx(0, abs=1e-6)
    assert other["fid"] > 100 * abs(same["fid"])
    assert same["inception_score"] == other["inception_score"] >= 1
    with pytest.raises(OptionError, match="at least 10 "):
        sample_quality(noise[:9], noise, tmp_path)


def test_the_two_packages_do_not_import_each_other():
    code = "import sys, d3pm.encoder, d3pm.cli; print('transferability' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
    """Data-parallel training through accelerate, on two CPU processes."""
    pytest.importorskip("accelerate")
    pytest.importorskip("sklearn")
    small = ["net.width=8", "net.multipliers=[1]", "train.steps=2", "train.batch=4", "train.log_every=1"]
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "-m",
        "d3pm",
        "train",
        "digits",
        "--distributed",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command + [part for s in small for part in ("--set", s)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert load_checkpoint(tmp_path).step == 2
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
