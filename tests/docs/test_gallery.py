"""The gallery: its page shows what the script makes, pictures are small, reports need nothing from elsewhere."""

from __future__ import annotations

import re
import runpy
import tomllib
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("playwright")
TOOL = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "tools" / "gallery.py"))
PAGE = TOOL["GALLERY"].with_suffix(".md")


def test_the_page_shows_every_report_and_its_pictures() -> None:
    named = set(re.findall(r"\(gallery/([^)]+)\)", PAGE.read_text("utf-8")))
    there = {path.name for path in TOOL["GALLERY"].iterdir()}
    assert {f"{name}.{ending}" for name in TOOL["COMMANDS"] for ending in ("html", "png")} <= named
    assert named <= there


def test_the_study_is_of_twelve_pretrained_encoders() -> None:
    encoders = [each for each in tomllib.loads(TOOL["STUDY"])["encoders"] if "@random" not in each]
    assert len(encoders) == 12
    assert all(each.partition("=")[2].startswith(("packaged:", "onnx:")) for each in encoders)
    text = (TOOL["GALLERY"] / "study.html").read_text("utf-8")
    assert all(each.partition("=")[0] in text for each in encoders)


def test_pictures_are_small_and_reports_are_self_contained() -> None:
    for path in TOOL["GALLERY"].iterdir():
        assert path.stat().st_size <= (200_000 if path.suffix == ".png" else 700_000), path
        if path.suffix == ".html":
            text = path.read_text("utf-8")
            assert "Transferability report" in text
            assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"https?:", text) == []


def test_the_texts_are_of_installed_packages() -> None:
    sentences = TOOL["sentences"]()
    counts = Counter(label for _, label in sentences)
    assert len(counts) == 7
    assert min(counts.values()) >= 20
    assert len({text for text, _ in sentences}) == len(sentences) > 600
