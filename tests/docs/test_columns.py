"""The glossary lists the columns that there are."""

from __future__ import annotations

import runpy
from pathlib import Path

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "tools" / "columns.py"))


def test_the_table_of_columns_is_current() -> None:
    text = TOOL["PAGE"].read_text("utf-8")
    assert TOOL["updated"](text) == text, "run python docs/tools/columns.py"
