"""The page: `static/` as in the wheel, read once and compressed.

Its modules need no build step and no third-party code. Imports no room: it knows files, not portfolios.
"""

from portfolio_trio.web._page import Asset, Page, open_page

__all__ = ["Asset", "Page", "open_page"]
