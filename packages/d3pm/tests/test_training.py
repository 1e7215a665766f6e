"""Runs on tiny data: learning, exact resumption, checkpoints, what is refused."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from d3pm.checkpoint import load_checkpoint
from d3pm.config import Config
from d3pm.data import Dataset, DataSpec
from d3pm.errors import CheckpointError, ConfigError, DataError, OptionError, TrainingError
from d3pm.evaluation import evaluate
from d3pm.optimization import learning_rate
from d3pm.training import train
from runs import tiny


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


def test_a_finished_run_is_not_written_over(dataset, tmp_path):
    config = tiny(steps=4, log_every=2)
    path = train(config, tmp_path, data=dataset, device="cpu")
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for other in (config, tiny(steps=8), tiny(steps=4, lr=1e-4)):
        with pytest.raises(OptionError, match="--resume"):
            train(other, tmp_path, data=dataset, device="cpu")
    assert train(config, tmp_path, data=dataset, device="cpu", resume=True) == path  # there is nothing left to do
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == written


def test_resuming_with_other_settings_or_data_is_refused(dataset, tmp_path):
    config = tiny(steps=4)
    train(config, tmp_path, data=dataset, device="cpu")
    known = config.to_dict()
    for section, key, value in (
        ("loss", "kind", "simple"), ("loss", "low", 0.1), ("train", "lr", 1e-4), ("train", "seed", 1),
        ("train", "batch", 16), ("train", "ema", 0.5), ("train", "clip", 2.0), ("train", "warmup", 2),
        ("train", "decay", "cosine"), ("train", "precision", "bf16"), ("train", "accumulate", 2),
        ("net", "dropout", 0.0), ("data", "levels", 8), ("conventions", "final", "argmax"),
    ):  # fmt: skip
        changed = Config.from_dict({**known, section: {**known[section], key: value}})
        with pytest.raises(ConfigError, match=rf"\[{section}\] {key} was"):
            train(changed, tmp_path, data=dataset, device="cpu", resume=True)
    others = Dataset(dataset.spec, dataset.train[:-7], dataset.test)
    with pytest.raises(DataError, match="other frequencies"):
        train(config, tmp_path, data=others, device="cpu", resume=True)
    # What does not change the numbers may change, and a run at a constant rate may go on for longer.
    longer = {**known, "train": {**known["train"], "steps": 6, "log_every": 1}, "evaluate": {"times": 4}}
    train(Config.from_dict(longer), tmp_path, data=dataset, device="cpu", resume=True)
    assert load_checkpoint(tmp_path).step == 6


def test_metrics_of_a_resumed_run_name_each_step_once(dataset, tmp_path):
    class StopError(Exception):
        pass

    def stop(step, values):
        if step == 8:
            raise StopError

    config = tiny(steps=10, checkpoint_every=5, log_every=2)
    with pytest.raises(StopError):
        train(config, tmp_path, data=dataset, device="cpu", report=stop)
    metrics = tmp_path / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"step": 10, "lo')  # killed while it wrote
    train(config, tmp_path, data=dataset, device="cpu", resume=True)
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    # A run that never came to a checkpoint is begun anew, its metrics too.
    (tmp_path / "checkpoint.safetensors").unlink()
    train(config, tmp_path, data=dataset, device="cpu", resume=True)
    assert len(metrics.read_text().splitlines()) == 5


def test_accumulated_gradients_are_the_mean_of_their_parts(dataset, tmp_path):
    """A step on a batch in two parts, against one made by hand; and such a run resumes exactly too."""
    from d3pm.losses import training_loss
    from d3pm.runtime import Alone
    from d3pm.seeds import dropout_seed, step_seed
    from d3pm.training import _Run

    config = tiny(steps=3, batch=16, accumulate=2, clip=0.0)
    run = _Run(config, dataset, Alone(torch.device("cpu")), tmp_path / "none")
    run.begin()
    run._gradients(0)
    found = [p.grad.clone() for p in run.denoiser.parameters()]
    run.denoiser.zero_grad()
    tokens = dataset.batch(0, 16, 0).tokens
    for part in range(2):
        g = torch.Generator().manual_seed(step_seed(0, part, 0))
        with torch.random.fork_rng():
            torch.manual_seed(dropout_seed(step_seed(0, part, 0)))
            rows = tokens[8 * part : 8 * part + 8]
            loss, _ = training_loss(config.loss, run.process, run.denoiser, rows, g)
        (loss / 2).backward()
    for a, b in zip(found, run.denoiser.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad, rtol=1e-5, atol=1e-7)
    train(config, tmp_path / "whole", data=dataset, device="cpu")
    train(tiny(steps=2, batch=16, accumulate=2, clip=0.0), tmp_path / "parts", data=dataset, device="cpu")
    train(config, tmp_path / "parts", data=dataset, device="cpu", resume=True)
    a, b = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_no_steps_write_the_net_as_it_was_drawn(dataset, tmp_path):
    """What a trained encoder is compared with."""
    path = train(tiny(steps=0), tmp_path, data=dataset, device="cpu")
    assert load_checkpoint(path).step == 0
    assert evaluate(load_checkpoint(path), dataset).bits_per_position > 1.5


def test_checkpoints_of_something_else_are_refused(run, dataset, tmp_path):
    with pytest.raises(ConfigError, match="process"):
        train(tiny("uniform"), run.parent, data=dataset, device="cpu", resume=True)
    other = tiny()
    other.net["width"] = 8
    with pytest.raises(ConfigError, match=r"\[net\]"):
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


@pytest.mark.parametrize("n_classes", [0, 2])
def test_models_of_the_first_format_compute_what_they_did(dataset, tmp_path, n_classes):
    """Their last layer was linear, and they had no null class."""
    spec = DataSpec("image", (4, 4), 4, n_classes=n_classes)
    data = Dataset(spec, dataset.train, dataset.test, dataset.train_labels, dataset.test_labels)
    config = tiny(steps=3)
    path = train(config, tmp_path, data=data, device="cpu")
    with safe_open(path, framework="pt") as file:
        header, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for part in ("model", "ema"):
        key, classes = f"{part}.out.weight", f"{part}.backbone.time.classes.weight"
        tensors[key] = tensors[key][:, :, 1, 1].contiguous()
        if n_classes:
            tensors[classes] = tensors[classes][:2].contiguous()
    old = json.loads(header["config"])
    del old["conventions"], old["train"]["class_dropout"], old["train"]["accumulate"]
    old["loss"] |= {"mode": "joint", "first": "eq4"}
    first = tmp_path / "first" / "checkpoint.safetensors"
    first.parent.mkdir()
    save_file(tensors, first, {**header, "format": "d3pm-checkpoint-1", "config": json.dumps(old)})
    model = load_checkpoint(first)
    x, labels = data.test_examples(5).tokens, torch.tensor([0, 1, 0, 1, 1]) if n_classes else None
    with torch.no_grad():
        features = model.denoiser.backbone(x, torch.full((5,), 0.5), labels)
        expected = features @ tensors["ema.out.weight"].T + tensors["ema.out.bias"]
        found = model.denoiser(x, torch.full((5,), 0.5), labels)
    skip = found[..., :4] - expected[..., :4]  # what is added at x_t
    assert torch.allclose(skip.gather(-1, x[..., None]).std(), torch.tensor(0.0), atol=1e-5)
    assert torch.allclose(skip.scatter(-1, x[..., None], 0.0), torch.zeros(5, 4, 4, 4), atol=1e-5)
    with pytest.raises(CheckpointError, match="earlier"):
        train(config, first.parent, data=data, device="cpu", resume=True)


def test_settings_that_do_not_fit_are_refused(dataset, tmp_path):
    with pytest.raises(OptionError, match="needs masks"):
        train(Config.from_dict({**tiny("uniform").to_dict(), "loss": {"kind": "masked"}}), tmp_path, data=dataset)
    middle = tiny().to_dict()
    middle["process"]["mask"] = "middle"
    with pytest.raises(ConfigError, match="extra"):
        train(Config.from_dict(middle), tmp_path, data=dataset)
    middle["process"] = {"kind": "absorbing", "steps": 0, "schedule": "linear", "mask": "middle"}
    with pytest.raises(ConfigError, match="counted needs mask = extra"):  # a token may be the mask: it is no bound then
        train(Config.from_dict({**middle, "loss": {"kind": "counted"}}), tmp_path, data=dataset)
    sampled = tiny().to_dict() | {"sample": {"n_steps": 11}}
    with pytest.raises(ConfigError, match=r"\[sample\].*T = 10; got 11"):
        train(Config.from_dict(sampled), tmp_path, data=dataset)
    wrong = Dataset(DataSpec("image", (4, 4), 3), dataset.train, dataset.test)
    with pytest.raises(DataError, match="below 3"):
        train(tiny(), tmp_path, data=wrong)
    with pytest.raises(DataError, match="with 4 values"):
        evaluate(load_checkpoint(train(tiny(steps=1), tmp_path / "run", data=dataset, device="cpu")), wrong)


def test_a_run_that_has_come_apart_stops(dataset, tmp_path):
    with pytest.raises(TrainingError, match="finite"):
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
