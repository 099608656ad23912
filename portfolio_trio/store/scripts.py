"""Loading the Lua files, from a wheel, an editable install or a plain checkout."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import portfolio_trio
from portfolio_trio.redis import Script

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

NAMES: Final = (
    "open_session",
    "lift",
    "start_analysis",
    "record_results",
    "get_results",
    "finish_analysis",
    "set_holdings",
    "trade",
    "set_targets",
    "revalue",
    "leave_session",
    "heartbeat",
    "publish_tick",
    "retire",
    "check_engine",
)
"""Every script; each is ``lua/<name>.lua``."""

_INCLUDE: Final = re.compile(r"^-- include (\w+\.lua)\n", re.MULTILINE)


class ScriptsNotFound(RuntimeError):  # noqa: N818 - named as the store's other errors are
    """The package's Lua files are missing."""


def script_folder() -> Traversable:
    """Return the folder of the Lua files.

    Raises:
        ScriptsNotFound: It is neither in the package nor next to it.
    """
    # A wheel carries the folder inside the package; a checkout has it at the top.
    shipped = files("portfolio_trio").joinpath("_lua")
    if shipped.is_dir():
        return shipped
    checkout = Path(portfolio_trio.__file__).resolve().parent.parent / "lua"
    if checkout.is_dir():
        return checkout
    raise ScriptsNotFound(f"no Lua scripts in {shipped} or {checkout}; reinstall portfolio-trio")


@cache
def script(name: str) -> Script:
    """Return one of ``NAMES``, with its includes inserted.

    Raises:
        ScriptsNotFound: There is no such file.
    """
    folder = script_folder()
    return Script(name, _INCLUDE.sub(lambda match: _text(folder, match[1]), _text(folder, f"{name}.lua")))


def all_scripts() -> tuple[Script, ...]:
    """Every script of the store, for ``open_redis`` to load on each connection."""
    return tuple(script(name) for name in NAMES)


def _text(folder: Traversable, name: str) -> str:
    try:
        return folder.joinpath(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScriptsNotFound(f"no {name} in {folder}; reinstall portfolio-trio") from None
