"""What keeps the code readable: no file and no function grows too long, and no two modules need each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("src", "packages/d3pm/src", "packages/transferability-zoo-extra/src")
FOLDERS = (*PACKAGES, "benchmarks", "experiments")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
pytestmark = pytest.mark.skipif(not FILES, reason="no sources beside the tests")


def test_files_have_at_most_300_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_functions_have_at_most_60_lines() -> None:
    """Signature and docstring apart: they are what users read."""
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                n = 0 if not body else (node.end_lineno or 0) - body[0].lineno + 1
                if n > 60:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = n
    assert long == {}


def imports(tree: ast.Module, modules: dict[str, Path]) -> Iterator[str]:
    """Yield what a module imports, within functions too; what only type checkers see is left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{each.name}" for each in node.names]
            yield from (name if name in modules else node.module for name in names)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        yield from imports(node, modules)


USERS = ("benchmarks", "experiments", "examples", "docs/tools", "packages")
OURS = ("transferability", "transferability_zoo_extra", "transferability_packs")
OTHERS = ("_asdict", "_exit", "_fc", "_replace")  # of tuples, `os`, networks


def private_names(tree: ast.Module) -> Iterator[str]:
    """Yield what a script takes from our packages, or from an object that is not its own, under a private name."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            names = [*(node.module or "").split("."), *(each.name for each in node.names)]
        elif isinstance(node, ast.Import):
            names = [
                name for each in node.names if each.name.partition(".")[0] in OURS for name in each.name.split(".")
            ]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            names = [node.attr]
        yield from (name for name in names if name.startswith("_") and not name.endswith("__") and name not in OTHERS)


@pytest.mark.parametrize("folder", USERS)
def test_what_stands_beside_the_packages_imports_nothing_private(folder: str) -> None:
    paths = [path.relative_to(ROOT) for path in sorted((ROOT / folder).rglob("*.py"))]
    scripts = [path for path in paths if not {"src", "tests"} & {*path.parts}]
    if not scripts:
        pytest.skip(f"no {folder} beside the tests")
    found = {str(path): list(private_names(ast.parse((ROOT / path).read_text("utf-8")))) for path in scripts}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_modules_need_each_other(package: str) -> None:
    source = ROOT / package
    if not source.is_dir():
        pytest.skip(f"no {package} beside the tests")
    modules = {}
    for path in source.rglob("*.py"):
        parts = path.relative_to(source).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    needs = {
        name: {each for each in imports(ast.parse(path.read_text("utf-8")), modules) if each in modules} - {name}
        for name, path in modules.items()
    }
    assert needs
    while leaves := [name for name, wanted in needs.items() if not wanted & needs.keys()]:
        for name in leaves:
            del needs[name]
    assert sorted(needs) == []
