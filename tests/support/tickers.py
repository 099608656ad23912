"""Ticker formats of the world's exchanges."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

FIRST: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789^"
ALPHABET: Final = FIRST + ".-=&/_:"
TICKERS: Final = st.builds(
    str.__add__, st.sampled_from(FIRST), st.text(st.sampled_from(ALPHABET), max_size=31)
)
"""Every ticker there can be, in upper case."""

OF_THE_WORLD: Final = (
    "0700.HK", "7203.T", "005930.KS", "^GSPC", "EURUSD=X", "GC=F", "M&M.NS", "BRK/B", "BRK.B", "BTC-USD",
    "1INCH-USD", "0P0000UF8O.TO", "NYSE:BRK_B", "A" * 32,
)  # fmt: skip
NO_TICKERS: Final = (
    "", " ", "A B", ".A", "-A", "=A", "&A", "/A", "_A", ":A", "A" * 33, "Ä", "ß", "A\n", "A\u0000", "$A",
    'A"', "A\\", "A,B", "A{", "A]", "A%", "A'", "A+", "A\u0661",
)  # fmt: skip
