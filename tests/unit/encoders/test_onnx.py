import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from transferability.encoders import Encoder, load_encoder
from transferability.encoders.pictures import PictureInput
from transferability.errors import EncoderError, MissingExtraError, OptionError


def expected_map_mean(path, picture_input, pictures):
    """Compute the tiny graph by hand: 1×1 convolution, relu, mean."""
    weights = onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])[:, :, 0, 0]  # (4, channels)
    batch = picture_input.batch(pictures)  # (n, c, h, w)
    return np.maximum(np.einsum("oc,nchw->nohw", weights, batch), 0).mean((2, 3))


@pytest.mark.parametrize("output", ["#map", "#flat"])
def test_hidden_tensors_are_features(make_onnx, pictures, output):
    path = make_onnx()
    encoder = load_encoder(f"onnx:{path}{output}", "cpu")
    assert isinstance(encoder, Encoder)
    features = encoder.encode(pictures)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected_map_mean(path, PictureInput((16, 16)), pictures), rtol=1e-4)
    assert encoder.n_parameters == 4 * 3 + 4 * 2


def test_without_a_name_the_first_output(make_onnx, pictures):
    assert load_encoder(f"onnx:{make_onnx()}").encode(pictures).shape == (3, 2)


@pytest.mark.parametrize(
    ("settings", "picture_input"),
    [
        ({"layout": "NHWC"}, PictureInput((16, 16))),
        ({"size": "side"}, PictureInput((224, 224))),
        ({"channels": 1}, PictureInput((16, 16), channels="L", mean=0.0, std=1.0)),
        ({"metadata": {"mean": [0, 0, 0], "std": [1, 1, 2]}}, PictureInput((16, 16), mean=0.0, std=(1.0, 1.0, 2.0))),
    ],
)
def test_input_is_read_from_the_graph(make_onnx, pictures, settings, picture_input):
    path = make_onnx(**settings)
    features = load_encoder(f"onnx:{path}#flat").encode(pictures)
    np.testing.assert_allclose(features, expected_map_mean(path, picture_input, pictures), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_fixed_batch_size_is_kept_to(make_onnx, pictures, batch):
    fixed = load_encoder(f"onnx:{make_onnx(batch=batch)}").encode(pictures)
    np.testing.assert_allclose(fixed, load_encoder(f"onnx:{make_onnx()}").encode(pictures), rtol=1e-5)


def test_rows_do_not_depend_on_the_batch_where_activations_are_quantised(make_onnx):
    encoder = load_encoder(f"onnx:{make_onnx(quantize=True)}#flat")
    dark, bright = (Image.new("RGB", (16, 16), (level,) * 3) for level in (90, 255))
    np.testing.assert_array_equal(encoder.encode([dark, bright])[:1], encoder.encode([dark]))


def test_identity_follows_file_output_and_preprocessing(make_onnx):
    path = make_onnx()
    first = load_encoder(f"onnx:{path}").identity()
    assert first == load_encoder(f"onnx:{path}").identity()
    assert first != load_encoder(f"onnx:{path}#flat").identity()
    make_onnx(metadata={"mean": [0, 0, 0]})
    assert first != load_encoder(f"onnx:{path}").identity()


def test_tensors_that_are_not_there(make_onnx):
    with pytest.raises(EncoderError, match=r"has no tensor 'flatt'. Did you mean 'flat'"):
        load_encoder(f"onnx:{make_onnx()}#flatt")


def test_files_that_are_no_picture_encoders(tmp_path, make_onnx):
    with pytest.raises(EncoderError, match="there is no file"):
        load_encoder(f"onnx:{tmp_path / 'nowhere.onnx'}")
    path = make_onnx()
    whole = path.read_bytes()
    for contents in (b"", b"not a graph", whole[: len(whole) // 2]):
        path.write_bytes(contents)
        with pytest.raises(EncoderError, match="damaged or not an ONNX file"):
            load_encoder(f"onnx:{path}")
    text = helper.make_graph(
        [helper.make_node("Identity", ["ids"], ["out"])],
        "text",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "t"])],
        [helper.make_tensor_value_info("out", TensorProto.INT64, ["n", "t"])],
    )
    onnx.save(helper.make_model(text), path)
    with pytest.raises(EncoderError, match=r"must have one input of pictures.* it has ids, the first of 2 dimensions"):
        load_encoder(f"onnx:{path}")


def test_graph_that_the_runtime_refuses(make_onnx):
    path = make_onnx()
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperation"
    onnx.save(model, path)
    with pytest.raises(EncoderError, match=r"m\.onnx' cannot be loaded: .*NoSuchOperation"):
        load_encoder(f"onnx:{path}")


@pytest.mark.parametrize("value", ["nonsense", "[1, null]", "3"])
def test_metadata_that_make_no_sense(make_onnx, value):
    with pytest.raises(EncoderError, match="must be JSON lists of numbers"):
        load_encoder(f"onnx:{make_onnx(metadata={'mean': value})}")


def test_device_that_this_runtime_has_not(make_onnx):
    with pytest.raises(OptionError, match=r"`device` must be 'cpu'.* got 'tpu'"):
        load_encoder(f"onnx:{make_onnx()}", "tpu")


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_missing_library_names_the_extra(monkeypatch, make_onnx, module):
    path = make_onnx()
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"`{module}`.*transferability\[onnx\]"):
        load_encoder(f"onnx:{path}")
