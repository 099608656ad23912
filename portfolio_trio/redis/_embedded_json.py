"""In-place JSON writes for the embedded engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from fakeredis._helpers import OK
from fakeredis._socket import FakeSocket
from fakeredis.stack._json_mixin import JSONObject
from typing_extensions import override

if TYPE_CHECKING:
    from fakeredis._core import CommandItem

_MEMBERS: Final = re.compile(r"\$((?:\.[A-Za-z_][A-Za-z0-9_]*)+)", re.ASCII)


class InPlaceJson(FakeSocket):
    """Writes to plain paths (``$.a``, ``$.a.b``) in place.

    fakeredis copies or walks the whole document at each write, so its cost grows with the size of the
    document. Any other path, and any special case, is left to fakeredis.
    """

    # The parameters are those of fakeredis, which has no types for JSON values (ANN401).
    @override
    def _json_set(self, key: CommandItem, path_str: bytes, value: Any, *args: Any) -> Any:
        parent, name = _place(key, path_str)
        if args or not isinstance(parent, dict):
            return super()._json_set(key, path_str, value, *args)
        parent[name] = value
        key.updated()
        return OK

    @override
    def json_arrappend(self, key: CommandItem, path_str: bytes, *args: bytes) -> Any:
        array = _array(key, path_str)
        if array is None or not args:
            return super().json_arrappend(key, path_str, *args)
        # All are decoded before the first is stored, so invalid JSON leaves the array unchanged.
        array += [JSONObject.decode(text) for text in args]
        key.updated()
        return [len(array)]

    @override
    def json_arrtrim(self, key: CommandItem, *args: bytes) -> Any:
        array = _array(key, args[0]) if len(args) == 3 else None  # noqa: PLR2004 - path, start, stop
        if array is None or not (args[1].isdigit() and args[2].isdigit()):
            return super().json_arrtrim(key, *args)
        array[:] = array[int(args[1]) : int(args[2]) + 1]
        key.updated()
        return [len(array)]


def _place(key: CommandItem, path: bytes) -> tuple[Any, str]:
    """The object that contains the member of a plain path, and the member's name; None for any other path."""
    match = _MEMBERS.fullmatch(path.decode())
    if match is None:
        return None, ""
    *parents, name = match[1][1:].split(".")
    holder = key.value
    for parent in parents:
        holder = holder.get(parent) if isinstance(holder, dict) else None
    return holder, name


def _array(key: CommandItem, path: bytes) -> list[Any] | None:
    holder, name = _place(key, path)
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, list) else None
