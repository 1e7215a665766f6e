"""Sphinx settings. `sphinx-build -W docs FOLDER` builds the site without a network, and it is read without one."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "tools"))

project = "transferability"
author = "the transferability authors"
version = release = installed_version("transferability")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc", "sphinx_copybutton", "svg_math"]

# Pages are Markdown, so that they also read well where the repository is looked at.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_footnote_sort = False

# The API reference is reStructuredText, as the docstrings are; a `name` in them leads to what it names, where it can.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections tell types, shapes and ranges
autodoc_class_signature = "mixed"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
viewcode_line_numbers = True

highlight_language = "text"

html_theme = "furo"
html_title = "transferability"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_show_search_summary = False  # it is fetched, which a page opened from a folder may not do
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
copybutton_selector = "div.highlight-python pre, div.highlight-sh pre, div.highlight-bash pre, div.highlight-toml pre"
templates_path: list[str] = []
