"""What fine-tuning needs of the torch encoders: features with gradients, the same as without, down to the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transferability.encoders import TrainableEncoder, load_encoder, outputs_of, select


@pytest.fixture
def identifiers(vit_folders, clip_folder, bert_folder, sentence_folder):
    return {
        "timm": "timm:test_efficientnet@random",
        "torchvision": "torchvision:squeezenet1_1@random",
        "vit": f"hf:{vit_folders['classifier']}",
        "clip": f"hf:{clip_folder}",
        "bert": f"hf:{bert_folder}",
        "sentences": f"st:{sentence_folder}",
    }


@pytest.mark.parametrize("kind", ["timm", "torchvision", "vit", "clip", "bert", "sentences"])
def test_differentiable_features_are_the_features_and_reach_the_weights(kind, identifiers, pictures, texts) -> None:
    encoder = load_encoder(identifiers[kind], device="cpu")
    assert isinstance(encoder, TrainableEncoder)
    items = texts if encoder.modality == "text" else pictures[:2]
    batch = items if encoder.preprocess is None else [encoder.preprocess(item) for item in items]
    features = encoder.differentiable(batch)
    np.testing.assert_allclose(features.detach().numpy(), encoder.encode(items), atol=1e-5)
    features.square().sum().backward()
    moved = [each for each in encoder.module.parameters() if each.grad is not None and bool(each.grad.abs().any())]
    assert len(moved) > 3
    assert torch.equal(features, encoder.differentiable(batch))  # nothing was changed by asking


def test_a_hidden_layer_and_an_onnx_graph_are_not_trainable(make_onnx) -> None:
    encoder = load_encoder("timm:test_efficientnet@random", device="cpu")
    assert not isinstance(select(encoder, outputs_of(encoder)[-1]), TrainableEncoder)
    assert not isinstance(load_encoder(f"onnx:{make_onnx()}"), TrainableEncoder)
