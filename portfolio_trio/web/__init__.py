"""The page: `static/` as it ships in the wheel, read once and packed for the way.

Its modules need no build step and nothing from elsewhere. Imports no room: it knows files, not portfolios.
"""

from portfolio_trio.web._page import Asset, Page, open_page

__all__ = ["Asset", "Page", "open_page"]
