"""The public face: what can be imported, and what importing it costs."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import transferability

MODULES = [each.name for each in pkgutil.walk_packages(transferability.__path__, "transferability.")]


def test_all_is_complete() -> None:
    public = {name for name in dir(transferability) if not name.startswith("_")}
    modules = {name for name in public if type(getattr(transferability, name)).__name__ == "module"}
    assert set(transferability.__all__) == (public - modules) | {"__version__"}
    assert list(transferability.__all__) == sorted(transferability.__all__)


@pytest.mark.parametrize("name", [name for name in MODULES if "._" not in name])
def test_every_module_says_what_it_offers(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for each in getattr(module, "__all__", []):
        assert hasattr(module, each), f"{name}.{each}"


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import transferability", "numpy typer rich"),
        ("import transferability.cli.app", "numpy scipy"),
        ("from transferability import Task", "scipy typer rich"),
        (
            "from transferability import make_pack, rank, relate",
            "torch ot matplotlib sklearn pandas networkx typer rich PIL pyarrow onnx onnxruntime timm",
        ),
    ],
)
def test_importing_is_light(statement: str, heavy: str) -> None:
    code = f"{statement}; import sys; print([name for name in {heavy.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_that_come_when_they_are_used() -> None:
    assert set(transferability.__all__) <= set(dir(transferability))
    with pytest.raises(AttributeError, match="has no attribute 'ranks'"):
        _ = transferability.ranks


def test_help_needs_no_numbers() -> None:
    code = (
        "import runpy, sys\nsys.argv = ['transferability', 'rank', '--help']\n"
        "try:\n    runpy.run_module('transferability', run_name='__main__')\n"
        "finally:\n    print([name for name in ('numpy', 'scipy') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "--encoder" in done.stdout


def test_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert transferability.__version__ == version("transferability")
