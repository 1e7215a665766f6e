"""Where things lie in the report's pictures: numbers only; the templates draw them and escape every text.

Drawn by the template itself rather than by matplotlib: a tenth of the size, and colours that follow the reader's theme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from transferability.display.formats import elide, show
from transferability.display.layout import apart, spread
from transferability.display.notes import copies_matter

__all__ = ["N_COLOURS", "accuracy_bar", "bars", "chart", "class_paths", "heat", "sample_strips", "strip_key"]

N_COLOURS = 8
_SIDE = 240  # of a picture of points
_WIDTH, _HEIGHT = 300, 170  # of a chart
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 34
_MAX_LABELS = 12  # classes whose names are written among the points
_LETTER, _LINE = 6.2, 11.5  # width and height of a letter of the class names
_NAMES = 225  # width of the names beside a chart
_ROW = 13  # height of one of them
_MOST_NAMES = 24
_LONGEST_CLASS = 16
_LONGEST_NAME = 34


def bars(result: Mapping[str, Any], names: Sequence[str], largest: float) -> list[dict[str, Any]]:
    """Return the stacked terms as shares of the width, in percent."""
    found, start = [], 0.0
    for k, name in enumerate(names):
        width = 100 * max(float(result[name]), 0.0) / largest if largest > 0 else 0.0
        if width > 0:
            found.append({"term": k, "x": round(start, 2), "width": round(width, 2)})
        start += width
    return found


def class_paths(points: Mapping[str, Any], classes: Sequence[Mapping[str, Any]], budget: int) -> dict[str, Any]:
    """Return the points of each colour as a path of dots: for the reference, for the target before and after.

    A dot is a line of no length with round ends: six to eight letters each, and a picture is a few elements.

    Parameters
    ----------
    points : mapping
        As in `VisualSummary.to_dict`.
    classes : sequence of mapping
        The classes of the result, for their names.
    budget : int
        At most so many points of each kind.
    """
    scale = _SIDE / points["grid"]
    names = {row["number"]: row["target_class"] for row in classes}

    def dots(kind: str, labels: str) -> dict[int | None, str]:
        places, owners = points[kind], points[labels]
        step = max(1, math.ceil(len(places) / budget))
        by_colour: dict[int | None, list[str]] = {}
        for (x, y), owner in list(zip(places, owners, strict=False))[::step]:
            colour = owner % N_COLOURS if owner >= 0 else None
            by_colour.setdefault(colour, []).append(f"M{round(x * scale)} {_SIDE - round(y * scale)}h0")
        return {colour: "".join(found) for colour, found in by_colour.items()}

    def paths(found: Mapping[int | None, str]) -> list[dict[str, Any]]:
        return [
            {"colour": colour, "d": found[colour]} for colour in sorted(found, key=lambda k: -1 if k is None else k)
        ]

    rings = dots("reference", "reference_classes")
    middles: dict[int, list[list[float]]] = {}
    for place, owner in zip(points["after"], points["target_classes"], strict=True):
        middles.setdefault(owner, []).append(place)
    labels = []
    if len(middles) <= _MAX_LABELS:
        owners = sorted(middles)
        shown = [show(names.get(k, str(k)), _LONGEST_CLASS) for k in owners]
        boxes = [
            (
                sum(x for x, _ in middles[k]) / len(middles[k]) * scale,
                _SIDE - sum(y for _, y in middles[k]) / len(middles[k]) * scale,
                _LETTER * len(name) + 4,
            )
            for k, name in zip(owners, shown, strict=True)
        ]
        centres = apart(boxes, _LINE, 0, _SIDE)
        labels = [
            {"x": round(x, 1), "y": round(y + 3, 1), "name": name} for (x, y), name in zip(centres, shown, strict=True)
        ]
    return {
        "side": _SIDE,
        "reference": paths(rings),
        "holes": "".join(rings.values()),
        "before": paths(dots("before", "target_classes")),
        "after": paths(dots("after", "target_classes")),
        "labels": labels,
    }


def chart(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    log_x: bool = False,
    tick_all: bool = False,
    labels: Sequence[str] | None = None,
    ends: Sequence[tuple[float, float] | None] = (),
) -> dict[str, Any]:
    """Return a chart of points: places on the canvas, ticks of both axes, and names beside it that do not overlap.

    Parameters
    ----------
    xs, ys : sequence of float
        Finite; with `log_x` the xs are positive.
    log_x : bool, default=False
        Space by ratio.
    tick_all : bool, default=False
        A tick for every x, or every few.
    labels : sequence of str, optional
        A name for each point; they stand in a column to the right, each joined to its point. Of many points no names.
    ends : sequence of (low, high) or None, optional
        An interval of y for each point.
    """
    across = [math.log10(x) for x in xs] if log_x else list(xs)
    named = labels is not None and len(labels) <= _MOST_NAMES
    height = max(_HEIGHT, _TOP + _BOTTOM + _ROW * len(xs)) if named else _HEIGHT
    known = [end for pair in ends if pair is not None for end in pair]
    (left, right), (low, high) = _range(across), _range([*ys, *known])

    def x_of(x: float) -> float:
        return round(_LEFT + (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y_of(y: float) -> float:
        return round(height - _BOTTOM - (y - low) / (high - low) * (height - _TOP - _BOTTOM), 1)

    points: list[dict[str, Any]] = [
        {"x": x_of(x), "y": y_of(y), "label": "" if labels is None else labels[k]}
        for k, (x, y) in enumerate(zip(across, ys, strict=True))
    ]
    for point, pair in zip(points, ends, strict=False):
        point["ends"] = None if pair is None else [y_of(pair[0]), y_of(pair[1])]
    beside = spread([point["y"] for point in points], _ROW, _TOP, height - _BOTTOM) if named else []
    names = [
        {"x": _WIDTH + 14, "y": round(place, 1), "from": point, "name": elide(show(point["label"], 200), _LONGEST_NAME)}
        for place, point in zip(beside, points if named else [], strict=True)
    ]
    if tick_all:
        chosen = sorted(zip(across, xs, strict=True))
        stride = max(1, math.ceil(len(chosen) / 5))
        x_ticks = [{"at": x_of(place), "text": f"{x:.2g}"} for place, x in chosen[::stride]]
    elif log_x:
        x_ticks = [{"at": x_of(x), "text": text} for x, text in _log_ticks(left, right)]
    else:
        x_ticks = [{"at": x_of(x), "text": text} for x, text in _ticks(left, right, whole=all(x == int(x) for x in xs))]
    return {
        "width": _WIDTH + (14 + _NAMES if named else 0),
        "height": height,
        "left": _LEFT,
        "right": _WIDTH - _RIGHT,
        "top": _TOP,
        "bottom": height - _BOTTOM,
        "points": points,
        "names": names,
        "x_ticks": x_ticks,
        "y_ticks": [{"at": y_of(y), "text": text} for y, text in _ticks(low, high)],
    }


def accuracy_bar(entry: Mapping[str, Any]) -> dict[str, float | None]:
    """Return accuracy, interval, chance and linear probe as places from 0 to 100 on a bar."""
    result, probe = entry["result"], entry.get("probe")
    ends = (entry.get("intervals") or {}).get("transferred_accuracy") or (None, None)
    if copies_matter(entry):  # the interval is of fewer rows than the accuracy
        ends = (None, None)
    found = {
        "value": result["transferred_accuracy"],
        "low": ends[0],
        "high": ends[1],
        "chance": result.get("chance"),
        "probe": None if probe is None else probe["accuracy"],
    }
    return {name: None if value is None else round(100 * float(value), 2) for name, value in found.items()}


def sample_strips(summary: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the pictures of each class side by side, under the key that `strip_key` gives; each is stored once."""
    strips: dict[str, list[str]] = {}
    for part in summary["parts"]:
        for entry in part["entries"]:
            for row in entry["result"]["classes"]:
                for keys in (row["samples"], row["reference_samples"]):
                    found = [summary["samples"][key].get("image", "") for key in keys if key in summary["samples"]]
                    if found and all(uri.startswith("data:image/jpeg;base64,") for uri in found):
                        strips[strip_key(keys)] = found
    return strips


def strip_key(keys: Sequence[str]) -> str:
    """Return one name for some samples."""
    return "-".join(keys)


def heat(value: float | None, values: Sequence[float | None], *, higher_is_better: bool = False) -> int | None:
    """Return how dark a cell is, 0 (worst) to 9 (best: of bounds the nearest), by its place between the ends."""
    if value is None:
        return None
    known = [each for each in values if each is not None]
    low, high = min(known), max(known)
    if high == low:
        return 9
    return round(9 * ((value - low) if higher_is_better else (high - value)) / (high - low))


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.07 * (high - low) or abs(low) * 0.1 or 1.0
    return low - margin, high + margin


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return ticks at 1, 2 and 5 times powers of ten, of the ends given as logarithms."""
    found = [
        (math.log10(factor * 10.0**power), f"{factor * 10.0**power:g}")
        for power in range(math.floor(low), math.ceil(high) + 1)
        for factor in (1, 2, 5)
        if low <= math.log10(factor * 10.0**power) <= high
    ]
    return found[:: math.ceil(len(found) / 5)] if len(found) > 5 else found


def _ticks(low: float, high: float, *, whole: bool = False) -> list[tuple[float, str]]:
    """Return three to six round numbers between the ends, and how to write them."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough)
    step = max(step, 1.0) if whole else step
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    places = [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [(x, f"{x:.{digits}f}" if digits < 6 and abs(x) < 1e5 else f"{x:.2g}") for x in places]
