"""The page of the command says what `--help` says."""

from __future__ import annotations

import runpy
from pathlib import Path

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "tools" / "commands.py"))


def test_the_page_is_what_help_says() -> None:
    assert TOOL["PAGE"].read_text("utf-8") == TOOL["page"](), "run python docs/tools/commands.py"


def test_every_command_is_on_it() -> None:
    page = TOOL["page"]()
    for command in ("demo", "rank", "relate", "study", "score", "extract", "pack", "report", "validate"):
        assert f"\n## transferability {command}\n" in page
    assert "\n### transferability cache prune\n" in page
    assert "| `--limit` | Maximum rows per data set (stratified)." in page
    assert "(`float32` or `float16`; default `float32`)" in page
    assert "the same seed gives the same numbers. (default `0`)" in page
