"""The hash of a run's inputs: holdings, prices, bars and method."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from array import array

    from portfolio_trio.metrics.bars import Bars

METHOD_VERSION = "2"
"""Increased whenever any metric's value may change for the same inputs."""


_CASH_DIGEST: Final = hashlib.sha256(b"cash").digest()


def history_digest(bars: Bars, tickers: tuple[str, ...], cash: frozenset[str]) -> bytes:
    """The part of the snapshot that changes only with the bars and the set of names.

    SHA-256 over: ``"portfolio_trio/" + METHOD_VERSION``, a zero byte, the names (sorted by code
    point, joined by line feeds, UTF-8), a zero byte, then of each name in that order
    `Bars.column_digest`, or for cash the SHA-256 of ``cash``. Names that are not held are left out, and so is
    every date on which no held name has a close: recomputing needs only the closes of the holdings.
    """
    digest = hashlib.sha256(f"portfolio_trio/{METHOD_VERSION}\0".encode())
    digest.update("\n".join(tickers).encode() + b"\0")
    if cash:
        columns = [_CASH_DIGEST if ticker in cash else bars.column_digest(ticker) for ticker in tickers]
        digest.update(b"".join(columns))
    else:
        digest.update(b"".join(map(bars.column_digest, tickers)))
    return digest.digest()


def snapshot_hash(
    history: bytes,
    shares: array[float],
    prices: array[float],
    targets: array[float],
    budgets: array[float] | None = None,
) -> str:
    """The hash of one snapshot: 64 hexadecimal digits, the same on every machine.

    SHA-256 over the 32 bytes of `history_digest`, then the shares, the live prices, the target weights
    and, if they are set, the risk budgets (each shape ``(N,)``, in the order of the sorted names) as
    big-endian IEEE-754 doubles. Lines with zero shares are not included, nor is the analysed ticker: one
    snapshot serves all tickers.
    """
    columns = shares + prices + targets
    if budgets is not None:
        columns += budgets
    if sys.byteorder == "little":
        columns.byteswap()
    return hashlib.sha256(history + columns.tobytes()).hexdigest()
