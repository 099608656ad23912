"""Slots are taken and given back, and nothing is remembered of closed sockets."""

from __future__ import annotations

import ipaddress
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from typing_extensions import override

from portfolio_trio.access import ConnectionLimits, Limit, LimitReached, Slots, address_group

PER_SESSION, PER_ADDRESS, TOTAL = 2, 3, 5


class Comings(RuleBasedStateMachine):
    """Clients of few sessions and addresses come and go in any order; some leave by an exception."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = ConnectionLimits(per_session=PER_SESSION, per_address=PER_ADDRESS, total=TOTAL)
        self.there: list[tuple[str | None, str | None, Slots]] = []

    def taken(self, *, address: str | None = None, session: str | None = None) -> int:
        return sum(
            (address is not None and each[0] == address) or (session is not None and each[1] == session)
            for each in self.there
        )

    def full(self, address: str | None, session: str) -> Limit | None:
        if len(self.there) >= TOTAL:
            return Limit.SERVER
        if address is not None and self.taken(address=address) >= PER_ADDRESS:
            return Limit.ADDRESS
        return Limit.SESSION if self.taken(session=session) >= PER_SESSION else None

    def try_to_come(self, address: str | None, session: str) -> Limit | None:
        try:
            slots = self.limits.enter(address)
        except LimitReached as refused:
            return refused.limit
        try:
            slots.join(session)
        except LimitReached as refused:
            slots.leave()
            return refused.limit
        self.there.append((address, session, slots))
        return None

    @rule(address=st.sampled_from(["a", "b", None]), session=st.sampled_from(["one", "two", "three"]))
    def come(self, address: str | None, session: str) -> None:
        expected = self.full(address, session)
        assert self.try_to_come(address, session) is expected

    @precondition(lambda self: self.there)
    @rule(data=st.data(), fails=st.booleans())
    def go(self, data: st.DataObject, *, fails: bool) -> None:
        _, _, slots = self.there.pop(data.draw(st.integers(0, len(self.there) - 1)))
        if not fails:
            slots.leave()
            return
        with pytest.raises(LookupError), slots:
            raise LookupError

    @invariant()
    def counts_are_those_of_who_is_there(self) -> None:
        assert self.limits.count(Limit.SERVER) == len(self.there) <= TOTAL
        for address in ("a", "b"):
            taken = self.limits.count(Limit.ADDRESS, address)
            assert taken == self.taken(address=address) <= PER_ADDRESS
        for session in ("one", "two", "three"):
            taken = self.limits.count(Limit.SESSION, session)
            assert taken == self.taken(session=session) <= PER_SESSION

    @invariant()
    def nobody_else_is_remembered(self) -> None:
        keys: set[tuple[str, str | None]] = {
            ("address", each[0]) for each in self.there if each[0] is not None
        }
        keys |= {("session", each[1]) for each in self.there}
        assert len(self.limits) == len(keys) + bool(self.there)

    @override
    def teardown(self) -> None:
        while self.there:
            self.there.pop()[2].leave()
        assert len(self.limits) == 0


Comings.TestCase.settings = settings(max_examples=50, stateful_step_count=30)
TestComings: Any = Comings.TestCase


@pytest.mark.parametrize(
    ("limit", "status", "close_code"),
    [(Limit.SESSION, 429, 1013), (Limit.ADDRESS, 429, 1013), (Limit.SERVER, 503, 1013)],
)
def test_the_answer_names_the_limit(limit: Limit, status: int, close_code: int) -> None:
    refused = LimitReached(limit)
    assert (refused.status, refused.close_code) == (status, close_code)
    assert refused.retry_after is not None
    assert limit.value in refused.code + refused.detail.lower()


def test_a_limit_that_is_not_set_is_none() -> None:
    limits = ConnectionLimits()
    with ExitStack() as stack:
        for _ in range(1_000):
            stack.enter_context(limits.enter("192.0.2.1")).join("mine")
        assert limits.count(Limit.ADDRESS, "192.0.2.1") == limits.count(Limit.SESSION, "mine") == 1_000
    assert len(limits) == 0


def test_a_refused_client_takes_nothing() -> None:
    limits = ConnectionLimits(per_address=0)
    with pytest.raises(LimitReached), limits.enter("192.0.2.1"):
        pytest.fail("it came in")
    assert len(limits) == 0


def test_leaving_twice_gives_back_once() -> None:
    limits = ConnectionLimits()
    first, second = limits.enter("192.0.2.1"), limits.enter("192.0.2.1")
    first.leave()
    first.leave()
    assert limits.count(Limit.SERVER) == limits.count(Limit.ADDRESS, "192.0.2.1") == 1
    second.leave()
    assert len(limits) == 0


# --- addresses ---

ipv4 = st.ip_addresses(v=4).filter(lambda address: not address.is_loopback)
subnets = st.integers(1, 2**64 - 1)
suffixes = st.integers(0, 2**64 - 1)


@given(subnets, suffixes, suffixes)
def test_a_subnet_of_64_bits_counts_as_one(subnet: int, one: int, other: int) -> None:
    first, second = (str(ipaddress.IPv6Address(subnet << 64 | each)) for each in (one, other))
    assert address_group(first) == address_group(second)


@given(subnets, subnets, suffixes)
def test_two_subnets_count_apart(one: int, other: int, suffix: int) -> None:
    first, second = (str(ipaddress.IPv6Address(each << 64 | suffix)) for each in (one, other))
    assert (address_group(first) == address_group(second)) is (one == other)


@given(ipv4)
def test_an_ipv4_address_counts_by_itself_in_both_forms(address: ipaddress.IPv4Address) -> None:
    assert address_group(str(address)) == str(address) == address_group(f"::ffff:{address}")


@pytest.mark.parametrize("address", [None, "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_not_counted(address: str | None) -> None:
    limits = ConnectionLimits(per_address=0)
    with limits.enter(address):
        assert len(limits) == 1


def test_the_zone_of_a_link_does_not_matter() -> None:
    assert address_group("fe80::1%eth0") == address_group("fe80::2%eth1") == "fe80::/64"


@given(st.text(max_size=40))
def test_no_address_raises(text: str) -> None:
    address_group(text)
