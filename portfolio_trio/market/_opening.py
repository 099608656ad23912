"""From the setting that names a price source to the source."""

from __future__ import annotations

import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portfolio_trio.market._csv_source import CsvSource
from portfolio_trio.market._errors import PriceSourceSpecError, shown
from portfolio_trio.market._simulated import SimulatedSource
from portfolio_trio.market._source import PriceSource

if TYPE_CHECKING:
    from collections.abc import Callable

PLUG_INS: Final = "portfolio_trio.price_sources"
"""Entry-point group: the name is the part before the colon, the object is called with the part after it."""


def open_price_source(
    spec: str, *, live_prices: str | None = None, now: Callable[[], float] = time.time
) -> PriceSource:
    """Return the price source that `spec` names; no file is read before the price book loads it.

    Args:
        spec: ``simulated``, ``simulated:SEED``, ``csv:PATH``, or ``NAME`` or ``NAME:ARGUMENT`` of an
            entry point in the group ``portfolio_trio.price_sources``.
        live_prices: With ``csv:PATH``, the JSON file of live prices.
        now: Wall clock, seconds since 1970 in UTC.

    Raises:
        PriceSourceSpecError: `spec` does not name a source, or cannot be used with `live_prices`.
    """
    name, _, argument = spec.strip().partition(":")
    if live_prices and name != "csv":
        raise PriceSourceSpecError(
            f"a file of live prices can only be used with csv:PATH, not with {shown(spec)}"
        )
    if name == "simulated":
        return SimulatedSource(_seed(argument))
    if name == "csv":
        if not argument:
            raise PriceSourceSpecError("csv needs a file: csv:PATH")
        live = Path(live_prices).expanduser() if live_prices else None
        return CsvSource(Path(argument).expanduser(), live, now=now)
    return _plug_in(name, argument)


def _seed(argument: str) -> int:
    try:
        return int(argument) if argument else 0
    except ValueError:
        raise PriceSourceSpecError(
            f"simulated needs a whole number as its seed, not {shown(argument)}"
        ) from None


def _plug_in(name: str, argument: str) -> PriceSource:
    found = entry_points(group=PLUG_INS)
    factories = found.select(name=name)
    if not factories:
        known = ", ".join(["simulated", "simulated:SEED", "csv:PATH", *sorted(found.names)])
        raise PriceSourceSpecError(f"no price source is called {shown(name)}; there are {known}")
    if len(factories) > 1:
        where = ", ".join(sorted(entry.value for entry in factories))
        raise PriceSourceSpecError(
            f"more than one plug-in is called {shown(name)}: {where}; remove all but one"
        )
    (entry,) = factories
    try:
        factory: Callable[[str], object] = entry.load()
        source = factory(argument)
    # A plug-in may raise anything; the error must name the plug-in.
    except Exception as error:
        raise PriceSourceSpecError(
            f"price source {name} ({entry.value}) cannot be used: {error!r}"
        ) from error
    if not isinstance(source, PriceSource):
        raise PriceSourceSpecError(f"price source {name} ({entry.value}) returned no PriceSource")
    return source
