"""Keys of one server, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.redis._commands import pack

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from portfolio_trio.redis._link import Link


async def scan_pages(link: Link, match: str, count: int) -> AsyncGenerator[list[bytes]]:
    """Pages of keys that match, never empty.

    Raises:
        Unavailable: The server cannot be reached.
    """
    cursor = b"0"
    while True:
        cursor, page = await link.call(
            pack(("SCAN", cursor, "MATCH", match, "COUNT", count)), repeatable=True
        )
        if page:
            yield page
        if cursor == b"0":
            return
