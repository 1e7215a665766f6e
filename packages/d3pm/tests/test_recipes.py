"""Recipes and the data that they name."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from d3pm.config import Config, load_recipe, recipe_names
from d3pm.data import DataSpec, load_data, quantise
from d3pm.errors import ConfigError, DataError


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_read_and_build(name, tmp_path):
    """Every recipe that comes along is a valid one: its process, objective and net fit each other."""
    from d3pm.build import build_denoiser, build_process, n_states_of

    # Few tokens: the eigenvectors of a rate matrix of thousands take minutes.
    config = load_recipe(name, ("data.vocabulary=300",))
    levels = config.data.levels
    spec = {
        "digits": DataSpec("image", (8, 8), levels, 16),
        "mnist": DataSpec("image", (28, 28), levels),
        "images": DataSpec("image", (32, 32, 3), levels),
        "text": DataSpec("text", (config.data.length,), 27, alphabet="abcdefghijklmnopqrstuvwxyz "),
        "tokens": DataSpec(
            "text",
            (config.data.length,),
            config.data.vocabulary,
            tokenizer="{}",
            mask=4 if config.net["kind"] == "masked_lm" else None,
        ),
    }[config.data.kind]
    small = {**config.to_dict()["process"], "steps": min(config.process.steps, 10)}
    if config.process.kind == "nearest_neighbour":
        small["embeddings"] = str(tmp_path / "e.npy")
        np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(spec.n_tokens, 3)))
    net = dict(config.net)
    if net["kind"] == "masked_lm":
        pytest.importorskip("transformers")
        net["config"] = {"model_type": "bert", "vocab_size": spec.n_tokens, "num_hidden_layers": 1}
    config = Config.from_dict({**config.to_dict(), "process": small, "net": net})
    process = build_process(config.process, spec, np.full(spec.n_tokens, 1 / spec.n_tokens))
    config.loss.check(process, config.conventions)
    with torch.device("meta"):
        denoiser = build_denoiser(config, spec, n_states_of(config.process, spec))
    assert (config.sample.n_steps or 0) <= (load_recipe(name).process.steps or 1000)
    replace(config.sample, n_steps=None).check(process, denoiser)
    assert sum(p.numel() for p in denoiser.parameters()) > 10_000


def test_recipe_refusals(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'digits'"):
        load_recipe("digit")
    with pytest.raises(ConfigError, match="Did you mean `steps`"):
        load_recipe("digits", ("train.step=3",))
    with pytest.raises(ConfigError, match="type int"):
        load_recipe("digits", ("train.steps=many",))
    with pytest.raises(ConfigError, match="Did you mean `n_steps`"):
        load_recipe("digits", ("sample.steps=3",))
    for wrong, kind in (("n_steps=many", "int"), ("n_steps=true", "int"), ("final=1", "str"), ("top_p=wide", "float")):
        with pytest.raises(ConfigError, match=rf"\[sample\] of digits must be of type {kind}"):
            load_recipe("digits", (f"sample.{wrong}",))
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        load_recipe("digits", ("steps",))
    with pytest.raises(ConfigError, match="no file"):
        load_recipe("nowhere.toml")
    (tmp_path / "broken.toml").write_text("[train\n")
    with pytest.raises(ConfigError, match="TOML"):
        load_recipe(str(tmp_path / "broken.toml"))
    with pytest.raises(ConfigError, match=r"table \[conventions\]"):
        load_recipe("digits", ("loss.first=direct",))
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
