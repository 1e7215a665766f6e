"""Small faults for `mutations.py`: where a module can be broken, and the broken module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "transferability"
_OPERATORS: dict[type, Any] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_NAMES = {
    "min": "max", "max": "min", "argmin": "argmax", "argmax": "argmin", "minimum": "maximum", "maximum": "minimum",
    "any": "all", "all": "any", "floor": "ceil", "ceil": "floor", "mean": "sum", "zeros": "ones", "log1p": "log",
}  # fmt: skip


class Site(NamedTuple):
    """A node that can be broken: its file, the function that holds it, and its number as `ast.walk` counts."""

    path: Path
    function: str
    number: int


def sites_of(path: Path) -> Iterator[Site]:
    """Yield every place of a file where a fault can be put."""
    tree = ast.parse(path.read_text("utf-8"))
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}

    def visit(node: ast.AST, function: str) -> Iterator[Site]:
        parts = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Raise | ast.JoinedStr):
            return  # messages
        if isinstance(node, ast.FunctionDef):
            function = node.name
            parts = [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body]
        elif isinstance(node, ast.AnnAssign):
            parts = [] if node.value is None else [node.value]
        if function and _can_break(node):
            yield Site(path, function, numbers[id(node)])
        for part in parts:
            yield from visit(part, function)

    yield from visit(tree, "")


def _can_break(node: ast.AST) -> bool:
    match node:
        case ast.Compare(ops=[op]) | ast.BinOp(op=op) | ast.BoolOp(op=op):
            return type(op) in _OPERATORS
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return name in _NAMES
        case ast.Constant(value=bool() | int() | float()) | ast.UnaryOp(op=ast.Not() | ast.USub()):
            return True
    return isinstance(node, ast.IfExp | ast.If | ast.While)


def broken(site: Site) -> tuple[ast.Module, str]:
    """Return the module with the fault, and what it is."""
    tree = ast.parse(site.path.read_text("utf-8"))
    node: Any = list(ast.walk(tree))[site.number]
    changed = node.test if isinstance(node, ast.IfExp | ast.If | ast.While) else node
    before = ast.unparse(changed)
    match node:
        case ast.Compare():
            node.ops = [_OPERATORS[type(node.ops[0])]()]
        case ast.BinOp() | ast.BoolOp():
            node.op = _OPERATORS[type(node.op)]()
        case ast.UnaryOp():
            node.operand = ast.UnaryOp(node.op, node.operand)
        case ast.Constant(value=bool()):
            node.value = not node.value
        case ast.Constant():
            node.value = node.value + 1 if isinstance(node.value, int) else 2 * node.value or 1.0
        case ast.Call(func=ast.Attribute() as called):
            called.attr = _NAMES[called.attr]
        case ast.Call(func=ast.Name() as called):
            called.id = _NAMES[called.id]
        case _:
            node.test = changed = ast.UnaryOp(ast.Not(), node.test)
    place = f"{site.path.relative_to(ROOT)}:{node.lineno} in {site.function}"
    return ast.fix_missing_locations(tree), f"{place}: {before}  ->  {ast.unparse(changed)}"
