"""The field types of the protocol: tickers, shares, holdings, request ids."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo
from pydantic_core import PydanticCustomError

from portfolio_trio.canonical import SHARE_DECIMALS, canonical, canonical_shares
from portfolio_trio.tickers import TICKER_PATTERN, TICKER_RULE, ticker_of

MAX_HOLDINGS = 500
# Share counts up to here are exact as doubles, and far from infinity when multiplied by any price.
MAX_SHARES = 1e15

# A smaller one would be lost to rounding.
LEAST_SHARE = 1e-9

TOO_MANY_HOLDINGS = "too_many_holdings"


def check_ticker(name: str) -> str:
    """Return ``name`` in upper case.

    Raises:
        PydanticCustomError: It is not a ticker.
    """
    ticker = ticker_of(name)
    if ticker is None:
        raise PydanticCustomError(
            "ticker", "{name} is not a ticker: {rule}", {"name": repr(name[:40]), "rule": TICKER_RULE}
        )
    return ticker


def check_shares(shares: float, info: ValidationInfo) -> float:
    """Return ``shares`` as they are stored: with at most nine decimals.

    Raises:
        PydanticCustomError: It is not zero, but would be rounded to zero.
    """
    kept = canonical_shares(shares)
    if shares and not kept:
        # A line of holdings is identified by its position.
        named = f" of {ticker}" if (ticker := info.data.get("ticker")) else ""
        raise PydanticCustomError(
            "shares",
            "{shares} shares{named} round to zero: a number of shares has at most {decimals} decimals",
            {"shares": f"{shares:g}", "named": named, "decimals": SHARE_DECIMALS},
        )
    return kept


def check_holdings(holdings: dict[str, float]) -> dict[str, float]:
    """Return ``holdings`` with tickers in upper case.

    Raises:
        PydanticCustomError: A name is not a ticker or occurs twice, or there are more than ``MAX_HOLDINGS``.
    """
    if len(holdings) > MAX_HOLDINGS:
        raise PydanticCustomError(
            TOO_MANY_HOLDINGS,
            "{count} holdings; at most {limit} are allowed",
            {"count": len(holdings), "limit": MAX_HOLDINGS},
        )
    checked: dict[str, float] = {}
    for name, shares in holdings.items():
        ticker = check_ticker(name)
        if ticker in checked:
            raise PydanticCustomError("ticker", "{name} occurs twice", {"name": ticker})
        checked[ticker] = shares
    return checked


Recorded = AfterValidator(canonical)
"""Reads a number as it will be recorded, so that an answer computed from it can be recomputed."""

Ticker = Annotated[
    str,
    AfterValidator(check_ticker),
    Field(
        description=f"{TICKER_RULE}; upper-cased by the server",
        examples=["AAPL"],
        json_schema_extra={"pattern": TICKER_PATTERN},
    ),
]

Shares = Annotated[
    float,
    Field(
        strict=True,
        allow_inf_nan=False,
        ge=-MAX_SHARES,
        le=MAX_SHARES,
        description="number of shares, with at most nine decimals and 15 significant digits; fractions "
        "allowed, negative is a short position",
        examples=[100],
    ),
    AfterValidator(check_shares),
]


def check_traded(shares: float) -> float:
    """Return ``shares``.

    Raises:
        PydanticCustomError: They are 0: the edit would change nothing, but end the run.
    """
    if not shares:
        raise PydanticCustomError("shares", "a trade needs a number of shares other than 0")
    return shares


Traded = Annotated[Shares, AfterValidator(check_traded)]

Holdings = Annotated[
    dict[str, Shares],
    AfterValidator(check_holdings),
    Field(
        description=f"shares by ticker, at most {MAX_HOLDINGS} lines",
        examples=[{"AAPL": 100, "GOOGL": 50}],
    ),
]


def check_shares_of_all(shares: dict[str, float]) -> dict[str, float]:
    """Return shares of a whole by ticker, on any scale.

    Raises:
        PydanticCustomError: All are zero, or one of them is negligible compared with the others.
    """
    checked = check_holdings(shares)
    total = sum(checked.values())
    if not total > 0.0:
        raise PydanticCustomError("shares", "at least one must be above 0")
    lost = next((name for name, share in checked.items() if 0.0 < share < LEAST_SHARE * total), None)
    if lost is not None:
        raise PydanticCustomError(
            "shares", "{name} is less than a billionth of the sum: leave it out", {"name": lost}
        )
    return checked


Weights = Annotated[
    dict[str, Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=MAX_SHARES)]],
    AfterValidator(check_shares_of_all),
    Field(
        description="share of gross value by ticker, on any scale; names that are not held are to be bought, "
        "and held names left out are to be sold",
        examples=[{"AAPL": 60, "GOOGL": 40}],
    ),
]

Budgets = Annotated[
    dict[str, Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=MAX_SHARES)]],
    AfterValidator(check_shares_of_all),
    Field(
        description="share of risk by ticker, on any scale; names that are not held are to be bought, and "
        "held names left out are to be sold",
        examples=[{"AAPL": 1, "GOOGL": 2}],
    ),
]

RequestId = Annotated[
    Annotated[str, StringConstraints(max_length=128)]
    | Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)],
    Field(description="chosen by the client; its answers echo it"),
]
