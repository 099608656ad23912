"""The documentation site, from these pages as they are: ``nox -s docs``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from portfolio_trio import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "portfolio-trio"
author = "the authors of portfolio-trio"
version = release = __version__
html_title = f"portfolio-trio {__version__}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
# Links to headings, as the pages have them on GitHub.
myst_heading_anchors = 4
# `code` in a docstring, as in Markdown.
default_role = "code"
# Attributes of a named tuple are members of it as well, and would be described twice.
napoleon_use_ivar = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# JSON and shell blocks here are messages and sessions with "..." in them.
suppress_warnings = ["misc.highlighting_failure"]

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?!docs/)[^)]*\)")


def plain_links_to_the_repository(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Files beside docs/ are no part of the site: their links become what they say."""
    source[0] = OUTSIDE.sub(r"\1", source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", plain_links_to_the_repository)
