"""The arguments of scripts: JSON text made here, and the checks that keep it valid JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from portfolio_trio.canonical import TOTAL_LIMIT, canonical, canonical_shares, canonical_text
from portfolio_trio.store.errors import MissingPrices, TooManyHoldings, ValueOverflow
from portfolio_trio.tickers import is_ticker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portfolio_trio.store.models import Ending
    from portfolio_trio.targets import Targets

# The scripts find the ends of texts by quotation marks and braces.
_CODE: Final = re.compile(r"\w+", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)


def checked_time(text: str) -> str:
    """Return ``text``, if it is RFC 3339 in UTC with Z.

    Raises:
        ValueError: It is not.
    """
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is not a time; write RFC 3339 in UTC, such as 2026-11-22T09:30:00.125Z")
    return text


def checked_ticker(text: str) -> str:
    """Return ``text``, if it is a ticker in upper case.

    Raises:
        ValueError: It is not.
    """
    if not is_ticker(text):
        raise ValueError(f"{text!r} is not a ticker; check requests before they reach the store")
    return text


def checked_shares(shares: float) -> float:
    """Return a number of shares as it is stored, with at most nine decimals.

    Raises:
        ValueError: It is not finite, or is not zero but rounds to zero.
    """
    kept = canonical_shares(shares)
    if shares and not kept:
        raise ValueError(f"{shares} shares round to zero; check requests before they reach the store")
    return kept


def checked_holdings(holdings: Mapping[str, float], limit: int) -> dict[str, float]:
    """Return holdings as they are stored: shares with at most nine decimals.

    Raises:
        TooManyHoldings: More lines than ``limit``.
        ValueError: A name is not a ticker, or a number of shares is not finite or rounds to zero.
    """
    if len(holdings) > limit:
        raise TooManyHoldings(limit)
    return {checked_ticker(name): checked_shares(shares) for name, shares in holdings.items()}


def holdings_text(holdings: Mapping[str, float]) -> str:
    """Return holdings from `checked_holdings` as JSON text, in the mapping's order."""
    return "{" + ",".join(f'"{name}":{canonical_text(shares)}' for name, shares in holdings.items()) + "}"


def total_value(holdings: Mapping[str, float], prices: Mapping[str, float]) -> float:
    """Sum shares times price in the mapping's order, as the scripts do; a line of zero shares needs no price.

    Raises:
        MissingPrices: Names that ``prices`` lacks.
        ValueOverflow: The sum is 1e22 or more.
    """
    unpriced = [name for name, shares in holdings.items() if shares and name not in prices]
    if unpriced:
        raise MissingPrices(unpriced)
    total = 0.0
    for name, shares in holdings.items():
        if name in prices:
            total += float(shares) * prices[name]
    if not abs(total) < TOTAL_LIMIT:
        raise ValueOverflow
    return canonical(total)


def targets_text(targets: Targets | None) -> str:
    """Return targets as JSON text: shares of 1, with as many digits as every engine reads back exactly.

    Raises:
        ValueError: A name is not a ticker.
    """
    if targets is None:
        return "null"
    weights, budgets = _shares_text(targets.weights), _shares_text(targets.budgets)
    return f'{{"weights":{weights},"budgets":{budgets},"band":{canonical_text(targets.band)}}}'


def _shares_text(shares: Mapping[str, float] | None) -> str:
    if shares is None:
        return "null"
    total = sum(shares.values())
    return holdings_text({checked_ticker(name): share / total for name, share in shares.items()})


def valued_text(tick_id: int, as_of: str) -> str:
    """Return ``valued`` as JSON text."""
    return f'{{"tick_id":{tick_id},"as_of":"{as_of}"}}'


def ending_text(ending: Ending) -> str:
    """Return the members of an end as JSON text, without its run_id."""
    if ending.outcome == "completed":
        return f'"outcome":"completed","results":{ending.results},"errors":{ending.errors}'
    reason = ending.reason if _CODE.fullmatch(ending.reason) else "internal"
    return f'"outcome":"{ending.outcome}","reason":"{reason}"'


def new_document(
    session_id: str,
    *,
    holdings: str,
    total: float,
    valued: str,
    at: str,
    incarnation: str,
    attached: Sequence[str] = (),
) -> str:
    """Return the document of a new session as JSON text.

    Args:
        session_id: The session.
        holdings: As JSON text.
        total: Their value, in currency units.
        valued: The prices behind that value, as JSON text.
        at: Now.
        incarnation: Distinguishes it from every other document of this session.
        attached: The workers that have sockets of the session.
    """
    return (
        f'{{"session_id":{json.dumps(session_id)},"holdings":{holdings},"version":1,'
        f'"total_value":{canonical_text(total)},"valued":{valued},'
        f'"run_counter":0,"current_analysis":null,"targets":null,"run_ends":[],"analysis_results":[],"result_sizes":[],"results_bytes":0,'
        f'"last_activity":"{at}",'
        f'"attached":{json.dumps(attached)},"incarnation":"{incarnation}"}}'
    )
