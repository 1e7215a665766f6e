"""Write the table of `docs/scores.md` from what the scores declare: `python docs/tools/scores.py`."""

from __future__ import annotations

import re
from pathlib import Path

from transferability.scores import ScoreInfo, available

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[1] / "scores.md"
_MARKS = re.compile(r"(<!-- docs/tools/scores\.py -->\n).*?(<!-- /docs/tools/scores\.py -->)", re.DOTALL)
_COLUMNS = ("name", "what it is", "better", "range", "needs", "computed on", "uninformative for")


def page() -> str:
    """Return the page with the table of the scores that there are."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *map(_row, available().values())]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return _MARKS.sub(lambda match: f"{match[1]}{table}\n{match[2]}", PAGE.read_text("utf-8"))


def _row(info: ScoreInfo) -> tuple[str, ...]:
    better = "higher" if info.higher_is_better else "**lower**"
    device = "its device" if info.on_device else "the host"
    return (
        f"`{info.name}`",
        _cell(info.description),
        better,
        _cell(info.range),
        _cell(info.needs_in_words),
        device if info.needs - {"labels", "n_parameters"} else "–",
        _cell(info.limitations),
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
