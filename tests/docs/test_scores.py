"""The table of scores says what the scores declare."""

from __future__ import annotations

import runpy
from pathlib import Path

from transferability.scores import available

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "tools" / "scores.py"))


def test_the_table_is_what_scores_declare() -> None:
    assert TOOL["PAGE"].read_text("utf-8") == TOOL["page"](), "run python docs/tools/scores.py"


def test_every_score_is_in_it() -> None:
    for name, info in available().items():
        (row,) = [line for line in TOOL["page"]().splitlines() if line.startswith(f"| `{name}` |")]
        assert f"| {'higher' if info.higher_is_better else '**lower**'} |" in row
        assert info.limitations in row
