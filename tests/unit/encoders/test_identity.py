"""Whatever changes what an encoder returns changes its identity; nothing else does."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial

import huggingface_hub
import numpy as np
import pytest
import torch

from transferability.encoders import identity_of, load_encoder
from transferability.encoders.function import FunctionEncoder
from transferability.encoders.identity import settings_hash
from transferability.features import write_features


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory):
    import timm
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("timm") / "resnet"
    torch.manual_seed(3)
    model = timm.create_model("test_resnet", num_classes=0)
    save_for_hf(model, folder, model_config={}, safe_serialization=True)
    return folder


CHANGES = {
    "hidden_act": ("bert", "config.json", {"hidden_act": "relu"}),
    "layer_norm_eps": ("bert", "config.json", {"layer_norm_eps": 0.1}),
    "tokenizer model_max_length": ("bert", "tokenizer_config.json", {"model_max_length": 5}),
    "truncation_side": ("bert", "tokenizer_config.json", {"truncation_side": "left"}),
    "image_mean": ("vit", "preprocessor_config.json", {"image_mean": [0.1, 0.2, 0.3]}),
    "resample": ("vit", "preprocessor_config.json", {"resample": 0}),
    "vit layer_norm_eps": ("vit", "config.json", {"layer_norm_eps": 0.5}),
    "prompt": ("st", "config_sentence_transformers.json", {"prompts": {"p": "the cat "}, "default_prompt_name": "p"}),
    "max_seq_length": ("st", "sentence_bert_config.json", {"max_seq_length": 4}),
    "pooling": ("st", "1_Pooling/config.json", {"pooling_mode": "max"}),
    "global_pool": ("timm", "config.json", {"global_pool": "max", "model_args": {"global_pool": "max"}}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_setting_that_changes_features_changes_the_identity(
    change, tmp_path, bert_folder, vit_folders, sentence_folder, timm_folder, pictures, texts
):
    kind, file, values = CHANGES[change]
    source = {"bert": bert_folder, "vit": vit_folders["pooler"], "st": sentence_folder, "timm": timm_folder}[kind]
    prefix = {"st": "st:", "timm": "timm:local-dir:"}.get(kind, "hf:")
    items = texts if kind in ("bert", "st") else pictures
    folder = shutil.copytree(source, tmp_path / "model")
    before = load_encoder(f"{prefix}{folder}", "cpu")
    assert identity_of(before) == identity_of(load_encoder(f"{prefix}{folder}", "cpu"))
    edit(folder / file, **values)
    after = load_encoder(f"{prefix}{folder}", "cpu")
    items = [items[1] * 3, *items] if kind in ("bert", "st") else items  # long enough to be truncated
    assert not np.allclose(before.encode(items), after.encode(items), atol=1e-4)
    assert identity_of(before) != identity_of(after)


SHOW = """
import sys
from transferability.encoders import identity_of, load_encoder
print(*(identity_of(load_encoder(each, "cpu")) for each in sys.argv[1:]))
"""


def test_identities_are_the_same_in_every_process_and_after_use(
    bert_folder, vit_folders, sentence_folder, timm_folder, text_folders, clip_folder, pictures, texts
):
    names = [f"hf:{vit_folders['classifier']}", f"hf:{clip_folder}", f"timm:local-dir:{timm_folder}"]
    names += ["torchvision:squeezenet1_1@random", f"hf:{bert_folder}", f"st:{sentence_folder}"]
    names += [f"hf:{text_folders['t5']}", f"hf:{text_folders['gpt2']}"]
    here = []
    for name in names:
        encoder = load_encoder(name, "cpu")
        encoder.encode(pictures if encoder.modality == "image" else texts)
        here.append(identity_of(encoder))
    environment = {**os.environ, "PYTHONHASHSEED": "17", "PYTHONPATH": os.pathsep.join(sys.path)}
    # The other way round than here: transformers notes in a tokeniser whether it was off line.
    environment["HF_HUB_OFFLINE"] = str(int(not huggingface_hub.constants.HF_HUB_OFFLINE))
    there = subprocess.run([sys.executable, "-c", SHOW, *names], capture_output=True, text=True, env=environment)
    assert there.stdout.split() == here, there.stderr


def test_code_and_version_of_a_function_are_its_identity(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def loaded(module, text):
        (tmp_path / f"{module}.py").write_text(text)
        return load_encoder(f"python:{module}:f")

    first = loaded("first_code", "def f(items): return [[1.0]]\n")
    assert first.identity() is None  # nothing is kept
    hashes = {identity_of(first), identity_of(loaded("first_code2", "def f(items): return [[2.0]]\n"))}
    versioned = "def f(items): return [[1.0]]\nf.version = '1'\n"
    hashes |= {identity_of(loaded("third_code", versioned)), identity_of(loaded("fourth_code", versioned + "# new\n"))}
    assert len(hashes) == 4
    assert len(identity_of(FunctionEncoder("mine", len))) == 64


def test_a_function_keeps_the_identity_of_what_was_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edited_later.py").write_text("def f(items): return [[1.0]]\n")
    encoder = load_encoder("python:edited_later:f")
    before = identity_of(encoder)
    (tmp_path / "edited_later.py").write_text("def f(items): return [[2.0]]\n")
    assert identity_of(encoder) == before


def test_feature_files_are_their_contents(tmp_path):
    for name in ("a", "b"):
        write_features(tmp_path / f"{name}.npz", np.eye(3), ids=["x", "y", "z"])
    files = load_encoder(f"features:{tmp_path}/{{data}}.npz")
    before = identity_of(files)
    write_features(tmp_path / "b.npz", np.eye(3) + 1, ids=["x", "y", "z"])
    assert identity_of(files) != before


class Opaque:
    def __init__(self, **values):
        self.__dict__.update(values)


class Slotted:
    __slots__ = ("size",)

    def __init__(self, size):
        self.size = size


def looped(value):
    thing = Opaque(value=value)
    thing.me = thing  # type: ignore[attr-defined]
    return thing


def closure(size):
    return lambda item: item * size


@pytest.mark.parametrize(
    "make",
    [
        lambda value: {"a": [value, {"b": (value,)}]},
        lambda value: Opaque(inner=Slotted(value)),
        lambda value: {value, "other"},
        lambda value: partial(max, key=value),
        lambda value: Slotted(value).__init__,  # type: ignore[misc]
        lambda value: np.array([1.0, float(len(str(value)))]),
        lambda value: torch.tensor([float(len(str(value)))]),
        lambda value: torch.nn.Sequential(torch.nn.Dropout(len(str(value)) / 10)),
        lambda value: __import__("re").compile("x" * 500 + str(value)),
        looped,
        closure,
    ],
)
def test_settings_hash_sees_values_wherever_they_are(make):
    assert settings_hash(make("mean")) == settings_hash(make("mean"))
    assert settings_hash(make("mean")) != settings_hash(make("maximum"))


def test_settings_hash_does_not_see_where_files_lie(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "vocab.txt").write_text("x")
    first, second = (settings_hash({"vocab_file": str(tmp_path / folder / "vocab.txt")}) for folder in ("a", "b"))
    assert first == second
    assert settings_hash({"template": "/" + "x" * 5000}) != settings_hash({"template": "/" + "y" * 5000})
