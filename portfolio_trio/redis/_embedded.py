"""The embedded engine: a Redis in this process, for first steps and for tests."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio.lowlevel
import redis
from fakeredis import FakeServer
from fakeredis._core import Database
from lupa import lua51  # type: ignore[import-untyped] # ships no types
from typing_extensions import override

from portfolio_trio.redis._client import RedisClient
from portfolio_trio.redis._commands import pack
from portfolio_trio.redis._embedded_json import InPlaceJson
from portfolio_trio.redis._pubsub import Message, Subscription
from portfolio_trio.redis._statistics import ClientStatistics, NodeStatistics, State
from portfolio_trio.redis.errors import ScriptRejected, Unavailable

if TYPE_CHECKING:
    import queue
    import threading
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from portfolio_trio.redis._commands import Arg
    from portfolio_trio.redis._script import Script


class _ClockedDatabase(Database):
    """A database whose keys expire by a given clock."""

    def __init__(self, lock: threading.Lock, clock: Callable[[], float]) -> None:
        self._clock = clock
        super().__init__(lock)

    # Fakeredis sets the real time before each command; this property ignores that. mypy does not recognise a
    # property that overrides an attribute.
    @property  # type: ignore[explicit-override]
    def time(self) -> float:
        return self._clock()

    @time.setter
    def time(self, _now: float) -> None:
        """Ignore the time that fakeredis sets."""


class _Socket(InPlaceJson):
    """One client's connection to an embedded server; TIME uses the server's clock."""

    def __init__(self, server: FakeServer, clock: Callable[[], float]) -> None:
        self._clock = clock
        super().__init__(server, 0, client_class=redis.Redis)
        self.run(("HELLO", "3"))

    @override
    def time(self) -> list[bytes]:
        seconds, micros = divmod(round(self._clock() * 1_000_000), 1_000_000)
        return [b"%d" % seconds, b"%d" % micros]

    def run(self, args: tuple[Arg, ...]) -> Any:  # noqa: ANN401 - a reply is whatever the server says
        replies = self._replies()
        self.sendall(pack(args))
        return replies.get_nowait()

    def drain(self) -> Iterable[list[bytes]]:
        """Out-of-band replies: published messages."""
        replies = self._replies()
        while not replies.empty():
            yield replies.get_nowait()

    def _replies(self) -> queue.Queue[Any]:
        if self.responses is None:
            raise Unavailable("the client was closed")
        return self.responses


class EmbeddedServer:
    """The server that embedded clients share: one object is one Redis, and its data is lost with the object.

    Args:
        wall_clock: Seconds since the epoch; used for expiry and TIME.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._clock = wall_clock
        self._server = FakeServer(server_type="redis")
        self._server.dbs = defaultdict(lambda: _ClockedDatabase(self._server.lock, wall_clock))
        self._listeners: set[_Listener] = set()

    def socket(self) -> _Socket:
        """A new connection to this server."""
        return _Socket(self._server, self._clock)

    def listen(self, listener: _Listener) -> None:
        """Deliver a listener's messages after every command."""
        self._listeners.add(listener)

    def forget(self, listener: _Listener) -> None:
        """Stop delivering to it."""
        self._listeners.discard(listener)

    def deliver(self) -> None:
        """Deliver published messages to the listeners."""
        for listener in self._listeners:
            listener.deliver()


class _Listener:
    """A subscribed connection and the stream that receives its messages."""

    def __init__(self, socket: _Socket, subscription: Subscription) -> None:
        self._socket = socket
        self._subscription = subscription

    def deliver(self) -> None:
        for kind, channel, data in self._socket.drain():
            if kind == b"message":
                self._subscription.put(Message(channel, data))


class EmbeddedClient(RedisClient):
    """A client of an embedded server: each command runs immediately, in the caller."""

    def __init__(self, server: EmbeddedServer, scripts: Sequence[Script]) -> None:
        super().__init__()
        self._server = server
        self._socket = server.socket()
        self._calls = 0
        self._open = True
        for script in scripts:
            _check_compiles(script)
            self._socket.run(("SCRIPT", "LOAD", script.source))

    @override
    async def _call(self, args: tuple[Arg, ...], keys: Sequence[Arg] | None, *, repeatable: bool) -> Any:
        # Before the command, not after it: if the caller is cancelled, its command has not run, and no reply
        # is lost.
        await anyio.lowlevel.checkpoint()
        self._calls += 1
        reply = _bytes_for_text(self._socket.run(args))
        self._server.deliver()
        if isinstance(reply, Exception):
            raise reply
        return reply

    @override
    async def scan_keys(self, match: str, *, count: int = 1000) -> AsyncIterator[list[bytes]]:
        cursor: Arg = 0
        while True:
            cursor, page = await self._call(
                ("SCAN", cursor, "MATCH", match, "COUNT", count), None, repeatable=True
            )
            if page:
                yield page
            if int(cursor) == 0:
                return

    @override
    @asynccontextmanager
    async def subscribe(self, *channels: str, max_waiting: int = 1000) -> AsyncIterator[Subscription]:
        subscription = Subscription(max_waiting)
        socket = self._server.socket()
        socket.run(("SUBSCRIBE", *channels))
        listener = _Listener(socket, subscription)
        self._server.listen(listener)
        try:
            yield subscription
        finally:
            self._server.forget(listener)
            socket.close()

    @override
    def statistics(self) -> ClientStatistics:
        state = State.READY if self._open else State.CLOSED
        node = NodeStatistics("embedded", state, sent=self._calls, received=self._calls, connects=1)
        return ClientStatistics((node,))

    @property
    @override
    def many_keys(self) -> bool:
        return True

    @property
    @override
    def ready(self) -> bool:
        return self._open

    def close(self) -> None:
        """Close the connection."""
        self._open = False
        self._socket.close()


def _check_compiles(script: Script) -> None:
    """Compile it now: fakeredis would report an error only when the script runs."""
    try:
        lua51.LuaRuntime().compile(script.source)
    except lua51.LuaSyntaxError as error:
        raise ScriptRejected(f"script {script.name} was not loaded: {error}") from error


def _bytes_for_text(reply: object) -> object:
    """A server sends bytes wherever fakeredis returns str."""
    if isinstance(reply, str):
        return reply.encode()
    if isinstance(reply, list):
        return [_bytes_for_text(item) for item in reply]
    if isinstance(reply, dict):
        return {
            _bytes_for_text(key): _bytes_for_text(value)
            for key, value in cast("dict[object, object]", reply).items()
        }
    return reply
