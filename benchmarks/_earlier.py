"""The metrics of an earlier version of the project, beside those of this one."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


def earlier_metrics(checkout: Path) -> ModuleType:
    """``portfolio_trio.metrics`` of another checkout; this one's stays imported as it is."""
    ours = _ours()
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, str(checkout))
    try:
        return importlib.import_module("portfolio_trio.metrics")
    finally:
        sys.path.remove(str(checkout))
        for name in _ours():
            del sys.modules[name]
        sys.modules.update(ours)


def _ours() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.startswith("portfolio_trio")}
