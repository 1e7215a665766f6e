"""Blocks of ONNX graphs: where they end, and their means within the graph."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from transferability.encoders import every_layer, hidden_layers, load_encoder

node = helper.make_node
WIDTH = 4


def weights(name, width=WIDTH, channels=WIDTH, kind=np.float32):
    values = np.random.default_rng(len(name)).normal(size=(width, channels, 1, 1)) / channels
    return numpy_helper.from_array(values.astype(kind), name)


RESIDUAL = [
    node("Conv", ["x", "w0"], ["c0"]),
    node("Relu", ["c0"], ["stem"]),
    node("Conv", ["stem", "w1"], ["c1"]),
    node("Relu", ["c1"], ["within"]),
    node("Conv", ["within", "w2"], ["c2"]),
    node("Add", ["c2", "stem"], ["sum"]),
    node("Relu", ["sum"], ["block"]),
    node("Sigmoid", ["block"], ["gate"]),
    node("Mul", ["block", "gate"], ["gated"]),  # a swish: the gate is on one of two paths
    node("Conv", ["gated", "w3"], ["c3"]),
    node("GlobalAveragePool", ["c3"], ["pooled"]),
    node("Flatten", ["pooled"], ["features"]),
]


@pytest.fixture
def save(tmp_path):
    def write(nodes, output="features", *, kind=np.float32, opset=17, rank=2, size=8, batch="n", name="m.onnx"):
        tensors = [weights("w0", channels=3, kind=kind), *(weights(each, kind=kind) for each in ("w1", "w2", "w3"))]
        tensors.append(numpy_helper.from_array(np.array([0, WIDTH, -1]), "shape"))
        code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", code, [batch, 3, size, size])],
            [helper.make_tensor_value_info(output, code, [None] * rank)], tensors,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        onnx.save(model, tmp_path / name)
        return f"onnx:{tmp_path / name}"

    return write


def test_blocks_end_where_every_path_passes(save):
    assert hidden_layers(load_encoder(save(RESIDUAL), "cpu")) == ("stem", "gated")


def test_blocks_do_not_depend_on_the_order_of_the_file(save):
    # A branch from the stem that is used at the end: only the stem is on every path.
    side = [node("Conv", ["stem", "w1"], ["side"]), node("Add", ["c3", "side"], ["joined"])]
    body, tail = RESIDUAL[:10], [node("GlobalAveragePool", ["joined"], ["pooled"]), RESIDUAL[-1]]
    for number, nodes in enumerate(([*body, *side, *tail], [*body[:2], side[0], *body[2:], side[1], *tail])):
        encoder = load_encoder(save(nodes, name=f"{number}.onnx"), "cpu")
        assert hidden_layers(encoder) == ("stem",)


def test_what_only_sizes_depend_on_is_no_path(save):
    sized = [
        *RESIDUAL[:2], node("Shape", ["x"], ["size"]), node("Cast", ["size"], ["as numbers"], to=TensorProto.FLOAT),
        node("ReduceMin", ["as numbers"], ["least"], keepdims=0), node("Div", ["stem", "least"], ["divided"]),
        node("Conv", ["divided", "w1"], ["c1"]), node("GlobalAveragePool", ["c1"], ["pooled"]), RESIDUAL[-1],
    ]  # fmt: skip
    assert hidden_layers(load_encoder(save(sized), "cpu")) == ("divided",)


def test_tensors_that_do_not_count_pictures_first_are_left_out(save, pictures):
    turned = [
        *RESIDUAL[:2], node("Transpose", ["stem"], ["turned"], perm=[1, 0, 2, 3]),
        node("Transpose", ["turned"], ["back"], perm=[1, 0, 2, 3]), node("Conv", ["back", "w1"], ["c1"]),
        node("Transpose", ["c1"], ["first"], perm=[2, 0, 1, 3]), node("Relu", ["first"], ["again"]),
        node("Transpose", ["again"], ["c2"], perm=[1, 2, 0, 3]), node("Conv", ["c2", "w2"], ["c3"]),
        *RESIDUAL[-2:],
    ]  # fmt: skip
    assert hidden_layers(load_encoder(save(turned), "cpu")) == ("back", "c2")
    cut = load_encoder(save(turned, "again", rank=4, name="cut.onnx"), "cpu")  # the features themselves are turned
    assert hidden_layers(cut) == ("back",)


@pytest.mark.parametrize(("opset", "kind"), [(13, np.float32), (18, np.float32), (17, np.float16)])
def test_blocks_are_averaged_within_the_graph(save, pictures, opset, kind):
    positions = [
        *RESIDUAL[:10], node("Reshape", ["c3", "shape"], ["flat"]),
        node("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1]),
        node("ReduceMean", ["tokens"], ["features"], axes=[1], keepdims=0),
    ]  # fmt: skip
    name = save(positions if opset < 18 else RESIDUAL, opset=opset, kind=kind, batch=2)
    encoder = load_encoder(name, "cpu")
    together = encoder.forward([encoder.preprocess(each) for each in pictures], encoder.outputs)
    assert list(together) == ["features", "stem", "gated"]
    for view in every_layer(encoder):
        alone = load_encoder(f"{name}#{view.output}", "cpu").encode(pictures)  # type: ignore[attr-defined]
        assert alone.shape == (len(pictures), WIDTH)
        np.testing.assert_allclose(together[view.output], alone, rtol=1e-3 if kind == np.float16 else 1e-5)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(view.encode(pictures), together[view.output])  # type: ignore[attr-defined]
    assert together["features"].dtype == together["stem"].dtype == np.float32
