"""The flags of ``serve`` and their help; unknown setting names in the environment.

Knows fields only by their metadata; imports nothing from this package.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic.fields import FieldInfo

PREFIX: Final = "PORTFOLIO_"
# Variables that the tests read, and those that container platforms set for a service named `portfolio`.
_FOREIGN: Final = ("TEST_", "SERVICE_", "PORT_", "TRIO_", "TOKEN")

# The first field of each group, in the order of the fields.
_GROUPS: Final = {
    "host": "addresses and access",
    "redis_url": "Redis and sessions",
    "market_update_interval_seconds": "prices",
    "metric_delay_seconds": "analyses and portfolios",
    "drain_notice_seconds": "the end",
    "metrics_address": "watching it",
    "max_results": "limits",
}
_METAVARS: Final = {
    "host": "ADDRESS",
    "port": "PORT",
    "auth_secret": "SECRET",
    "auth_secret_file": "FILE",
    "allowed_origins": "ORIGIN,...",
    "allowed_hosts": "NAME,...",
    "tls_certificate": "FILE",
    "tls_key": "FILE",
    "redis_url": "URL",
    "prices": "SOURCE",
    "live_prices": "FILE",
    "cash": "NAME,...",
    "metric_delay_seconds": "LOW,HIGH",
    "default_holdings": "JSON",
    "freshness_tolerance": "PART",
    "metrics_address": "HOST:PORT",
    "log_level": "LEVEL",
    "log_format": "FORMAT",
}
_UNITS: Final = ("seconds", "days", "bytes")


def read_flags(
    flags: Sequence[str],
    fields: Mapping[str, FieldInfo],
    *,
    program: str,
    description: str,
    shown: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The values of the given flags, by field, as text (or a bool); other fields are left out.

    Args:
        flags: The words after the command.
        fields: All settings.
        program: The name of the command.
        description: The description of the command.
        shown: The fields listed in its help; by default all.

    Raises:
        SystemExit: The flags asked for help, or one of them does not exist.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} [--flag VALUE ...]",
        description=textwrap.fill(description, 88),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    group: argparse._ArgumentGroup | argparse.ArgumentParser = parser
    for name, field in fields.items():
        if name in _GROUPS and shown is None:
            group = parser.add_argument_group(_GROUPS[name])
        help_ = _help(field) if shown is None or name in shown else argparse.SUPPRESS
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=help_)
        else:
            group.add_argument(flag, metavar=_metavar(name), help=help_)
    return vars(parser.parse_args(flags))


def unknown_names(fields: Mapping[str, FieldInfo], env_file: Path = Path(".env")) -> list[str]:
    """Unknown names with the prefix of settings, in the environment or in ``.env``: one sentence each."""
    known = {f"{PREFIX}{name.upper()}" for name in fields}
    foreign = tuple(f"{PREFIX}{name}" for name in _FOREIGN)
    sentences = []
    for place, names in (("the environment", os.environ), (str(env_file), _names_of(env_file))):
        for name in sorted(names):
            upper = name.upper()
            if not upper.startswith(PREFIX) or upper.startswith(foreign) or upper in known:
                continue
            near = difflib.get_close_matches(upper, known, n=1)
            meant = f": did you mean {near[0]}?" if near else "; `serve --help` lists all"
            sentences.append(f"{name} in {place} is not a setting, and is ignored{meant}")
    return sentences


def _names_of(env_file: Path) -> list[str]:
    try:
        lines = env_file.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.partition("=")[0].removeprefix("export ").strip() for line in lines if "=" in line]


def _metavar(name: str) -> str:
    unit = name.rpartition("_")[2]
    return _METAVARS.get(name) or (unit.upper() if unit in _UNITS else "N")


def _help(field: FieldInfo) -> str:
    """The description of a setting, and its default if it is worth showing."""
    default = (
        ""
        if field.annotation is bool
        else _shown(field.get_default(call_default_factory=True, validated_data={}))
    )
    # In argparse a % has a special meaning.
    text = (field.description or "").replace("%", "%%")
    return f"{text} (default: {default})" if default else text


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            # Defaults are shown for every type.
            return value.get_secret_value()
        case tuple():
            return ",".join(map(str, value))
        case dict():
            return json.dumps({key: int(each) if each == int(each) else each for key, each in value.items()})
        case float():
            return f"{value:.12g}"
        case _:
            return str(value)
