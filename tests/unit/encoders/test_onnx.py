import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from transferability.encoders import Encoder, identity_of, load_encoder
from transferability.encoders.image_input import PictureInput
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


def test_weights_in_constants_are_counted(make_onnx, tmp_path):
    model = onnx.load(make_onnx())
    for tensor in list(model.graph.initializer):
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]
    onnx.save(model, tmp_path / "constants.onnx")
    assert load_encoder(f"onnx:{tmp_path / 'constants.onnx'}", "cpu").n_parameters == 4 * 3 + 4 * 2


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


# --- what graphs of other makers have


def save_graph(path, nodes, inputs, outputs, initializers, **options):
    """Write a graph; inputs and outputs are (name, type, shape)."""
    values = [[helper.make_tensor_value_info(*each) for each in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "g", *values, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path, **options)
    return f"onnx:{path}"


FLOAT, HALF, DOUBLE, UINT8 = (getattr(onnx.TensorProto, each) for each in ("FLOAT", "FLOAT16", "DOUBLE", "UINT8"))
WEIGHTS = np.random.default_rng(3).normal(size=(8, 3, 4, 4)).astype(np.float32) / 8


def convolve(x, output, *, name="w"):
    return helper.make_node("Conv", [x, name], [output], strides=[4, 4])


def tail(kind):
    """Return nodes from the map `c`, (n, 8, 8, 8) or (n, 8, 7, 7), to `y`, and the constants that they need."""
    transpose, node = (lambda x, y, perm: helper.make_node("Transpose", [x], [y], perm=perm)), helper.make_node
    last = numpy_helper.from_array(np.ones(8, np.float32), "one")
    shape = numpy_helper.from_array(np.array([0, 8, -1]), "shape")
    return {
        "channels first": ([node("Relu", ["c"], ["y"])], []),
        "channels last": ([node("Relu", ["c"], ["r"]), transpose("r", "y", [0, 2, 3, 1])], []),
        "there and back": ([transpose("c", "t", [0, 2, 3, 1]), transpose("t", "y", [0, 3, 1, 2])], []),
        "after a normalisation": (
            [transpose("c", "t", [0, 2, 3, 1]), node("LayerNormalization", ["t", "one"], ["y"])],
            [last],
        ),
        "positions laid together": ([node("Reshape", ["c", "shape"], ["y"])], [shape]),
        "positions first": ([node("Reshape", ["c", "shape"], ["s"]), transpose("s", "y", [0, 2, 1])], [shape]),
        "reduced": ([transpose("c", "t", [0, 2, 3, 1]), node("ReduceMax", ["t"], ["y"], axes=[1, 2])], []),
    }[kind]  # fmt: skip


@pytest.mark.parametrize("size", [28, 32])  # of 32, a map of 8 × 8: as many as channels
@pytest.mark.parametrize(
    "kind",
    ["channels first", "channels last", "there and back", "after a normalisation", "positions laid together",
     "positions first", "reduced"],
)  # fmt: skip
def test_the_axis_of_the_channels_is_found_in_the_graph(tmp_path, pictures, kind, size):
    nodes, constants = tail(kind)
    weights = numpy_helper.from_array(WEIGHTS, "w")
    rank = 3 if "positions" in kind else 4
    name = save_graph(
        tmp_path / "m.onnx", [convolve("x", "c"), *nodes], [("x", FLOAT, ["n", 3, size, size])],
        [("y", FLOAT, ["n", *(f"d{each}" for each in range(1, rank))])], [weights, *constants],
    )  # fmt: skip
    features = load_encoder(name, "cpu").encode(pictures)
    assert features.shape == (len(pictures), 8)
    maps = load_encoder(f"{name}#c", "cpu").forward(
        [PictureInput((size, size)).one(each) for each in pictures], ["features"]
    )
    if kind in ("channels first", "channels last"):
        return  # the relu is in between
    if kind in ("there and back", "positions laid together", "positions first"):
        np.testing.assert_allclose(features, maps["features"], rtol=1e-4, atol=1e-5)


def test_both_layouts_of_a_map_give_the_same(tmp_path, pictures):
    weights = numpy_helper.from_array(WEIGHTS, "w")
    found = []
    for kind in ("channels first", "channels last"):
        nodes, _ = tail(kind)
        shape = ["n", 8, 8, 8]
        name = save_graph(tmp_path / f"{kind}.onnx", [convolve("x", "c"), *nodes], [("x", FLOAT, ["n", 3, 32, 32])],
                          [("y", FLOAT, shape)], [weights])  # fmt: skip
        found.append(load_encoder(name, "cpu").encode(pictures))
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_axes_that_cannot_be_told_are_refused(tmp_path, pictures):
    shape = numpy_helper.from_array(np.array([0, 4, 4, 3]), "shape")
    name = save_graph(tmp_path / "m.onnx", [helper.make_node("Reshape", ["x", "shape"], ["y"])],
                      [("x", FLOAT, ["n", 3, 4, 4])], [("y", FLOAT, ["n", 4, 4, 3])], [shape])  # fmt: skip
    assert load_encoder(name, "cpu").encode(pictures).shape == (3, 3)  # height and width are equal, and tell
    shape = numpy_helper.from_array(np.array([0, 2, 4, 6]), "shape")
    name = save_graph(tmp_path / "m.onnx", [helper.make_node("Reshape", ["x", "shape"], ["y"])],
                      [("x", FLOAT, ["n", 3, 4, 4])], [("y", FLOAT, ["n", 2, 4, 6])], [shape])  # fmt: skip
    with pytest.raises(EncoderError, match=r"gives \(2, 4, 6\) for a picture, and which of these counts channels"):
        load_encoder(name, "cpu").encode(pictures)


@pytest.mark.parametrize("kind", [HALF, DOUBLE])
def test_inputs_of_other_floating_types(tmp_path, pictures, kind):
    found = []
    for each in (kind, FLOAT):
        nodes = [helper.make_node("Cast", ["x"], ["f"], to=FLOAT), convolve("f", "y")]
        name = save_graph(tmp_path / f"{each}.onnx", nodes, [("x", each, ["n", 3, 32, 32])],
                          [("y", FLOAT, ["n", 8, 8, 8])], [numpy_helper.from_array(WEIGHTS, "w")])  # fmt: skip
        found.append(load_encoder(name, "cpu").encode(pictures))
    np.testing.assert_allclose(*found, rtol=0.01, atol=1e-3)


def test_outputs_in_half_precision(tmp_path, pictures):
    name = save_graph(tmp_path / "m.onnx", [convolve("x", "y")], [("x", HALF, ["n", 3, 32, 32])],
                      [("y", HALF, ["n", 8, 8, 8])],
                      [numpy_helper.from_array(WEIGHTS.astype(np.float16), "w")])  # fmt: skip
    features = load_encoder(name, "cpu").encode(pictures)
    assert features.dtype == np.float32
    assert features.shape == (3, 8)


def test_uint8_pixels_are_fed_as_they_are(tmp_path, pictures):
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=FLOAT), convolve("f", "y")]
    name = save_graph(tmp_path / "m.onnx", nodes, [("x", UINT8, ["n", 3, 32, 32])], [("y", FLOAT, ["n", 8, 8, 8])],
                      [numpy_helper.from_array(WEIGHTS, "w")])  # fmt: skip
    encoder = load_encoder(name, "cpu")
    assert encoder.preprocess(pictures[0]).dtype == np.uint8
    plain = save_graph(tmp_path / "f.onnx", [convolve("x", "y")], [("x", FLOAT, ["n", 3, 32, 32])],
                       [("y", FLOAT, ["n", 8, 8, 8])], [numpy_helper.from_array(255 * WEIGHTS, "w")])  # fmt: skip
    model = onnx.load(plain.removeprefix("onnx:"))
    helper.set_model_props(model, {"mean": "[0, 0, 0]", "std": "[1, 1, 1]"})
    onnx.save(model, plain.removeprefix("onnx:"))
    np.testing.assert_allclose(
        encoder.encode(pictures), load_encoder(plain, "cpu").encode(pictures), rtol=1e-3, atol=1e-2
    )
    with pytest.raises(EncoderError, match="its input is int32"):
        load_encoder(
            save_graph(tmp_path / "i.onnx", [helper.make_node("Cast", ["x"], ["y"], to=FLOAT)],
                       [("x", onnx.TensorProto.INT32, ["n", 3, 8, 8])], [("y", FLOAT, ["n", 3, 8, 8])], [])
        )  # fmt: skip


@pytest.mark.parametrize("shape", [["n", 4, 32, 32], ["n", 32, 32, 4], ["n", 2, 32, 32]])
def test_other_numbers_of_channels_are_refused_at_once(tmp_path, shape):
    name = save_graph(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], [("x", FLOAT, shape)],
                      [("y", FLOAT, shape)], [])  # fmt: skip
    with pytest.raises(EncoderError, match="must take pictures of 3 channels, or of 1 in grey"):
        load_encoder(name, "cpu")


# --- weights in other files


@pytest.fixture
def external(tmp_path):
    """Return the name of a graph with weights beside it, and a function that makes it name another file."""
    path = tmp_path / "model" / "m.onnx"
    path.parent.mkdir()
    save_graph(path, [convolve("x", "y")], [("x", FLOAT, ["n", 3, 32, 32])], [("y", FLOAT, ["n", 8, 8, 8])],
               [numpy_helper.from_array(WEIGHTS, "w")], save_as_external_data=True, location="m.data",
               size_threshold=0)  # fmt: skip

    def point_to(location):
        graph = onnx.load(path, load_external_data=False)
        for entry in graph.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = location
        path.write_bytes(graph.SerializeToString())

    return path, point_to


def test_weights_beside_a_graph_are_part_of_it(external, pictures):
    path, _ = external
    encoder = load_encoder(f"onnx:{path}", "cpu")
    before, features = identity_of(encoder), encoder.encode(pictures)
    data = path.parent / "m.data"
    data.write_bytes((2 * np.frombuffer(data.read_bytes(), dtype=np.float32)).tobytes())
    encoder = load_encoder(f"onnx:{path}", "cpu")
    np.testing.assert_allclose(encoder.encode(pictures), 2 * features, rtol=1e-5)
    assert identity_of(encoder) != before


def test_weights_in_a_cache_of_links_are_read(external, tmp_path, pictures):
    path, _ = external
    snapshot, blobs = tmp_path / "snapshots" / "1", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    path.parent.rename(blobs)
    for name in ("m.onnx", "m.data"):
        (snapshot / name).symlink_to(blobs / name)
    assert load_encoder(f"onnx:{snapshot / 'm.onnx'}", "cpu").encode(pictures).shape == (3, 8)


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ("gone.data", "which is not there. Copy it beside the graph"),
        ("../outside.data", "outside its folder"),
        ("inner/../../outside.data", "outside its folder"),
        ("/etc/passwd", "outside its folder"),
        ("link.data", "no file of its folder"),
        ("zero", "no file of its folder"),
        ("pipe", "no file of its folder"),
        ("inner", "no file of its folder"),
        ("", "no file of its folder"),
    ],
)
def test_weights_elsewhere_are_refused_before_they_are_read(external, tmp_path, location, match):
    path, point_to = external
    folder = path.parent
    (tmp_path / "outside.data").write_bytes((folder / "m.data").read_bytes())
    (folder / "inner").mkdir()
    (folder / "link.data").symlink_to(tmp_path / "outside.data")
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    point_to(location)
    with pytest.raises(EncoderError, match=match):
        load_encoder(f"onnx:{path}", "cpu")
