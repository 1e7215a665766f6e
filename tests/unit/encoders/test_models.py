"""Real libraries, tiny models: what comes out is what the library itself gives, row by row."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from transferability.encoders import Encoder, load_encoder
from transferability.errors import EncoderError, MissingExtraError, OptionError, UnknownNameError


def check(encoder, items, n_features):
    """Whatever the encoder: shape, dtype, no influence of the batch, identity that JSON can hold and that repeats."""
    import json

    assert isinstance(encoder, Encoder)
    before = json.dumps(encoder.identity(), sort_keys=True)
    together = encoder.encode(items)
    assert together.shape == (len(items), n_features)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    alone = np.concatenate([encoder.encode([item]) for item in items])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)  # kernels differ with the size of the batch
    assert encoder.n_parameters > 0
    assert json.dumps(encoder.identity(), sort_keys=True) == before  # also after it has been used
    return together


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory):
    import timm
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("timm") / "local model"
    torch.manual_seed(3)
    model = timm.create_model("test_resnet", pretrained=False)
    save_for_hf(model, folder, safe_serialization=True)
    return folder, model


def test_timm_from_a_folder_is_what_timm_gives(timm_folder, pictures):
    import timm

    folder, model = timm_folder
    features = check(load_encoder(f"timm:local-dir:{folder}", "cpu"), pictures, model.num_features)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    batch = torch.stack([transform(picture) for picture in pictures])
    with torch.inference_mode():
        expected = model.eval().forward_head(model.forward_features(batch), pre_logits=True)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_timm_random_is_the_same_every_time_and_leaves_the_generator_alone(pictures):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = load_encoder("timm:test_vit@random", "cpu")
    assert torch.equal(torch.rand(3), expected)
    second = load_encoder("timm:test_vit@random", "cpu")
    assert first.identity() == second.identity()
    np.testing.assert_array_equal(first.encode(pictures), second.encode(pictures))


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("resnet81", "timm has no model 'resnet81'. Did you mean 'resnet18'"),
        ("resnet18.a1_in1kk", "no trained weights 'resnet18.a1_in1kk'. Did you mean 'resnet18.a1_in1k'"),
        ("nonsense_zzz@random", "timm has no model 'nonsense_zzz'"),
    ],
)
def test_timm_names(spec, match):
    with pytest.raises(UnknownNameError, match=match):
        load_encoder(f"timm:{spec}")


@pytest.mark.parametrize("spec", ["timm:local-dir:/nowhere/at all", "timm:nonsense:x", "hf:/nowhere", "st:./nowhere"])
def test_folders_that_are_not_there(spec):
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_encoder(spec)


def test_damaged_weights_are_one_sentence(timm_folder, tmp_path):
    import shutil

    folder = shutil.copytree(timm_folder[0], tmp_path / "damaged")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(EncoderError, match=r"damaged.* cannot be loaded"):
        load_encoder(f"timm:local-dir:{folder}")


@pytest.mark.parametrize(
    ("name", "n_features"), [("squeezenet1_1", 512), ("mobilenet_v3_small", 1024), ("shufflenet_v2_x0_5", 1024)]
)
def test_torchvision_gives_what_enters_its_last_layer(name, n_features):
    import torchvision

    encoder = load_encoder(f"torchvision:{name}@random", "cpu")
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    features = check(encoder, [picture], n_features)
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    caught = {}
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    if layers:  # otherwise its last layer is a convolution, and then pools
        layers[-1].register_forward_pre_hook(lambda _, inputs: caught.update(features=inputs[0]))
        transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        with torch.inference_mode():
            model(transform(picture)[None])
        np.testing.assert_allclose(features, caught["features"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("resnet81", "no classifier 'resnet81'. Did you mean 'resnet18'"),
        ("resnet18@IMAGENET1K_V9", "Did you mean 'IMAGENET1K_V1'"),
        ("fasterrcnn_resnet50_fpn", "no classifier"),
    ],
)
def test_torchvision_names(spec, match):
    with pytest.raises(UnknownNameError, match=match):
        load_encoder(f"torchvision:{spec}")


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_torchvision_without_network(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderError, match="HF_HUB_OFFLINE is set"):
        load_encoder("torchvision:resnet18")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(EncoderError, match=r"resnet18' cannot be loaded: .* check its name and the network"):
        load_encoder("torchvision:resnet18")  # sockets are refused in tests
    assert not list(tmp_path.rglob("*.pth"))


def test_text_model_is_the_mean_over_its_tokens(bert_folder, texts):
    from transformers import AutoModel, AutoTokenizer

    encoder = load_encoder(f"hf:{bert_folder}", "cpu")
    assert encoder.modality == "text"
    features = check(encoder, texts, 8)
    model, tokenizer = AutoModel.from_pretrained(bert_folder), AutoTokenizer.from_pretrained(bert_folder)
    with torch.inference_mode():
        hidden = model(**tokenizer(texts[1], return_tensors="pt")).last_hidden_state[0]
    np.testing.assert_allclose(features[1], hidden.mean(0), rtol=1e-4, atol=1e-6)
    long = encoder.encode(["cat " * 5000])  # truncated, not failed
    np.testing.assert_allclose(long, encoder.encode(["cat " * 12]), rtol=1e-5)


def test_picture_model_uses_its_pooler_only_if_that_was_trained(vit_folders, pictures):
    from transformers import AutoModel, ViTImageProcessor

    for kind, folder in vit_folders.items():
        features = check(load_encoder(f"hf:{folder}", "cpu"), pictures, 8)
        model, processor = AutoModel.from_pretrained(folder), ViTImageProcessor.from_pretrained(folder)
        with torch.inference_mode():
            output = model(processor(pictures, return_tensors="pt")["pixel_values"])
        expected = output.pooler_output if kind == "pooler" else output.last_hidden_state[:, 0]
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_clip_gives_its_projection(clip_folder, pictures):
    encoder = load_encoder(f"hf:{clip_folder}", "cpu")
    assert encoder.modality == "image"
    check(encoder, pictures, 5)


def test_a_body_without_its_weights_is_refused(vit_folders, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(vit_folders["pooler"], tmp_path / "partial")
    tensors = load_file(folder / "model.safetensors")
    lost = next(key for key in tensors if "attention" in key)
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=f"no trained weights for .*{lost.rpartition('.')[2]}"):
        load_encoder(f"hf:{folder}", "cpu")


def test_sentence_model_is_what_the_library_gives(sentence_folder, texts):
    from sentence_transformers import SentenceTransformer

    encoder = load_encoder(f"st:{sentence_folder}", "cpu")
    assert encoder.modality == "text"
    texts = [text for text in texts if text]
    features = check(encoder, texts, 8)
    library = SentenceTransformer(str(sentence_folder), device="cpu")
    np.testing.assert_allclose(features, library.encode(texts), rtol=1e-5, atol=1e-6)


def test_identity_follows_weights_and_preprocessing(vit_folders, tmp_path):
    import json
    import shutil

    folder = shutil.copytree(vit_folders["pooler"], tmp_path / "copy")
    before = load_encoder(f"hf:{folder}", "cpu").identity()
    settings = folder / "preprocessor_config.json"
    changed = json.loads(settings.read_text())
    changed["image_mean"] = [0.1, 0.2, 0.3]
    settings.write_text(json.dumps(changed))
    after = load_encoder(f"hf:{folder}", "cpu").identity()
    assert before["weights"] == after["weights"]
    assert before["preprocessing"] != after["preprocessing"]
    shutil.copy(vit_folders["classifier"] / "model.safetensors", folder)
    assert load_encoder(f"hf:{folder}", "cpu").identity()["weights"] != after["weights"]


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_device_that_is_not_there(device):
    with pytest.raises(OptionError, match=f"`device` must be .* got '{device}'"):
        load_encoder("timm:test_vit@random", device)


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [
        ("timm:resnet18", "timm", "timm"),
        ("torchvision:resnet18", "torchvision", "torchvision"),
        ("hf:a/b", "transformers", "transformers"),
        ("st:a", "sentence_transformers", "sentence-transformers"),
        ("openclip:ViT-B-32/openai", "open_clip", "open-clip"),
        ("packaged:efficientnet-lite0", "torch", "torch"),
    ],
)
def test_missing_library_names_the_extra(monkeypatch, spec, module, extra):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"'{spec}' needs .* pip install 'transferability\[{extra}\]'"):
        load_encoder(spec)


def test_loading_says_nothing(capfd, bert_folder, sentence_folder, vit_folders, open_clip_tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_encoder(f"hf:{bert_folder}", "cpu")
        load_encoder(f"st:{sentence_folder}", "cpu")
        load_encoder(f"hf:{vit_folders['classifier']}", "cpu")  # transformers has much to say about its pooler
        load_encoder(f"openclip:tiny-clip/{open_clip_tiny[0]}", "cpu")
        load_encoder("openclip:tiny-clip@random", "cpu")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
