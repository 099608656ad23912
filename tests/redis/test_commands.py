"""Packing, and the commands that a shared connection refuses."""

from __future__ import annotations

import enum
import math

import hiredis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import DataError

from portfolio_trio.redis._commands import Arg, check, describe, pack
from portfolio_trio.redis.errors import CommandRefused

WORDS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.integers()
    | st.floats(allow_nan=False),
    min_size=1,
)


def unpack(data: bytes) -> list[bytes]:
    reader = hiredis.Reader()
    reader.feed(data)
    words: list[bytes] = reader.gets()
    return words


@given(WORDS)
def test_packing_keeps_every_argument(words: list[Arg]) -> None:
    packed = unpack(pack(tuple(words)))
    assert len(packed) == len(words)
    for word, sent in zip(words, packed, strict=True):
        if isinstance(word, bytes):
            assert sent == word
        elif isinstance(word, str):
            assert sent.decode() == word
        else:
            assert float(sent) == float(word) or math.isinf(float(word))


class Color(enum.StrEnum):
    RED = "red"


class Count(enum.IntEnum):
    TWO = 2


def test_subclasses_go_as_what_they_are_and_not_as_they_print() -> None:
    packed = unpack(pack(("A", np.float64(1.5), Color.RED, Count.TWO, bytearray(b"x"), memoryview(b"y"))))
    assert packed == [b"A", b"1.5", b"red", b"2", b"x", b"y"]


@pytest.mark.parametrize("bad", [None, True, [1], np.int64(1), object()])
def test_what_is_no_text_or_number_is_refused(bad: Arg) -> None:
    with pytest.raises(DataError, match="cannot be part of a command"):
        pack(("SET", "k", bad))


@pytest.mark.parametrize(
    "command",
    [
        "SUBSCRIBE c", "psubscribe c", "MONITOR", "RESET", "HELLO 2", "QUIT", "SELECT 1", "AUTH x", "WATCH k",
        "MULTI", "EXEC", "BLPOP k 0", "BZMPOP 0 1 k MIN", "WAIT 1 0", "CLIENT REPLY OFF", "client reply skip",
        "CLIENT TRACKING on", "SCRIPT DEBUG YES", "XREAD BLOCK 0 STREAMS s $",
        "xreadgroup GROUP g c block 5 STREAMS s >", "SYNC", "ASKING",
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["words", "one string", "bytes"])
def test_what_would_shift_replies_is_refused(command: str, shape: str) -> None:
    first, *rest = [command] if shape == "one string" else command.split()
    arguments = [word.encode() for word in rest] if shape == "bytes" else rest
    described = describe(first)
    with pytest.raises(CommandRefused, match="shared connection; "):
        check(described, [*described.words[1:], *arguments] if shape == "one string" else arguments)


@pytest.mark.parametrize(
    "command",
    [
        "GET k",
        "XREAD STREAMS BLOCK 0",
        "CLIENT SETNAME x",
        "CLIENT KILL ID 1",
        "SCRIPT LOAD x",
        "PUBLISH c m",
        "LPOP k",
    ],
)
def test_what_answers_at_once_is_allowed(command: str) -> None:
    first, *rest = command.split()
    check(describe(first), rest)


def test_every_refusal_says_what_to_do_instead() -> None:
    with pytest.raises(CommandRefused, match=r"client\.subscribe"):
        check(describe("SUBSCRIBE"), ["c"])
    with pytest.raises(CommandRefused, match=r"client\.run_script"):
        check(describe("WATCH"), ["k"])
    with pytest.raises(CommandRefused, match="URL"):
        check(describe("SELECT"), [1])
