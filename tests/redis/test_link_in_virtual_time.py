"""Deadlines and back-off, exactly, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from redis.backoff import ConstantBackoff, ExponentialBackoff
from typing_extensions import override

from portfolio_trio.redis import Message, Missed, Script, State
from portfolio_trio.redis._link import LinkOptions, default_backoff
from portfolio_trio.redis._network import NetworkClient, open_network
from portfolio_trio.redis._url import Endpoint
from portfolio_trio.redis.errors import (
    CannotConnect,
    ReadOnlyServer,
    ReplyOverdue,
    ScriptRejected,
    TooManyPending,
    Unavailable,
)
from tests.support.redis_streams import Answer, PaperServer, polite

if TYPE_CHECKING:
    from anyio.abc import ByteStream

pytestmark = pytest.mark.trio

Dialer = Callable[[int], PaperServer]


class Paper:
    """Dials paper servers, one per attempt; None refuses."""

    def __init__(self, make: Callable[[int], PaperServer | None]) -> None:
        self._make = make
        self.times: list[float] = []
        self.servers: list[PaperServer] = []

    async def __call__(self, endpoint: Endpoint) -> ByteStream:
        self.times.append(trio.current_time())
        server = self._make(len(self.times) - 1)
        if server is None:
            raise CannotConnect(f"nothing at {endpoint.address}")
        self.servers.append(server)
        return server


@asynccontextmanager
async def client_of(paper: Paper, **options: object) -> AsyncIterator[NetworkClient]:
    settings = {"backoff": ConstantBackoff(1.0), **options}
    # Options of a test, not of a program (arg-type).
    async with open_network(Endpoint(), LinkOptions(dial=paper, **settings)) as client:  # type: ignore[arg-type]
        yield client


async def test_an_overdue_reply_ends_the_connection_and_the_next_serves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def answer(command: list[bytes]) -> bytes | None:
        return b"+OK\r\n" if command[0] == b"SET" else polite(command)

    paper = Paper(lambda number: PaperServer(polite if number == 0 else answer))
    async with client_of(paper, reply_timeout=8.0) as client:
        start = trio.current_time()
        with pytest.raises(ReplyOverdue, match="no reply for 8 s") as caught:
            await client.set("k", "v")
        assert caught.value.sent
        # Looked at four times per timeout, so noticed within a quarter more.
        assert 8.0 <= trio.current_time() - start <= 10.0 + 1e-6
        with pytest.raises(Unavailable, match="it was not sent") as caught_down:
            await client.set("k", "v")
        assert not caught_down.value.sent
        await trio.sleep(1.5)
        assert await client.set("k", "v")


async def test_a_slow_but_steady_server_is_not_overdue(autojump_clock: trio.testing.MockClock) -> None:
    paper = Paper(lambda _number: PaperServer())
    async with client_of(paper, reply_timeout=4.0) as client, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(client.get, "k")
        for _ in range(10):
            await trio.sleep(3.0)
            paper.servers[0].say(b"$1\r\nv\r\n")
    assert len(paper.times) == 1


async def test_everybody_behind_an_overdue_reply_fails_and_nobody_hangs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    paper = Paper(lambda _number: PaperServer())
    failures: list[Unavailable] = []
    async with client_of(paper, reply_timeout=4.0) as client:

        async def call() -> None:
            try:
                await client.set("k", "v")
            except Unavailable as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(call)
    assert [error.sent for error in failures] == [True] * 50
    assert len({id(error) for error in failures}) == 50


async def test_back_off_doubles_for_ever_and_starts_over_after_a_steady_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    paper = Paper(lambda number: None if 1 <= number <= 8 else PaperServer())
    async with client_of(paper, backoff=ExponentialBackoff(cap=8, base=1)) as client:
        await trio.sleep(5)
        lost = trio.current_time()
        paper.servers[0].hang_up()
        await trio.sleep(60)
        waits = [
            round(now - before)
            for before, now in zip([lost, *paper.times[1:]], paper.times[1:], strict=False)
        ]
        assert waits == [1, 2, 4, 8, 8, 8, 8, 8, 8]
        assert client.ready
        assert client.statistics().reconnects == 1
        lost = trio.current_time()
        paper.servers[1].hang_up()
        await trio.sleep(2)
        assert round(paper.times[-1] - lost) == 1


async def test_the_default_back_off_is_bounded_and_jittered() -> None:
    backoff = default_backoff()
    for failures in range(64):
        assert 0.02 <= backoff.compute(failures) <= 2.0
    assert len({backoff.compute(10) for _ in range(20)}) > 1


async def test_a_short_connection_does_not_reset_the_back_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    paper = Paper(lambda _number: PaperServer())
    async with client_of(paper, backoff=ExponentialBackoff(cap=100, base=1)):
        for expected in (2, 4, 8):
            lost = trio.current_time()
            paper.servers[-1].hang_up()
            await trio.sleep(expected + 0.5)
            assert round(paper.times[-1] - lost) == expected


async def test_the_first_connection_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    silent: Answer = lambda _command: None  # noqa: E731 - typed as what it stands for
    with pytest.raises(CannotConnect, match="did not answer within 3 s"):
        async with client_of(Paper(lambda _number: PaperServer(silent)), connect_timeout=3.0):
            pytest.fail("a silent server counted as ready")
    assert trio.current_time() == pytest.approx(3.0)


async def test_no_redis_at_all() -> None:
    web: Answer = lambda _command: b"HTTP/1.1 400 Bad Request\r\n\r\n"  # noqa: E731 - typed as what it stands for
    with pytest.raises(CannotConnect, match="is it a Redis"):
        async with client_of(Paper(lambda _number: PaperServer(web))):
            pytest.fail("a web server counted as a Redis")


async def test_too_old_a_server_is_told_apart() -> None:
    old: Answer = lambda _command: b"-ERR unknown command\r\n"  # noqa: E731 - typed as what it stands for
    with pytest.raises(CannotConnect, match="RESP3 takes Redis 6"):
        async with client_of(Paper(lambda _number: PaperServer(old))):
            pytest.fail("a server without HELLO counted as ready")


async def test_a_script_that_does_not_compile_stops_the_start() -> None:
    def answer(command: list[bytes]) -> bytes | None:
        return b"-ERR Error compiling script\r\n" if command[0] == b"SCRIPT" else polite(command)

    with pytest.raises(ScriptRejected, match=r"script bad was not loaded: .*compiling"):
        async with client_of(Paper(lambda _number: PaperServer(answer)), scripts=[Script("bad", "(")]):
            pytest.fail("a broken script was taken")


async def test_scripts_and_name_go_out_before_anything_else() -> None:
    paper = Paper(lambda _number: PaperServer())
    script = Script("s", "return 1")
    async with client_of(paper, scripts=[script], client_name="me"):
        assert paper.servers[0].commands == [
            [b"HELLO", b"3", b"SETNAME", b"me"],
            [b"SCRIPT", b"LOAD", b"return 1"],
            [b"PING"],
        ]


async def test_idempotent_calls_are_sent_again_exactly_once(autojump_clock: trio.testing.MockClock) -> None:
    """Each connection ends at the first EVALSHA, so every send shows as a connection."""
    papers: list[PaperServer] = []

    def make(_number: int) -> PaperServer:
        def answer(command: list[bytes]) -> bytes | None:
            if command[0] in {b"EVALSHA", b"GET", b"SET"}:
                server.hang_up()
                return None
            return polite(command)

        server = PaperServer(answer)
        papers.append(server)
        return server

    def count(word: bytes) -> int:
        return sum(command[0] == word for paper in papers for command in paper.commands)

    script = Script("s", "return 1")
    async with client_of(Paper(make), scripts=[script]) as client:
        with pytest.raises(Unavailable) as caught:
            await client.run_script(script, [], [], idempotent=True)
        assert caught.value.sent
        assert count(b"EVALSHA") == 2
        await trio.sleep(2)
        with pytest.raises(Unavailable):
            await client.run_script(script, [], [])
        assert count(b"EVALSHA") == 3
        await trio.sleep(2)
        with pytest.raises(Unavailable):
            await client.get("k")  # a read
        assert count(b"GET") == 2
        await trio.sleep(2)
        with pytest.raises(Unavailable):
            await client.set("k", "v")
        assert count(b"SET") == 1


async def test_a_second_loss_while_nobody_is_back_fails_without_a_second_send(
    autojump_clock: trio.testing.MockClock,
) -> None:
    paper = Paper(lambda number: PaperServer() if number == 0 else None)
    script = Script("s", "return 1")
    async with client_of(paper, scripts=[script]) as client:
        async with trio.open_nursery() as nursery:

            async def lose() -> None:
                await trio.testing.wait_all_tasks_blocked()
                paper.servers[0].hang_up()

            nursery.start_soon(lose)
            with pytest.raises(Unavailable) as caught:
                await client.run_script(script, [], [], idempotent=True)
        assert caught.value.sent
        assert len(paper.times) == 2


async def test_closing_the_client_fails_what_waits() -> None:
    paper = Paper(lambda _number: PaperServer())
    outcome: list[Unavailable] = []
    async with trio.open_nursery() as nursery, client_of(paper) as client:

        async def call() -> None:
            with pytest.raises(Unavailable, match="closed") as caught:
                await client.get("k")  # a read, which would be sent again on a loss
            outcome.append(caught.value)

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
    assert outcome[0].sent
    assert client.statistics().state is State.CLOSED


async def test_pending_commands_are_bounded() -> None:
    paper = Paper(lambda _number: PaperServer())
    async with client_of(paper, max_pending=3) as client, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(client.get, "k")
        await trio.testing.wait_all_tasks_blocked()
        assert client.statistics().pending == 3
        with pytest.raises(TooManyPending, match="3 commands") as caught:
            await client.get("k")
        assert not caught.value.sent
        paper.servers[0].say(b"$1\r\nv\r\n" * 3)
        await trio.testing.wait_all_tasks_blocked()
        assert client.statistics().pending == 0


async def test_many_callers_share_few_sends() -> None:
    sends: list[int] = []

    class Counting(PaperServer):
        @override
        async def send(self, item: bytes) -> None:
            sends.append(len(item))
            await super().send(item)

    def answer(command: list[bytes]) -> bytes | None:
        return b"+OK\r\n" if command[0] == b"SET" else polite(command)

    async with client_of(Paper(lambda _number: Counting(answer))) as client:
        sends.clear()
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(client.set, f"k{number}", "v")
    assert len(sends) <= 3


async def test_a_refused_subscription_is_an_error_and_not_a_wait() -> None:
    def answer(command: list[bytes]) -> bytes | None:
        return b"-NOPERM no access to the channel\r\n" if command[0] == b"SUBSCRIBE" else polite(command)

    async with client_of(Paper(lambda _number: PaperServer(answer))) as client:
        with pytest.raises(Exception, match="no access"):
            async with client.subscribe("c"):
                pytest.fail("a refused subscription was taken")


async def test_a_lost_subscription_is_made_again_and_the_gap_is_marked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    paper = Paper(lambda _number: PaperServer())
    async with client_of(paper) as client, client.subscribe("c") as messages:
        paper.servers[1].say(b">3\r\n+message\r\n+c\r\n+one\r\n")
        assert await anext(messages) == Message(b"c", b"one")
        paper.servers[1].hang_up()
        assert isinstance(await anext(messages), Missed)
        paper.servers[2].say(b">3\r\n+message\r\n+c\r\n+two\r\n")
        assert await anext(messages) == Message(b"c", b"two")
        assert [b"SUBSCRIBE", b"c"] in paper.servers[2].commands


async def test_a_silent_subscription_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    def mute(server: list[PaperServer]) -> Answer:
        def answer(command: list[bytes]) -> bytes | None:
            # Only the handshake's PINGs are answered: the first connection's later ones are not.
            pings = sum(seen == [b"PING"] for seen in server[0].commands) if server else 0
            return None if command == [b"PING"] and pings > 2 else polite(command)

        return answer

    def make(_number: int) -> PaperServer:
        holder: list[PaperServer] = []
        holder.append(PaperServer(mute(holder)))
        return holder[0]

    async with client_of(Paper(make), reply_timeout=4.0) as client, client.subscribe("c") as messages:
        with trio.fail_after(60):
            assert isinstance(await anext(messages), Missed)


async def test_a_demoted_server_is_left_and_another_connection_made(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def demoted(command: list[bytes]) -> bytes | None:
        return b"-READONLY a replica takes no writes\r\n" if command[0] == b"SET" else polite(command)

    paper = Paper(lambda _number: PaperServer(demoted))
    async with client_of(paper) as client:
        with pytest.raises(ReadOnlyServer) as caught:
            await client.set("k", "v")
        assert not caught.value.sent
        await trio.sleep(2)
        assert client.ready
        assert len(paper.times) == 2


async def test_a_retired_connection_finishes_what_it_has(autojump_clock: trio.testing.MockClock) -> None:
    paper = Paper(lambda _number: PaperServer())
    values: list[object] = []
    async with client_of(paper) as client, trio.open_nursery() as nursery:

        async def read() -> None:
            values.append(await client.get("k"))

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        connection = client.link._connection
        assert connection is not None
        connection.retire("demoted")
        with pytest.raises(Unavailable, match="demoted"):
            await client.set("k", "v")
        paper.servers[0].say(b"$1\r\nv\r\n")
        await trio.sleep(2)
        assert values == [b"v"]
        assert len(paper.times) == 2


async def test_nobody_waits_for_a_link_that_was_closed() -> None:
    async with client_of(Paper(lambda _number: PaperServer())) as client:
        pass
    with trio.fail_after(5):
        await client.link.resolved()
    with pytest.raises(Unavailable):
        await client.get("k")
