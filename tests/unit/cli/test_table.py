"""Tables for terminals: no line is too long, no column is lost, names keep both ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from transferability.cli.progress import time_left
from transferability.cli.table import lay_out

COLUMNS = ["#", "encoder", "transferred accuracy", "95 % interval", "linear probe", "items/s", "parameters", "seconds"]
LEFT = [False, True, *[False] * 6]


def rows(name: str) -> list[list[str]]:
    return [["1", name, "93.8 %", "90.1 – 96.4 %", "94.5 %", "1,001", "4.1 M", "12.3"]]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("name", ["short", "timm:" + "vit_" * 28 + "in1k", "模型" * 40])
def test_lines_fit_and_nothing_is_lost(width: int, name: str) -> None:
    blocks = lay_out(COLUMNS, rows(name), LEFT, width)
    lines = [line for block in blocks for line in block]
    assert all(cell_len(line) <= width for line in lines)
    text = "\n".join(lines)
    for cell in rows(name)[0][2:]:
        assert cell in text
    for word in " ".join(COLUMNS).split():
        assert word in text
    for block in blocks:  # whose numbers they are is said in each
        assert name[:2] in block[-1]
        assert name[-2:] in block[-1]


def test_a_table_is_one_block_where_there_is_room() -> None:
    assert len(lay_out(COLUMNS, rows("a" * 120), LEFT, 200)) == 1
    (block,) = lay_out(COLUMNS, rows("a" * 120), LEFT, None)
    assert "a" * 120 in block[1]
    assert len(block) == 2
    (block,) = lay_out(COLUMNS, rows("timm:resnet18.a1_in1k"), LEFT, 92)
    assert len(block) == 3  # the headings are wrapped first
    assert "timm:resnet18.a1_in1k" in block[-1]


@given(st.lists(st.tuples(st.text(max_size=60), st.integers(0, 10**9)), min_size=1, max_size=5), st.integers(30, 120))
def test_any_text_is_laid_out(cells: list[tuple[str, int]], width: int) -> None:
    table = [[name.replace("\n", " "), str(number)] for name, number in cells]
    for block in lay_out(["name", "number"], table, [True, False], width):
        assert len({len(line) for line in block}) >= 1
        assert all(cell_len(line) <= max(width, 30) for line in block)


@pytest.mark.parametrize(
    ("spent", "since", "done", "total", "said"),
    [
        (0, 5, 0, 7, ""),
        (120, 0, 2, 7, "about 5 minutes left"),
        (120, 90, 2, 7, "about 4 minutes left"),
        (60, 59, 1, 2, "about 10 seconds left"),
        (60, 0, 7, 7, ""),
    ],
)
def test_the_time_left_follows_what_the_first_ones_took(spent, since, done, total, said) -> None:
    assert time_left(spent, since, done, total) == said
