"""Slots and routes of a cluster, without one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.redis._routes import Ask, Routes, merge
from portfolio_trio.redis._slots import SLOTS, SlotMap, slot_of
from portfolio_trio.redis.errors import CrossSlot, Unavailable


def test_known_slots() -> None:
    # From the specification of Redis Cluster: CRC16 of "123456789" is 0x31C3.
    assert slot_of(["123456789"]) == 0x31C3 % SLOTS
    assert slot_of([b"foo"]) == 12182
    assert slot_of(["portfolio:{a}", "x{a}y"]) == slot_of(["a"])


@given(st.lists(st.text(), min_size=2))
def test_keys_of_several_slots_are_refused_and_tags_bring_them_together(names: list[str]) -> None:
    assert slot_of([f"{{tag}}{name}" for name in names]) == slot_of(["tag"])
    if len({slot_of([name]) for name in names}) > 1:
        with pytest.raises(CrossSlot, match="tag"):
            slot_of(names)


def test_the_map_knows_owners_moves_and_gaps() -> None:
    slots = SlotMap()
    slots.load(
        [[0, 99, [b"a", 1, b"id"], [b"replica", 9, b"id"]], [100, SLOTS - 2, [b"", 2, b"id"]]], "asked"
    )
    assert slots.owner(99) == ("a", 1)
    assert slots.owner(100) == ("asked", 2)
    assert slots.primaries == [("a", 1), ("asked", 2)]
    assert not slots.covered
    with pytest.raises(Unavailable) as caught:
        slots.owner(SLOTS - 1)
    assert not caught.value.sent
    slots.move(SLOTS - 1, ("c", 3))
    assert slots.owner(SLOTS - 1) == ("c", 3)
    assert slots.covered


def entry(
    name: str, first: int, last: int, step: int, *tips: str, flags: tuple[bytes, ...] = ()
) -> list[Any]:
    return [name.encode(), -2, set(flags), first, last, step, [], [tip.encode() for tip in tips], [], []]


ROUTES = Routes(
    [
        entry("get", 1, 1, 1),
        entry("mset", 1, -1, 2),
        entry("del", 1, -1, 1),
        entry("dbsize", 0, 0, 0, "request_policy:all_shards", "response_policy:agg_sum"),
        entry("info", 0, 0, 0, "request_policy:all_shards", "response_policy:special"),
        entry("evalsha", 0, 0, 0, flags=(b"movablekeys",)),
        entry("sintercard", 0, 0, 0, flags=(b"movablekeys",)),
        [*entry("script", 0, 0, 0)[:9], [entry("script|load", 0, 0, 0, "request_policy:all_nodes")]],
    ]
)


@pytest.mark.parametrize(
    ("args", "keys"),
    [
        (("get", "k"), ["k"]),
        (("MSET", "a", "1", "b", "2"), ["a", "b"]),
        (("DEL", "a", "b"), ["a", "b"]),
        (("EVALSHA", "sha", 2, "a", "b", "arg"), ["a", "b"]),
        (("EVALSHA", "sha", b"0", "arg"), []),
        (("DBSIZE",), []),
    ],
)
def test_where_the_keys_stand(args: tuple[str | int | bytes, ...], keys: list[str]) -> None:
    found = ROUTES.keys(args)
    assert found is not Ask.SERVER
    assert list(found) == keys


def test_what_only_the_server_knows_is_asked() -> None:
    assert ROUTES.keys(("SINTERCARD", 1, "k")) is Ask.SERVER
    with pytest.raises(Exception, match="no command NONSENSE"):
        ROUTES.keys(("NONSENSE",))


def test_what_belongs_everywhere() -> None:
    assert ROUTES.route(("DBSIZE",)).everywhere
    assert ROUTES.route(("SCRIPT", "LOAD", "x")).everywhere
    assert not ROUTES.route(("SCRIPT", "HELP")).everywhere
    assert not ROUTES.route(("INFO",)).everywhere


def test_replies_of_all_become_one() -> None:
    assert merge("agg_sum", [1, 2]) == 3
    assert merge("agg_logical_and", [[1, 1], [1, 0]]) == [1, 0]
    assert merge("", [[b"a"], [b"b"]]) == [b"a", b"b"]
    assert merge("all_succeeded", [b"OK", b"OK"]) == b"OK"
