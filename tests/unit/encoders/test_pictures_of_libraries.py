"""Picture models: the model's own input decides; masks and channels are seen to."""

import json

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image

from transferability.encoders import load_encoder
from transferability.encoders.image_input import PictureInput
from transferability.encoders.networks import PictureNetwork
from transferability.errors import EncoderError

VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}


def save(model, folder, channels=3):
    statistics = {} if channels == 3 else {"image_mean": [0.5], "image_std": [0.5]}
    size = {"height": 32, "width": 32}
    model.save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size=size, do_convert_rgb=channels == 3, **statistics
    ).save_pretrained(folder)
    return f"hf:{folder}"


@pytest.mark.parametrize("name", ["CLIPVision", "SiglipVision", "Dinov2WithRegisters"])
def test_towers_and_relatives_are_picture_models(name, tmp_path, pictures):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**VISION)
    model = getattr(transformers, f"{name}Model")(config).eval()
    encoder = load_encoder(save(model, tmp_path), "cpu")
    assert encoder.modality == "image"
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    with torch.inference_mode():
        output = model(processor(images=pictures, return_tensors="pt")["pixel_values"])
    np.testing.assert_allclose(encoder.encode(pictures), output.pooler_output, rtol=1e-4, atol=1e-5)


def test_a_masked_autoencoder_sees_whole_pictures(tmp_path, pictures):
    torch.manual_seed(0)
    config = transformers.ViTMAEConfig(**VISION, intermediate_size=64)
    encoder = load_encoder(save(transformers.ViTMAEForPreTraining(config), tmp_path), "cpu")
    first = encoder.encode(pictures)
    np.testing.assert_array_equal(first, encoder.encode(pictures))
    model = transformers.ViTMAEModel.from_pretrained(tmp_path).eval()
    model.config.mask_ratio = 0.0
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    with torch.inference_mode():  # of another order of the patches the class token sees the same
        output = model(processor(images=pictures, return_tensors="pt")["pixel_values"])
    np.testing.assert_allclose(first, output.last_hidden_state[:, 0], rtol=1e-4, atol=1e-5)


def test_what_is_neither_picture_nor_text_is_refused(tmp_path):
    sizes = {key: VISION[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    convolution = {"conv_dim": (8,), "conv_stride": (5,), "conv_kernel": (10,)}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    config = transformers.Wav2Vec2Config(**sizes, **convolution, **positions, intermediate_size=32)
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="takes `input_values`, which are neither pictures nor texts"):
        load_encoder(f"hf:{tmp_path}", "cpu")


def test_one_channel_is_grey_and_four_are_refused(tmp_path, pictures):
    torch.manual_seed(0)
    for channels in (1, 4):
        model = transformers.ViTModel(transformers.ViTConfig(**VISION, intermediate_size=64, num_channels=channels))
        save(model, tmp_path / str(channels), channels)
    encoder = load_encoder(f"hf:{tmp_path / '1'}", "cpu")
    features = encoder.encode(pictures)
    np.testing.assert_allclose(features, encoder.encode([each.convert("L").convert("RGB") for each in pictures]))
    assert np.ptp(features, axis=0).max() > 0
    with pytest.raises(EncoderError, match="takes pictures of 4 channels; pictures have 3, or 1 in grey"):
        load_encoder(f"hf:{tmp_path / '4'}", "cpu")


def test_timm_models_of_other_channels(tmp_path, pictures):
    import timm
    from timm.models import save_for_hf

    for channels, settings in ((1, {"mean": [0.5], "std": [0.5], "input_size": [1, 32, 32]}), (4, {})):
        model = timm.create_model("test_resnet", num_classes=0, in_chans=channels)
        folder = tmp_path / str(channels)
        save_for_hf(model, folder, model_config={"model_args": {"in_chans": channels}}, safe_serialization=True)
        config = json.loads((folder / "config.json").read_text())
        config["pretrained_cfg"] |= settings
        (folder / "config.json").write_text(json.dumps(config))
    assert np.isfinite(load_encoder(f"timm:local-dir:{tmp_path / '1'}", "cpu").encode(pictures)).all()
    with pytest.raises(EncoderError, match="takes pictures of 4 channels"):
        load_encoder(f"timm:local-dir:{tmp_path / '4'}", "cpu")


@pytest.mark.parametrize("name", ["timm:resnet10t@random", "timm:test_vit@random", "torchvision:squeezenet1_1@random"])
def test_convolutions_lie_with_channels_last_and_give_the_same(name, pictures):
    encoder = load_encoder(name, "cpu")
    weight = next(each for each in encoder.module.parameters() if each.ndim == 4 and each.shape[1:3].numel() > 3)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    identity, found = encoder.identity(), encoder.encode(pictures)
    encoder.module.to(memory_format=torch.contiguous_format)
    assert not weight.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(found, encoder.encode(pictures), rtol=1e-4, atol=1e-5)
    assert encoder.identity() == identity


def test_models_of_the_caller_keep_their_layout():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    assert next(of_module(network, "own").module.parameters()).is_contiguous()
    model = timm.create_model("resnet10t", num_classes=0)
    load_encoder(model, "cpu")
    torch.nn.utils.parameters_to_vector(model.parameters())  # takes no other


@pytest.mark.parametrize("kind", [lambda dense: dense.to_sparse(), lambda dense: dense.to_mkldnn()])
def test_tensors_that_have_no_layout_of_channels_stay(kind):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    network.register_buffer("other", kind(torch.ones(1, 2, 2, 2)), persistent=False)
    encoder = of_module(network, "own", channels_last=True)
    assert encoder.module[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert encoder.encode([Image.new("RGB", (8, 8))]).shape == (1, 4)


def of_module(network, name, *, channels_last=False):
    return PictureNetwork(
        name, network, lambda batch, _: (network(batch), None), PictureInput((8, 8)).one, {"source": name}, "cpu",
        n_parameters=1, pooling="mean", channels_last=channels_last,
    )  # fmt: skip
