"""ONNX graphs in torch: the same features, weights that can be trained, and refusals that say why."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from transferability.encoders import TrainableEncoder, as_trainable, load_encoder
from transferability.encoders.function import FunctionEncoder
from transferability.errors import EncoderError

RNG = np.random.default_rng(3)


def weights(name, *shape):
    return numpy_helper.from_array((RNG.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)


def save(path, nodes, constants, *, batch="n", size=17, output="y", version=13):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_empty_tensor_value_info(output)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8), path)
    return f"onnx:{path}"


def pooled(tensor="map"):
    return [helper.make_node("GlobalAveragePool", [tensor], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]


def photographs(n=5):
    pixels = RNG.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return [Image.fromarray(each).resize((40, 30)) for each in pixels]


def check(identifier):
    """Compare with ONNX Runtime, for batches and for rows alone; return the network."""
    encoder = load_encoder(identifier, device="cpu")
    network = as_trainable(encoder)
    assert isinstance(network, TrainableEncoder)
    items = photographs()
    wanted = encoder.encode(items)
    np.testing.assert_allclose(network.encode(items), wanted, atol=5e-6 * max(1, np.abs(wanted).max()))
    np.testing.assert_allclose(network.encode(items[:1]), wanted[:1], atol=5e-6 * max(1, np.abs(wanted).max()))
    features = network.differentiable([network.preprocess(item) for item in items])
    features.square().sum().backward()
    trained = list(network.module.parameters())
    assert trained
    assert all(each.grad is not None and bool(each.grad.abs().any()) for each in trained)
    return network


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_plain_graph_gives_the_same_features(layout, make_onnx) -> None:
    assert sum(each.numel() for each in check(f"onnx:{make_onnx(layout=layout)}").module.parameters()) == 12 + 8


def test_only_what_leads_to_the_features_is_converted(make_onnx) -> None:
    network = check(f"onnx:{make_onnx()}#map")  # a map, averaged over its positions
    assert sum(each.numel() for each in network.module.parameters()) == 12  # without the head


@pytest.mark.parametrize("kind", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_that_depends_on_the_size_is_resolved(kind, stride, tmp_path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], auto_pad=kind, strides=[stride, stride]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["map"], auto_pad=kind, kernel_shape=[2, 3], strides=[2, 1]),
        *pooled(),
    ]
    check(save(tmp_path / "m.onnx", nodes, [weights("w", 4, 3, 4, 3)]))


def test_weights_behind_identities_and_in_constants_are_found_and_trained(tmp_path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weights("", 6, 3, 3, 3)),
        helper.make_node("Identity", ["w"], ["w1"]),
        helper.make_node("Identity", ["w1"], ["w2"]),
        helper.make_node("Conv", ["x", "w2"], ["c"]),
        helper.make_node("Mul", ["c", "scale"], ["m"]),  # an affine step: weights, too
        helper.make_node("Add", ["m", "shift"], ["a"]),
        helper.make_node("Mul", ["a", "half"], ["map"]),  # a number is no weight
        *pooled(),
    ]
    constants = [
        weights("scale", 1, 6, 1, 1),
        weights("shift", 1, 6, 1, 1),
        numpy_helper.from_array(np.float32(0.5), "half"),
    ]
    network = check(save(tmp_path / "m.onnx", nodes, constants))
    assert sum(each.numel() for each in network.module.parameters()) == 6 * 3 * 9 + 6 + 6


def test_batch_normalisation_keeps_its_layers(tmp_path) -> None:
    moments = [numpy_helper.from_array(np.linspace(0.5, 2, 4).astype(np.float32), name) for name in "gbmv"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["map"]),
        *pooled(),
    ]
    network = check(save(tmp_path / "m.onnx", nodes, [weights("w", 4, 3, 3, 3), *moments], version=14))
    assert any(isinstance(each, torch.nn.BatchNorm2d) for each in network.module.modules())


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("states", [True, False])
def test_lstm_layers_are_converted(direction, bias, states, tmp_path) -> None:
    n_directions, size = (2 if direction == "bidirectional" else 1), 5
    lstm = ["s", "w", "r", "b" if bias else "", "", *(["h", "h"] if states else [])]
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["rows"], axes=[2], keepdims=0),  # (n, 3, w)
        helper.make_node("Transpose", ["rows"], ["s"], perm=[2, 0, 1]),  # (w, n, 3)
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Concat", ["directions", "batch", "size"], ["state_shape"], axis=0),
        helper.make_node("ConstantOfShape", ["state_shape"], ["h"], value=numpy_helper.from_array(np.float32([0.3]))),
        helper.make_node("LSTM", lstm, ["all", "last", ""], direction=direction, hidden_size=size),
        helper.make_node("Transpose", ["last"], ["t"], perm=[1, 0, 2]),
        helper.make_node("Flatten", ["t"], ["y"]),
    ]
    integers = {"zero": [0], "directions": [n_directions], "size": [size]}
    constants = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in integers.items()]
    constants += [weights("w", n_directions, 4 * size, 3), weights("r", n_directions, 4 * size, size)]
    constants += [weights("b", n_directions, 8 * size)] if bias else []
    identifier = save(tmp_path / "m.onnx", nodes, constants)
    encoder = load_encoder(identifier, device="cpu")
    network = as_trainable(encoder)
    items = photographs()
    np.testing.assert_allclose(network.encode(items), encoder.encode(items), atol=5e-6)


def test_an_lstm_with_more_than_the_usual_is_refused(tmp_path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["rows"], axes=[2], keepdims=0),
        helper.make_node("Transpose", ["rows"], ["s"], perm=[2, 0, 1]),
        helper.make_node("LSTM", ["s", "w", "r"], ["", "last"], hidden_size=5, clip=0.1),
        helper.make_node("Transpose", ["last"], ["t"], perm=[1, 0, 2]),
        helper.make_node("Flatten", ["t"], ["y"]),
    ]
    identifier = save(tmp_path / "m.onnx", nodes, [weights("w", 1, 20, 3), weights("r", 1, 20, 5)])
    with pytest.raises(EncoderError, match=r"onnx2torch cannot convert its graph.*LSTM.*clip.*method 'probe'"):
        as_trainable(load_encoder(identifier, device="cpu"))


def test_a_quantised_graph_is_refused(make_onnx) -> None:
    encoder = load_encoder(f"onnx:{make_onnx(quantize=True)}", device="cpu")
    with pytest.raises(EncoderError, match=r"is quantised \(DequantizeLinear, DynamicQuantizeLinear\)"):
        as_trainable(encoder)


def test_an_operation_without_a_rule_is_refused(tmp_path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Hardmax", ["c"], ["map"]), *pooled()]
    identifier = save(tmp_path / "m.onnx", nodes, [weights("w", 4, 3, 3, 3)])
    with pytest.raises(EncoderError, match=r"onnx2torch cannot convert its graph.*Hardmax"):
        as_trainable(load_encoder(identifier, device="cpu"))


def test_a_graph_that_computes_something_else_in_torch_is_refused(make_onnx, monkeypatch) -> None:
    import onnx2torch

    convert = onnx2torch.convert

    def wrong(model):
        module = convert(model)
        with torch.no_grad():
            next(module.parameters()).mul_(1.1)
        return module

    monkeypatch.setattr(onnx2torch, "convert", wrong)
    with pytest.raises(EncoderError, match="does not compute what the graph does"):
        as_trainable(load_encoder(f"onnx:{make_onnx()}", device="cpu"))


def test_the_encoder_itself_is_left_alone(make_onnx) -> None:
    encoder = load_encoder(f"onnx:{make_onnx()}", device="cpu")
    items, identity = photographs(), encoder.identity()
    before = encoder.encode(items)
    network = as_trainable(encoder)
    with torch.no_grad():
        for each in network.module.parameters():
            each.zero_()
    np.testing.assert_array_equal(encoder.encode(items), before)
    assert encoder.identity() == identity
    assert as_trainable(encoder).encode(items).any()  # weights of its own


def test_what_does_not_run_in_torch_is_told_to_be_probed() -> None:
    with pytest.raises(EncoderError, match=r"'flat' cannot be fine-tuned.*Take method 'probe'"):
        as_trainable(FunctionEncoder("flat", lambda items: np.zeros((len(items), 3))))


def test_a_packaged_graph_gives_the_same_features() -> None:
    check("packaged:pp-lcnet-orientation")
