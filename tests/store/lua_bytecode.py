"""Which globals a Lua 5.1 chunk reads and writes, from its bytecode."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from lupa import lua51  # type: ignore[import-untyped]  # it has no type hints

_HEADER: Final = 12
_GETGLOBAL, _SETGLOBAL = 5, 7
_SIMPLE: Final = {0: 0, 1: 1, 3: 8}  # nil, boolean, number: bytes of the constant
_STRING: Final = 4


@dataclass
class Globals:
    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)


def globals_of(source: str) -> Globals:
    """Compile ``source`` and look through every function of it."""
    runtime = lua51.LuaRuntime(encoding=None)
    dump = runtime.eval("function(text) return string.dump(assert(loadstring(text))) end")
    found = Globals()
    _Reader(dump(source.encode()), found).function()
    return found


class _Reader:
    def __init__(self, dumped: bytes, found: Globals) -> None:
        self._bytes, self._at, self._found = dumped, _HEADER, found

    def function(self) -> None:
        self._string()
        self._at += 8 + 4  # lines; upvalues, parameters, varargs, stack
        code = [self._number("<I") for _ in range(self._number("<i"))]
        constants = [self._constant() for _ in range(self._number("<i"))]
        for instruction in code:
            if instruction & 0x3F == _GETGLOBAL:
                self._found.read.add(constants[instruction >> 14])
            if instruction & 0x3F == _SETGLOBAL:
                self._found.written.add(constants[instruction >> 14])
        for _ in range(self._number("<i")):
            self.function()
        self._skip(4 * self._number("<i"))  # line of each instruction
        for _ in range(self._number("<i")):
            self._string()
            self._at += 8  # where a local begins and ends
        for _ in range(self._number("<i")):
            self._string()

    def _skip(self, size: int) -> None:
        self._at += size

    def _number(self, form: str) -> int:
        (number,) = struct.unpack_from(form, self._bytes, self._at)
        self._at += struct.calcsize(form)
        return int(number)

    def _string(self) -> str:
        size = self._number("<Q")
        text = self._bytes[self._at : self._at + max(0, size - 1)]
        self._at += size
        return text.decode("latin-1")

    def _constant(self) -> str:
        kind = self._bytes[self._at]
        self._at += 1
        if kind == _STRING:
            return self._string()
        self._at += _SIMPLE[kind]
        return ""
