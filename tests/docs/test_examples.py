"""Every example of the pages and of the README runs, and prints what the page shows."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOL: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "tools" / "examples.py"))
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
LANGUAGES = {"python", "sh", "text", "toml", "json", "bash", "slurm"}


@pytest.fixture(params=PAGES, ids=lambda path: path.name)
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_what_is_not_run_says_why(page: Path) -> None:
    for example in TOOL["examples_of"](page.read_text("utf-8")):
        where = f"{page.name}:{example.line}"
        assert example.language in LANGUAGES or example.language.startswith("{"), where
        assert example.not_run in (None, "test") or len(example.not_run.split()) > 3, where


def test_examples_print_what_is_shown(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "page"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))  # as it is for a script in this folder
    for example, printed in TOOL["run_page"](page.read_text("utf-8"), folder):
        where = f"{page.name}:{example.line}\n{example.source}\nprints\n{printed}"
        if example.shown is None:
            assert not (example.language == "python" and printed), f"shown nowhere: {where}"
        else:
            assert TOOL["alike"](example.shown, printed), f"{where}\nrun python docs/tools/examples.py {page}"


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        ("bound 1.00", "bound 1.01", True),
        ("bound 1.00", "bound 1.10", False),
        ("bound 1.00", "bounds 1.00", False),
        ("   name  seconds\n1  a   3.4", " name     seconds\n1  a    99.1", True),
        ("   name  seconds\n1  a   3.4", " name     seconds\n2  a    99.1", False),
        ("x 1\ny 2", "x 1", False),
    ],
)
def test_what_counts_as_the_same(shown: str, printed: str, alike: bool) -> None:
    assert TOOL["alike"](shown, printed) is alike


def test_a_page_that_drifted_is_rewritten(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nprint(6 * 7)\n```\n\n```text\n41\n```\n\n<!-- not run: no shell -->\n```sh\nfalse\n```\n"
    )
    assert TOOL["update_page"](page)
    assert "```text\n42\n```\n" in page.read_text()
    assert not TOOL["update_page"](page)
