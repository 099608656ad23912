"""Parsing the values of settings from text, and validating them."""

from __future__ import annotations

import json
import math
from typing import Final, NamedTuple

from pydantic import SecretStr  # noqa: TC002 - pydantic reads the annotation

from portfolio_trio.tickers import is_ticker

HIGHEST_PORT: Final = 65_535


class Address(NamedTuple):
    """An address to listen on."""

    host: str
    port: int


def parse_address(value: object) -> object:
    """Read ``"127.0.0.1:9464"`` or ``"[::1]:9464"``; an empty text means none."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    host, _, port = value.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= HIGHEST_PORT):
        raise ValueError("write HOST:PORT, such as 127.0.0.1:9464")
    return Address(host, int(port))


class Delay(NamedTuple):
    """Bounds of an artificial delay, in seconds."""

    shortest: float
    longest: float


def parse_delay(value: object) -> object:
    """Read ``"2,5"`` (or ``"2"``) as bounds; an empty text means no delay."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        parts = [float(part) for part in value.split(",")]
    except ValueError:
        raise ValueError("write one or two numbers of seconds, such as 2,5") from None
    if len(parts) not in {1, 2}:
        raise ValueError("write one or two numbers of seconds, such as 2,5")
    return Delay(parts[0], parts[-1])


def check_delay(value: Delay | None) -> Delay | None:
    """Refuse bounds in the wrong order."""
    if value is not None and not (0 <= value.shortest <= value.longest < math.inf):
        raise ValueError("the shortest delay must come first, and none may be negative or infinite")
    return value


def check_secret(value: SecretStr | None) -> SecretStr | None:
    """Refuse a secret that cannot be used."""
    # Imported here, and below, so that --help needs no HTTP and no cryptography.
    from portfolio_trio.access import split_secrets  # noqa: PLC0415

    if value is not None:
        split_secrets(value.get_secret_value())
    return value


def check_redis_url(value: SecretStr) -> SecretStr:
    """Refuse a text that is not a Redis URL."""
    from portfolio_trio.local_redis import directory_of  # noqa: PLC0415

    url = value.get_secret_value()
    if directory_of(url) is None and "://" not in url:
        raise ValueError(
            "write embedded://, local:DIRECTORY, redis://HOST:PORT, rediss://..., unix://... or redis+cluster://..."
        )
    return value


def parse_holdings(value: object) -> object:
    """Read a JSON object of shares by ticker."""
    if not isinstance(value, str):
        return value
    try:
        found: object = json.loads(value)
    except ValueError:
        found = None
    numbers = isinstance(found, dict) and all(type(each) in {int, float} for each in found.values())
    if not numbers:
        raise ValueError('write a JSON object of shares by ticker, such as {"AAPL": 100, "MSFT": 7.5}')
    return found


def split(value: object) -> object:
    """Read a list separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def check_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse texts that are not origins."""
    from portfolio_trio.access import OriginPolicy  # noqa: PLC0415

    OriginPolicy(value)
    return value


def check_hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse texts that are not host names."""
    from portfolio_trio.access import OriginPolicy  # noqa: PLC0415

    OriginPolicy(hosts=value)
    return value


def check_cash(value: tuple[str, ...]) -> tuple[str, ...]:
    """Upper-case names; refuse those that cannot be names of holdings."""
    names = tuple(name.upper() for name in value)
    wrong = [name for name in names if not is_ticker(name)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} cannot be names of holdings; write names such as CASH,USD")
    return names
