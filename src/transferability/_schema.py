"""What a value read from a file must look like: checked once, on reading, with one sentence that names the field.

A shape is written as the value itself would be:

- a type: `str`, `bool`, `int` (64 bits), `float` (finite, or an int), `None`; `object` for anything;
- a tuple: one of several shapes, `(float, None)`;
- a list of one shape: a list of any length, `[float]`; of several: a list of that length, `[str, float]`;
- a dict: an object with at least these keys, those that end in "?" may be missing; `{str: shape}`: any keys.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transferability.errors import FileDamagedError, NoSuchFileError, no_such_file

__all__ = ["Shape", "ShapeError", "check_shape", "json_schema", "read_json"]

Shape = Any
_LARGEST = 1e100  # no run writes more, and squares of it are finite
_NAMES = {str: "a text", bool: "true or false", int: "a whole number", float: "a finite number", None: "null"}

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", None: "null"}


class ShapeError(ValueError):
    """A value that does not have the shape; the message is the end of a sentence that begins with the file."""


def check_shape(value: Any, shape: Shape, where: str = "") -> None:
    """Raise `ShapeError` unless a value has a shape.

    Examples
    --------
    >>> check_shape({"name": "a", "losses": [0.5, None]}, {"name": str, "losses": [(float, None)]})
    >>> check_shape({"losses": ["0.5"]}, {"losses": [float]})
    Traceback (most recent call last):
    ...
    transferability._schema.ShapeError: `losses[0]` must be a finite number; got '0.5'

    Of several shapes, the error is that of the one that the value is meant as.

    >>> check_shape({"best": {"loss": None}}, {"best": (None, {"loss": float})})
    Traceback (most recent call last):
    ...
    transferability._schema.ShapeError: `best.loss` must be a finite number; got None
    """
    if isinstance(shape, tuple):
        _check_any(value, shape, where)
    elif isinstance(shape, list):
        _check_list(value, shape, where)
    elif isinstance(shape, dict):
        _check_object(value, shape, where)
    elif not _is_a(value, shape):
        raise _wrong(where, _NAMES[shape], value)


def read_json(path: Path, shape: Shape = object) -> Any:
    """Read a JSON file of a shape.

    Raises
    ------
    NoSuchFileError
        If it is not there.
    FileDamagedError
        If it cannot be read, is no JSON (nan and infinity are none), or has another shape.
    """
    try:
        value = json.loads(path.read_text("utf-8"), parse_constant=_refuse)
    except FileNotFoundError as error:
        raise NoSuchFileError(no_such_file(path)) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        message = f"`{path}` cannot be read ({reason}). Write it again."
        raise FileDamagedError(message) from error
    try:
        check_shape(value, shape)
    except ShapeError as error:
        message = f"in `{path}` {error}. Write it again."
        raise FileDamagedError(message) from error
    return value


def json_schema(shape: Shape, *, closed: bool = False) -> dict[str, Any]:
    """Return the JSON Schema of a shape (draft 2020-12).

    Parameters
    ----------
    shape
    closed : bool, default=False
        Whether objects may have no other keys than those that are listed.

    Examples
    --------
    >>> json_schema([(float, None)])
    {'type': 'array', 'items': {'type': ['number', 'null']}}
    """
    if isinstance(shape, tuple):
        schemas = [json_schema(each, closed=closed) for each in shape]
        simple = [each["type"] for each in schemas if list(each) == ["type"]]
        return {"type": simple} if len(simple) == len(schemas) else {"anyOf": schemas}
    if isinstance(shape, list):
        items = [json_schema(each, closed=closed) for each in shape]
        if len(items) == 1:
            return {"type": "array", "items": items[0]}
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if isinstance(shape, dict):
        if list(shape) == [str]:
            return {"type": "object", "additionalProperties": json_schema(shape[str], closed=closed)}
        known = {name.removesuffix("?"): json_schema(each, closed=closed) for name, each in shape.items()}
        required = {"required": [name for name in shape if not name.endswith("?")]}
        end = {"additionalProperties": False} if closed else {}
        return {"type": "object", "properties": known} | (required if required["required"] else {}) | end
    return {} if shape is object else {"type": _TYPES[shape]}


def _check_any(value: Any, shapes: tuple[Shape, ...], where: str) -> None:
    """Raise the error of the alternative that the value is meant as: the one of its kind, a list or an object."""
    meant: ShapeError | None = None
    for shape in shapes:
        try:
            check_shape(value, shape, where)
        except ShapeError as error:
            if meant is None and isinstance(value, list | dict) and type(value) is type(shape):
                meant = error
        else:
            return
    raise meant or _wrong(where, " or ".join(map(_name_of, shapes)), value)


def _name_of(shape: Shape) -> str:
    if isinstance(shape, list):
        return "a list" if len(shape) == 1 else f"a list of {len(shape)}"
    return "an object" if isinstance(shape, dict) else _NAMES[shape]


def _check_list(value: Any, shapes: list[Shape], where: str) -> None:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    if len(shapes) > 1 and len(value) != len(shapes):
        raise _wrong(where, _name_of(shapes), value)
    if shapes == [float] and all(type(each) is float and -_LARGEST <= each <= _LARGEST for each in value):
        return  # the common case, of many thousands
    for position, each in enumerate(value):
        check_shape(each, shapes[position if len(shapes) > 1 else 0], f"{where}[{position}]")


def _check_object(value: Any, shapes: dict[Any, Shape], where: str) -> None:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    if list(shapes) == [str]:
        for key, each in value.items():
            check_shape(each, shapes[str], f"{where}.{key[:60]}" if where else key[:60])
        return
    for name, shape in shapes.items():
        key = name.removesuffix("?")
        place = f"{where}.{key}" if where else key
        if key in value:
            check_shape(value[key], shape, place)
        elif key == name:
            message = f"`{place}` is missing"
            raise ShapeError(message)


def _is_a(value: Any, shape: Shape) -> bool:
    if shape is object:
        return True
    if shape is None:
        return value is None
    if shape is float:
        return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST and not math.isnan(value)
    if shape is int:
        return type(value) is int and -(2**63) <= value < 2**63
    return isinstance(value, shape)


def _wrong(where: str, wanted: str, value: Any) -> ShapeError:
    shown = f"a {type(value).__name__} of {len(value)}" if isinstance(value, list | dict) else _short(value)
    return ShapeError(f"`{where}` must be {wanted}; got {shown}" if where else f"there must be {wanted}; got {shown}")


def _short(value: Any) -> str:
    if type(value) is int and abs(value) > 10**60:  # Python refuses to write out those of 5,000 digits
        return "a number of more than sixty digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _refuse(constant: str) -> None:
    message = f"{constant} is no JSON"
    raise ValueError(message)
