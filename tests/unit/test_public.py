"""The public face: what can be imported, and what importing it costs."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import transferability

MODULES = [each.name for each in pkgutil.walk_packages(transferability.__path__, "transferability.")]


def test_all_is_complete() -> None:
    assert set(transferability.__all__) == set(transferability._PLACES) | {"__version__"}
    assert list(transferability.__all__) == sorted(transferability.__all__)
    for name, place in transferability._PLACES.items():
        assert getattr(transferability, name) is getattr(importlib.import_module(place), name)
    assert set(transferability.__all__) <= set(dir(transferability))
    with pytest.raises(AttributeError, match="no attribute 'ranks'"):
        _ = transferability.ranks


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import transferability, sys; print([name for name in sys.modules if name.startswith(('numpy', 'scipy'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in MODULES if "._" not in name])
def test_every_module_says_what_it_offers(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for each in getattr(module, "__all__", []):
        assert hasattr(module, each), f"{name}.{each}"


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import transferability", "torch ot matplotlib sklearn typer rich PIL pyarrow onnx onnxruntime timm"),
        ("import transferability.cli.app", "torch ot matplotlib sklearn PIL pyarrow onnx onnxruntime timm"),
    ],
)
def test_importing_is_light(statement: str, heavy: str) -> None:
    code = f"{statement}; import sys; print([name for name in {heavy.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert transferability.__version__ == version("transferability")
