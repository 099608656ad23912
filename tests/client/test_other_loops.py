"""The client in an event loop that is not Trio's."""

from __future__ import annotations

import asyncio

import pytest

from portfolio_trio.client import connect


def test_under_asyncio_it_says_that_it_is_for_trio() -> None:
    async def main() -> None:
        async with connect("ws://127.0.0.1:1/ws/s"):
            raise AssertionError("it has connected")

    with pytest.raises(RuntimeError, match=r"needs Trio: run it with trio\.run"):
        asyncio.run(main())
