"""Tiny models of every library, with random weights, made here: nothing is downloaded."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from transferability.encoders import load_encoder


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pictures():
    rng = np.random.default_rng(0)
    sizes = [(40, 30), (32, 32), (20, 50)]
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


@pytest.fixture(scope="session")
def texts():
    return ["a cat", "the dog sat on the mat", "", "cat cat ☹"]


@pytest.fixture
def make_onnx(tmp_path):
    """Return a function that writes a graph: a 1×1 convolution to 4 channels, relu, mean over the picture."""

    def make(batch="n", size=16, channels=3, layout="NCHW", metadata=None, head=True, quantize=False, name="m.onnx"):
        rng = np.random.default_rng(7)
        weights = rng.normal(size=(4, channels, 1, 1)).astype(np.float32)
        shape = [batch, channels, size, size] if layout == "NCHW" else [batch, size, size, channels]
        first = "x"
        nodes = []
        if layout == "NHWC":
            nodes.append(helper.make_node("Transpose", ["x"], ["nchw"], perm=[0, 3, 1, 2]))
            first = "nchw"
        if quantize:
            nodes.append(helper.make_node("DynamicQuantizeLinear", [first], ["q", "scale", "zero"]))
            nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["rounded"]))
            first = "rounded"
        nodes += [helper.make_node("Conv", [first, "w"], ["conv"]), helper.make_node("Relu", ["conv"], ["map"])]
        initializers = [numpy_helper.from_array(weights, "w")]
        output, output_shape = "map", [batch, 4, size, size]
        if head:
            nodes += [
                helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
                helper.make_node("Flatten", ["pooled"], ["flat"]),
                helper.make_node("MatMul", ["flat", "v"], ["logits"]),
            ]
            initializers.append(numpy_helper.from_array(rng.normal(size=(4, 2)).astype(np.float32), "v"))
            output, output_shape = "logits", [batch, 2]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
            initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        properties = {
            key: each if isinstance(each, str) else json.dumps(each) for key, each in (metadata or {}).items()
        }
        helper.set_model_props(model, properties)
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return make


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """Return the folder of a word tokeniser."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "a", "the", "cat", "dog", "sat", "on", "mat"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=12
    )
    return fast


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory, words):
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny bert"
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=9, max_position_embeddings=16, **sizes)
    BertModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


VIT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
}


@pytest.fixture(scope="session")
def vit_folders(tmp_path_factory):
    """Return the folders of a ViT with its pooler and of one without, as classifiers are published."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor, ViTModel

    folders = {}
    for kind, model_class in (("pooler", ViTModel), ("classifier", ViTForImageClassification)):
        folders[kind] = tmp_path_factory.mktemp("models") / f"vit-{kind}"
        torch.manual_seed(0)
        model_class(ViTConfig(**VIT)).save_pretrained(folders[kind])
        ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folders[kind])
    return folders


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("models") / "clip"
    torch.manual_seed(0)
    text = {key: VIT[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
    config = CLIPConfig(
        text_config={**text, "vocab_size": 9, "eos_token_id": 8, "bos_token_id": 7, "pad_token_id": 0},
        vision_config=VIT,
        projection_dim=5,
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sentence_folder(tmp_path_factory, bert_folder):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    folder = tmp_path_factory.mktemp("models") / "sentences"
    SentenceTransformer(modules=[Transformer(str(bert_folder)), Pooling(8)], device="cpu").save(str(folder))
    return folder


@pytest.fixture(scope="session")
def text_folders(tmp_path_factory, words):
    """Return the folders of BERT with heads for texts and for words, T5, BART with a head, GPT-2."""
    import torch
    from transformers import (
        BartConfig,
        BartForSequenceClassification,
        BertConfig,
        BertForSequenceClassification,
        BertForTokenClassification,
        GPT2Config,
        GPT2Model,
        T5Config,
        T5ForConditionalGeneration,
    )

    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    bert = BertConfig(vocab_size=9, max_position_embeddings=16, id2label={0: "bad", 1: "fair", 2: "good"}, **sizes)
    names = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    bart = BartConfig(
        vocab_size=9, d_model=8, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=16, num_labels=3,
        pad_token_id=0, bos_token_id=1, eos_token_id=8, decoder_start_token_id=8, forced_eos_token_id=8, **names,
    )  # fmt: skip
    t5 = T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0)
    gpt2 = GPT2Config(vocab_size=9, n_embd=8, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0)
    made = {
        "texts": (BertForSequenceClassification, bert),
        "words": (BertForTokenClassification, bert),
        "t5": (T5ForConditionalGeneration, t5),
        "bart": (BartForSequenceClassification, bart),
        "gpt2": (GPT2Model, gpt2),
    }
    folders = {}
    for kind, (model_class, config) in made.items():
        folders[kind] = tmp_path_factory.mktemp("models") / kind
        torch.manual_seed(0)
        model_class(config).save_pretrained(folders[kind])
        words.save_pretrained(folders[kind])
    return folders


@pytest.fixture(scope="session")
def open_clip_tiny(tmp_path_factory):
    """Teach open_clip a tiny architecture, and return a checkpoint of it."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("open clip")
    vision = {"image_size": 16, "layers": 2, "width": 64, "patch_size": 8}
    config = {"embed_dim": 6, "vision_cfg": vision, "text_cfg": {"vocab_size": 20, "width": 8, "heads": 1, "layers": 1}}
    (folder / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.manual_seed(5)
    model = open_clip.create_model("tiny-clip", load_weights=False)
    torch.save(model.state_dict(), folder / "tiny.pt")
    return folder / "tiny.pt", model


@pytest.fixture
def make(request, vit_folders, clip_folder, text_folders, sentence_folder, open_clip_tiny, make_onnx):
    """Return a function from a short name to an encoder and items of its modality."""
    folders = {
        "vit": vit_folders["classifier"],
        "vit-pooler": vit_folders["pooler"],
        "clip": clip_folder,
        **text_folders,
    }

    def make(kind, **options):
        identifiers = {
            "timm vit": "timm:test_vit@random",
            "timm resnet": "timm:test_resnet@random",
            "torchvision": "torchvision:shufflenet_v2_x0_5@random",
            "st": f"st:{sentence_folder}",
            "openclip": f"openclip:tiny-clip/{open_clip_tiny[0]}",
            "onnx": f"onnx:{make_onnx()}",
            **{name: f"hf:{folder}" for name, folder in folders.items()},
        }
        encoder = load_encoder(identifiers[kind], "cpu", **options)
        return encoder, request.getfixturevalue("pictures" if encoder.modality == "image" else "texts")

    return make
