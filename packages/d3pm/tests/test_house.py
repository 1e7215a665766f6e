"""What keeps the code readable: no file and no function grows too long."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES, TESTS = (
    [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    for folders in (("src", "benchmarks", "examples", "experiments"), ("tests",))
)
pytestmark = pytest.mark.skipif(not SOURCES, reason="no sources beside the tests")


def test_files_have_at_most_300_lines():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in (*SOURCES, *TESTS)}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_functions_have_at_most_60_lines():
    """Signature and docstring apart: they are what users read."""
    long = {}
    for path in (*SOURCES, *TESTS):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                n = 0 if not body else (node.end_lineno or 0) - body[0].lineno + 1
                if n > 60:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = n
    assert long == {}
