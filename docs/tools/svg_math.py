"""Formulas as SVG, drawn while the site is built: no script, no font and no network is needed to read them."""

from __future__ import annotations

import html
import re
from typing import Any

import ziamath
from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator

__all__ = ["setup"]

_SIZE = 17.0  # pixels, beside a text of 16
ziamath.config.svg2 = False  # every glyph in place: glyphs shared by id would be taken from formulas of other sizes
ziamath.config.precision = 2


def _draw(latex: str, *, inline: bool) -> str:
    try:
        drawn = ziamath.Latex(latex.strip(), size=_SIZE, inline=inline, color="currentColor")
    except Exception as error:  # whatever ziamath raises for what it does not know
        message = f"formula {latex!r} cannot be drawn: {error}"
        raise ExtensionError(message) from error
    label = html.escape(latex.strip())  # readers of screens are told the formula as it was written
    start = f'<svg role="img" aria-label="{label}" style="vertical-align:{drawn.getyofst():.2f}px" '
    return drawn.svg().replace("<svg ", start, 1)


def _visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(f'<span class="math">{_draw(node.astext(), inline=True)}</span>')
    raise nodes.SkipNode


def _visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    lines = re.split(r"\n\s*\n", node.astext().strip())
    drawn = "".join(_draw(line, inline=False) for line in lines)
    translator.body.append(f'<div class="math" tabindex="0" role="region" aria-label="formula">{drawn}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("svg", (_visit_inline, None), (_visit_block, None))
    app.config.html_math_renderer = "svg"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
