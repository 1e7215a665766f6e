"""Blocks compiled by torch.compile: the same features within rounding, compiled once, and never in the way."""

import copy
import logging
import pickle
import shutil

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from transferability.encoders import _compiler, load_encoder
from transferability.encoders.identity import identity_of
from transferability.errors import EncoderError, OptionError
from transferability.pipeline.packs import fingerprint_of

KINDS = ("timm vit", "timm resnet", "torchvision", "vit", "texts", "gpt2", "st", "openclip")
WITHOUT_A_COMPILER = "eager"
"""A backend of torch.compile that traces and guards as all do, and runs what it has traced as it is."""


def _no_compiler() -> str | None:
    try:
        return None if shutil.which(get_cpp_compiler().split()[0]) else "no C++ compiler"
    except InvalidCxxCompiler:
        return "no C++ compiler"


@pytest.fixture(autouse=True)
def fresh(monkeypatch, caplog):
    monkeypatch.setattr(_compiler, "_told", set())
    _compiler._reason.cache_clear()
    torch._dynamo.reset()
    counters.clear()
    caplog.set_level(logging.WARNING)
    logging.getLogger("torch.__trace").setLevel(logging.WARNING)
    yield
    _compiler._reason.cache_clear()
    torch._dynamo.reset()


@pytest.fixture
def traced(monkeypatch):
    monkeypatch.setattr(_compiler, "BACKEND", WITHOUT_A_COMPILER)


def _outputs(encoder, items, outputs=None):
    prepare = encoder.preprocess or (lambda item: item)
    return encoder.forward([prepare(item) for item in items], outputs or encoder.outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_every_output_is_the_same(traced, make, kind):
    plain, items = make(kind)
    encoder, _ = make(kind, compile=True)
    for number in (2, len(items), 1):
        first, second = _outputs(plain, items[:number]), _outputs(encoder, items[:number])
        assert list(second) == list(plain.outputs)
        for output, rows in first.items():
            np.testing.assert_allclose(second[output], rows, rtol=1e-4, atol=1e-5 * np.abs(rows).max())
    assert counters["stats"]["unique_graphs"] > 0


@pytest.mark.parametrize("kind", ["timm vit", "timm resnet", "torchvision"])
def test_a_batch_of_another_size_is_not_compiled_anew_nor_are_other_outputs(traced, make, kind):
    encoder, pictures = make(kind, compile=True)
    _outputs(encoder, pictures[:2], ["features"])
    compiled = counters["stats"]["unique_graphs"]
    assert compiled > 0
    # From 16 rows on a convolution on one thread of a CPU is another kernel, which torch compiles for itself.
    large = 128 if kind == "timm vit" else 15
    for number, outputs in ((5, ["features"]), (9, None), (3, encoder.outputs[-2:]), (1, None), (large, ["features"])):
        _outputs(encoder, (pictures * 50)[:number], outputs)
    assert counters["stats"]["unique_graphs"] == compiled


@pytest.mark.parametrize("kind", ["texts", "st"])
def test_texts_of_other_lengths_are_not_compiled_anew(traced, make, kind):
    encoder, texts = make(kind, compile=True)
    encoder.encode([texts[0], texts[1]])
    encoder.encode([texts[1], texts[1]])  # of one length, which needs no mask
    compiled = counters["stats"]["unique_graphs"]
    assert compiled > 0
    for batch in ([texts[1]] * 3, [*texts, "a cat mat"], ["the dog sat", "a cat"], [texts[1] + " a cat"] * 5):
        encoder.encode(batch)
    assert counters["stats"]["unique_graphs"] == compiled


def test_blocks_of_one_kind_share_what_is_compiled_and_more_than_torch_allows_are_compiled(traced, make):
    encoder, pictures = make("timm vit", compile=True)
    counters.clear()
    _outputs(encoder, pictures[:2])
    assert counters["stats"]["unique_graphs"] == 1  # of six blocks
    mixed = [torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.ReLU()) for width in range(3, 15)]
    compiler = _compiler.Compiler("mine", mixed)
    counters.clear()
    with torch.inference_mode(), compiler.running():
        assert [block(torch.ones(2, 2)).shape[1] for block in mixed] == list(range(3, 15))
    assert counters["frames"]["ok"] == counters["frames"]["total"] == 12 > torch._dynamo.config.recompile_limit


@pytest.mark.slow
@pytest.mark.skipif(_no_compiler() is not None, reason=f"{_no_compiler()}")
@pytest.mark.parametrize("kind", ["timm vit", "timm resnet"])
def test_compiled_features_are_the_same_within_rounding(make, kind):
    plain, pictures = make(kind)
    encoder, _ = make(kind, compile=True)
    assert encoder.identity()["device"] == "cpu, compiled"
    for output, rows in _outputs(plain, pictures).items():
        np.testing.assert_allclose(_outputs(encoder, pictures)[output], rows, rtol=0, atol=1e-5 * np.abs(rows).max())
    assert counters["stats"]["unique_graphs"] > 0


def test_compiled_features_have_a_key_of_their_own_and_others_keep_theirs(traced, make):
    plain, _ = make("timm vit")
    encoder, _ = make("timm vit", compile=True)
    first, second = plain.identity(), encoder.identity()
    assert identity_of(plain) != identity_of(encoder)
    assert fingerprint_of(plain) == fingerprint_of(encoder)  # a pack serves both
    assert (first.pop("device"), second.pop("device")) == ("cpu", "cpu, compiled")
    assert first == second


def test_a_backend_that_fails_is_said_once_and_the_features_are_there(make, monkeypatch, caplog):
    calls = []

    def second_time_not(graph, _inputs):
        calls.append(graph)
        if len(calls) > 1:
            raise RuntimeError("no such instruction\n\nSet TORCHDYNAMO_VERBOSE=1 for more")
        return graph.forward

    monkeypatch.setattr(_compiler, "BACKEND", second_time_not)
    plain, pictures = make("timm resnet")
    encoder, _ = make("timm resnet", compile=True)
    for _ in range(2):
        for output, rows in _outputs(plain, pictures).items():
            np.testing.assert_array_equal(_outputs(encoder, pictures)[output], rows)
    assert len(calls) == 2  # the second is a block, after which it is not tried again
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "goes on without torch.compile" in record.getMessage()
    assert "BackendCompilerFailed" in record.getMessage()
    assert "no such instruction" in record.getMessage()
    assert "TORCHDYNAMO" not in record.getMessage()
    assert "Leave `compile` out" in record.getMessage()


def test_without_a_compiler_encoders_say_so_once_and_have_the_key_of_any_other(make, monkeypatch, caplog):
    def none(_graph, _inputs):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(_compiler, "BACKEND", none)
    plain, pictures = make("timm vit")
    for _ in range(2):
        encoder, _ = make("timm vit", compile=True)
        assert encoder.identity() == plain.identity()
        np.testing.assert_array_equal(_outputs(encoder, pictures)["features"], _outputs(plain, pictures)["features"])
    (record,) = caplog.records
    assert "torch.compile does not work here" in record.getMessage()
    assert "No working C++ compiler found" in record.getMessage()
    assert "install g++" in record.getMessage()


def test_what_is_wrong_with_a_batch_is_no_fault_of_the_compiler(traced, make, caplog):
    encoder, pictures = make("timm resnet", compile=True)
    _outputs(encoder, pictures)
    with pytest.raises(RuntimeError, match="channels"):
        encoder.forward([np.zeros((5, 160, 160), np.float32)] * 2, ["features"])
    assert caplog.records == []
    _outputs(encoder, pictures)


def test_too_little_memory_is_left_to_who_halves_the_batch(traced, make, monkeypatch, caplog):
    encoder, pictures = make("timm resnet", compile=True)
    block = next(iter(encoder._layers.values()))

    def too_large(*_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(block, "forward", too_large)
    with pytest.raises(RuntimeError, match="out of memory"):
        _outputs(encoder, pictures)
    assert block.forward is too_large
    assert caplog.records == []


def test_the_network_is_as_before_outside_of_its_batches(traced, make):
    encoder, pictures = make("timm vit", compile=True)
    _outputs(encoder, pictures)
    assert all("forward" not in vars(module) for module in encoder.module.modules())
    before = counters["stats"]["unique_graphs"]
    batch = [encoder.preprocess(picture) for picture in pictures]
    assert encoder.differentiable(batch).requires_grad  # what is trained is not compiled
    assert counters["stats"]["unique_graphs"] == before


def test_a_compiler_goes_to_another_process_without_what_it_compiled(traced, make):
    encoder, pictures = make("timm vit", compile=True)
    expected = _outputs(encoder, pictures)["features"]
    for other in (pickle.loads(pickle.dumps(encoder._compiler)), copy.deepcopy(encoder._compiler)):
        assert other._forwards is None
    other = copy.copy(encoder)
    np.testing.assert_array_equal(_outputs(other, pictures)["features"], expected)


def test_what_has_no_network_is_refused_and_what_has_no_blocks_says_so(traced, make, caplog, tmp_path, monkeypatch):
    (tmp_path / "sizes.py").write_text("def lengths(items):\n    return [[len(i)] for i in items]\n")
    monkeypatch.syspath_prepend(tmp_path)
    for identifier in ("python:sizes:lengths", "features:x.npz", torch.nn.Linear(2, 2), lambda items: items):
        with pytest.raises(OptionError, match="`compile` must be left out"):
            load_encoder(identifier, "cpu", compile=True)
    with pytest.raises(OptionError, match="`compile` must be left out"):
        make("onnx", compile=True)
    assert _compiler.compiler_of("mine", {}, torch.device("cpu")) is None
    assert "no blocks of several operations" in caplog.text


def test_a_model_in_memory_is_compiled_too(traced, pictures):
    import timm

    model = timm.create_model("test_vit")
    plain, encoder = (load_encoder(model, "cpu", compile=each) for each in (False, True))
    counters.clear()
    np.testing.assert_allclose(encoder.encode(pictures), plain.encode(pictures), rtol=1e-4, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 1


def test_a_compiler_that_goes_wrong_is_found_before_anything_is_kept(traced, make, monkeypatch):
    from transferability.datasets import Dataset
    from transferability.features import extract_features

    encoder, pictures = make("timm vit", compile=True)
    data = Dataset("p", "image", np.array(["a", "b", "c"]), pictures.__getitem__, lambda row: bytes([row]))
    right = extract_features(encoder, data, cache=False).features
    np.testing.assert_allclose(right, encoder.encode(pictures), rtol=1e-4, atol=1e-5)
    encoder, _ = make("timm vit", compile=True)

    def wrong(graph, _inputs):
        return lambda *inputs: [2 * each for each in graph.forward(*inputs)]

    torch._dynamo.reset()
    monkeypatch.setattr(_compiler, "BACKEND", wrong)
    with pytest.raises(EncoderError, match="leave `compile` out"):
        extract_features(encoder, data, cache=False)
