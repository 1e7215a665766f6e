"""Archives and feature files that lie: one sentence, never a bare error and never the memory they ask for."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

from transferability._files import read_arrays, read_features, write_features
from transferability.datasets import load_dataset
from transferability.errors import FeatureError, FileDamagedError

FEATURES = np.random.default_rng(0).normal(size=(30, 5))
LABELS = np.arange(30) % 3


def npy(array):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def header(shape, descr="<f8"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def archive(path, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compression) as stream:
        for name, content in members.items():
            stream.writestr(f"{name}.npy", content)
    return path


def safetensors(path, head, data):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def encrypted(content):
    at = content.find(b"PK\x01\x02")
    return content[: at + 8] + bytes([content[at + 8] | 1]) + content[at + 9 :]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_of_every_compression_and_order(tmp_path, compression):
    fortran = np.asfortranarray(FEATURES)
    path = archive(
        tmp_path / "f.npz", compression, features=npy(fortran), labels=npy(LABELS), empty=npy(np.zeros((0, 3)))
    )
    arrays = read_arrays(path)
    np.testing.assert_array_equal(arrays["features"], FEATURES)
    np.testing.assert_array_equal(arrays["labels"], LABELS)
    assert arrays["empty"].shape == (0, 3)


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({"labels": b""}, "damaged or not an .npz archive"),
        ({"labels": b"some text"}, "damaged or not an .npz archive"),
        ({"labels": header("(1000000000, 1000)")}, r"'labels.npy' says it holds float64 of shape \(1000000000, 1000\)"),
        ({"labels": header("(3,)") + b"\0" * 8}, "says it holds float64 of shape"),
        ({"labels": header("(1,)") + b"\0" * 80}, "says it holds float64 of shape"),
        ({"labels": header(f"({10**18},)", "<U0")}, "says it holds <U0"),
        ({"labels": header("(-3,)")}, "damaged or not an .npz archive|says it holds"),
        ({"labels": header("(" + "9" * 5000 + ",)")}, "damaged or not an .npz archive"),
        ({"labels": header("[" * 5000 + "]" * 5000)}, "damaged or not an .npz archive"),
        ({"labels": npy(LABELS)[:-4]}, "says it holds int64"),
    ],
)
def test_members_that_lie(tmp_path, members, match):
    path = archive(tmp_path / "f.npz", features=npy(FEATURES), **members)
    with pytest.raises(FileDamagedError, match=match) as caught:
        read_features(path)
    assert len(str(caught.value)) < 800


def test_a_member_that_says_it_unpacks_to_more_than_it_can(tmp_path):
    head = header("(400000000,)")  # 3.2 GB
    path = archive(tmp_path / "f.npz", zipfile.ZIP_DEFLATED, features=head + b"\0" * 24)
    sizes = struct.pack("<I", len(head) + 24), struct.pack("<I", len(head) + 3_200_000_000)
    path.write_bytes(path.read_bytes().replace(*sizes))
    with pytest.raises(
        FileDamagedError, match=r"says it holds float64 of shape \(400000000,\), and its \d+ bytes do not"
    ):
        read_arrays(path)


def test_archives_that_cannot_be_opened(tmp_path):
    path = tmp_path / "f.npz"
    np.savez(path, features=FEATURES)
    path.write_bytes(encrypted(path.read_bytes()))
    with pytest.raises(FileDamagedError, match="encrypted"):
        read_arrays(path)
    archive(path, zipfile.ZIP_LZMA, features=npy(FEATURES))
    content = bytearray(path.read_bytes())
    for at in range(60, len(content), 97):
        flipped = bytearray(content)
        flipped[at] ^= 1
        path.write_bytes(flipped)
        try:
            arrays = read_arrays(path)
        except FileDamagedError:
            continue
        for array in arrays.values():  # a flip in a name or a date changes no number
            np.testing.assert_array_equal(array, FEATURES)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "does not begin like one"),
        (b"\x89PNG\r\n\x1a\n", "does not begin like one"),
        (b"features,labels\n", "does not begin like one"),
        (pickle.dumps({"features": 1}), "holds pickled objects"),
        (npy(FEATURES), "is a single array"),
    ],
)
def test_other_files_are_called_by_their_name(tmp_path, content, match):
    path = tmp_path / "f.npz"
    path.write_bytes(content)
    with pytest.raises(FileDamagedError, match=match):
        read_arrays(path)


def test_names_and_ids_in_bytes_are_decoded(tmp_path):
    path = tmp_path / "f.npz"
    names, ids = np.array(["ä", "b", "c"]), np.array([f"é{row}" for row in range(30)])
    encoded = {"class_names": np.char.encode(names, "utf-8"), "ids": np.char.encode(ids, "utf-8")}
    np.savez(path, features=FEATURES, labels=LABELS[:, None], **encoded)
    data = load_dataset(f"features:{path}")
    assert (data.class_names, data.ids.tolist(), data.labels.tolist()) == (tuple(names), ids.tolist(), LABELS.tolist())
    for key in encoded:
        np.savez(path, features=FEATURES, **{key: np.array([b"\xff"] * 30)})
        with pytest.raises(FeatureError, match=rf"`{key}` of .* must be texts; got \|S1"):
            read_features(path)
        np.savez(path, features=FEATURES, **{key: np.full(30, 0.5)})
        with pytest.raises(FeatureError, match=rf"`{key}` of .* must be texts; got float64"):
            read_features(path)


def test_ids_that_do_not_tell_rows_apart_are_refused(tmp_path):
    path = tmp_path / "f.npz"
    np.savez(path, features=FEATURES, ids=["a"] * 2 + [str(row) for row in range(28)])
    with pytest.raises(FeatureError, match=r"`ids` of .* must differ from each other; 'a' is there 2 times"):
        load_dataset(f"features:{path}")


@pytest.mark.parametrize(
    ("head", "data"),
    [
        ({"features": {"dtype": "F8_E4M3", "shape": [30, 5], "data_offsets": [0, 150]}}, b"\0" * 150),
        ({"features": {"dtype": "BF16", "shape": [3, 5], "data_offsets": [0, 30]}}, b"\0" * 30),
        ({"features": {"dtype": "F64", "shape": [30, 5], "data_offsets": [0, 150]}}, b"\0" * 150),
        ({"__metadata__": {"ids": '{"a":' * 5000}}, b""),
        ({"__metadata__": {"ids": "[" * 100_000}}, b""),
        ({"__metadata__": {"ids": "9" * 5000}}, b""),
        (b"{", b""),
        (b"", b""),
    ],
    ids=["float8", "bfloat16", "offsets", "deep object", "deep list", "digits", "cut", "empty"],
)
def test_safetensors_that_lie(tmp_path, head, data):
    path = safetensors(tmp_path / "f.safetensors", head, data)
    with pytest.raises((FileDamagedError, FeatureError)) as caught:
        read_features(path)
    assert "f.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 800


def test_a_checksum_whose_name_is_damaged_is_still_one(tmp_path):
    path = write_features(tmp_path / "f.safetensors", FEATURES, LABELS)
    path.write_bytes(path.read_bytes().replace(b'"sha256"', b'"{ha256"'))
    with pytest.raises(FileDamagedError, match="does not fit its checksum"):
        read_features(path)
