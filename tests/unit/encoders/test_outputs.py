"""Outputs beside the features: probabilities, hidden layers, pooling and precision, against the libraries' own."""

import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from transferability.encoders import (
    FEATURES,
    PROBABILITIES,
    MultiOutputEncoder,
    accepts,
    every_layer,
    forward,
    hidden_layers,
    load_encoder,
    outputs_of,
    preprocess_of,
    select,
)
from transferability.errors import EncoderError, OptionError, UnknownNameError

KINDS = {  # number of hidden layers, and of classes
    "timm vit": (6, 1000),
    "timm resnet": (9, 1000),
    "torchvision": (18, 1000),
    "vit": (1, 2),
    "vit-pooler": (1, None),
    "clip": (1, None),
    "texts": (2, 3),
    "words": (2, 3),
    "t5": (2, None),
    "bart": (2, 3),
    "gpt2": (2, None),
    "st": (1, None),
    "openclip": (2, None),
    "onnx": (1, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_gives_all_its_outputs_in_one_pass(make, kind):
    n_layers, n_classes = KINDS[kind]
    encoder, items = make(kind)
    if kind == "bart":
        items = [
            "a cat mat",
            "the dog sat on the mat",
            "mat",
        ]  # its head reads at the end of a text, which is "mat" here
    if kind == "st":
        items = [text for text in items if text]  # the library needs a token, and this tokeniser adds none
    assert isinstance(encoder, MultiOutputEncoder)
    assert encoder.pooling
    assert len(hidden_layers(encoder)) == n_layers
    assert encoder.outputs[0] == FEATURES
    assert (PROBABILITIES in encoder.outputs) == (n_classes is not None)
    json.dumps(encoder.identity())
    prepare = pickle.loads(pickle.dumps(preprocess_of(encoder)))
    batch = items if prepare is None else [prepare(item) for item in items]
    found = forward(encoder, batch, outputs_of(encoder))
    np.testing.assert_allclose(found[FEATURES], encoder.encode(items), rtol=1e-4, atol=1e-5)
    for name, rows in found.items():
        assert rows.dtype == np.float32
        assert rows.shape[0] == len(items)
        assert rows.ndim == 2
        alone = np.concatenate([forward(encoder, [each], [name])[name] for each in batch])
        np.testing.assert_allclose(rows, alone, rtol=1e-3, atol=1e-5)  # no row depends on its batch
    if n_classes:
        assert found[PROBABILITIES].shape == (len(items), n_classes)
        np.testing.assert_allclose(found[PROBABILITIES].sum(1), 1, rtol=1e-5)
    assert len({rows.tobytes() for rows in found.values()}) >= len(found) - 1  # the last block may be the features


@pytest.mark.parametrize("kind", ["timm vit", "timm resnet"])
def test_timm_gives_what_timm_computes(make, kind):
    import timm

    encoder, pictures = make(kind)
    batch = np.stack([encoder.preprocess(picture) for picture in pictures])
    torch.manual_seed(0)
    model = timm.create_model({"timm vit": "test_vit", "timm resnet": "test_resnet"}[kind]).eval()
    found = encoder.forward(batch, encoder.outputs)
    with torch.inference_mode():
        np.testing.assert_allclose(found[PROBABILITIES], model(torch.tensor(batch)).softmax(1), rtol=1e-4, atol=1e-7)
        maps = model.forward_intermediates(torch.tensor(batch), intermediates_only=True)
    np.testing.assert_allclose(found[encoder.outputs[-1]], maps[-1].mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert encoder.n_parameters == sum(
        values.numel() for key, values in model.named_parameters() if not key.startswith(("head", "fc"))
    )


def test_class_names_come_with_trained_weights_only(make, tmp_path):
    import timm
    from timm.models import save_for_hf

    assert make("timm vit")[0].source_class_names is None
    assert make("texts")[0].source_class_names == ("bad", "fair", "good")
    assert make("bart")[0].source_class_names is None  # LABEL_0, LABEL_1, … say nothing
    model = timm.create_model("test_resnet", num_classes=3)
    config = {**model.pretrained_cfg, "num_classes": 3, "label_names": ["x", "y", "z"]}
    save_for_hf(model, tmp_path / "own", model_config={"pretrained_cfg": config, "label_names": ["x", "y", "z"]})
    encoder = load_encoder(f"timm:local-dir:{tmp_path / 'own'}", "cpu")
    assert (encoder.source_class_names, PROBABILITIES in encoder.outputs) == (("x", "y", "z"), True)


@pytest.mark.parametrize(("kind", "model"), [("vit", "ForImage"), ("texts", "ForSequence"), ("words", "ForToken")])
def test_transformers_gives_what_transformers_computes(make, text_folders, vit_folders, kind, model):
    import transformers

    encoder, items = make(kind)
    folder = {**text_folders, "vit": vit_folders["classifier"]}[kind]
    whole = getattr(transformers, f"AutoModel{model}Classification").from_pretrained(folder).eval()
    if kind == "vit":
        inputs = transformers.ViTImageProcessor.from_pretrained(folder)(items, return_tensors="pt")
    else:
        items = items[1:2]
        inputs = transformers.AutoTokenizer.from_pretrained(folder)(items, return_tensors="pt")
    with torch.inference_mode():
        expected = whole(**inputs, output_hidden_states=True)
    batch = [encoder.preprocess(item) for item in items] if encoder.preprocess else items
    found = encoder.forward(batch, encoder.outputs)
    shares = expected.logits.softmax(-1)
    np.testing.assert_allclose(found[PROBABILITIES], shares.mean(1) if kind == "words" else shares, rtol=1e-4)
    first = expected.hidden_states[1][:, 1:] if kind == "vit" else expected.hidden_states[1]  # without the class token
    np.testing.assert_allclose(found[hidden_layers(encoder)[0]], first.mean(1), rtol=1e-4, atol=1e-6)


def test_an_encoder_decoder_is_its_encoder(make, text_folders):
    from transformers import AutoTokenizer, T5EncoderModel

    encoder, texts = make("t5")
    model = T5EncoderModel.from_pretrained(text_folders["t5"])
    tokens = AutoTokenizer.from_pretrained(text_folders["t5"])(texts[1], return_tensors="pt")
    with torch.inference_mode():
        expected = model(input_ids=tokens["input_ids"]).last_hidden_state.mean(1)
    np.testing.assert_allclose(encoder.encode(texts[1:2]), expected, rtol=1e-4, atol=1e-6)
    assert encoder.n_parameters == sum(values.numel() for values in model.parameters())


def test_pairs_of_texts(make, text_folders):
    from transformers import AutoModel, AutoTokenizer

    encoder, _ = make("texts")
    pairs = [("a cat", "the dog"), ("sat on", "the mat")]
    tokens = AutoTokenizer.from_pretrained(text_folders["texts"])(
        *map(list, zip(*pairs, strict=True)), return_tensors="pt"
    )
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(text_folders["texts"])(**tokens).last_hidden_state.mean(1)
    np.testing.assert_allclose(encoder.encode(pairs), expected, rtol=1e-4, atol=1e-6)


def test_words_in_their_sentence(make, text_folders):
    from transformers import AutoModel, AutoTokenizer

    encoder, _ = make("words")
    assert accepts(encoder, "tokens")
    assert not accepts(make("st")[0], "tokens")
    sentence, other = ("the", "cat☹", "sat"), ("dog",)  # the tokeniser cuts the second word in two
    features = encoder.encode([(sentence, 1), (other, 0), (sentence, 2)])
    tokenizer, model = (kind.from_pretrained(text_folders["words"]) for kind in (AutoTokenizer, AutoModel))
    with torch.inference_mode():
        hidden = model(**tokenizer(" ".join(sentence), return_tensors="pt")).last_hidden_state[0]
    assert len(hidden) == 4
    np.testing.assert_allclose(features[0], hidden[1:3].mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(features[2], hidden[3], rtol=1e-4, atol=1e-6)
    shares = encoder.forward([(sentence, 1)], [PROBABILITIES])[PROBABILITIES]
    assert shares.shape == (1, 3)
    with pytest.raises(EncoderError, match=r"word 20 \('cat'\) of the sentence that begins 'a a a .* 12 that"):
        encoder.encode([(("a",) * 20 + ("cat",), 20)])


def test_pooling_of_texts(make, text_folders):
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(text_folders["texts"])("the dog sat on", return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(text_folders["texts"])(**tokens).last_hidden_state[0]
    expected = {"mean": hidden.mean(0), "max": hidden.amax(0), "cls": hidden[0], "last": hidden[-1]}
    for pool, row in expected.items():
        encoder, _ = make("texts", pool=pool)
        features = encoder.encode(["the dog sat on", "a much longer text that fills the batch", ""])
        np.testing.assert_allclose(features[0], row, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(features[2], 0)
        assert pool in encoder.identity()["pooling"]


def test_pooling_of_pictures(make):
    rows = {pool: make("timm vit", pool=pool)[0] for pool in ("mean", "max", "cls", None)}
    pictures = make("timm vit")[1]
    features = {pool: encoder.encode(pictures) for pool, encoder in rows.items()}
    np.testing.assert_allclose(features["cls"], features[None], rtol=1e-5)  # what this model's own head takes
    assert (features["max"] >= features["mean"]).all()
    assert len({json.dumps(encoder.identity()) for encoder in rows.values()}) == 4
    for kind, match in (("timm resnet", "no class token"), ("onnx", "no choice of it"), ("st", "no choice of it")):
        with pytest.raises(OptionError, match=match):
            make(kind, pool="cls")
    with pytest.raises(OptionError, match="Did you mean 'mean'"):
        make("timm vit", pool="meen")
    with pytest.raises(OptionError, match="must be one of 'mean', 'max', 'cls'"):
        make("vit", pool="last")


@pytest.mark.parametrize("kind", ["timm resnet", "texts", "st", "openclip"])
def test_precision_is_rounding_and_is_told(make, kind):
    whole, items = make(kind)
    half, _ = make(kind, precision="bfloat16")
    first, second = whole.encode(items), half.encode(items)
    assert second.dtype == np.float32
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(first, second, atol=0.05 * np.abs(first).max())
    assert whole.identity() != half.identity()
    with pytest.raises(OptionError, match="`precision` must be one of"):
        make(kind, precision="float64")


def test_a_layer_by_name_or_number(make):
    view: Any
    encoder, pictures = make("timm vit")
    names = hidden_layers(encoder)
    view = select(encoder, 2)
    assert (view.name, view.modality) == (f"{encoder.name}/layer={names[2]}", "image")
    assert (view.base, view.output) == (encoder, names[2])
    assert select(encoder, "-1").output == select(encoder, names[-1]).output == names[-1]  # type: ignore[attr-defined]
    assert select(view, FEATURES) is encoder
    assert select(view, 0).output == names[0]  # type: ignore[attr-defined]
    assert view.outputs == (FEATURES, PROBABILITIES)
    batch = [view.preprocess(picture) for picture in pictures]
    both = view.forward(batch, view.outputs)
    np.testing.assert_array_equal(both[FEATURES], view.encode(pictures))
    np.testing.assert_array_equal(both[FEATURES], encoder.forward(batch, [names[2]])[names[2]])  # type: ignore[attr-defined]
    assert view.identity() == {**encoder.identity(), "output": names[2]}
    assert [each.output for each in every_layer(view.base)] == list(names)  # type: ignore[attr-defined]
    loaded = load_encoder("timm:test_vit@random", "cpu", layer=2)
    np.testing.assert_allclose(loaded.encode(pictures), both[FEATURES], rtol=1e-5, atol=1e-6)
    for layer, match in (
        (6, "6 hidden layers, numbered from 0; got 6"),
        ("blocks.9", "Did you mean 'blocks"),
        (-7, "-7"),
    ):
        with pytest.raises(OptionError, match=match):
            select(encoder, layer)


def test_encoders_without_layers(tmp_path, monkeypatch):
    (tmp_path / "plain_functions.py").write_text("def lengths(items):\n    return [[len(i)] for i in items]\n")
    monkeypatch.syspath_prepend(tmp_path)
    encoder = load_encoder("python:plain_functions:lengths")
    assert (outputs_of(encoder), preprocess_of(encoder)) == ((FEATURES,), None)
    np.testing.assert_array_equal(forward(encoder, ["abc"], [FEATURES])[FEATURES], [[3]])
    assert select(encoder, FEATURES) is encoder
    with pytest.raises(OptionError, match="shows no hidden layers"):
        every_layer(encoder)
    with pytest.raises(OptionError, match="has no hidden layers; got 0"):
        load_encoder("python:plain_functions:lengths", layer=0)
    with pytest.raises(OptionError, match=r"`layer` must be left out .* feature files"):
        load_encoder("features:x.npz", layer=0)
    with pytest.raises(OptionError, match="`precision` must be left out"):
        load_encoder("python:plain_functions:lengths", precision="float16")


def test_open_clip_gives_what_open_clip_computes(make, open_clip_tiny):
    _, model = open_clip_tiny
    encoder, pictures = make("openclip")
    batch = np.stack([encoder.preprocess(picture) for picture in pictures])
    with torch.inference_mode():
        expected = model.eval().encode_image(torch.tensor(batch))
    np.testing.assert_allclose(encoder.encode(pictures), expected, rtol=1e-4, atol=1e-5)
    random = load_encoder("openclip:tiny-clip@random", "cpu")
    assert random.identity() == load_encoder("openclip:tiny-clip@random", "cpu").identity()
    assert random.identity()["weights"] != encoder.identity()["weights"]


@pytest.mark.parametrize(
    ("spec", "error", "match"),
    [
        ("tiny-clop/x", UnknownNameError, "Did you mean 'tiny-clip'"),
        ("ViT-B-32/laion2b_s34b_b79", UnknownNameError, "Did you mean 'laion2b_s34b_b79k'"),
        (
            "tiny-clip/nothing.pt",
            UnknownNameError,
            "there is no such file. It has none at all. Untrained: openclip:tiny",
        ),
        ("local-dir:/nowhere", EncoderError, "there is no folder /nowhere"),
        ("ViT-B-32/openai", EncoderError, "cannot be loaded: .*(the network|does not answer)"),
        ("hf-hub:nobody/nothing", EncoderError, "cannot be loaded: .*(the network|does not answer)"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_open_clip_names(open_clip_tiny, monkeypatch, tmp_path, spec, error, match):
    with pytest.raises(error, match=match):
        load_encoder(f"openclip:{spec}", "cpu")


@pytest.mark.slow
def test_packaged_networks_have_their_heads(pictures):
    encoder = load_encoder("packaged:efficientnet-lite0", "cpu")
    batch = [encoder.preprocess(picture) for picture in pictures[:1]]
    found = encoder.forward(batch, [FEATURES, PROBABILITIES, *hidden_layers(encoder)[-1:]])
    assert found[PROBABILITIES].shape == (1, 1000)
    np.testing.assert_allclose(found[PROBABILITIES].sum(), 1, rtol=1e-5)
    assert len(hidden_layers(encoder)) == 18  # 16 blocks, and the convolutions before and behind them
    with pytest.raises(OptionError, match="does not run in torch"):
        load_encoder("packaged:pp-lcnet-orientation", precision="float16")
