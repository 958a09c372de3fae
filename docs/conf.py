"""Sphinx's configuration: `make docs` builds the site into build/docs, without the network."""

from __future__ import annotations

import re
from typing import Any

import procession

project = "Procession"
author = "The Procession developers"
copyright = author
release = version = procession.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
default_role = "py:obj"
nitpicky = False

html_theme = "furo"
html_title = f"Procession {release}"
html_static_path = ["_static"]
html_css_files = ["procession.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/procession-py/procession/",
    "source_branch": "main",
    "source_directory": "docs/",
}
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_exclude = ".linenos, .gp, .go"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_rtype = False

SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$")


def examples_are_code(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Docstrings set examples apart by indenting them; Sphinx is told that those are code."""
    found: list[str] = []
    section = code = False
    for line in lines:
        if SECTION.match(line):
            section = True
        elif line and not line.startswith(" "):
            section = code = False
        elif line.startswith("    ") and not section and not code and not found[-1]:
            code = True
            found += [".. code-block:: python", ""]
        found.append(line)
    lines[:] = found


def setup(app: Any) -> None:
    """Before napoleon, which has the default priority of 500."""
    app.connect("autodoc-process-docstring", examples_are_code, priority=100)
